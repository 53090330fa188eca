"""The contract of all dialects, with random input: only InvalidRequest comes out, and whole == fold(stream)."""

from __future__ import annotations

import json
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.core.errors import InvalidRequest
from quintet.core.events import (
    Alternative,
    Embedding,
    Event,
    Finished,
    FinishReason,
    Outcome,
    Prefill,
    Progress,
    PromptToken,
    Stopped,
    Token,
    Usage,
)
from quintet.core.requests import TextRequest
from quintet.dialects.strict_json import parse_json
from tests.dialects.wire import OPERATIONS, ask, find, read_stream, stream

# ------------------------------------------------------------------------------------------- fuzzed bodies

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["data:image/png;base64,aGVsbG8=", "<image>", "![](data:", "http://a", "user", "text", "none"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = sorted({name for operation in OPERATIONS for name in operation.schema.model_fields})
PARAMETERS = ["best_of", "stop", "temperature", "top_p", "seed", "details", "max_new_tokens", "truncate", "x"]
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]) | SCALARS},
        optional={
            "content": st.text(max_size=10)
            | st.lists(
                st.fixed_dictionaries(
                    {"type": st.sampled_from(["text", "image_url"]) | SCALARS},
                    optional={"text": SCALARS, "image_url": VALUES},
                ),
                max_size=3,
            ),
            "tool_calls": VALUES,
            "tool_call_id": SCALARS,
        },
    ),
    max_size=3,
)
ANY_FIELD: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(FIELDS, VALUES),
    "messages": MESSAGES | VALUES,
    "prompt": st.text(max_size=5) | st.lists(st.integers(0, 9), max_size=3) | VALUES,
    "inputs": st.text(max_size=20) | VALUES,
    "input": st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=3) | VALUES,
    "parameters": st.dictionaries(st.sampled_from(PARAMETERS), SCALARS, max_size=3) | VALUES,
}
BODIES = st.fixed_dictionaries({}, optional=ANY_FIELD)


def bodies_for(path: str) -> st.SearchStrategy[Any]:
    """Bodies with the fields of one path."""
    schema = find(path)[0].schema
    assert schema is not None
    fields = {name: ANY_FIELD[name] for name in schema.model_fields}
    return st.fixed_dictionaries({}, optional=fields) | VALUES


HELLO = {"role": "user", "content": "Hi"}
PATHS = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/generate",
    "/generate_stream",
    "/",
    "/phi3/generate",
    "/phi3/gpu0/generate",
    "/tokenize",
    "/chat_tokenize",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/images/generations/diffusion",
    "/v1/videos/generations/text2video",
    "/v1/multimodal/generations/idefics",
    "/generate/fromtext",
    "/generate/fromimagetext",
    "/imagine/generate",
    "/flux/imagine/generate",
    "/sd",
    "/text2gif",
    "/generate-xl",
    "/generate-gif",
    "/img2img",
    "/upscale",
]


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_body_gives_a_call_or_invalid_request(path: str, data: st.DataObject) -> None:
    try:
        call = ask(path, data.draw(bodies_for(path)))
    except InvalidRequest:
        return
    assert call.requests


@settings(max_examples=80, deadline=None)
@given(body=BODIES)
def test_any_body_from_the_wire_gives_an_answer_or_invalid_request(body: Any) -> None:
    """The same through the JSON reader; what parses must also render."""
    body = {**{name: value for name, value in body.items() if name in FIELDS[::3]}, "messages": [HELLO]}
    try:
        call = ask("/v1/chat/completions", parse_json(json.dumps(body).encode()))
    except InvalidRequest:
        return
    json.loads(call.renderer.whole([Outcome() for _ in call.requests]).body)
    assert read_stream(call.renderer.end())[-1] == "[DONE]"


# ------------------------------------------------------------------------------- whole == fold(stream)

TEXTS = st.sampled_from(
    ["", "a", " b", "\n", "\r\n\r\n", "é", "😀", "\u2028", "\x85", '"', "\\", "data: x", " END"]
)
LOGPROBS = st.sampled_from([0.0, -0.5, -12.25, float("-inf")])
REASONS: st.SearchStrategy[FinishReason] = st.sampled_from(["stop", "eos", "length"])
ALTERNATIVES = st.builds(Alternative, st.integers(0, 99), st.sampled_from([b"a", b"\xe2", b"\n"]), LOGPROBS)


