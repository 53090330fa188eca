"""Tools in the OpenAI dialect: what may be asked, and that OpenAI's client folds a stream to the whole answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from quintet.core.content import Message, ToolCall
from quintet.core.errors import InvalidRequest, Unsupported
from quintet.core.events import (
    Event,
    Finished,
    FinishReason,
    Outcome,
    Stopped,
    Token,
    ToolCallPart,
    Usage,
    collect,
)
from quintet.core.requests import TextRequest, Tool, ToolUse
from tests.dialects.wire import ask, read_stream, stream

CHAT = "/v1/chat/completions"
SECRET = "s3cr3t-canary"
HELLO = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "Stadt, z. B. Köln"}}}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "How it is", "parameters": SCHEMA, "strict": True},
}
NOW = {"type": "function", "function": {"name": "now"}}
NAMED = {"type": "function", "function": {"name": "now"}}


def chat(**more: Any) -> TextRequest:
    (request,) = ask(CHAT, {"model": "m", "messages": [HELLO], **more}).requests
    assert isinstance(request, TextRequest)
    return request


def use(**more: Any) -> ToolUse | None:
    return chat(tools=[WEATHER, NOW], **more).tool_use


# -------------------------------------------------------------------------------------------------------- requests


def test_tools_arrive() -> None:
    tools = (
        Tool(
            name="weather",
            description="How it is",
            parameters=json.dumps(SCHEMA, ensure_ascii=False, separators=(",", ":")),
            strict=True,
        ),
        Tool(name="now", parameters="{}"),
    )
    assert use() == use(tool_choice="auto") == use(tool_choice=None) == ToolUse(tools=tools)
    assert use(tool_choice="required") == ToolUse(tools=tools, choice="required")
    assert use(tool_choice="none") == ToolUse(tools=tools, choice="none")
    assert use(tool_choice=NAMED) == ToolUse(tools=tools[1:], choice="required")
    assert use(parallel_tool_calls=False) == ToolUse(tools=tools, parallel=False)
    assert use(parallel_tool_calls=True) == ToolUse(tools=tools)
    assert chat().tool_use is None
    assert chat(tools=[], tool_choice="none", parallel_tool_calls=False).tool_use is None
    assert chat(tools=[{"function": {"name": "a" * 64, "parameters": None, "description": None}}]).tool_use


def called(id: str = "call_1", name: str = "weather", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def answered(id: str = "call_1", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "7 °C", **more}


def test_calls_and_their_answers_arrive() -> None:
    request = chat(
        messages=[
            HELLO,
            {"role": "assistant", "content": None, "tool_calls": [called(), called("x", "now", "{oh")]},
            answered("x", content=[{"type": "text", "text": "noon"}]),
            answered(name="other"),
            {"role": "assistant", "content": "So", "tool_calls": [called("y")]},
        ]
    )
    calls = (ToolCall("call_1", "weather", "{}"), ToolCall("x", "now", "{oh"))
    assert request.messages == (
        Message("user", ("Hi",)),
        Message("assistant", ("",), tool_calls=calls),
        Message("tool", ("noon",), tool_call_id="x", name="now"),
        Message("tool", ("7 °C",), tool_call_id="call_1", name="other"),
        Message("assistant", ("So",), tool_calls=(ToolCall("y", "weather", "{}"),)),
    )


def talk(*turns: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [HELLO, *turns]}


def asking(*calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": list(calls)}


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **function}}]}


LONG = {"type": "object", "description": "x" * 2**16}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"tools": [NOW] * 129}, "tools"),
    ({"tools": [WEATHER, {"type": "function"}]}, "tools[1].function"),
    ({"tools": [{"type": "custom", "function": {"name": "f"}}]}, "tools[0].type"),
    ({"tools": {"a": 1}}, "tools"),
    ({"tools": [SECRET]}, "tools[0]"),
    *[
        (tool(name=name), "tools[0].function.name")
        for name in ("", "a b", "a\n", "é", "a.b", "x" * 65, 7, None)
    ],
    (tool(description=7), "tools[0].function.description"),
    (tool(strict="yes"), "tools[0].function.strict"),
    *[
        (tool(parameters=value), "tools[0].function.parameters")
        for value in (SECRET, [1], 7, {"type": "string"})
    ],
    (tool(parameters={"type": ["object"]}), "tools[0].function.parameters"),
    (tool(parameters={"a": float("nan")}), "tools[0].function.parameters"),
    (tool(parameters={"a": "\ud800"}), "tools[0].function.parameters"),
    (tool(parameters=LONG), "tools[0].function"),
    (tool(description="é" * 2**15), "tools[0].function"),
    ({"tools": tool(description="x" * 60_000)["tools"] * 9}, "tools"),
    ({"tools": [NOW], "tool_choice": SECRET}, "tool_choice"),
    ({"tools": [NOW], "tool_choice": 7}, "tool_choice"),
    ({"tools": [NOW], "tool_choice": [1]}, "tool_choice"),
    ({"tools": [NOW], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
    ({"tools": [NOW], "tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"tools": [NOW], "tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
    ({"tools": [WEATHER], "tool_choice": NAMED}, "tool_choice.function.name"),
    ({"tools": [NOW], "parallel_tool_calls": "yes"}, "parallel_tool_calls"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": NAMED}, "tool_choice"),
    ({"functions": [{"name": SECRET}]}, "functions"),
    ({"function_call": {"name": SECRET}}, "function_call"),
    (talk(asking(called(id=""))), "messages[1].tool_calls[0].id"),
    (talk(asking(called(name="a b"))), "messages[1].tool_calls[0].function.name"),
    (talk(asking(called(arguments={"a": 1}))), "messages[1].tool_calls[0].function.arguments"),
    (talk(asking(called(type="custom"))), "messages[1].tool_calls[0].type"),
    (talk(asking(*[called()] * 129)), "messages[1].tool_calls"),
    (talk(asking(called(arguments="x" * 2_000_001))), "messages"),
    (talk({**HELLO, "tool_calls": [called()]}), "messages[1].tool_calls"),
    (talk(answered()), "messages[1].tool_call_id"),
    (talk(answered(), asking(called())), "messages[1].tool_call_id"),
    (talk(asking(called("other")), answered()), "messages[2].tool_call_id"),
    (talk(asking(called()), {"role": "tool", "content": "x"}), "messages[2].tool_call_id"),
    (talk(asking(called()), answered(content=None)), "messages[2].content"),
    (talk({"role": "function", "name": "f", "content": "x"}), "messages[1].role"),
]


@pytest.mark.parametrize(("fields", "param"), BAD)
def test_bad_tools(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat(**fields)
    assert refused.value.param == param
    assert SECRET not in refused.value.message
    assert len(refused.value.message) > 20


def test_other_routes_take_calls_but_no_unanswered_ones() -> None:
    body = talk(asking(called()), answered())
    (request,) = ask("/chat_tokenize", body).requests
    assert request.messages[1].tool_calls
    with pytest.raises(InvalidRequest, match="tool_call_id"):
        ask("/chat_tokenize", talk(answered()))


# --------------------------------------------------------------------------------------------------------- answers


def call(choice: int, index: int, name: str, *pieces: str) -> list[Event]:
    first = ToolCallPart(choice, index, id=f"call_{choice}{index}", name=name)
    return [first, *(ToolCallPart(choice, index, arguments=piece) for piece in pieces)]


def token(text: str = "", choice: int = 0, id: int = 5) -> Token:
    return Token(choice, id, text, logprob=-0.5, raw=(text or "x").encode())


TEXTS = st.sampled_from(["", "", "a", " b", "é", "\u2028", "\n", '"'])
REASONS: st.SearchStrategy[FinishReason] = st.sampled_from(["tool_calls", "eos", "length", "stop"])


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """What an engine might say of two choices: text, calls, and tokens that show nothing."""
    events: list[Event] = []
    for choice in range(2):
        index = 0
        for kind in draw(st.lists(st.sampled_from(["text", "call"]), max_size=5)):
            events.append(token(draw(TEXTS) if kind == "text" else "", choice))
            if kind == "call":
                pieces = draw(st.lists(st.sampled_from(["{", "}", '"a": 1', "\u2028", "é"]), max_size=3))
                events += call(choice, index, draw(st.sampled_from(["weather", "now"])), *pieces)
                index += 1
                events += [token("", choice)] * draw(st.integers(0, 2))
        events.append(Stopped(choice, draw(REASONS)))
    return [*events, Finished(usage=Usage(prompt_tokens=3, completion_tokens=9))]


@pytest.mark.parametrize("logprobs", [False, True])
@settings(max_examples=80, deadline=None)
@given(events=answers())
def test_openais_client_folds_a_stream_to_the_whole(logprobs: bool, events: list[Event]) -> None:
    body = {"model": "m", "messages": [HELLO], "tools": [WEATHER, NOW], "n": 2, "logprobs": logprobs}
    whole = ChatCompletion.model_validate_json(ask(CHAT, body).renderer.whole([collect(events)]).body)
    streamed = ask(CHAT, body | {"stream": True, "stream_options": {"include_usage": True}})
    *chunks, done = read_stream(stream(streamed, [(0, event) for event in events]))
    assert done == "[DONE]"
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    folded = state.current_completion_snapshot.model_dump()
    expected = whole.model_dump()
    assert folded["usage"]["total_tokens"] == expected["usage"]["total_tokens"] == 12
    for mine, theirs in zip(folded["choices"], expected["choices"], strict=True):
        for made in mine["message"]["tool_calls"] or []:
            made.pop("index")
            made["function"].pop("parsed_arguments", None)
        for key in ("content", "role", "tool_calls"):
            assert mine["message"][key] == theirs["message"][key]
        assert mine["finish_reason"] == theirs["finish_reason"]
        assert len((mine["logprobs"] or {}).get("content") or []) == len(
            (theirs["logprobs"] or {}).get("content") or []
        )
    assert [choice.message.content is None for choice in whole.choices] == [
        bool(choice.tool_calls) and not choice.text for choice in collect(events).choices
    ]


def test_a_call_on_the_wire() -> None:
    events = [token(), *call(0, 0, "weather", '{"city"', ': "Köln"}'), token(), *call(0, 1, "now", "{}")]
    events += [token(), Stopped(0, "tool_calls"), Finished()]
    body = {"model": "m", "messages": [HELLO], "tools": [WEATHER]}
    *chunks, done = read_stream(stream(ask(CHAT, body | {"stream": True}), [(0, event) for event in events]))
    assert done == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": None, "tool_calls": None},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_00",
                    "type": "function",
                    "function": {"name": "weather", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ': "Köln"}'}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "call_01",
                    "type": "function",
                    "function": {"name": "now", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {"tool_calls": None},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 6 + ["tool_calls"]
    whole = json.loads(ask(CHAT, body).renderer.whole([collect(events)]).body)
    (choice,) = whole["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [
            {
                "id": "call_00",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
            },
            {"id": "call_01", "type": "function", "function": {"name": "now", "arguments": "{}"}},
        ],
    }


def test_without_tools_nothing_changes() -> None:
    events: list[Event] = [token(), token("a"), Stopped(0, "eos"), Finished()]
    plain = {"model": "m", "messages": [HELLO], "stream": True}
    for body in (plain, plain | {"tools": [NOW], "tool_choice": "none"}):
        chunks = read_stream(stream(ask(CHAT, body), [(0, event) for event in events]))
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "tool_calls": None}
        assert len(chunks) == 4
    assert (
        json.loads(ask(CHAT, plain).renderer.whole([Outcome()]).body)["choices"][0]["message"]["content"]
        == ""
    )


def test_tools_of_other_kinds_are_unsupported() -> None:
    with pytest.raises(Unsupported, match="must be function"):
        chat(tools=[{"type": "web_search", "function": {"name": "f"}}])
