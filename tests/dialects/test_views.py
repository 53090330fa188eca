"""Model lists, /info and /health, as values → bytes; and that the bytes are what OpenAI's own types expect."""

from __future__ import annotations

import json

from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from quintet.core import models
from quintet.core.events import Event, Finished, Stopped, Token, collect
from quintet.core.models import ModelState, ModelStatus
from quintet.dialects import openai, tgi
from tests.dialects.wire import OPERATIONS, ask, read_stream, stream

STATUS = ModelStatus(
    model=models.Model(
        name="starter", task="text", engine="text", aliases=("phi3",), context_length=512, created=5
    ),
    state=ModelState.READY,
)
EVENTS: list[tuple[int, Event]] = [
    (0, Token(0, 5, "Hi", logprob=-0.5, raw=b"Hi")),
    (0, Stopped(0, "eos")),
    (0, Finished()),
]


def test_model_lists() -> None:
    listed = json.loads(openai.models_reply([STATUS, STATUS]).body)
    one = json.loads(openai.model_reply(STATUS).body)
    assert listed == {"object": "list", "data": [one, one]}
    model = Model.model_validate(one, strict=True)
    assert (model.id, model.created, model.owned_by) == ("starter", 5, "quintet")
    assert one["state"] == "ready"
    assert one["aliases"] == ["phi3"]


def test_info_and_health() -> None:
    info = json.loads(tgi.info_reply(STATUS).body)
    assert info["model_id"] == "starter"
    assert info["max_total_tokens"] == 512
    assert info["max_input_tokens"] == 511
    assert info["max_concurrent_requests"] == 100
    health = tgi.health_reply()
    assert (health.status, json.loads(health.body)) == (200, {"status": "healthy"})


def test_answers_are_what_openais_types_expect() -> None:
    chat = {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True}
    outcome = collect(event for _, event in EVENTS)
    answer = ask("/v1/chat/completions", chat).renderer.whole([outcome]).body
    completion = ChatCompletion.model_validate_json(answer, strict=True)
    assert completion.choices[0].message.content == "Hi"
    *chunks, _ = read_stream(stream(ask("/v1/chat/completions", chat), EVENTS))
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True)
    answer = ask("/v1/completions", {"prompt": "x", "logprobs": 1}).renderer.whole([outcome]).body
    assert Completion.model_validate_json(answer).choices[0].text == "Hi"


def test_every_operation_documents_itself() -> None:
    for operation in OPERATIONS:
        assert operation.summary
        assert operation.schema is not None
        assert operation.schema.model_json_schema()["properties"]
    unclaimed = [operation.path for operation in OPERATIONS if operation.claims is None]
    assert len(set(unclaimed)) == len(unclaimed)
    assert {operation.path for operation in OPERATIONS} == set(unclaimed)