@st.composite
def histories(draw: st.DrawFn, requests: int, choices: int, top: int) -> list[tuple[int, Event]]:
    """What an engine might say: the tokens of all choices interleaved, each stopped once, then Finished."""
    open_choices = [(r, c) for r in range(requests) for c in range(choices)]
    events: list[tuple[int, Event]] = []
    for r in range(requests):
        tokens = draw(st.lists(st.builds(PromptToken, st.integers(0, 99), TEXTS, st.none()), max_size=3))
        events.append((r, Prefill(tuple(tokens))))
    left = dict.fromkeys(range(requests), choices)
    while open_choices:
        r, c = place = draw(st.sampled_from(open_choices))
        if draw(st.integers(0, 3)):
            text, alternatives = draw(TEXTS), tuple(draw(st.lists(ALTERNATIVES, max_size=top)))
            special = draw(st.booleans())
            token = Token(
                c, draw(st.integers(0, 99)), text, special, draw(LOGPROBS), text.encode(), alternatives
            )
            events.append((r, token))
            events.extend((r, Progress("load", 1, 2)) for _ in range(draw(st.integers(0, 1))))
            continue
        events.append((r, Stopped(c, draw(REASONS), draw(LOGPROBS))))
        open_choices.remove(place)
        left[r] -= 1
        if not left[r]:
            usage = draw(
                st.builds(Usage, prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9))
            )
            events.append((r, Finished(usage=usage, seed=draw(st.none() | st.integers(0, 9)))))
    return events


def fold(events: list[tuple[int, Event]], requests: int) -> list[Outcome]:
    outcomes = [Outcome() for _ in range(requests)]
    for index, event in events:
        outcomes[index].add(event)
    return outcomes


def whole(path: str, body: Any, events: list[tuple[int, Event]]) -> Any:
    call = ask(path, body)
    return json.loads(call.renderer.whole(fold(events, len(call.requests))).body)


@pytest.mark.parametrize("logprobs", [False, True])
@pytest.mark.parametrize("model", ["starter", "tgi"])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), n=st.integers(1, 3))
def test_chat_stream_folds_to_the_whole(model: str, logprobs: bool, data: st.DataObject, n: int) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "n": n, "logprobs": logprobs}
    streamed = body | {"stream": True, "stream_options": {"include_usage": True}}
    events = data.draw(histories(1, n, 2))
    *chunks, last, done = read_stream(stream(ask("/v1/chat/completions", streamed), events))
    assert done == "[DONE]"
    assert last["choices"] == []
    expected = whole("/v1/chat/completions", body, events)
    folded: dict[str, Any] = {
        **{key: last[key] for key in ("id", "created", "model", "system_fingerprint", "usage")},
        "object": "chat.completion",
        "choices": [
            {
                "index": index,
                "message": {"role": None, "content": "", "refusal": None, "tool_calls": None},
                "logprobs": {"content": [], "refusal": None} if logprobs else None,
                "finish_reason": None,
            }
            for index in range(n)
        ],
    }
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["usage"] is None
        (choice,) = chunk["choices"]
        target = folded["choices"][choice["index"]]
        assert target["finish_reason"] is None, "nothing follows the end of a choice"
        assert choice["delta"]["tool_calls"] is None
        first = target["message"]["role"] is None
        assert ("role" in choice["delta"]) == (first or model == "tgi")
        target["message"]["role"] = choice["delta"].get("role", target["message"]["role"])
        target["message"]["content"] += choice["delta"].get("content", "")
        target["finish_reason"] = choice["finish_reason"]
        if choice["logprobs"]:
            target["logprobs"]["content"] += choice["logprobs"]["content"]
    assert folded == expected


@pytest.mark.parametrize("logprobs", [None, 1])
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("prompts", [["Once"], ["a", "b"], [[1, 2], [3]]])
@settings(max_examples=20, deadline=None)
@given(data=st.data(), n=st.integers(1, 2))
def test_completion_stream_folds_to_the_whole(
    prompts: list[Any], echo: bool, logprobs: int | None, data: st.DataObject, n: int
) -> None:
    body = {"model": "starter", "prompt": prompts, "n": n, "logprobs": logprobs, "echo": echo}
    streamed = body | {"stream": True, "stream_options": {"include_usage": True}}
    events = data.draw(histories(len(prompts), n, 1))
    *chunks, last, done = read_stream(stream(ask("/v1/completions", streamed), events))
    assert done == "[DONE]"
    expected = whole("/v1/completions", body, events)
    empty: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    choices: list[dict[str, Any]] = [
        {
            "index": index,
            "text": "",
            "logprobs": {key: list(value) for key, value in empty.items()} if logprobs else None,
            "finish_reason": None,
        }
        for index in range(n * len(prompts))
    ]
    for chunk in chunks:
        (choice,) = chunk["choices"]
        target = choices[choice["index"]]
        assert target["finish_reason"] is None
        target["text"] += choice["text"]
        target["finish_reason"] = choice["finish_reason"]
        for key, values in (choice["logprobs"] or {}).items():
            target["logprobs"][key] += values
    assert {**last, "choices": choices} == expected


