"""LLaVA 1.5 sees what transformers sees: pixels, tokens, embeddings, answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoProcessor

from quintet.engines.text.vision.clip import ClipProcessor
from quintet.engines.text.vision.family import Parts
from quintet.engines.text.vision.llava import _measure
from tests.conftest import TinyVisionModel
from tests.engines.text.conftest import Driver
from tests.engines.text.vision.seeing import (
    SIZES,
    Hostile,
    Many,
    ask,
    change_json,
    check_answer,
    check_refused,
    copied,
    grown,
    load,
    open_driver,
    processor_of,
    rows_of,
    worst,
)
from tests.support.tiny_vision import draw


@pytest.fixture(scope="module")
def tiny(tiny_vision: Many) -> TinyVisionModel:
    return tiny_vision("llava")


def test_pixels(tiny: TinyVisionModel, family: Any) -> None:
    images = processor_of(tiny).image_processor
    for width, height in SIZES:
        picture = draw(width, height)
        expected = images(picture, return_tensors="np")["pixel_values"]
        found = family._processor.pixel_values(family.tiles(picture))
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=f"{width} x {height}")


@pytest.mark.parametrize("count", [1, 2])
def test_tokens(tiny: TinyVisionModel, family: Any, count: int) -> None:
    processor = processor_of(tiny)
    pictures = [draw(90, 60), draw(8, 8, seed=1)][:count]
    text = "red <image> and blue <image> circle" if count == 2 else "<image>what is"
    assert grown(family, processor, text, pictures) == processor(images=pictures, text=text)["input_ids"][0]


@pytest.mark.parametrize(("precision", "bound"), [("f32", 1e-3), ("bf16", 1e-2)])
def test_embeddings(tiny: TinyVisionModel, precision: str, bound: float) -> None:
    family, images = load(tiny.directory, precision), processor_of(tiny).image_processor
    pictures = [draw(90, 60), draw(40, 80, seed=1)]
    inputs = images(pictures, return_tensors="pt")
    with torch.inference_mode():
        expected = tiny.reference.get_image_features(**inputs).pooler_output
    for picture, rows in zip(pictures, expected, strict=True):
        assert worst(rows_of(family, picture), rows) < bound
    together = family.encode([tile for picture in pictures for tile in family.tiles(picture)])
    assert worst(together[1], expected[1]) < bound
    assert worst(expected[0], expected[1]) > 0.05


def test_one_picture(tiny: TinyVisionModel, driver: Driver) -> None:
    answers = [
        check_answer(tiny, driver, [("user", [draw(90, 60, seed=seed), "what is"])]) for seed in range(4)
    ]
    assert len({*answers}) > 1


def test_two_pictures_between_texts(tiny: TinyVisionModel, driver: Driver) -> None:
    check_answer(
        tiny, driver, [("user", ["one", draw(90, 60), "and two", draw(40, 80, seed=1), "what is red"])]
    )


def test_picture_in_an_earlier_turn(tiny: TinyVisionModel, driver: Driver) -> None:
    first = ("user", [draw(64, 64, seed=2), "what is"])
    check_answer(tiny, driver, [first])
    check_answer(tiny, driver, [first, ("assistant", ["blue circle"]), ("user", ["and the world of red"])])


@pytest.mark.parametrize("template", ["begins", "leaves out"])
def test_conversations_begin_once(tiny: TinyVisionModel, tmp_path: Path, template: str) -> None:
    """LLaVA's template leaves the start token to the processor, others write it."""
    source = copied(tiny.source, tmp_path / "source")
    start = {"id": "<|endoftext|>", "type_id": 0}
    single = [{"SpecialToken": start}, {"Sequence": {"id": "A", "type_id": 0}}]
    known = {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}
    change_json(
        source / "tokenizer.json",
        post_processor={
            "type": "TemplateProcessing",
            "single": single,
            "pair": single,
            "special_tokens": known,
        },
    )
    path = source / "chat_template.jinja"
    if template == "begins":
        path.write_text("{{ bos_token }}" + path.read_text("utf-8"), "utf-8")
    directory = copied(tiny.directory, tmp_path / "ir")
    for name in ("tokenizer.json", "chat_template.jinja"):
        shutil.copyfile(source / name, directory / name)
    picture = draw(40, 40)
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "what is"}]
    inputs = AutoProcessor.from_pretrained(source).apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    driver = open_driver(TinyVisionModel(tiny.reference, source, directory))
    prepared: Any = driver.engine.prepare(ask([("user", [picture, "what is"])]))
    driver.engine.close()
    assert prepared.ids == inputs["input_ids"][0]
    assert prepared.ids.count(0) == 1


