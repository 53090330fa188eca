"""What the lock files promise: hashes, floors, and nothing that must stay out."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from quintet.cli import floors

ROOT = Path(__file__).parents[2]
LOCKS = sorted(
    path for path in (ROOT / "requirements").glob("*.txt") if not path.name.startswith("overrides")
)
KEPT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec", "triton", "litellm", "lmdeploy"}


def pins(path: Path) -> dict[str, list[str]]:
    """Every version of every package in a lock; more than one where markers choose."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([a-zA-Z0-9._-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(version)
    return found


def test_all_locks_are_looked_at() -> None:
    names = {path.name for path in LOCKS}
    assert names == {
        *("base.txt", "build.txt", "convert.txt", "dev.txt", "images.txt"),
        *("client-hub.txt", "client-tgi.txt", "client-visioncraft.txt"),
    }


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_pin_has_hashes_and_no_line_names_a_host(path: Path) -> None:
    text = path.read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) == sum(len(versions) for versions in pins(path).values())
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert "index" not in text.replace("--hash", "")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_floors_hold(path: Path) -> None:
    for name, versions in pins(path).items():
        if name in floors.PACKAGES:
            floor = floors.PACKAGES[name][0]
            assert all(not floors.is_below(version, floor) for version in versions), (
                f"{name} is below {floor}"
            )


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_what_must_stay_out_is_out(path: Path) -> None:
    names = set(pins(path))
    assert not names & KEPT_OUT
    assert not [name for name in names if name.startswith("nvidia")]


def test_serving_and_testing_agree_on_every_version() -> None:
    dev = pins(ROOT / "requirements/dev.txt")
    assert all(dev[name] == versions for name, versions in pins(ROOT / "requirements/base.txt").items())


def test_base_holds_all_direct_dependencies_and_no_more_than_25() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^a-zA-Z0-9-]", dependency)[0] for dependency in project["dependencies"]}
    assert len(names) <= 25
    assert names <= set(pins(ROOT / "requirements/base.txt"))


def test_floors_of_direct_dependencies_are_in_pyproject_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for dependency in project["dependencies"]:
        name, _, rest = dependency.partition(">=")
        if name in floors.PACKAGES:
            assert not floors.is_below(rest.split(",")[0], floors.PACKAGES[name][0]), dependency


def test_torch_is_installed_alone_and_pinned() -> None:
    makefile = (ROOT / "Makefile").read_text()
    match = re.search(r"\$\(PIP\) \$\(PIP_ARGS\) torch==(\S+)$", makefile, re.MULTILINE)
    assert match is not None
    assert not floors.is_below(match[1], floors.PACKAGES["torch"][0])


@pytest.mark.parametrize(
    ("name", "left_out"), [("base.txt", {"hf-xet", "rich"}), ("convert.txt", {"torch", "torchvision"})]
)
def test_a_lock_has_everything_that_its_packages_need(name: str, left_out: set[str]) -> None:
    """Installed with --no-deps, so a package that an override took out would only be missed at import."""
    here = {canonicalize_name(package) for package in pins(ROOT / "requirements" / name)}
    missing = set()
    for package in here:
        try:
            needs = [Requirement(line) for line in metadata.requires(package) or ()]
        except metadata.PackageNotFoundError:
            continue  # for another platform
        missing |= {
            (package, canonicalize_name(need.name))
            for need in needs
            if need.marker is None or need.marker.evaluate({"extra": ""})
        }
    assert {need for _, need in missing} - here == left_out
