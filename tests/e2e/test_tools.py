"""Tools through the whole server: the openai package (3.51) asks, the real engine over the tiny model calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStream

from tests.conftest import TinyModel
from tests.support.server import RunningServer
from tests.support.tools import LLAMA, MISTRAL, QWEN

MODELS = ("qwen", "llama", "mistral")
SWITCH: Any = {
    "type": "function",
    "function": {
        "name": "switch",
        "description": "Turn a lamp on or off.",
        "parameters": {
            "type": "object",
            "properties": {"lamp": {"enum": ["red", "blue"]}, "on": {"type": "boolean"}},
            "required": ["lamp", "on"],
            "additionalProperties": False,
        },
    },
}
NOW: Any = {"type": "function", "function": {"name": "now", "strict": True}}
HELLO: Any = [{"role": "user", "content": "Red on!"}]


@pytest.fixture(scope="module")
def tools_server(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel) -> Iterator[RunningServer]:
    """A server whose models know tools, each in the manner of another family, and one that doesn't."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    tables = []
    for name, template in zip(
        (*MODELS, "plain"), (QWEN, LLAMA, MISTRAL, "{{ messages[-1].content }}"), strict=True
    ):
        tables.append(
            f'[{name}]\ntask = "text"\nengine = "text"\npath = "{tiny.directory}"\ncontext_length = 4096\n'
            f"chat_template = {json.dumps(template)}\n"
            'options = { precision = "f32", kv_precision = "f32", kv_cache_mb = 16 }\n'
        )
    (home / "models" / "tools.toml").write_text("\n".join(tables))
    with RunningServer.start(home, default_model="qwen") as running:
        yield running


@pytest.fixture(scope="module")
def client(tools_server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tools_server.url}/v1", api_key="local", max_retries=0) as made:
        yield made


def asked(**more: Any) -> dict[str, Any]:
    return {"messages": HELLO, "tools": [SWITCH, NOW], "max_tokens": 300, "seed": 3, **more}


def check(call: Any) -> None:
    assert call.type == "function"
    assert call.id.startswith("call_")
    arguments = json.loads(call.function.arguments)
    if call.function.name == "now":
        assert arguments == {}
    else:
        assert call.function.name == "switch"
        assert arguments["lamp"] in ("red", "blue")
        assert isinstance(arguments["on"], bool)


@pytest.mark.parametrize("model", MODELS)
def test_a_call_that_must_come_comes_whole_and_as_a_stream(client: openai.OpenAI, model: str) -> None:
    body = asked(model=model, tool_choice="required", parallel_tool_calls=False)
    whole = client.chat.completions.create(**body)
    (choice,) = whole.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls or []
    check(call)
    chunks = list(client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    name, arguments, ids = "", "", []
    for chunk in chunks:
        for one in chunk.choices:
            for delta in one.delta.tool_calls or []:
                assert delta.index == 0
                ids += [delta.id] if delta.id else []
                name += delta.function.name or ""
                arguments += delta.function.arguments or ""
    assert (name, arguments) == (call.function.name, call.function.arguments)
    assert len(ids) == 1
    assert ids[0] != call.id
    assert len(chunks) > 5
    assert [one.finish_reason for chunk in chunks for one in chunk.choices][-1] == "tool_calls"
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


@pytest.mark.parametrize("model", MODELS)
def test_a_named_function_and_a_talk_of_two_turns(client: openai.OpenAI, model: str) -> None:
    """The client's own accumulation, and its message sent back as it is with the function's answer."""
    named: Any = {"type": "function", "function": {"name": "switch"}}
    with client.chat.completions.stream(
        **asked(model=model, tool_choice=named, parallel_tool_calls=False)
    ) as stream:
        assert isinstance(stream, ChatCompletionStream)
        kinds = {event.type for event in stream}
        completion = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds
    message = completion.choices[0].message
    (call,) = message.tool_calls or []
    assert call.function.name == "switch"
    check(call)
    answer = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    sent = message.model_dump(exclude_none=True, exclude={"parsed"})
    for one in sent["tool_calls"]:
        one.pop("index", None)
        one["function"].pop("parsed_arguments", None)
    second = client.chat.completions.create(
        **asked(model=model, messages=[*HELLO, sent, answer], tool_choice="none", max_tokens=12)
    )
    (choice,) = second.choices
    assert choice.message.tool_calls is None
    assert choice.finish_reason in ("stop", "length")
    again = client.chat.completions.create(
        **asked(model=model, messages=[*HELLO, sent, answer, *HELLO], max_tokens=12)
    )
    assert again.usage is not None
    assert second.usage is not None
    assert again.usage.prompt_tokens > second.usage.prompt_tokens + 100, (
        "tools are shown unless none may be called"
    )


def test_several_choices_with_logprobs(client: openai.OpenAI) -> None:
    body = asked(model="qwen", tool_choice="required", parallel_tool_calls=False, n=3, logprobs=True)
    answer = client.chat.completions.create(**body)
    entries = 0
    for choice in answer.choices:
        (call,) = choice.message.tool_calls or []
        check(call)
        assert choice.logprobs is not None
        entries += len(choice.logprobs.content or [])
    assert answer.usage is not None
    assert entries == answer.usage.completion_tokens, "tokens that spell a call are told like others"


def test_who_need_not_call_may_just_talk(client: openai.OpenAI) -> None:
    body = asked(model="qwen", max_tokens=16)
    choice = client.chat.completions.create(**{**body, "tools": [SWITCH]}).choices[0]
    assert choice.message.tool_calls is None
    assert choice.message.content
    strict = client.chat.completions.create(**body).choices[0]
    assert strict.message.tool_calls is None
    assert strict.message.content


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"model": "plain"}, "tools"),
        ({"model": "plain", "tool_choice": "required"}, "tools"),
        ({"model": "qwen", "tools": [SWITCH] * 129}, "tools"),
        (
            {"model": "qwen", "tool_choice": {"type": "function", "function": {"name": "no"}}},
            "tool_choice.function.name",
        ),
        (
            {"model": "qwen", "messages": [*HELLO, {"role": "tool", "tool_call_id": "x", "content": "y"}]},
            "messages[1].tool_call_id",
        ),
        (
            {
                "model": "qwen",
                "tool_choice": "required",
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "f",
                            "strict": True,
                            "parameters": {"properties": {"a": {"type": "string", "pattern": "(a+)+b("}}},
                        },
                    }
                ],
            },
            "tools",
        ),
        ({"model": "llama", "response_format": {"type": "json_object"}}, "response_format"),
        ({"model": "echo"}, "tools"),
    ],
)
def test_what_cannot_be_done_is_refused(client: openai.OpenAI, more: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**asked(**more))
    assert refused.value.param == param
    assert len(refused.value.message) > 30
