"""Qwen2.5-VL sees what transformers sees: patches, tokens, places on three axes, embeddings, answers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from quintet.core.errors import InvalidRequest
from quintet.engines.text.vision.qwen25_vl import MAX_PATCHES
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

PLACEHOLDER = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.fixture(scope="module")
def tiny(tiny_vision: Many) -> TinyVisionModel:
    return tiny_vision("qwen25_vl")


def test_pixels(tiny: TinyVisionModel, family: Any) -> None:
    images = processor_of(tiny).image_processor
    for size in (*SIZES, (14, 14), (42, 42), (70, 98), (1024, 1024)):
        (tile,) = family.tiles(draw(*size))
        expected = images(draw(*size), return_tensors="np")["pixel_values"]
        np.testing.assert_allclose(family.patches(tile), expected, atol=1e-5, err_msg=str(size))


def test_sizes(family: Any) -> None:
    """Odd proportions, where a rounding decides."""
    generator = random.Random(3)
    for _ in range(300):
        size = generator.choice((5, 60, 500, 4000))
        width, height = (generator.randint(1, size) for _ in range(2))
        if max(width, height) > 200 * min(width, height):
            with pytest.raises(InvalidRequest, match="more than 200 times as long"):
                family.layout(width, height)
            continue
        high, wide = smart_resize(height, width, 28, min_pixels=56 * 56, max_pixels=280 * 280)
        assert family.layout(width, height).grid == (high // 28, wide // 28), (width, height)


def test_no_picture_is_too_large_for_memory(tiny: TinyVisionModel, tmp_path: Path) -> None:
    """The real model's own bound, 16,384 tokens, would need a mask of 17 GB."""
    family = load(spoilt(tiny, tmp_path, size={"shortest_edge": 56 * 56, "longest_edge": 12_845_056}))
    for size in ((1024, 1024), (4000, 4000), (60_000, 300), (300, 60_000)):
        high, wide = family.layout(*size).grid
        assert 4 * high * wide <= MAX_PATCHES, size
    assert family.layout(1024, 1024).grid == (37, 37)


def test_tokens_and_positions(tiny: TinyVisionModel, family: Any) -> None:
    processor = processor_of(tiny)
    for text, pictures in (
        (f"{PLACEHOLDER}what is", [draw(90, 60)]),
        (f"red {PLACEHOLDER} and {PLACEHOLDER} blue circle", [draw(9, 200), draw(250, 130, seed=1)]),
        ("red circle", []),
    ):
        written = processor(images=pictures or None, text=text, return_tensors="pt")
        ids = written["input_ids"][0].tolist()
        assert grown(family, processor, text, pictures) == ids
        expected, delta = tiny.reference.model.get_rope_index(
            written["input_ids"], written["mm_token_type_ids"], written.get("image_grid_thw")
        )
        placed = family.positions(ids, [family.layout(*picture.size) for picture in pictures])
        np.testing.assert_array_equal(placed, expected[:, 0])
        assert placed.max() + 1 - len(ids) == delta.item()


@pytest.mark.parametrize(("precision", "bound"), [("f32", 1e-3), ("bf16", 1e-2)])
def test_embeddings(tiny: TinyVisionModel, precision: str, bound: float) -> None:
    family, images = load(tiny.directory, precision), processor_of(tiny).image_processor
    pictures = [draw(130, 90), draw(90, 130, seed=1), draw(8, 8), draw(280, 28)]
    expected = []
    for picture in pictures:
        inputs = images(picture, return_tensors="pt")
        with torch.inference_mode():
            rows = tiny.reference.model.get_image_features(**inputs).pooler_output[0]
        expected.append(rows)
        assert worst(rows_of(family, picture), rows) < bound
        assert len(rows) == len(family.layout(*picture.size).ids)
    assert worst(expected[0], expected[1]) > 0.05


def test_one_picture(tiny: TinyVisionModel, driver: Driver) -> None:
    check_answer(tiny, driver, [("user", [draw(90, 60), "what is"])])


def test_two_pictures_between_texts(tiny: TinyVisionModel, driver: Driver) -> None:
    turns = [("user", ["one", draw(90, 60), "and two", draw(140, 280, seed=1), "what is red"])]
    check_answer(tiny, driver, turns)


def test_picture_in_an_earlier_turn(tiny: TinyVisionModel, driver: Driver) -> None:
    first = ("user", [draw(164, 64, seed=2), "what is"])
    check_answer(tiny, driver, [first])
    check_answer(tiny, driver, [first, ("assistant", ["blue circle"]), ("user", ["and the world of red"])])


def test_text_alone(tiny: TinyVisionModel, driver: Driver) -> None:
    check_answer(tiny, driver, [("user", ["what is the world"])])


def test_older_files(tiny: TinyVisionModel, family: Any, tmp_path: Path) -> None:
    """As the models were published: bounds of their own names, in preprocessor_config.json."""
    directory = spoilt(tiny, tmp_path)
    path = directory / "processor_config.json"
    images = json.loads(path.read_text("utf-8"))["image_processor"]
    path.unlink()
    del images["size"]
    images |= {"min_pixels": 56 * 56, "max_pixels": 280 * 280}
    (directory / "preprocessor_config.json").write_text(json.dumps(images), "utf-8")
    older = load(directory)
    for size in SIZES:
        assert older.layout(*size) == family.layout(*size)


def _vision(**changed: Any) -> dict[str, Any]:
    return {"vision_config": {"hidden_size": 48, "num_heads": 4, "window_size": 56} | changed}


HOSTILE: list[Hostile] = [
    ({"image_token_id": 5}, {}),
    ({"image_token_id": None}, {}),
    ({"vision_config": []}, {}),
    ({"vision_config": {}}, {}),
    (_vision(window_size=0), {}),
    (_vision(window_size=27), {}),
    (_vision(window_size=10**9), {}),
    (_vision(num_heads=0), {}),
    (_vision(num_heads=48), {}),
    (_vision(num_heads=2), {}),
    (_vision(hidden_size=10**9), {}),
    (_vision(patch_size=0), {}),
    (_vision(patch_size=1024), {"patch_size": 1024}),
    (_vision(patch_size=7), {"patch_size": 7}),
    (_vision(patch_size=7), {}),
    (_vision(spatial_merge_size=1), {"merge_size": 1}),
    (_vision(temporal_patch_size=1), {"temporal_patch_size": 1}),
    ({}, {"merge_size": 4}),
    ({}, {"temporal_patch_size": 10**6}),
    ({}, {"min_pixels": 10**9}),
    ({}, {"min_pixels": 10**30}),
    ({}, {"max_pixels": 27 * 27}),
    ({}, {"max_pixels": "280"}),
    ({}, {"size": {"height": 280, "width": 280}}),
    ({}, {"size": 280}),
    ({}, {"image_std": [0.5, 0.5]}),
    ({}, {"do_resize": False}),
]


def test_malformed_files_are_refused(tiny: TinyVisionModel, tmp_path: Path) -> None:
    check_refused(tiny, tmp_path, HOSTILE)
