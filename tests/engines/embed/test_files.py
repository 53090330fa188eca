"""What stands in the files beside the weights, and in the IR, is heeded as it must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from quintet.core.errors import ContextTooLong, InvalidRequest
from quintet.core.requests import EmbeddingRequest
from quintet.engines.embed.engine import open_engine
from quintet.engines.embed.files import Config
from tests.engines.embed.conftest import Encoders, ask, model_of, vectors


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_padding_and_truncation_of_the_tokenizer_are_ours_to_decide(encoders: Encoders, copy: Path) -> None:
    """all-MiniLM's file, for one, cuts every text off at 128 tokens and fills up the others."""
    change(
        copy / "tokenizer.json",
        truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 9},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
    )
    engine = open_engine(model_of(encoders["bert"], path=copy))
    for text in ("x", "one two three and the red circle"):
        np.testing.assert_allclose(vectors(engine, ask(text))[0][0], encoders["bert"].vector(text), atol=1e-4)
    with pytest.raises(ContextTooLong):
        engine.prepare(ask("one " * 47))
    engine.close()


def test_texts_are_lowered_where_the_files_say_so(encoders: Encoders, copy: Path) -> None:
    described = json.loads((copy / "tokenizer.json").read_text())
    change(copy / "tokenizer.json", normalizer={**described["normalizer"], "lowercase": False})
    engine = open_engine(model_of(encoders["bert"], path=copy))
    large, small = vectors(engine, ask("HELLO", "hello"))[0]
    assert np.abs(large - small).max() > 0.01
    engine.close()
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": true}')
    engine = open_engine(model_of(encoders["bert"], path=copy))
    large, small = vectors(engine, ask("HELLO", "hello"))[0]
    np.testing.assert_allclose(large, small, atol=1e-5)
    engine.close()


def test_a_model_that_wants_to_be_told_the_positions(encoders: Encoders, copy: Path) -> None:
    """Its vectors are (id, position, 1) of every token, so what comes out can be checked by hand."""
    names = ("input_ids", "attention_mask", "position_ids")
    ports = {name: ops.parameter([-1, -1], np.int64, name=name) for name in names}
    columns = [
        ops.convert(ops.unsqueeze(ports[name], ops.constant([2], np.int64)), np.float32)
        for name in ("input_ids", "position_ids", "attention_mask")
    ]
    hidden = ops.concat(columns, 2)
    for name, port in [*ports.items(), ("last_hidden_state", hidden)]:
        port.output(0).set_names({name})
    ov.save_model(ov.Model([ops.result(hidden)], list(ports.values()), "told"), copy / "told.xml")
    for suffix in ("xml", "bin"):
        (copy / f"told.{suffix}").replace(copy / f"openvino_model.{suffix}")
    change(copy / "config.json", vocab_size=10, pad_token_id=99)
    engine = open_engine(model_of(encoders["bert"], path=copy))
    request = EmbeddingRequest(model="tiny", ids=((6, 9), (1, 2, 3, 6, 9, 3)))
    for found, (id, position) in zip(vectors(engine, request)[0], [(7.5, 0.5), (4, 2.5)], strict=True):
        expected = np.array([id, position, 1])
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)
    with pytest.raises(InvalidRequest, match="from 0 to 9"):
        engine.prepare(EmbeddingRequest(model="tiny", ids=((10,),)))
    engine.close()


@pytest.mark.parametrize(
    ("values", "positions", "pad_id"),
    [
        ({}, None, 0),
        ({"max_position_embeddings": 512, "pad_token_id": 3}, 512, 3),
        ({"max_position_embeddings": 514, "pad_token_id": 1, "model_type": "xlm-roberta"}, 512, 1),
        ({"max_position_embeddings": 514, "pad_token_id": 1, "model_type": "mpnet"}, 512, 1),
        ({"max_position_embeddings": 1, "pad_token_id": 1, "model_type": "roberta"}, None, 1),
        ({"max_position_embeddings": "512", "pad_token_id": -1}, None, 0),
        ({"max_position_embeddings": True, "pad_token_id": None}, None, 0),
    ],
)
def test_config(tmp_path: Path, values: dict[str, Any], positions: int | None, pad_id: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = Config(tmp_path)
    assert (config.positions, config.pad_id) == (positions, pad_id)
