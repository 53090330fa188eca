"""Structured output by unmodified clients: openai's `parse`, huggingface_hub's `grammar`, over the real engine."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from tests.e2e.conftest import wait_idle
from tests.support.clients import run_script
from tests.support.server import RunningServer

HELLO: Any = [{"role": "user", "content": "what is the red circle"}]


class Shape(BaseModel):
    """A nested model with most of what pydantic writes into schemas."""

    name: str = Field(max_length=6)
    colour: Literal["red", "blue"]
    corners: int = Field(ge=0, le=12)
    parts: list[Part] = Field(max_length=2)
    note: Literal["none"] | None


class Part(BaseModel):
    """Stands in `$defs`."""

    inside: bool


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("seed", range(3))
def test_parse_gives_a_pydantic_model(client: openai.OpenAI, seed: int) -> None:
    completion = client.chat.completions.parse(
        model="tiny", messages=HELLO, response_format=Shape, max_tokens=350, temperature=1.5, seed=seed
    )
    (choice,) = completion.choices
    assert isinstance(choice.message.parsed, Shape)
    assert choice.finish_reason == "stop"
    assert choice.message.content is not None
    assert Shape.model_validate_json(choice.message.content) == choice.message.parsed


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="tiny", messages=HELLO, response_format=Shape, max_tokens=350, temperature=1.5, seed=1
    ) as stream:
        final = stream.get_final_completion()
    whole = client.chat.completions.parse(
        model="tiny", messages=HELLO, response_format=Shape, max_tokens=350, temperature=1.5, seed=1
    )
    assert final.choices[0].message.parsed == whole.choices[0].message.parsed


def test_json_mode_and_a_cut_answer(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="tiny", messages=HELLO, response_format={"type": "json_object"}, max_tokens=3, seed=1
    )
    (choice,) = completion.choices
    assert choice.finish_reason == "length"
    assert (choice.message.content or "").startswith("{")
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="tiny", messages=HELLO, response_format=Shape, max_tokens=3)


def test_choices_and_completions(client: openai.OpenAI) -> None:
    shape = {"type": "regex", "value": r"(one|two|three) \d{2}"}
    completion = client.completions.create(
        model="tiny", prompt="one two", n=4, max_tokens=30, extra_body={"response_format": shape}
    )
    assert len(completion.choices) == 4
    assert all(re.fullmatch(r"(one|two|three) \d{2}", choice.text) for choice in completion.choices)


HUB = """
import json
from huggingface_hub import InferenceClient
schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 99, "minimum": 0},
          "b": {"enum": ["x", "y"]}}, "required": ["a", "b"], "additionalProperties": False}
client = InferenceClient(url + "/generate")
asked = dict(max_new_tokens=120, details=True)
made = [
    client.text_generation(prompt, grammar={"type": "json", "value": schema}, **asked),
    client.text_generation(prompt, grammar={"type": "json", "value": json.dumps(schema)}, **asked),
    client.text_generation(prompt, grammar={"type": "regex", "value": "[0-9]{3}"}, **asked),
]
streamed = "".join(client.text_generation(prompt, grammar={"type": "json", "value": schema}, stream=True,
                                          max_new_tokens=120))
chat = InferenceClient(url + "/v1/chat/completions")
forms = [
    {"type": "json_schema", "json_schema": {"name": "ab", "schema": schema, "strict": True}},
    {"type": "json", "value": schema},
    {"type": "json_object"},
]
chats = [chat.chat_completion([{"role": "user", "content": prompt}], response_format=form, max_tokens=120)
         for form in forms]
