"""The checks of `make check` that are ours notice what they are for."""

from pathlib import Path

import pytest

from tools import check_async, check_core, check_sizes


def written(folder: Path, source: str) -> Path:
    path = folder / "example.py"
    path.write_text(source)
    return path


def test_long_files_and_functions_are_found(tmp_path: Path) -> None:
    body = "    pass\n" * check_sizes.MAX_FUNCTION_LINES
    (complaint,) = check_sizes.complaints(written(tmp_path, f"def long():\n{body}"))
    assert "long has 61 lines" in complaint
    (complaint,) = check_sizes.complaints(written(tmp_path, "x = 1\n" * 401))
    assert "401 lines" in complaint


def test_docstrings_and_the_limits_themselves_are_allowed(tmp_path: Path) -> None:
    body = '    """One.\n\n    Two.\n    """\n' + "    pass\n" * (check_sizes.MAX_FUNCTION_LINES - 1)
    assert list(check_sizes.complaints(written(tmp_path, f"def long():\n{body}"))) == []
    assert list(check_sizes.complaints(written(tmp_path, "x = 1\n" * 400))) == []


@pytest.mark.parametrize(
    ("loop", "count"),
    [
        ("    async for x in stream():\n        pass\n", 1),
        ("    return [x async for x in stream()]\n", 1),
        ("    async for x in stream:\n        pass\n", 0),
        ("    async for x in stream():  # no generator\n        pass\n", 0),
        ("    return [x for x in stream()]\n", 0),
    ],
)
def test_generators_nobody_closes_are_found(loop: str, count: int, tmp_path: Path) -> None:
    path = written(tmp_path, f"async def read(stream):\n{loop}")
    assert len(list(check_async.complaints(path))) == count


@pytest.mark.parametrize(
    ("module", "allowed"),
    [("json", True), ("collections.abc", True), ("quintet.core.events", True), ("quintet.config", False),
     ("numpy", False), ("quintet.core_extra", False)],
)  # fmt: skip
def test_core_may_import_the_standard_library_only(module: str, allowed: bool) -> None:
    assert check_core.is_allowed(module) is allowed