_CROP = {"height": 32, "width": 32}
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("CLIP", {"size": {"shortest_edge": 40}, "crop_size": _CROP}),
    ("CLIP", {"size": 24, "crop_size": 32}),
    ("CLIP", {"size": _CROP, "do_center_crop": False}),
    ("CLIP", {}),
    ("Siglip", {"size": {"height": 48, "width": 48}, "image_mean": [0.5] * 3, "resample": 2}),
    ("Siglip", {}),
    ("Llava", {"size": {"shortest_edge": 32}, "crop_size": _CROP, "do_pad": True}),
]
"""Image processors as releases of transformers have written them over the years, and those of other encoders."""


@pytest.mark.parametrize(("kind", "written"), FORMS)
def test_forms_of_image_processors(kind: str, written: dict[str, Any]) -> None:
    ours = ClipProcessor.of({"image_processor_type": f"{kind}ImageProcessor", **written})
    theirs = getattr(transformers, f"{kind}ImageProcessorPil")(**written)
    for size in ((90, 61), (20, 45)):
        expected = theirs(draw(*size), return_tensors="np")["pixel_values"]
        assert ours.tile == expected.shape[2:]
        np.testing.assert_allclose(ours.pixel_values([ours.cut(draw(*size))]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "side", "strategy", "rows"),
    [
        ("clip_vision_model", 336, "default", 24 * 24),
        ("clip_vision_model", 336, "full", 24 * 24 + 1),
        ("siglip_vision_model", 384, "full", 27 * 27),
        ("siglip_vision_model", 384, "default", 27 * 27 - 1),
    ],
)
def test_rows_of_real_encoders(tiny: TinyVisionModel, kind: str, side: int, strategy: str, rows: int) -> None:
    """Sizes of llava-hf's releases."""
    tower = {"model_type": kind, "image_size": side, "patch_size": 14}
    config = {"vision_config": tower, "vision_feature_select_strategy": strategy}
    processor = ClipProcessor.of({"crop_size": side})
    parts = Parts(tiny.directory, config, lambda _: [], lambda _: pytest.fail("not looked at"))
    assert _measure(parts, processor)[1] == rows


def test_old_and_new_files(tiny: TinyVisionModel, tmp_path: Path) -> None:
    directory = copied(tiny.directory, tmp_path / "old")
    described = json.loads((directory / "processor_config.json").read_text("utf-8"))
    images = described.pop("image_processor")
    (directory / "preprocessor_config.json").write_text(json.dumps(images), "utf-8")
    (directory / "processor_config.json").write_text(json.dumps(described), "utf-8")
    known = load(tiny.directory)
    token = known.token
    assert load(directory).layout(9, 9) == known.layout(9, 9)
    (directory / "processor_config.json").unlink()
    assert load(directory, image_token_index=None, image_token_id=token).token == token
    assert load(directory, image_seq_length=None).markup == "<image>"


HOSTILE: list[Hostile] = [
    ({"image_token_index": 5}, {}),
    ({"image_token_index": None}, {}),
    ({"image_token_index": -1}, {}),
    ({"vision_config": None}, {}),
    ({"vision_config": []}, {}),
    ({"vision_config": {"model_type": ["clip_vision_model"]}}, {}),
    ({"vision_config": {"model_type": "pixtral", "image_size": 32, "patch_size": 8}}, {}),
    ({"vision_config": {"image_size": 10**9, "patch_size": 1}}, {}),
    ({"vision_config": {"image_size": 32, "patch_size": 0}}, {}),
    ({"vision_config": {"image_size": 32, "patch_size": 16}}, {}),
    ({"vision_feature_select_strategy": "full"}, {}),
    ({"vision_feature_select_strategy": ["default"]}, {}),
    ({}, {"crop_size": {"height": 24, "width": 24}}),
    ({}, {"crop_size": {"height": 10**9, "width": 10**9}}),
    ({}, {"crop_size": {"height": "32", "width": True}}),
    ({}, {"crop_size": [32, 32]}),
    ({}, {"size": {"shortest_edge": 0}}),
    ({}, {"size": {"longest_edge": 32}}),
    ({}, {"do_center_crop": False}),
    ({}, {"image_mean": [0.5, 0.5]}),
    ({}, {"image_std": [0, 0.5, 0.5]}),
    ({}, {"image_std": ["0.5", 0.5, 0.5]}),
    ({}, {"resample": 99}),
    ({}, {"rescale_factor": 1.0}),
]


def test_malformed_files_are_refused(tiny: TinyVisionModel, tmp_path: Path) -> None:
    check_refused(tiny, tmp_path, HOSTILE)
