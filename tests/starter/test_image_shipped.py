"""The starter image model that ships: its files, and that it draws what a prompt asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

import quintet
from starter.image.checker import Blot, look
from starter.image.evaluate import Setting, draw, load_pipeline
from starter.image.export import INDEX, SCHEDULER, SHIPPED

# diffusers' own schedulers turn tensors into arrays in a way that NumPy 2 frowns upon.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FOLDER = Path(quintet.__file__).parent / "starter_models" / "image"
LORAS = ("loras/outline.safetensors", "loras/pastel.safetensors")
CONVERTED = "openvino"
"""Where the engine keeps its converted denoiser once it has run from here."""

MAX_BYTES = 13 * 10**6
SETTING = Setting(steps=10, guidance=1.5, sampler="DPM++ 2M")


@pytest.fixture(scope="module")
def pipeline() -> Iterator[StableDiffusionPipeline]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_pipeline(FOLDER)
    torch.set_num_threads(threads)


def test_only_the_named_files_ship_and_they_are_small():
    files = [file for file in FOLDER.rglob("*") if file.is_file() and CONVERTED not in file.parts]
    assert {file.relative_to(FOLDER).as_posix() for file in files} == {*SHIPPED, *LORAS}
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES


def test_the_index_and_the_schedule_are_the_recipe_s():
    assert json.loads((FOLDER / "model_index.json").read_text()) == INDEX
    assert json.loads((FOLDER / "scheduler" / "scheduler_config.json").read_text()) == SCHEDULER


def test_it_draws_what_is_asked_for(pipeline: StableDiffusionPipeline):
    asked = [
        ("a red circle", "white", [("circle", "red")]),
        ("a blue square on a yellow background", "yellow", [("square", "blue")]),
        ("a large green star in the center", "white", [("star", "green")]),
        ("purple heart on pink", "pink", [("heart", "purple")]),
        ("a red triangle to the left of a blue circle", "white", [("triangle", "red"), ("circle", "blue")]),
        ("a black cross above an orange square", "white", [("cross", "black"), ("square", "orange")]),
    ]
    pictures = draw(pipeline, [prompt for prompt, _, _ in asked], SETTING)
    for (prompt, background, things), picture in zip(asked, pictures, strict=True):
        sight = look(picture)
        assert sight.background == background, prompt
        assert sorted((blot.shape, blot.colour) for blot in sight.blots) == sorted(things), prompt
        if len(things) == 2:
            first, second = (_of_colour(sight.blots, colour) for _, colour in things)
            assert first.x < second.x - 0.2 if "left" in prompt else first.y < second.y - 0.2


def _of_colour(blots: tuple[Blot, ...], colour: str) -> Blot:
    return next(blot for blot in blots if blot.colour == colour)


def test_the_same_seed_draws_the_same_bytes(pipeline: StableDiffusionPipeline):
    setting = Setting(steps=4, guidance=1.5)
    one, other = (draw(pipeline, ["a yellow star"], setting)[0].tobytes() for _ in range(2))
    assert one == other


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
def test_loras_change_the_picture_as_much_as_their_weight_says(pipeline: StableDiffusionPipeline):
    prompts = ["a large red circle", "a large blue square", "a large green square", "a large purple circle"]
    for file in LORAS:
        pipeline.load_lora_weights(
            FOLDER / "loras", weight_name=Path(file).name, adapter_name=Path(file).stem
        )

    def effect(name: str, weight: float) -> float:
        pipeline.set_adapters([name], [weight])
        return float(np.mean([_middle_saturation(picture) for picture in draw(pipeline, prompts, SETTING)]))

    plain = effect("outline", 0.0)
    assert plain > 180
    assert effect("outline", 1.0) < 0.35 * plain
    half, whole = effect("pastel", 0.5), effect("pastel", 1.0)
    assert whole < 0.7 * plain
    assert whole < half < plain
    pipeline.unload_lora_weights()
    without = [_middle_saturation(picture) for picture in draw(pipeline, prompts, SETTING)]
    assert float(np.mean(without)) == plain


def _middle_saturation(picture: Image.Image) -> float:
    return float(np.asarray(picture.convert("HSV"))[28:36, 28:36, 1].mean())
