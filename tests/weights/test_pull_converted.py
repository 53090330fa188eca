"""A repository of safetensors becomes an installed IR."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.core.errors import InsufficientStorage
from quintet.core.events import Progress
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
    assert (manifest.task, manifest.context_length, manifest.revision) == ("text", 512, repo.commit)
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
    size = 10**15
    repo.claims["model.safetensors"] = {"lfs": fact["lfs"] | {"size": size}}
    rest = repo.size_bytes - fact["size"]
    with pytest.raises(InsufficientStorage, match="for the converted model") as caught:
        Pull(Library(tmp_path), Order(name=NAME, repo=NAME), lambda _: None).run()
    assert size * 1.1 < caught.value.facts["needed"] <= (size + rest) * 1.5 * 1.1 + 1
