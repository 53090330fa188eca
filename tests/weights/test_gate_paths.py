"""Names that others chose stay inside their directory, also while it changes (reliability U-06, U-07, U-10, U-18)."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quintet.weights.paths import is_digest, is_hub_id, open_beneath, safe_path
from quintet.weights.refusal import GateRefused


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with files and links of all kinds, beside a secret."""
    outside = tmp_path_factory.mktemp("house")
    (outside / "secret").write_text("secret")
    root = outside / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "file").write_text("inside")
    (root / "sub" / "file").write_text("inside")
    (root / "out").symlink_to("..")
    (root / "sub" / "out").symlink_to(outside)
    (root / "secret").symlink_to("../secret")
    (root / "here").symlink_to(".")
    (root / "in").symlink_to("sub")
    (root / "loop").symlink_to("loop")
    return root


WORDS = [
    "sub",
    "deep",
    "file",
    "out",
    "in",
    "here",
    "loop",
    "secret",
    "..",
    ".",
    "",
    "~",
    "C:",
    "new",
    "\\..",
    "a\0b",
]
NAMES = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=8).map("/".join),
)


@given(NAMES)
@example("../secret")
@example("out/secret")
@example("in/out/secret")
@example("/etc/passwd")
@example("\ud800")
@example("a" * 300)
@settings(max_examples=10000, deadline=None)
def test_no_name_leads_out(house: Path, name: str):
    try:
        path = safe_path(house, name)
    except GateRefused:
        pass
    else:
        real = Path(os.path.realpath(path))
        assert real == path
        assert real.is_relative_to(house.resolve())
        assert real != house.resolve()
    root = os.open(house, os.O_RDONLY)
    try:
        with os.fdopen(open_beneath(root, name)) as file:
            assert file.read() == "inside"
    except GateRefused:
        pass
    finally:
        os.close(root)


@pytest.mark.parametrize(
    "name", ["file", "sub/file", "in/file", "new", "sub/new/file", "ünïcode", "a b", "...", "here/file"]
)
def test_names_inside_are_found(house: Path, name: str):
    assert safe_path(house, name).is_relative_to(house.resolve())


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/file",
        "..",
        "../root/file",
        "sub/../file",
        "./file",
        "sub//file",
        "file/",
        "C:file",
        "a\\b",
        "a\nb",
        "a\x85b",
        "a\u2028b",
        "out",
        "out/secret",
        "secret",
        "sub/out/secret",
        "here",
        "x" * 256,
        "a/" * 600 + "a",
    ],
)
def test_names_that_could_mean_another_place_are_refused(house: Path, name: str):
    with pytest.raises(GateRefused) as caught:
        safe_path(house, name)
    assert str(caught.value).replace("…", "").isascii()
    assert str(house) not in str(caught.value)


@pytest.mark.parametrize("name", ["in/file", "here/file", "secret", "loop", "sub", "gone"])
def test_reading_follows_no_link(house: Path, name: str):
    root = os.open(house, os.O_RDONLY)
    try:
        with pytest.raises(GateRefused):
            open_beneath(root, name)
    finally:
        os.close(root)


def test_descriptors_are_not_leaked(house: Path):
    root = os.open(house, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    for name in ("sub/file", "sub/gone", "sub/deep/x/y", "secret", "sub", "out/secret"):
        with suppress(GateRefused):
            os.close(open_beneath(root, name))
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(root)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_swap_while_reading_lets_nothing_out(tmp_path: Path, what: str):
    outside, root = tmp_path / "outside", tmp_path / "root"
    for folder in (outside, root / "real"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("secret" if folder == outside else "inside")
    name = "sub/file" if what == "folder" else "file"
    target = outside if what == "folder" else outside / "file"
    swapped = root / name.partition("/")[0]
    real = root / "real" if what == "folder" else root / "real" / "file"
    stop = threading.Event()

    def swap() -> None:
        """Turn the same name from the real thing into a link outwards and back, each at once."""
        link, copy = root / "link", root / "copy"
        while not stop.is_set():
            link.symlink_to(target)
            if what == "folder":
                real.rename(swapped)
                swapped.rename(real)
            else:
                copy.write_text("inside")
                copy.replace(swapped)
            link.replace(swapped)
            swapped.unlink()

    thread = threading.Thread(target=swap)
    thread.start()
    opened = os.open(root, os.O_RDONLY)
    seen = {"inside": 0, "refused": 0}
    try:
        for _ in range(60000):
            if min(seen.values()) >= 1000:
                break
            try:
                with os.fdopen(open_beneath(opened, name)) as file:
                    seen[file.read()] += 1
            except GateRefused:
                seen["refused"] += 1
    finally:
        stop.set()
        thread.join()
        os.close(opened)
    assert seen["refused"] >= 1000


def test_digests():
    assert is_digest("0123456789abcdef" * 4)
    for wrong in (
        "",
        "0" * 63,
        "0" * 65,
        "A" * 64,
        "g" * 64,
        "0" * 64 + "\n",
        "../" + "0" * 61,
        "0" * 63 + "٠",
    ):
        assert not is_digest(wrong)


@pytest.mark.parametrize(
    "name", ["gpt2", "Qwen/Qwen3-0.6B", "a/b_c.d-e", "microsoft/Phi-3-mini-4k-instruct", "a" * 96]
)
def test_hub_ids(name: str):
    assert is_hub_id(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a/",
        "/a",
        "a/b/c",
        "../a",
        "a/..",
        "a..b/c",
        "a--b",
        "-a/b",
        "a/b-",
        ".a/b",
        "a/b.",
        "a b",
        "a/b.git",
        "a" * 97,
        "http://h/a",
        "a@b",
        "a#b",
        "a%2fb",
        "a\n",
        "ä/b",
        "a\\b",
    ],
)
def test_what_is_no_hub_id(name: str):
    assert not is_hub_id(name)
