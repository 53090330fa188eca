"""The documentation names real paths, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TOP = ("src/", "tests/", "tools/", "docs/", "starter/", "bench/", "requirements/", ".ci/")
SUFFIXES = (".py", ".md", ".toml", ".txt", ".in")


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def named_paths(text: str) -> list[str]:
    """Words in backticks that look like paths in the repository; `x/<name>.py` and globs are patterns."""
    words = re.findall(r"`([^`\s]+)`", text)
    return [word for word in words if word.startswith(TOP) or ("/" in word and word.endswith(SUFFIXES))]


def exists(word: str) -> bool:
    bases = (ROOT, ROOT / "src/quintet")
    pattern = re.sub(r"<[^>]+>", "*", word.rstrip("/"))
    return any(any(base.glob(pattern)) for base in bases)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_named_paths_exist(page: Path) -> None:
    missing = [word for word in named_paths(page.read_text(encoding="utf-8")) if not exists(word)]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(
        r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose)
    local = [
        target for target in targets if "://" not in target and not target.startswith(("mailto:", "data:"))
    ]
    assert not [target for target in local if not (page.parent / target).exists()]


def test_architecture_names_every_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = [
        path for path in (ROOT / "src/quintet").iterdir() if path.is_dir() and path.name != "__pycache__"
    ]
    assert len(rooms) > 5
    assert not [room.name for room in rooms if f"{room.name}/" not in text]


def test_the_check_would_notice_a_path_that_is_gone() -> None:
    assert named_paths("see `src/quintet/no_such_room.py` and `core/gone.py`, not `a/b`") == [
        "src/quintet/no_such_room.py",
        "core/gone.py",
    ]
    assert not exists("src/quintet/no_such_room.py")
    assert exists("core/ports.py")


def test_decision_notes_are_short_and_numbered() -> None:
    notes = sorted(path for path in (ROOT / "docs/decisions").glob("*.md"))
    assert notes
    for number, note in enumerate(notes, 1):
        assert note.name.startswith(f"{number:04}-")
        assert len(note.read_text(encoding="utf-8").splitlines()) <= 40, (
            f"{note.name} is longer than 40 lines"
        )
