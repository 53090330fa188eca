"""Idefics3 and SmolVLM see what transformers sees: tiles, tokens, embeddings, answers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quintet.engines.text.vision.family import normalised
from tests.conftest import TinyVisionModel
from tests.engines.text.conftest import Driver
from tests.engines.text.vision.seeing import (
    SIZES,
    Hostile,
    Many,
    check_answer,
    check_refused,
    grown,
    load,
    processor_of,
    rows_of,
    spoilt,
    worst,
)
from tests.support.tiny_vision import draw

TILED = (*SIZES, (192, 192), (193, 191), (64, 192), (65, 64), (190, 63))
"""Also whole tiles, and a pixel more or less."""


@pytest.fixture(scope="module", params=["idefics3", "smolvlm"])
def tiny(request: pytest.FixtureRequest, tiny_vision: Many) -> TinyVisionModel:
    return tiny_vision(request.param)


def pixels_of(family: Any, picture: Any) -> Any:
    return normalised(family.tiles(picture), family._pixels.mean, family._pixels.deviation)


def test_pixels(tiny: TinyVisionModel, family: Any) -> None:
    images = processor_of(tiny).image_processor
    for width, height in TILED:
        picture = draw(width, height)
        expected = images(picture, return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(
            pixels_of(family, picture), expected, atol=1e-5, err_msg=f"{width} x {height}"
        )


def test_grids(tiny: TinyVisionModel, family: Any) -> None:
    """Odd proportions, where a rounding decides."""
    images = processor_of(tiny).image_processor
    generator = random.Random(3)
    for _ in range(60):
        size = generator.randint(1, 300), generator.randint(1, 300)
        counted = images(draw(*size), return_row_col_info=True)
        assert family._plan(*size)[1] == (counted["rows"][0][0], counted["cols"][0][0]), size


@pytest.mark.parametrize("count", [1, 2])
def test_tokens(tiny: TinyVisionModel, family: Any, count: int) -> None:
    processor = processor_of(tiny)
    text = "red <image> and\n<image>blue circle" if count == 2 else "<image>what is"
    for other in TILED:
        pictures = [draw(90, 60), draw(*other)][-count:]
        written = processor(images=pictures, text=text)["input_ids"][0]
        assert grown(family, processor, text, pictures) == written, other


def test_without_tiles(tiny: TinyVisionModel, tmp_path: Path) -> None:
    directory = spoilt(tiny, tmp_path, do_image_splitting=False)
    family, processor = load(directory), processor_of(tiny)
    processor.image_processor.do_image_splitting = False
    for width, height in TILED:
        picture = draw(width, height)
        written = processor(images=[picture], text="<image>", return_tensors="np")
        np.testing.assert_allclose(pixels_of(family, picture), written["pixel_values"][0], atol=1e-5)
        assert grown(family, processor, "<image>", [picture]) == written["input_ids"][0].tolist()


@pytest.mark.parametrize(("precision", "bound"), [("f32", 1e-3), ("bf16", 1e-2)])
def test_embeddings(tiny: TinyVisionModel, precision: str, bound: float) -> None:
    family, images = load(tiny.directory, precision), processor_of(tiny).image_processor
    pictures = [draw(90, 60), draw(40, 80, seed=1)]
    expected = []
    for picture in pictures:
        inputs = images(picture, return_tensors="pt")
        with torch.inference_mode():
            rows = tiny.reference.model.get_image_features(**inputs).pooler_output
        expected.append(rows.reshape(-1, rows.shape[-1]))
        assert worst(rows_of(family, picture), expected[-1]) < bound
        assert len(expected[-1]) == family.layout(*picture.size).ids.count(family.token)
    assert worst(expected[0][: len(expected[1])], expected[1]) > 0.05


def test_one_picture(tiny: TinyVisionModel, driver: Driver) -> None:
    check_answer(tiny, driver, [("user", [draw(90, 60), "what is"])])


def test_two_pictures_between_texts(tiny: TinyVisionModel, driver: Driver) -> None:
    turns = [("user", ["one", draw(90, 60), "and two", draw(40, 80, seed=1), "what is red"])]
    check_answer(tiny, driver, turns)


def test_picture_in_an_earlier_turn(tiny: TinyVisionModel, driver: Driver) -> None:
    first = ("user", [draw(64, 64, seed=2), "what is"])
    check_answer(tiny, driver, [first, ("assistant", ["blue circle"]), ("user", ["and the world of red"])])


HOSTILE: list[Hostile] = [
    ({"image_token_id": 5}, {}),
    ({"image_token_id": -1}, {}),
    ({"vision_config": []}, {}),
    ({"vision_config": {"image_size": 64, "patch_size": 0}}, {}),
    ({"vision_config": {"image_size": 64, "patch_size": 65}}, {}),
    (
        {"vision_config": {"image_size": 4096, "patch_size": 4096}},
        {"max_image_size": {"longest_edge": 10**5}},
    ),
    ({"vision_config": {"image_size": 10**9, "patch_size": 8}}, {}),
    ({"vision_config": {"image_size": 64, "patch_size": 16}}, {}),
    ({"scale_factor": 0}, {}),
    ({"scale_factor": 3}, {}),
    ({"scale_factor": 4}, {}),
    ({"scale_factor": 2.0}, {}),
    ({}, {"max_image_size": {"longest_edge": 1}}),
    ({}, {"max_image_size": {"longest_edge": 10**9}}),
    ({}, {"max_image_size": {"height": 64, "width": 64}}),
    ({}, {"max_image_size": [64]}),
    ({}, {"size": {"longest_edge": 4096}}),
    ({}, {"size": {"longest_edge": 0}}),
    ({}, {"size": {"longest_edge": "192"}}),
    ({}, {"size": {"height": 64, "width": 64}}),
    ({}, {"image_std": [0.5, 0.5]}),
    ({}, {"image_std": [0.5, 0, 0.5]}),
    ({}, {"image_mean": [0.5, 0.5, float("nan")]}),
    ({}, {"resample": 99}),
    ({}, {"rescale_factor": 1.0}),
    ({}, {"do_normalize": False}),
]


def test_malformed_files_are_refused(tiny_vision: Many, tmp_path: Path) -> None:
    check_refused(tiny_vision("idefics3"), tmp_path, HOSTILE)
