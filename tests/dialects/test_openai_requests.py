"""What OpenAI-shaped bodies mean in the words of the house."""

from __future__ import annotations

from typing import Any

import pytest

from quintet.core.content import Image, Message, ToolCall
from quintet.core.requests import Detail, Limits, Sampling, TextRequest
from quintet.dialects.openai.fields import DANGEROUS, UNSUPPORTED
from tests.dialects.wire import ask

HI = [{"role": "user", "content": "Hi"}]


def chat(**fields: Any) -> TextRequest:
    (request,) = ask("/v1/chat/completions", {"model": "m", "messages": HI, **fields}).requests
    assert isinstance(request, TextRequest)
    return request


def completion(**fields: Any) -> list[TextRequest]:
    requests = ask("/v1/completions", {"model": "m", "prompt": "Once", **fields}).requests
    return [request for request in requests if isinstance(request, TextRequest)]


def test_a_plain_chat_is_neutral() -> None:
    assert chat() == TextRequest(model="m", messages=(Message("user", ("Hi",)),))


def test_null_means_absent_everywhere() -> None:
    names = (
        "max_tokens temperature top_p top_k min_p typical_p repetition_penalty presence_penalty frequency_penalty "
        "logit_bias seed stop n stream stream_options skip_special_tokens response_format max_completion_tokens "
        "logprobs top_logprobs tools tool_choice ignore_eos modalities"
    )
    assert chat(**dict.fromkeys(names.split()), **dict.fromkeys(DANGEROUS | UNSUPPORTED)) == chat()


def test_every_parameter_arrives() -> None:
    request = chat(
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        typical_p=0.95,
        repetition_penalty=1.1,
        presence_penalty=-2,
        frequency_penalty=2,
        logit_bias={"5": -100, "6": 1.5},
        seed=42,
        stop=["a", "b"],
        n=8,
        logprobs=True,
        top_logprobs=50,
        skip_special_tokens=False,
        ignore_eos=True,
    )
    assert request.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        typical_p=0.95,
        repetition_penalty=1.1,
        presence_penalty=-2.0,
        frequency_penalty=2.0,
        logit_bias=((5, -100.0), (6, 1.5)),
        seed=42,
    )
    assert request.limits == Limits(max_new_tokens=7, stop=("a", "b"), ignore_eos=True)
    assert request.detail == Detail(logprobs=True, top_logprobs=50)
    assert (request.n, request.best_of, request.skip_special_tokens) == (8, 8, False)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"temperature": 100},
        {"top_p": 1},
        {"top_p": 1.0},
        {"top_k": -1},
        {"top_k": 0},
        {"top_k": 99_999},
        {"repetition_penalty": 0.01},
        {"repetition_penalty": 5},
        {"max_tokens": 1},
        {"max_tokens": 100_000},
        {"max_tokens": 250_000},
        {"n": 8, "max_tokens": 31_250},
        {"stop": "x" * 256},
        {"stop": []},
        {"stop": ["a", "b", "c", "d"]},
        {"response_format": {"type": "text"}},
        {"tools": [], "tool_choice": "auto"},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"},
        {"modalities": ["text"]},
        {"chat_template_kwargs": {}},
        {"min_tokens": 0},
        {"token": "a-key", "user": "u", "store": True, "metadata": {"a": "b"}, "service_tier": "auto"},
        {"parallel_tool_calls": True, "reasoning_effort": "low", "a_field_of_next_year": {"x": [1]}},
    ],
)
def test_accepted(fields: dict[str, Any]) -> None:
    chat(**fields)


def test_forms_of_stop_seed_and_lengths() -> None:
    assert chat(stop="x").limits.stop == ("x",)
    assert chat(top_k=-1).sampling.top_k == 0
    assert chat(seed=-1).sampling.seed == 2**64 - 1
    assert chat(max_tokens=5, max_completion_tokens=9).limits.max_new_tokens == 9
    assert chat().limits.max_new_tokens is None


def test_roles_and_contents() -> None:
    request = chat(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "tool_calls": []},
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "content": "42", "tool_call_id": "call_1"},
            {"role": "user", "content": "", "name": "Ann"},
        ]
    )
    assert request.messages == (
        Message("system", ("Be brief.",)),
        Message("user", ("a", "b")),
        Message("assistant", ("",)),
        Message("assistant", ("no",)),
        Message("assistant", ("",), tool_calls=(ToolCall("call_1", "f", "{}"),)),
        Message("tool", ("42",), tool_call_id="call_1", name="f"),
        Message("user", ("",)),
    )


@pytest.mark.parametrize(
    ("link", "image"),
    [
        ({"url": "data:image/png;base64,aGVsbG8="}, Image(data=b"hello")),
        ({"url": "DATA:IMAGE/JPEG;BASE64,aGVsbG8=\n", "detail": "low"}, Image(data=b"hello")),
        ({"url": "data:;base64,aGVsbG8="}, Image(data=b"hello")),
        ({"url": "https://example.org/a.png?x=1"}, Image(url="https://example.org/a.png?x=1")),
        ("http://example.org/a.png", Image(url="http://example.org/a.png")),
    ],
)
def test_pictures(link: Any, image: Image) -> None:
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": link}]
    assert chat(messages=[{"role": "user", "content": content}]).messages[0].parts == ("What?", image)


def test_the_model_is_echoed_and_placeholders_mean_the_default() -> None:
    assert chat(model="org/name:task").model == "org/name:task"
    for name in ("tgi", "dummy", None):
        assert chat(model=name).model == "starter"
    call = ask("/v1/chat/completions", {"model": "tgi", "messages": HI}, default_model="")
    assert isinstance(call.requests[0], TextRequest)
    assert call.requests[0].model == "tgi"


def test_forms_of_prompts() -> None:
    assert completion()[0].prompt == ("Once",)
    assert completion()[0].limits.max_new_tokens == 16
    assert [request.prompt for request in completion(prompt=["a", "b"])] == [("a",), ("b",)]
    assert [request.prompt_ids for request in completion(prompt=[1, 2])] == [(1, 2)]
    assert [request.prompt_ids for request in completion(prompt=[[1, 2], [3]])] == [(1, 2), (3,)]


def test_what_completions_ask_of_the_engine() -> None:
    assert completion(logprobs=0)[0].detail == Detail(logprobs=True)
    assert completion(logprobs=5)[0].detail == Detail(logprobs=True, top_logprobs=5)
    assert completion(echo=True)[0].detail == Detail()
    assert completion(echo=True, logprobs=1)[0].detail == Detail(logprobs=True, top_logprobs=1, prefill=True)
    assert completion(echo=True, prompt=[1])[0].detail.prefill
    assert (completion(best_of=2)[0].n, completion(best_of=2)[0].best_of) == (1, 2)
    assert (completion(n=3)[0].n, completion(n=3)[0].best_of) == (3, 3)


def test_streaming_is_asked_for() -> None:
    assert ask("/v1/chat/completions", {"messages": HI, "stream": True}).stream
    assert not ask("/v1/chat/completions", {"messages": HI}).stream
