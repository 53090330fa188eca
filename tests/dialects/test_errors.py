"""Every error of the house renders in every dialect, whole and mid-stream, with the headers of the contract."""

from __future__ import annotations

import json

import pytest

from quintet.core import errors
from quintet.core.errors import QuintetError, all_errors
from quintet.dialects import visioncraft
from quintet.dialects.base import Operation
from quintet.dialects.errors import wait_seconds
from quintet.dialects.openai import refuse as refuse_in_openai
from quintet.dialects.tgi import refuse as refuse_in_tgi
from tests.dialects.wire import OPERATIONS, ask, read_stream

TGI_WORDS = {
    "validation",
    "generation",
    "authentication",
    "banned",
    "forbidden",
    "not_found",
    "conflict",
    "rate_limited",
    "overloaded",
    "incomplete_generation",
    "not_ready",
    "timeout",
}


@pytest.mark.parametrize("kind", all_errors())
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_every_error_renders(operation: Operation, kind: type[QuintetError]) -> None:
    error = kind("Say what is wrong.", param="field", retry_after=7)
    reply = operation.refuse(error)
    body = json.loads(reply.body)
    headers = dict(reply.headers)
    # What the client of these routes knows a wrong key by.
    is_told_403 = operation.refuse is visioncraft.refuse_to_client and kind is errors.Unauthenticated
    status = 403 if is_told_403 else kind.status
    assert reply.status == status
    assert reply.content_type == "application/json"
    assert body["error"]["message"].endswith("Say what is wrong.")
    assert body["error"]["type"] == kind.kind
    assert body["error"]["param"] == "field"
    assert body["error"]["code"] == (kind.code if operation.path.startswith("/v1/") else status)
    assert body["error_type"] == kind.tgi_type
    assert body["error_type"] in TGI_WORDS
    assert body["detail"] == body["error"]["message"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-should-retry"] == ("true" if kind.should_retry else "false")
    assert headers["retry-after"] == "7"
    assert ("www-authenticate" in headers) == (status == 401)


@pytest.mark.parametrize("kind", all_errors())
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "stream": True}),
        ("/v1/completions", {"prompt": "Hi", "stream": True}),
        ("/v1/images/generations", {"prompt": "Hi", "stream": True}),
        ("/generate_stream", {"inputs": "Hi"}),
        ("/tokenize", {"inputs": "Hi"}),
    ],
)
def test_a_broken_stream_looks_broken(path: str, body: object, kind: type[QuintetError]) -> None:
    (event,) = read_stream(ask(path, body).renderer.failure(kind("It broke\r\n\ndata: [DONE]")))
    assert event["error"]
    message = event["error"] if "error_type" in event else event["error"]["message"]
    assert message.startswith("It broke")


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (errors.InvalidRequest("x"), None),
        (errors.RateLimited("x"), 1),
        (errors.RateLimited("x", retry_after=0.2), 1),
        (errors.RateLimited("x", retry_after=2.1), 3),
        (errors.RateLimited("x", retry_after=4000), 60),
        (errors.Overloaded("x", retry_after=float("inf")), 1),
        (errors.NotReady("x", retry_after=-5), 1),
        (errors.StoreUnavailable("x"), 2),
        (errors.WorkerLost("x"), 1),
        (errors.DeadlineExceeded("x"), 1),
        (errors.RequestTimeout("x"), 1),
        (errors.Banned("x", retry_after=299.5), 300),
        (errors.Banned("x", retry_after=9999), 300),
        (errors.QuotaExceeded("x", retry_after=86_400), 86_400),
        (errors.EngineFailed("x"), None),
        (errors.Unauthenticated("x"), None),
    ],
)
def test_retry_after(error: QuintetError, seconds: int | None) -> None:
    assert wait_seconds(error) == seconds


def test_only_validation_errors_get_tgis_prefix() -> None:
    operation = next(operation for operation in OPERATIONS if operation.path == "/generate")

    def text(error: QuintetError) -> str:
        message = json.loads(operation.refuse(error).body)["error"]["message"]
        assert isinstance(message, str)
        return message

    assert text(errors.ContextTooLong("too long")) == "Input validation error: too long"
    assert text(errors.InvalidRequest("`prompt` is bad")) == "Input validation error: `inputs` is bad"
    assert text(errors.PoisonRequest("poison")) == "poison"
    assert text(errors.ModelNotFound("unknown")) == "unknown"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"prompt_tokens": 500, "new_tokens": 13, "context_length": 512},
            "`inputs` tokens + `max_new_tokens` must be <= 512. "
            "Given: 500 `inputs` tokens and 13 `max_new_tokens`",
        ),
        (
            {"prompt_tokens": 600, "max_prompt_tokens": 511},
            "`inputs` must have less than 512 tokens. Given: 600",
        ),
        ({}, "too long"),
    ],
)
def test_a_prompt_too_long_in_each_dialects_words(facts: dict[str, int], words: str) -> None:
    error = errors.ContextTooLong("too long", param="prompt", facts=facts)
    native = json.loads(refuse_in_tgi(error).body)
    assert native["error"]["message"] == native["detail"] == "Input validation error: " + words
    assert (native["error"]["param"], native["error_type"]) == ("inputs", "validation")
    assert json.loads(refuse_in_openai(error).body)["error"] == {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "context_length_exceeded",
    }
