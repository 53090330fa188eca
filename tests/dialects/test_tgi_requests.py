"""What /generate bodies mean in the words of the house."""

from __future__ import annotations

from typing import Any

import pytest

from quintet.core.content import Message
from quintet.core.events import Outcome
from quintet.core.requests import Detail, Limits, Sampling, TextRequest, TokenizeRequest
from tests.dialects.wire import ask


def generate(path: str = "/generate", **body: Any) -> TextRequest:
    (request,) = ask(path, {"inputs": "Hi", **body}).requests
    assert isinstance(request, TextRequest)
    return request


def test_empty_parameters_are_greedy() -> None:
    assert generate(parameters={}) == TextRequest(
        model="starter",
        prompt=("Hi",),
        sampling=Sampling(temperature=0.0),
        limits=Limits(max_new_tokens=100, keep_stop=True),
        skip_special_tokens=False,
    )


def test_without_parameters_it_samples_as_tgi_does() -> None:
    assert generate().sampling == Sampling(temperature=1.0)
    assert generate(parameters=None).sampling == Sampling(temperature=1.0)


@pytest.mark.parametrize(
    ("parameters", "sampling"),
    [
        ({"do_sample": True}, Sampling()),
        ({"do_sample": False}, Sampling(temperature=0.0)),
        ({"temperature": 1.0}, Sampling(temperature=0.0)),
        ({"temperature": 0.7}, Sampling(temperature=0.7)),
        ({"top_k": 5}, Sampling(top_k=5)),
        ({"top_p": 0.9}, Sampling(top_p=0.9)),
        ({"typical_p": 0.9}, Sampling(typical_p=0.9)),
        ({"repetition_penalty": 1.1}, Sampling(temperature=0.0, repetition_penalty=1.1)),
        ({"frequency_penalty": -2}, Sampling(temperature=0.0, frequency_penalty=-2.0)),
        ({"do_sample": True, "seed": 2**64 - 1}, Sampling(seed=2**64 - 1)),
    ],
)
def test_sampling(parameters: dict[str, Any], sampling: Sampling) -> None:
    assert generate(parameters=parameters).sampling == sampling


def test_limits_and_details() -> None:
    request = generate(
        parameters={"max_new_tokens": 7, "stop": ["a", "b"], "truncate": 10, "watermark": True}
    )
    assert request.limits == Limits(max_new_tokens=7, stop=("a", "b"), keep_stop=True, truncate=10)
    assert generate(parameters={"details": True, "top_n_tokens": 5}).detail == Detail(
        logprobs=True, top_logprobs=5
    )
    assert generate(parameters={"decoder_input_details": True}).detail == Detail(logprobs=True, prefill=True)
    assert generate(parameters={"top_n_tokens": 5}).detail == Detail()
    assert generate(stream=True).detail == Detail(logprobs=True)
    best = generate(parameters={"best_of": 2, "do_sample": True})
    assert (best.n, best.best_of) == (2, 2)


@pytest.mark.parametrize(
    ("path", "model", "as_list", "streams"),
    [
        ("/generate", "starter", False, False),
        ("/generate_stream", "starter", False, True),
        ("/", "starter", True, False),
        ("/phi3/generate", "phi3", False, False),
        ("/phi3/generate_stream", "phi3", False, True),
        ("/phi3-mini/gpu0/generate", "phi3-mini", True, False),
        ("/phi3-mini/gpu12/generate_stream", "phi3-mini", False, True),
    ],
)
def test_paths(path: str, model: str, as_list: bool, streams: bool) -> None:
    call = ask(path, {"inputs": "Hi", "parameters": {"return_full_text": False}})
    (request,) = call.requests
    assert request.model == model
    assert call.stream == streams
    if not streams:
        assert call.renderer.whole([Outcome()]).body.startswith(b"[" if as_list else b"{")
        assert ask(path, {"inputs": "Hi", "stream": True}).stream


def test_full_text_holds_pictures_only_where_that_was_asked_for() -> None:
    """TGI's default on these routes is of models for text; a picture's base64 would stay in memory to be sent back."""
    inputs = "![](data:image/png;base64,aGVsbG8=)Hi"

    def answered(inputs: str, **parameters: bool) -> bytes:
        call = ask("/", {"inputs": inputs, "parameters": parameters})
        return call.renderer.whole([Outcome()]).body

    assert b"aGVsbG8=" not in answered(inputs)
    assert b"aGVsbG8=" in answered(inputs, return_full_text=True)
    assert b"Hi" in answered("Hi")


def test_keys_of_all_tgi_releases_are_known() -> None:
    names = (
        "best_of temperature repetition_penalty frequency_penalty top_k top_p typical_p do_sample max_new_tokens "
        "return_full_text stop truncate watermark details decoder_input_details seed top_n_tokens grammar adapter_id"
    )
    parameters = dict.fromkeys(names.split())
    generate(parameters=parameters, add_special_tokens=True, stream=False, options={"use_cache": False})
    generate(parameters={"adapter_id": "unknown", "stop": []})


def test_tokenize() -> None:
    assert ask("/tokenize", {"inputs": "Hi"}).requests == (TokenizeRequest(model="starter", prompt="Hi"),)
    (plain,) = ask("/tokenize", {"inputs": "Hi", "add_special_tokens": False}).requests
    assert isinstance(plain, TokenizeRequest)
    assert not plain.add_special_tokens
    body = {"messages": [{"role": "user", "content": "Hi"}], "model": "m", "temperature": 3}
    assert ask("/chat_tokenize", body).requests == (
        TokenizeRequest(model="m", messages=(Message("user", ("Hi",)),)),
    )
