"""Bad input to the /v1 routes: rows B-15 … B-28 and B-34 … B-40 of the corpus, as far as a dialect can judge."""

from __future__ import annotations

from typing import Any

import pytest

from quintet.core.errors import InvalidRequest
from tests.dialects.wire import ask

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SECRET = "s3cr3t-canary"
PIXEL = "data:image/png;base64,aGVsbG8="


def picture(url: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [fields]}


def user(content: Any) -> dict[str, Any]:
    return message(role="user", content=content)


TOOL = {"type": "function", "function": {"name": "f"}}

BAD_CHAT: list[tuple[str, dict[str, Any], str]] = [
    ("B-18", {"api_base": SECRET}, "api_base"),
    ("B-18", {"trust_remote_code": True}, "trust_remote_code"),
    ("B-18", {"media_io_kwargs": {}}, "media_io_kwargs"),
    ("B-18", {"guided_decoding_backend": SECRET}, "guided_decoding_backend"),
    ("B-18", {"__proto__": {}}, "__proto__"),
    ("B-20", {"max_tokens": True}, "max_tokens"),
    ("B-20", {"max_tokens": "7"}, "max_tokens"),
    ("B-20", {"max_tokens": 7.5}, "max_tokens"),
    ("B-20", {"temperature": True}, "temperature"),
    ("B-20", {"temperature": SECRET}, "temperature"),
    ("B-20", {"model": 7}, "model"),
    ("B-20", {"seed": 1.0}, "seed"),
    ("B-21", {"chat_template": SECRET}, "chat_template"),
    ("B-22", {"chat_template_kwargs": {"chat_template": SECRET}}, "chat_template_kwargs"),
    ("B-22", {"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs"),
    ("B-23", {"model": "x" * 257}, "model"),
    *[("B-24", {"n": n}, "n") for n in (0, -1, 9, 129, 10**9)],
    *[("B-25", {"max_tokens": n}, "max_tokens") for n in (0, -1, 250_001, 2**63, 10**400)],
    *[("B-25", {"max_completion_tokens": n}, "max_completion_tokens") for n in (0, -1)],
    ("B-27", {"messages": []}, "messages"),
    ("B-27", {"messages": [{"role": "user", "content": "x"}] * 2049}, "messages"),
    ("B-27", {"messages": None}, "messages"),
    ("B-27", {"messages": SECRET}, "messages"),
    ("B-27", {"messages": [SECRET]}, "messages[0]"),
    ("B-27", message(role=SECRET, content="x"), "messages[0].role"),
    ("B-27", message(role="User", content="x"), "messages[0].role"),
    ("B-27", message(content="x"), "messages[0].role"),
    ("B-27", message(role="user"), "messages[0].content"),
    *[("B-27", user(content), "messages[0].content") for content in (None, 5, {"a": SECRET}, True)],
    ("B-27", user([]), "messages[0].content"),
    ("B-27", user([{"type": "text", "text": "x"}] * 65), "messages[0].content"),
    ("B-27", user([{"type": "text"}]), "messages[0].content[0].text"),
    ("B-27", user([{"text": "x"}]), "messages[0].content[0].type"),
    ("B-27", user([{"type": SECRET}]), "messages[0].content[0].type"),
    ("B-27", user([{"type": "input_audio"}]), "messages[0].content[0].type"),
    ("B-27", message(role="tool", content="x"), "messages[0].tool_call_id"),
    ("B-27", message(role="assistant", tool_calls=[{}]), "messages[0].tool_calls[0].id"),
    *[("B-28", {"logit_bias": {key: 1}}, "logit_bias") for key in ("-1", "a", "1.5", "²", "9" * 10)],
    ("B-28", {"logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias"),
    *[("B-28", {"logit_bias": {"1": v}}, "logit_bias[…]") for v in (101, -101, float("nan"), "1", None)],
    ("B-28", {"logit_bias": [1.0]}, "logit_bias"),
    ("B-28", {"bad_words": [SECRET]}, "bad_words"),
    ("B-28", {"stop_token_ids": [10**9]}, "stop_token_ids"),
    ("B-33", {"prompt_embeds": SECRET}, "prompt_embeds"),
    *[("B-34", {"logprobs": True, "top_logprobs": n}, "top_logprobs") for n in (-1, 51)],
    ("B-34", {"logprobs": True, "top_logprobs": 50, "max_tokens": 5000}, "max_tokens"),
    ("B-34", {"n": 8, "max_tokens": 100_000}, "max_tokens"),
    ("B-34", {"top_logprobs": 5}, "top_logprobs"),
    ("B-35", {"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ("B-35", {"stop": ""}, "stop"),
    ("B-35", {"stop": [""]}, "stop[0]"),
    ("B-35", {"stop": "x" * 10_240}, "stop"),
    ("B-35", {"stop": 5}, "stop"),
    ("B-35", {"stop": ["a", 5]}, "stop[1]"),
    *[("B-36", {"temperature": v}, "temperature") for v in (-1, 101, float("nan"), float("inf"))],
    *[("B-36", {"top_p": v}, "top_p") for v in (0, 1.01, -0.5, float("nan"))],
    *[("B-36", {"top_k": v}, "top_k") for v in (-2, 10**9)],
    *[("B-36", {"min_p": v}, "min_p") for v in (-0.1, 1.1)],
    *[("B-36", {"typical_p": v}, "typical_p") for v in (0, 1.1)],
    *[("B-36", {"repetition_penalty": v}, "repetition_penalty") for v in (0, 6)],
    *[("B-36", {"presence_penalty": v}, "presence_penalty") for v in (2.01, -2.01)],
    *[("B-36", {"frequency_penalty": v}, "frequency_penalty") for v in (2.01, -2.01)],
    *[("B-36", {"seed": v}, "seed") for v in (2**65, -(2**65))],
    ("B-37", {"stream_options": {"include_usage": True}}, "stream_options"),
    ("B-37", {"stream": "yes"}, "stream"),
    ("B-37", {"stream": True, "stream_options": 5}, "stream_options"),
    ("B-38", user("x" * 2_000_001), "messages"),
    ("B-40", {"tools": [TOOL] * 129}, "tools"),
    ("B-40", {"tools": [{"type": "function", "function": {"name": "a\nb"}}]}, "tools[0].function.name"),
    ("B-40", {"tools": [{"type": "function", "function": {"name": "a\n"}}]}, "tools[0].function.name"),
    ("B-40", {"tools": [TOOL], "tool_choice": SECRET}, "tool_choice"),
    ("B-40", {"tool_choice": "required"}, "tool_choice"),
    ("B-40", {"tool_choice": {"type": "function", "function": {"name": SECRET}}}, "tool_choice"),
    ("B-40", {"functions": [{"name": SECRET}]}, "functions"),
    ("formats", {"response_format": {"type": SECRET}}, "response_format.type"),
    ("formats", {"response_format": SECRET}, "response_format"),
    ("formats", {"modalities": ["text", "audio"]}, "modalities"),
    ("pictures", picture(PIXEL.replace("=", "")), "messages[0].content[0].image_url.url"),
    *[
        ("B-46", picture("data:image/png;base64," + junk), "messages[0].content[0].image_url.url")
        for junk in ("aGVs!!bG8=", "aGVsbG8", "_-8=", "aGVs\nbG8=", "", "=", "aGVsbG8=aGVsbG8=")
    ],
    *[
        ("B-47", picture(url), "messages[0].content[0].image_url.url")
        for url in (
            "data:text/html;base64,aGVsbG8=",
            "data:image/svg+xml;base64,aGVsbG8=",
            "data:image/png,raw",
            "data:" + "x" * 10_240 + ";base64,aGVsbG8=",
            "data:",
            "file:///etc/passwd",
            "ftp://example.org/a.png",
            "//example.org/a.png",
            "http://a b/c.png",
            "http://example.org/" + "x" * 2048,
            "",
            SECRET,
        )
    ],
    ("B-51", user([{"type": "image_url", "image_url": {"url": PIXEL}}] * 9), "messages"),
    (
        "pictures",
        message(role="system", content=[{"type": "image_url", "image_url": {"url": PIXEL}}]),
        "messages[0].content[0]",
    ),
    ("pictures", picture(5), "messages[0].content[0].image_url.url"),
]

BAD_COMPLETIONS: list[tuple[str, dict[str, Any], str]] = [
    ("B-24", {"best_of": 0}, "best_of"),
    ("B-24", {"best_of": 3}, "best_of"),
    ("B-24", {"n": 2, "best_of": 1}, "best_of"),
    ("B-24", {"best_of": 2, "stream": True}, "best_of"),
    ("B-26", {"prompt": ["x"] * 10_000}, "prompt"),
    ("B-26", {"prompt": ["x"] * 5}, "prompt"),
    ("B-26", {"prompt": [[1]] * 5}, "prompt"),
    ("B-26", {"prompt": []}, "prompt"),
    ("B-26", {"prompt": [[]]}, "prompt[0]"),
    ("B-26", {"prompt": [["x"]]}, "prompt[0][0]"),
    ("B-26", {"prompt": [1, "x"]}, "prompt[1]"),
    ("B-26", {"prompt": [1, True]}, "prompt[1]"),
    ("B-26", {"prompt": ["x", 1]}, "prompt[1]"),
    ("B-26", {"prompt": ["x", ""]}, "prompt"),
    ("B-26", {"prompt": ""}, "prompt"),
    ("B-26", {"prompt": None}, "prompt"),
    ("B-26", {"prompt": {"a": SECRET}}, "prompt"),
    ("B-26", {"prompt": [-1]}, "prompt[0]"),
    ("B-26", {"prompt": [2**31]}, "prompt[0]"),
    ("B-34", {"logprobs": 51}, "logprobs"),
    ("B-34", {"logprobs": True}, "logprobs"),
    ("B-34", {"prompt": ["x"] * 4, "n": 8, "max_tokens": 10_000}, "max_tokens"),
    ("B-38", {"prompt": "x" * 2_000_001}, "prompt"),
    ("formats", {"suffix": SECRET}, "suffix"),
    ("formats", {"echo": 1}, "echo"),
]


def refusal(path: str, body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        ask(path, body)
    error = caught.value
    assert error.status == 400
    assert SECRET not in error.message
    assert "passwd" not in error.message
    assert error.message.endswith(".")
    assert error.__cause__ is None
    return error


@pytest.mark.parametrize(("row", "fields", "param"), BAD_CHAT)
def test_bad_chat(row: str, fields: dict[str, Any], param: str) -> None:
    body = {"model": "starter", "messages": [{"role": "user", "content": "Hi"}], **fields}
    error = refusal(CHAT, body)
    assert error.param == param, error.message
    assert f"`{param}`" in error.message or error.code == "budget_exceeded", error.message


@pytest.mark.parametrize(("row", "fields", "param"), BAD_COMPLETIONS)
def test_bad_completion(row: str, fields: dict[str, Any], param: str) -> None:
    error = refusal(COMPLETIONS, {"model": "starter", "prompt": "Hi", **fields})
    assert error.param == param, error.message


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/generate", "/", "/tokenize", "/chat_tokenize"])
@pytest.mark.parametrize("body", [None, [], "x", 1, True, [{"model": SECRET}]])
def test_a_body_is_an_object(path: str, body: Any) -> None:
    assert "JSON object" in refusal(path, body).message


def test_a_model_is_needed_where_there_is_no_default() -> None:
    with pytest.raises(InvalidRequest, match="/v1/models"):
        ask(CHAT, {"messages": [{"role": "user", "content": "Hi"}]}, default_model="")


def test_lengths_beyond_any_context_say_so() -> None:
    error = refusal(CHAT, {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2**63})
    assert error.code == "context_length_exceeded"


def test_the_most_parts_and_pictures_pass() -> None:
    parts = [{"type": "image_url", "image_url": {"url": PIXEL}}] * 8 + [{"type": "text", "text": "x"}] * 56
    call = ask(CHAT, {"messages": [{"role": "user", "content": parts}]})
    assert len(call.requests) == 1
