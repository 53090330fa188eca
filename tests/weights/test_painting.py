"""Which models for pictures may be brought: told by their own small files, before any weights are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quintet.core.errors import Unsupported
from quintet.core.models import Model, Source, Task
from quintet.runtime.catalog import read_catalog
from quintet.weights.library import Library
from quintet.weights.order import Order
from quintet.weights.painting import DESCRIBED_BY, why_not
from quintet.weights.preflight import can_run
from quintet.weights.pull import Pull
from tests.support.hub import LocalHub
from tests.weights.gate_files import GOOD

SD = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
PARTS = {
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": GOOD,
    "unet/diffusion_pytorch_model.fp16.safetensors": GOOD,
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.safetensors": GOOD,
    "v1-5-pruned.ckpt": b"0",
}


def order(task: Task, format: Any) -> Order:
    model = Model(
        name="maker/it", task=task, engine="image", sources=(Source(repo="maker/it", format=format),)
    )
    return Order(name="maker/it", repo="maker/it", format=format, model=model)


def pull(tmp_path: Path, wanted: Order) -> Path:
    return Pull(Library(tmp_path / "home"), wanted, lambda _: None).run().installed.folder


def test_a_pipeline_comes_whole_and_its_class_is_asked_first(tmp_path: Path, hub: LocalHub):
    hub.add("maker/it", {"model_index.json": json.dumps(SD).encode(), **PARTS})
    folder = pull(tmp_path, Order(name="maker/it", repo="maker/it"))
    installed = Library(tmp_path / "home").installed()[0].manifest
    assert (installed.task, installed.engine, installed.format) == ("image", "image", "diffusers")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"model_index.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json"} < files
    assert not any(name.endswith((".ckpt", ".fp16.safetensors")) for name in files)


@pytest.mark.parametrize(
    ("task", "format", "files", "said"),
    [
        ("image", "diffusers", {"model_index.json": {**SD, "_class_name": "AudioLDMPipeline"}}, "AudioLDMPipeline"),
        ("image", "safetensors", {"config.json": {}}, "model_index"),
        ("animation", "diffusers", {"config.json": {"_class_name": "UNet2DConditionModel"}}, "MotionAdapter"),
        ("upscale", "safetensors", {"config.json": {"model_type": "swinir"}}, "swin2sr"),
    ],
)  # fmt: skip
def test_others_are_refused_before_their_weights_are_brought(
    tmp_path: Path, hub: LocalHub, task: Task, format: str, files: dict[str, Any], said: str
):
    small = {name: json.dumps(value).encode() for name, value in files.items()}
    hub.add("maker/it", {**small, **PARTS, "model.safetensors": GOOD})
    with pytest.raises(Unsupported, match=said) as caught:
        pull(tmp_path, order(task, format))
    assert caught.value.code == "no_engine"
    assert not [path for path in (tmp_path / "home").rglob("*.safetensors*") if path.is_file()]


def test_adapters_for_motion_and_enlargers_can_be_had(tmp_path: Path, hub: LocalHub):
    hub.add(
        "maker/it",
        {
            "config.json": b'{"_class_name": "MotionAdapter", "_diffusers_version": "0.42.1"}',
            "diffusion_pytorch_model.safetensors": GOOD,
        },
    )
    assert (pull(tmp_path, order("animation", "diffusers")) / "config.json").is_file()
    described = {"model_type": "swin2sr", "architectures": ["Swin2SRForImageSuperResolution"]}
    hub.add("maker/large", {"config.json": json.dumps(described).encode(), "model.safetensors": GOOD})
    folder = pull(tmp_path / "other", Order(name="maker/large", repo="maker/large"))
    assert (folder / "model.safetensors").is_file()
    assert Library(tmp_path / "other" / "home").installed()[0].manifest.task == "upscale"


def test_what_a_file_without_a_class_is_told():
    for task in DESCRIBED_BY:
        for described in (None, [], {}, {"_class_name": 7}):
            assert why_not(task, "diffusers", described)


def test_the_catalog_says_which_of_its_own_can_run():
    known = {model.name: model for model in read_catalog([]).models}
    assert can_run(known["sdxl-base"])
    assert can_run(known["flux-schnell"])
    assert not can_run(known["stable-cascade"])
    assert not can_run(known["sdxl-lightning"])
