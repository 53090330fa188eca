"""The openai package (3.51) and bad bodies, answered by the real embedding engine over a tiny BERT."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest

from tests.e2e.conftest import in_flight, wait_idle
from tests.support.server import Answer, RunningServer, http_request, wait_until

MODELS = """
[encoder]
task = "embedding"
engine = "embed"
path = "{path}"
aliases = ["text-embedding-3-small"]
context_length = 512
options = {{ precision = "f32" }}

[not-an-encoder]
task = "embedding"
engine = "embed"
path = "{path}/1_Pooling"
"""
PATH = "/v1/embeddings"
SECRET = "s3cr3t-canary"
TEXTS = ["hello world", "what is the red circle", "x", "one two three " * 10]
LEAKS = re.compile(rb"/home|/usr|/work|/tmp|passwd|Traceback|0x[0-9a-f]{8,}|site-packages|\.py\b")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny BERT, as transformers has it and as IR."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter's own deprecations are not ours to fail on.
        from tests.support.tiny_encoder import make_bert

        return make_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def server(bert: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    (home / "models" / "embed.toml").write_text(MODELS.format(path=bert.directory))
    with RunningServer.start(home) as running:
        yield running
    assert SECRET not in "\n".join(running.log), "what callers send stays out of the log"


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as made:
        yield made


def near(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


# ------------------------------------------------------------------------------------------------ openai's client


def test_texts(client: openai.OpenAI, bert: Any) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=TEXTS, user="someone")
    assert (answer.object, answer.model) == ("list", "text-embedding-3-small")
    tokens = sum(len(bert.ids(text)) for text in TEXTS)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)
    assert [(one.index, one.object) for one in answer.data] == [(at, "embedding") for at in range(4)]
    for text, one in zip(TEXTS, answer.data, strict=True):
        near(one.embedding, bert.vector(text))
    numbers = client.embeddings.create(model="encoder", input=TEXTS, encoding_format="float")
    near([one.embedding for one in numbers.data], [one.embedding for one in answer.data])


def test_one_text_ids_and_dimensions(client: openai.OpenAI, bert: Any) -> None:
    (one,) = client.embeddings.create(model="encoder", input=TEXTS[0], dimensions=5).data
    near(one.embedding, bert.vector(TEXTS[0], 5))
    ids = [bert.ids(text) for text in TEXTS]
    (single,) = client.embeddings.create(model="encoder", input=ids[1]).data
    near(single.embedding, bert.vector(TEXTS[1]))
    many = client.embeddings.create(model="encoder", input=ids)
    near([one.embedding for one in many.data], [bert.vector(text) for text in TEXTS])
    raw: Any = client.embeddings.create(model="encoder", input=TEXTS[0], encoding_format="base64")
    near(np.frombuffer(base64.b64decode(raw.data[0].embedding), "<f4"), bert.vector(TEXTS[0]))


def test_as_many_inputs_as_there_may_be(client: openai.OpenAI, bert: Any) -> None:
    inputs = [f"{'one ' * (at % 13)}two" for at in range(2048)]
    answer = client.embeddings.create(model="encoder", input=inputs)
    assert [one.index for one in answer.data] == list(range(2048))
    for at in (0, 12, 13, 1000, 2047):
        near(answer.data[at].embedding, bert.vector(inputs[at]))


def test_many_at_once(server: RunningServer, bert: Any) -> None:
    async def ask_all() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as many:
            asks = (many.embeddings.create(model="encoder", input=TEXTS[at % 4 :]) for at in range(40))
            return list(await asyncio.gather(*asks))

    for at, answer in enumerate(asyncio.run(ask_all())):
        near([one.embedding for one in answer.data], [bert.vector(text) for text in TEXTS[at % 4 :]])


# --------------------------------------------------------------------------------- what is for what, and who counts


@pytest.mark.parametrize("model", ["echo", "echo-vision", "echo-image"])
def test_another_model_asked_for_vectors(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError, match="not for embedding; use encoder instead") as raised:
        client.embeddings.create(model=model, input="a")
    assert (raised.value.param, raised.value.code) == ("model", "unsupported")


@pytest.mark.parametrize("model", ["encoder", "echo-embed"])
def test_an_encoder_asked_for_text(client: openai.OpenAI, server: RunningServer, model: str) -> None:
    with pytest.raises(openai.BadRequestError, match="for embedding, not for text; use starter-chat instead"):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "a"}])
    with pytest.raises(openai.BadRequestError, match="for embedding, not for text; use starter-chat instead"):
        client.completions.create(model=model, prompt="a")
    refused = server.ask("POST", f"/{model}/generate", {"inputs": "a"})
    assert refused.status == 400
    assert "use starter-chat instead" in refused.json["detail"]


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    listed = {model.id: model.model_dump() for model in client.models.list()}
    assert listed["encoder"]["task"] == listed["echo-embed"]["task"] == "embedding"


def test_one_log_line_counts_the_tokens(server: RunningServer, bert: Any) -> None:
    answer = server.ask("POST", PATH, {"model": "encoder", "input": [TEXTS[0], SECRET]})
    assert answer.status == 200
    identity = answer.headers["x-request-id"]
    line = server.wait_record(identity)
    assert line["prompt_tokens"] == len(bert.ids(TEXTS[0])) + len(bert.ids(SECRET))
    assert line["completion_tokens"] == 0
    assert (line["model"], line["dialect"], line["outcome"]) == ("encoder", "openai", "ok")
    assert line["route"] == PATH
    assert [record["request_id"] for record in server.records()].count(identity) == 1


def test_echo_answers_too(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="echo-embed", input=["red circle", "the red circle", "two"])
    one, near_it, other = (np.array(item.embedding) for item in answer.data)
    assert one @ near_it > one @ other
    assert answer.usage.prompt_tokens == 6


def test_leaving_frees_the_engine(server: RunningServer) -> None:
    body = json.dumps({"model": "encoder", "input": ["one two three " * 14] * 2048}).encode()
    with server.connect() as connection:
        connection.sendall(http_request("POST", PATH, body))
        wait_until(lambda: in_flight(server) == 1)
    wait_idle(server)
    assert server.ask("POST", PATH, {"model": "encoder", "input": "a"}, timeout=5).status == 200


# ------------------------------------------------------------------------------------------------------- bad input


def refusal(answer: Answer, status: int = 400) -> Any:
    assert answer.status == status, answer.body
    assert SECRET.encode() not in answer.body
    assert not LEAKS.search(answer.body), answer.body
    assert len(answer.json["error"]["message"]) > 20
    assert answer.json["detail"] == answer.json["error"]["message"]
    return answer.json["error"]


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"input": "one " * 47}, "input", "context_length_exceeded"),
        ({"input": ["one", "one " * 47]}, "input", "context_length_exceeded"),
        ({"input": [5] * 49}, "input", "context_length_exceeded"),
        ({"input": " " * 100_000}, "input", "context_length_exceeded"),
        ({"input": "x" * 2_000_001}, "input", "context_length_exceeded"),
        ({"input": [[5], [69]]}, "input", None),
        ({"input": [2**31 - 1]}, "input", None),
        ({"input": ["a", ""]}, "input[1]", None),
        ({"input": []}, "input", None),
        ({"input": {"a": SECRET}}, "input", "invalid_type"),
        ({"input": [SECRET, 1]}, "input[1]", "invalid_type"),
        ({"input": ["a"] * 2049}, "input", None),
        ({"dimensions": 65}, "dimensions", None),
        ({"dimensions": 0}, "dimensions", None),
        ({"encoding_format": SECRET}, "encoding_format", None),
        ({"model": 5}, "model", "invalid_type"),
        ({"trust_remote_code": True}, "trust_remote_code", "unknown_parameter"),
    ],
)
def test_bad_fields(server: RunningServer, more: dict[str, Any], param: str, code: str | None) -> None:
    answer = server.ask("POST", PATH, {"model": "encoder", "input": "a", **more}, timeout=60)
    error = refusal(answer)
    assert error["param"] == param
    assert code in (None, error["code"])
    assert server.ask("POST", PATH, {"model": "encoder", "input": "a"}).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"model":"encoder"}', 400),
        (b'{"model":"encoder","input":"a\\u0000"}', 400),
        (b'{"model":"encoder","input":"a\\ud800"}', 400),
        (b'{"model":"encoder","input":"a","input":"b"}', 400),
        (b'{"model":"encoder","input":[NaN]}', 400),
        (b'{"model":"encoder","input":' + b"[" * 40 + b"]" * 40 + b"}", 400),
        (b'{"model":"encoder","input":"' + b"x" * 9 * 2**20 + b'"}', 413),
        (json.dumps({"model": f"no-{SECRET}", "input": "a"}).encode(), 404),
        (b'{"model":"not-an-encoder","input":"a"}', 503),
    ],
)
def test_bad_bodies(server: RunningServer, body: bytes, status: int) -> None:
    refusal(server.ask("POST", PATH, body), status)
    assert server.ask("POST", PATH, {"model": "encoder", "input": "a"}).status == 200


def test_other_methods_and_types(server: RunningServer) -> None:
    assert server.ask("GET", PATH).status == 405
    assert server.ask("POST", PATH, b"{}", {"content-type": "text/plain"}).status == 415