result = dict(
    texts=[one.generated_text for one in made], reasons=[one.details.finish_reason for one in made],
    streamed=streamed, chats=[one.choices[0].message.content for one in chats],
)
"""


def test_hugging_face_clients(server: RunningServer) -> None:
    got = run_script("hub", HUB, url=server.url, prompt="hello world")
    texts, chats = got["texts"], got["chats"]
    for text in (*texts[:2], got["streamed"], *chats[:2]):
        value = json.loads(text)
        assert list(value) == ["a", "b"]
        assert 0 <= value["a"] <= 99
        assert value["b"] in ("x", "y")
    assert texts[0] == texts[1] == got["streamed"]
    assert re.fullmatch("[0-9]{3}", texts[2])
    assert chats[2].startswith("{")
    assert got["reasons"] == ["eos_token"] * 3


SLOW = {"allOf": [{"type": "string", "pattern": f"a{i}"} for i in range(800)]}
BAD: list[tuple[str, Any]] = [
    ("B-29", {"type": "regex", "value": "(?=a)b"}),
    ("B-29", {"type": "regex", "value": ".*" * 2000}),
    ("B-29", {"type": "regex", "value": "(" * 2000 + "a" + ")" * 2000}),
    ("B-30", {"type": "json", "value": {"$ref": "#"}}),
    ("B-30", {"type": "json", "value": {"$ref": "http://127.0.0.1:1/s3cr3t-canary"}}),
    ("B-30", {"type": "json", "value": '{"items":' * 1000 + "{}" + "}" * 1000}),
    ("B-30", {"type": "json", "value": json.dumps({"enum": list(range(1_000_00))})}),
    ("B-30", {"type": "json", "value": {"enum": [{"a": i} for i in range(4_000)]}}),
    ("B-30", {"type": "json", "value": {}}),
    ("B-30", {"type": "json", "value": ""}),
    ("B-30", {"type": "json", "value": SLOW}),
    ("B-31", {"type": "ebnf", "value": "root ::= root"}),
    ("B-32", {"type": "json", "value": {"not": {}}}),
    ("B-32", {"type": "regex", "value": ""}),
]


@pytest.mark.parametrize(("row", "shape"), BAD)
def test_what_can_not_be_enforced_is_refused(server: RunningServer, row: str, shape: Any) -> None:
    begin = time.monotonic()
    body = {"inputs": "hello", "parameters": {"grammar": shape, "max_new_tokens": 4}}
    refused = server.ask("POST", "/generate", body)
    assert time.monotonic() - begin < 4, row  # 2 s on a machine of its own
    assert refused.status in (400, 422), (row, refused.status, refused.body)
    assert b"`grammar" in refused.body
    assert b"s3cr3t" not in refused.body
    chat = server.ask(
        "POST", "/v1/chat/completions", {"model": "tiny", "messages": HELLO, "response_format": shape}
    )
    assert chat.status == 400
    assert chat.json["error"]["param"].startswith("response_format")
    assert server.ask("POST", "/generate", {"inputs": "hello"}).status == 200
    wait_idle(server)


@pytest.mark.alone
def test_tokens_of_others_flow_meanwhile(server: RunningServer) -> None:
    slow = [{**SLOW, "title": f"{number}"} for number in range(4)]
    answers: list[int] = []

    def ask(schema: Any) -> None:
        shape = {"type": "json", "value": schema}
        body = {"model": "tiny", "messages": HELLO, "response_format": shape, "max_tokens": 5}
        answers.append(server.ask("POST", "/v1/chat/completions", body).status)

    threads = [threading.Thread(target=ask, args=(schema,)) for schema in slow]
    for thread in threads:
        thread.start()
    gaps: list[float] = []
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="local", max_retries=0) as client:
        while any(thread.is_alive() for thread in threads):
            last = time.monotonic()
            for _ in client.chat.completions.create(
                model="tiny",
                messages=HELLO,
                stream=True,
                max_tokens=400,
                logit_bias={"2": -100},
                temperature=0,
            ):
                gaps.append(time.monotonic() - last)
                last += gaps[-1]
    assert set(answers) <= {400, 429}
    assert 400 in answers
    assert len(answers) == 4
    assert len(gaps) > 400
    assert max(gaps) < 1.0
