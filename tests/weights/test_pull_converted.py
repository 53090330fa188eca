"""A repository of safetensors becomes an installed IR."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.core.errors import InsufficientStorage, LoadFailed
from quintet.core.events import Progress
from quintet.weights.convert import DISK_FACTOR
from quintet.weights.gate import inspect
from quintet.weights.library import Library, verify
from quintet.weights.order import Order
from quintet.weights.pull import Pull
from tests.conftest import TinyModel
from tests.support.hub import LocalHub

NAME = "owner/tiny"


def test_safetensors_are_converted_and_only_the_ir_is_kept(
    hub: LocalHub, tmp_path: Path, tiny: TinyModel
) -> None:
    repo = hub.add(NAME, tiny.directory.parent / "pt")
    library = Library(tmp_path / "home")
    steps: list[Progress] = []
    outcome = Pull(library, Order(name=NAME, repo=NAME, precision="int8"), steps.append).run()
    manifest = outcome.installed.manifest
    assert (manifest.format, manifest.precision, manifest.converted_from) == (
        "openvino",
        "int8",
        "safetensors",
    )
    assert (manifest.task, manifest.context_length, manifest.revision) == ("text", 65_536, repo.commit)
    assert inspect(outcome.installed.folder).format == "openvino"
    assert not list(outcome.installed.folder.glob("*.safetensors"))
    assert verify(outcome.installed) == []
    stages = list(dict.fromkeys(step.stage for step in steps))
    assert stages == ["look", "download", "check", "convert", "install"]
    assert not library.staging(NAME).exists()
    # int8 is what the pull makes when nothing is said, so this one is the same.
    assert Pull(library, Order(name=NAME, repo=NAME), steps.append).run().already


def test_the_disk_must_hold_the_converted_model_too(hub: LocalHub, tmp_path: Path, tiny: TinyModel) -> None:
    repo = hub.add(NAME, tiny.directory.parent / "pt")
    fact = repo.fact("model.safetensors")
    size = 10**12
    repo.claims["model.safetensors"] = {"lfs": fact["lfs"] | {"size": size}}
    order = Order(name=NAME, repo=NAME)
    with pytest.raises(InsufficientStorage, match=r"1\d{3}\.\d GB to convert it") as caught:
        Pull(Library(tmp_path), order, lambda _: None, memory_bytes=10**13).run()
    assert size * (1.1 + DISK_FACTOR) < caught.value.facts["needed"] < size * 1.01 * (1.1 + DISK_FACTOR)
    assert repo.sent.keys() == {"config.json"}


def test_a_machine_too_small_to_convert_is_found_out_before_the_download(
    hub: LocalHub, tmp_path: Path, tiny: TinyModel
) -> None:
    repo = hub.add(NAME, tiny.directory.parent / "pt")
    order = Order(name=NAME, repo=NAME)
    with pytest.raises(
        LoadFailed, match=r"Converting owner/tiny needs about 70\d\.\d MB .* has 10\.0 MB"
    ) as caught:
        Pull(Library(tmp_path), order, lambda _: None, memory_bytes=10_000_000).run()
    assert caught.value.code == "insufficient_memory"
    assert repo.sent.keys() == {"config.json"}
