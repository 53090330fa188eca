"""LLaVA-NeXT sees what transformers sees, whatever the picture's shape: tiles, tokens, embeddings, answers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quintet.core.errors import LoadFailed
from tests.conftest import TinyVisionModel
from tests.engines.text.conftest import Driver
from tests.engines.text.vision.seeing import (
    SIZES,
    Many,
    check_answer,
    check_refused,
    copied,
    grown,
    load,
    processor_of,
    rows_of,
    worst,
)
from tests.support.tiny_vision import draw


@pytest.fixture(scope="module")
def tiny(tiny_vision: Many) -> TinyVisionModel:
    return tiny_vision("llava_next")


def any_sizes(count: int) -> list[tuple[int, int]]:
    """Widths and heights from 8 to 4,096, at most 1:100."""
    source = random.Random(count)
    sides = [round(8 * 2 ** source.uniform(0, 9)) for _ in range(2 * count)]
    pairs = zip(sides[::2], sides[1::2], strict=True)
    return [(width, height) for width, height in pairs if 0.01 <= width / height <= 100]


def test_pixels(tiny: TinyVisionModel, family: Any) -> None:
    images = processor_of(tiny).image_processor
    for width, height in SIZES:
        picture = draw(width, height)
        expected = images(picture, return_tensors="np")["pixel_values"][0]
        found = family._processor.pixel_values(family.tiles(picture))
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=f"{width} x {height}")


def test_number_of_tokens_for_any_size(tiny: TinyVisionModel, family: Any) -> None:
    count = processor_of(tiny)._get_num_multimodal_tokens
    sizes = [*SIZES, *any_sizes(1500)]
    expected = count([(height, width) for width, height in sizes]).num_image_tokens
    assert [len(family.layout(*size).ids) for size in sizes] == expected


def test_order_of_rows_for_any_size(tiny: TinyVisionModel, family: Any) -> None:
    model, generator = tiny.reference.model, np.random.default_rng(6)
    for width, height in any_sizes(60):
        down, across = family._best_grid(width, height)
        rows = generator.standard_normal((1 + down * across // 32**2, 16, 64), np.float32)
        (expected,), _ = model.pack_image_features(
            [torch.from_numpy(rows)], torch.tensor([[height, width]]), "default", model.image_newline
        )
        found = family.join(list(rows), width, height)
        np.testing.assert_array_equal(found, expected.detach().numpy(), f"{width} x {height}")


@pytest.mark.parametrize("count", [1, 2])
def test_tokens(tiny: TinyVisionModel, family: Any, count: int) -> None:
    processor = processor_of(tiny)
    pictures = [draw(90, 60), draw(9, 200, seed=1)][:count]
    text = "red <image> and blue <image> circle" if count == 2 else "<image>what is"
    assert grown(family, processor, text, pictures) == processor(images=pictures, text=text)["input_ids"][0]


@pytest.mark.parametrize(("precision", "bound"), [("f32", 1e-3), ("bf16", 1e-2)])
def test_embeddings(tiny: TinyVisionModel, precision: str, bound: float) -> None:
    family, images = load(tiny.directory, precision), processor_of(tiny).image_processor
    pictures = [draw(*size, seed=seed) for seed, size in enumerate(SIZES)]
    inputs = images(pictures, return_tensors="pt")
    with torch.inference_mode():
        expected = tiny.reference.get_image_features(**inputs).pooler_output
    for picture, rows in zip(pictures, expected, strict=True):
        assert worst(rows_of(family, picture), rows) < bound


def test_one_picture(tiny: TinyVisionModel, driver: Driver) -> None:
    check_answer(tiny, driver, [("user", [draw(90, 60), "what is"])])


def test_two_pictures_between_texts(tiny: TinyVisionModel, driver: Driver) -> None:
    check_answer(
        tiny, driver, [("user", ["one", draw(60, 90), "and two", draw(200, 32, seed=1), "what is red"])]
    )


def test_picture_in_an_earlier_turn(tiny: TinyVisionModel, driver: Driver) -> None:
    first = ("user", [draw(64, 50, seed=2), "what is"])
    check_answer(tiny, driver, [first])
    check_answer(tiny, driver, [first, ("assistant", ["blue circle"]), ("user", ["and the world of red"])])


HOSTILE: list[Any] = [
    [],
    [[32, 64]] * 1000,
    [[32, 64, 32]],
    [[0, 32]],
    [[-32, -32]],
    [[32, 40]],
    [[32 * 6, 32 * 7]],
    [[32 * 10**9, 32]],
    [["32", 32]],
    [[True, 32]],
    {"32": 32},
    7,
]


def test_malformed_files_are_refused(tiny: TinyVisionModel, tmp_path: Path) -> None:
    for newline in (None, [], [0.5] * 63, ["a"] * 64, [float("nan")] * 64, 0.5e31):
        with pytest.raises(LoadFailed, match="image_newline"):
            load(tiny.directory, image_newline=newline)
    hostile = [({}, {"image_grid_pinpoints": grids}) for grids in HOSTILE]
    check_refused(tiny, tmp_path, hostile, match="image_grid_pinpoints")


def test_grids_of_config_and_default_grids(tiny: TinyVisionModel, tmp_path: Path) -> None:
    directory = copied(tiny.directory, tmp_path / "old")
    path = directory / "processor_config.json"
    described = json.loads(path.read_text("utf-8"))
    del described["image_processor"]["image_grid_pinpoints"]
    path.write_text(json.dumps(described), "utf-8")
    assert load(directory).layout(90, 60) == load(tiny.directory).layout(90, 60)
    with pytest.raises(LoadFailed, match="multiple of 32 pixels"):
        load(directory, image_grid_pinpoints=None)
