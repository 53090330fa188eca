"""What the bodies of /v1/embeddings mean, what is wrong with bad ones, and how vectors are written."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from openai import NOT_GIVEN
from openai.lib._parsing._embeddings import parse_embedding_response
from openai.types import CreateEmbeddingResponse

from quintet.core.errors import InvalidRequest
from quintet.core.events import Embedding, Finished, Outcome, Usage
from quintet.core.requests import EmbeddingRequest
from tests.dialects.wire import ask

PATH = "/v1/embeddings"
SECRET = "s3cr3t-canary"
VECTORS = ((0.6, 0.8), (-1.0, 0.0), (0.28, -0.96))


def parsed(given: Any, **fields: Any) -> EmbeddingRequest:
    (request,) = ask(PATH, {"model": "m", "input": given, **fields}).requests
    assert isinstance(request, EmbeddingRequest)
    return request


@pytest.mark.parametrize(
    ("given", "texts", "ids"),
    [
        ("hello", ("hello",), ()),
        (" ", (" ",), ()),
        (["a"], ("a",), ()),
        (["a", "b", "a"], ("a", "b", "a"), ()),
        ([1, 2, 0], (), ((1, 2, 0),)),
        ([[1, 2], [3]], (), ((1, 2), (3,))),
        (["x"] * 2048, ("x",) * 2048, ()),
        ([[7]] * 2048, (), ((7,),) * 2048),
        (list(range(300_000)), (), (tuple(range(300_000)),)),
        ("x" * 2_000_000, ("x" * 2_000_000,), ()),
    ],
)
def test_the_four_forms_of_input(
    given: Any, texts: tuple[str, ...], ids: tuple[tuple[int, ...], ...]
) -> None:
    assert parsed(given) == EmbeddingRequest(model="m", texts=texts, ids=ids)


def test_other_fields() -> None:
    assert parsed("a", dimensions=7) == EmbeddingRequest(model="m", texts=("a",), dimensions=7)
    nothing = {"dimensions": None, "encoding_format": None, "user": "u", "input_type": "query", "truncate": 1}
    assert parsed("a", **nothing) == EmbeddingRequest(model="m", texts=("a",))


def test_the_default_model() -> None:
    for model in (None, "tgi", "dummy"):
        assert parsed("a", model=model).model == "starter"
    with pytest.raises(InvalidRequest) as raised:
        ask(PATH, {"input": "a"}, default_model="")
    assert raised.value.param == "model"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": True}, "input"),
        ({"input": {"a": SECRET}}, "input"),
        ({"input": [True]}, "input[0]"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": ["a", None]}, "input[1]"),
        ({"input": ["a", [1]]}, "input[1]"),
        ({"input": [1, SECRET]}, "input[1]"),
        ({"input": [1, -1]}, "input[1]"),
        ({"input": [1, 2**31]}, "input[1]"),
        ({"input": [1.0]}, "input[0]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [[1], SECRET]}, "input[1]"),
        ({"input": [[1, 1.5]]}, "input[0][1]"),
        ({"input": [[[1]]]}, "input[0][0]"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": [[1]] * 2049}, "input"),
        ({"input": [1] * 300_001}, "input"),
        ({"input": [[1] * 200_000, [1] * 100_001]}, "input"),
        ({"input": "x" * 2_000_001}, "input"),
        ({"input": ["x" * 1_000_000] * 2 + ["x"]}, "input"),
        ({"encoding_format": SECRET}, "encoding_format"),
        ({"encoding_format": 1}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": -1}, "dimensions"),
        ({"dimensions": 2.0}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"dimensions": "2"}, "dimensions"),
        ({"dimensions": 10**400}, "dimensions"),
        ({"model": 7}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"prompt_embeds": SECRET}, "prompt_embeds"),
    ],
)
def test_bad_bodies_name_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        ask(PATH, {"model": "m", "input": "a", **fields})
    assert raised.value.param == param
    assert f"`{param}`" in raised.value.message
    assert SECRET not in raised.value.message


@pytest.mark.parametrize("body", [None, [], "a", 1, {}])
def test_bodies_that_are_none(body: Any) -> None:
    with pytest.raises(InvalidRequest):
        ask(PATH, body)


def answer(**fields: Any) -> Any:
    outcome = Outcome()
    for index in (1, 2, 0):  # as an engine may answer that takes the shortest first
        outcome.add(Embedding(index, struct.pack("<2f", *VECTORS[index])))
    outcome.add(Finished(usage=Usage(prompt_tokens=9)))
    call = ask(PATH, {"model": 'alias"', "input": ["a", "b", "c"], **fields})
    assert not call.stream
    return json.loads(call.renderer.whole([outcome]).body)


def test_numbers_come_in_the_order_of_the_inputs() -> None:
    found = answer()
    assert {**found, "data": []} == {
        "object": "list",
        "data": [],
        "model": 'alias"',
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }
    for index, one in enumerate(found["data"]):
        assert {**one, "embedding": []} == {"object": "embedding", "index": index, "embedding": []}
        assert struct.pack("<2f", *one["embedding"]) == struct.pack("<2f", *VECTORS[index]), "no bit is lost"


def test_base64_is_little_endian_float32() -> None:
    raw = [
        base64.b64decode(one["embedding"], validate=True) for one in answer(encoding_format="base64")["data"]
    ]
    assert [struct.unpack("<2f", one) for one in raw] == [pytest.approx(vector) for vector in VECTORS]


@pytest.mark.parametrize("numpy", [True, False])
def test_openais_client_reads_both(numpy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai.lib._parsing._embeddings.has_numpy", lambda: numpy)
    asked = CreateEmbeddingResponse.model_validate(answer(encoding_format="float"))
    plain = CreateEmbeddingResponse.model_construct(**answer(encoding_format="base64"))
    read = parse_embedding_response(plain, encoding_format=NOT_GIVEN)
    assert [one.embedding for one in read.data] == [one.embedding for one in asked.data]