@pytest.mark.parametrize("path", ["/generate", "/"])
@pytest.mark.parametrize("stop", [[], [" END"]])
@settings(max_examples=50, deadline=None)
@given(data=st.data(), top=st.integers(0, 2))
def test_generate_stream_folds_to_the_whole(
    path: str, stop: list[str], data: st.DataObject, top: int
) -> None:
    parameters = {"details": True, "do_sample": True, "stop": stop, "top_n_tokens": top, "max_new_tokens": 4}
    body = {"inputs": "Once", "parameters": parameters}
    events = data.draw(histories(1, 1, top))
    # The engine keeps the prompt's tokens to itself unless asked for them.
    events = [(index, event) for index, event in events if not isinstance(event, Prefill)]
    *earlier, last = read_stream(stream(ask(path, body | {"stream": True}), events))
    expected = whole(path, body, events)
    expected = expected[0] if isinstance(expected, list) else expected
    chunks = [*earlier, last]
    assert [chunk["index"] for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert all(chunk["generated_text"] is None and chunk["details"] is None for chunk in earlier)
    generated = last["details"]["generated_tokens"]
    assert len(chunks) - generated in (0, 1)
    tokens = [chunk["token"] for chunk in chunks][:generated]
    details = {
        "finish_reason": last["details"]["finish_reason"],
        "generated_tokens": generated,
        "seed": last["details"]["seed"],
        "prefill": [],
        "tokens": tokens,
    }
    if top:
        details["top_tokens"] = [chunk["top_tokens"] for chunk in chunks][:generated]
    assert {"generated_text": last["generated_text"], "details": details} == expected
    visible = "".join(token["text"] for token in tokens if not token["special"])
    assert last["generated_text"] == ("Once" if path == "/" else "") + visible


@pytest.mark.parametrize("encoding", ["float", "base64"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_vectors_of_a_stream_are_the_whole(encoding: str, data: st.DataObject) -> None:
    """Nobody can ask for this stream; the renderer says the same all the same."""
    body = {"model": "\u2028", "input": ["a", "b", "c"], "encoding_format": encoding}
    vectors = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2)
    found = [Embedding(at, struct.pack("<2f", *data.draw(vectors))) for at in range(3)]
    events: list[tuple[int, Event]] = [(0, one) for one in data.draw(st.permutations(found))]
    events.append((0, Finished(usage=Usage(prompt_tokens=data.draw(st.integers(0, 9))))))
    (streamed,) = read_stream(stream(ask("/v1/embeddings", body), events))
    assert streamed == whole("/v1/embeddings", body, events)
    assert [one["index"] for one in streamed["data"]] == [0, 1, 2]


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_bare_text_is_the_same_in_pieces_and_whole(data: st.DataObject) -> None:
    body = {"model_name": "starter", "prompt": "Once"}
    events = data.draw(histories(1, 1, 0))
    call = ask("/generate/fromtext", body)
    assert call.stream
    assert call.is_bare
    assert stream(call, events) == call.renderer.whole(fold(events, 1)).body


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_texts_about_pictures_come_in_order(data: st.DataObject) -> None:
    """Nobody can ask for this stream; the renderer says the same all the same."""
    body = {"modelName": "m", "prompts": ["<image>a", "<image>b"], "images": [["aGVsbG8="], ["aGVsbG8="]]}
    events = data.draw(histories(2, 1, 0))
    call, outcomes = ask("/v1/multimodal/generations/idefics", body), fold(events, 2)
    assert stream(call, events) == call.renderer.whole(outcomes).body
    texts = [outcome.choice(0).text for outcome in outcomes]
    assert json.loads(call.renderer.whole(outcomes).body) == {"generated_texts": texts}


def test_tokens_of_a_generate_stream_go_out_at_once() -> None:
    """Only a token that may be the last one waits; time to first token doesn't suffer."""
    call = ask(
        "/generate", {"inputs": "x", "stream": True, "parameters": {"max_new_tokens": 3, "stop": ["Q"]}}
    )
    assert call.renderer.event(0, Token(0, 1, "a", logprob=-1.0))
    assert not call.renderer.event(0, Token(0, 2, "<sep>", special=True, logprob=-1.0))
    assert call.renderer.event(0, Token(0, 3, "b", logprob=-1.0)).count(b"data:") == 1
    assert not call.renderer.event(0, Stopped(0, "length"))
    assert b'"generated_text":"ab"' in call.renderer.event(0, Finished())


def test_a_stream_event_is_cheap() -> None:
    """The bound is generous (measured: 0.4 and 3 µs); it catches an accidental slow path."""
    for path, body in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "stream": True}),
        ("/generate_stream", {"inputs": "Hi"}),
    ):
        event = ask(path, body).renderer.event
        token = Token(0, 7, " word", logprob=-0.5)
        started = time.process_time()
        for _ in range(20_000):
            event(0, token)
        assert (time.process_time() - started) / 20_000 < 100e-6


def test_streams_of_two_calls_share_nothing() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    one, two = ask("/v1/chat/completions", body), ask("/v1/chat/completions", body)
    token = Token(0, 7, "x")
    assert one.renderer.event(0, token) == two.renderer.event(0, token)
    request = one.requests[0]
    assert isinstance(request, TextRequest)
    assert request == two.requests[0]
