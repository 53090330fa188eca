"""How the tests of vision models load a family alone, ask the engine with pictures, and ask transformers the same."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image as Picture
from transformers import AutoProcessor

from quintet.core.content import Image, Message
from quintet.core.errors import LoadFailed
from quintet.core.models import Model
from quintet.core.requests import Limits, Sampling, TextRequest
from quintet.engines.text.engine import TextEngine, open_engine
from quintet.engines.text.vision import open_family
from quintet.engines.text.vision.family import Family, Parts, Rows
from quintet.engines.text.vision.network import Network
from quintet.engines.text.vocabulary import Vocabulary, read_json
from tests.conftest import TinyVisionModel
from tests.engines.text.conftest import Driver
from tests.support.tiny_vision import PROCESSORS

Many = Callable[[str], TinyVisionModel]
"""A family's name → its tiny model."""
Hostile = tuple[dict[str, Any], dict[str, Any]]
"""What is changed in config.json, and in what describes the image processor."""
SIZES = ((32, 32), (90, 60), (60, 90), (300, 40), (8, 8), (9, 200), (33, 31), (517, 389))
"""Width and height: a tile's own, wide, tall, much of either, tiny, odd, and larger than any grid of tiny models."""


def load(directory: Path, precision: str = "f32", **config: Any) -> Any:
    """The family of a model directory, its config.json changed; tests look into it, so it is Any."""
    vocabulary = Vocabulary(directory)
    family: Family | None = open_family(
        Parts(
            directory=directory,
            config=read_json(directory / "config.json") | config,
            ids_of=lambda text: vocabulary.encode(text, add_special_tokens=False),
            network=lambda stem: _network(directory / f"{stem}.xml", precision),
        )
    )
    return family


def copied(directory: Path, target: Path) -> Path:
    """A copy of a model directory, for tests that spoil its small files."""
    shutil.copytree(directory, target)
    return target


def spoilt(tiny: TinyVisionModel, tmp_path: Path, **images: Any) -> Path:
    """A copy of the model whose image processor is described otherwise."""
    directory = copied(tiny.directory, tmp_path / "spoilt")
    path = directory / "processor_config.json"
    described = json.loads(path.read_text("utf-8"))
    described["image_processor"] |= images
    path.write_text(json.dumps(described), "utf-8")
    return directory


def check_refused(
    tiny: TinyVisionModel, tmp_path: Path, hostile: Sequence[Hostile], match: str | None = None
) -> None:
    """None of these changes makes a family that loads, and no refusal tells where the files are."""
    directory = spoilt(tiny, tmp_path)
    path = directory / "processor_config.json"
    described = json.loads(path.read_text("utf-8"))
    for config, images in hostile:
        changed = described | {"image_processor": described["image_processor"] | images}
        path.write_text(json.dumps(changed), "utf-8")
        with pytest.raises(LoadFailed, match=match) as refused:
            load(directory, **config)
        assert str(directory) not in str(refused.value), (config, images)


def change_json(path: Path, **values: Any) -> None:
    """Set these keys of a JSON file; None removes one."""
    changed = read_json(path) | values
    kept = {key: value for key, value in changed.items() if value is not None}
    path.write_text(json.dumps(kept), "utf-8")


def processor_of(tiny: TinyVisionModel) -> Any:
    """transformers' own processor."""
    made = PROCESSORS.get(tiny.reference.config.model_type)
    return made() if made else AutoProcessor.from_pretrained(tiny.source)


def grown(family: Any, processor: Any, text: str, pictures: Sequence[Picture]) -> list[int]:
    """The ids of a text whose placeholders became the layouts of these pictures."""
    left = list(pictures)
    ids: list[int] = []
    for id in processor.tokenizer(text).input_ids:
        ids += family.layout(*left.pop(0).size).ids if id == family.token else [id]
    assert not left
    return ids


def rows_of(family: Any, picture: Picture) -> Rows:
    """The embeddings of one picture, as the engine would get them."""
    rows: Rows = family.join(family.encode(family.tiles(picture)), *picture.size)
    return rows


def worst(found: Any, expected: Any) -> float:
    """The largest difference, in parts of the largest value that is expected."""
    expected = np.asarray(expected, np.float32)
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def open_driver(tiny: TinyVisionModel, **options: Any) -> Driver:
    """The text engine on a model that sees, in float32."""
    options = {"precision": "f32", "kv_precision": "f32", "kv_cache_mb": 8, **options}
    path = str(tiny.directory)
    model = Model(name="tiny", task="vision", engine="text", path=path, context_length=1024, options=options)
    engine: TextEngine = open_engine(model)
    return Driver(engine)


Turns = Sequence[tuple[str, Sequence[Any]]]
"""Role and parts (texts and pictures) of every turn."""


def ask(turns: Turns, count: int = 12, **more: Any) -> TextRequest:
    """A greedy request."""
    return TextRequest(
        model="tiny",
        messages=tuple(Message(role, tuple(map(_sent, parts))) for role, parts in turns),
        sampling=Sampling(temperature=0),
        limits=Limits(max_new_tokens=count, ignore_eos=True),
        **more,
    )


def check_answer(tiny: TinyVisionModel, driver: Driver, turns: Turns, count: int = 12) -> tuple[int, ...]:
    """The engine's greedy answer, which is transformers' own."""
    outcome = driver.run(ask(turns, count))[0]
    answer = tuple(token.id for token in outcome.choices[0].tokens)
    assert len(answer) == count
    assert_same(tiny, turns, answer, outcome.finished.usage.prompt_tokens)
    return answer


def assert_same(tiny: TinyVisionModel, turns: Turns, answer: Sequence[int], prompt_tokens: int) -> None:
    """Every token is transformers' own choice after those before it, so by induction the answer is its answer."""
    processor = processor_of(tiny)
    said = [
        {
            "role": role,
            "content": [
                {"type": "text", "text": one} if isinstance(one, str) else {"type": "image"} for one in parts
            ],
        }
        for role, parts in turns
    ]
    text = processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
    pictures = [one for _, parts in turns for one in parts if not isinstance(one, str)]
    inputs = processor(images=pictures or None, text=text, return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    assert length == prompt_tokens
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([list(answer)])], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        kinds = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat(
            [kinds, torch.zeros(1, len(answer), dtype=kinds.dtype)], dim=1
        )
    with torch.inference_mode():
        logits = tiny.reference(**inputs).logits[0]
    assert list(answer) == logits[length - 1 : -1].argmax(-1).tolist()


@cache
def _network(path: Path, precision: str) -> Network:
    """Compiled once: it is the small files beside it that tests change."""
    return Network(path, properties={"INFERENCE_PRECISION_HINT": precision})


def _sent(part: str | Picture) -> str | Image:
    if isinstance(part, str):
        return part
    file = io.BytesIO()
    part.save(file, "PNG")
    return Image(data=file.getvalue())
