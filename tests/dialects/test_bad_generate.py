"""Bad input to /generate and its relatives, with TGI's own error texts."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest

from quintet.core.content import Image
from quintet.core.errors import InvalidRequest
from tests.dialects.wire import OPERATIONS, ask

SECRET = "s3cr3t-canary"
PATHS = ["/generate", "/", "/phi3/generate", "/phi3/gpu0/generate"]

TEXTS: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 0}, "`temperature` must be strictly positive"),
    ({"temperature": -1}, "`temperature` must be strictly positive"),
    ({"repetition_penalty": 0}, "`repetition_penalty` must be strictly positive"),
    ({"frequency_penalty": 2.01}, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
    ({"frequency_penalty": -2.01}, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
    ({"top_k": 0}, "`top_k` must be strictly positive"),
    ({"top_k": -2}, "`top_k` must be strictly positive"),
    ({"top_p": 1.0}, "`top_p` must be > 0.0 and < 1.0"),
    ({"top_p": 0}, "`top_p` must be > 0.0 and < 1.0"),
    ({"typical_p": 1.0}, "`typical_p` must be > 0.0 and < 1.0"),
    ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
    ({"max_new_tokens": -1}, "`max_new_tokens` must be strictly positive"),
    ({"truncate": 0}, "`truncate` must be strictly positive"),
    ({"best_of": 2}, "you must use sampling when `best_of` is > 1"),
    ({"best_of": 2, "do_sample": True, "seed": 1}, "`seed` must not be set when `best_of` > 1"),
    ({"stop": ["a"] * 5}, "`stop` supports up to 4 stop sequences. Given: 5"),
    ({"top_n_tokens": 6}, "`top_n_tokens` must be >= 0 and <= 5"),
]

WRONG: list[tuple[dict[str, Any], str]] = [
    *[({"best_of": n}, "best_of") for n in (0, -1, 3, 129, 10**9)],
    *[({"max_new_tokens": n}, "max_new_tokens") for n in (True, "7", 1.5, 2**63)],
    *[({"temperature": v}, "temperature") for v in (101, float("nan"), float("inf"), "1", True)],
    ({"top_k": 10**9}, "top_k"),
    ({"repetition_penalty": 6}, "repetition_penalty"),
    *[({"seed": v}, "seed") for v in (-1, 2**65, "1")],
    ({"stop": SECRET}, "stop"),
    ({"stop": [""]}, "stop[0]"),
    ({"stop": ["x" * 257]}, "stop[0]"),
    ({"stop": [5]}, "stop[0]"),
    ({"top_n_tokens": -1}, "top_n_tokens"),
    ({"top_n_tokens": 5, "max_new_tokens": 50_000}, "max_new_tokens"),
    ({"grammar": SECRET}, "grammar"),
    ({"details": "yes"}, "details"),
    ({"api_base": SECRET}, "api_base"),
    ({"__proto__": {}}, "__proto__"),
]


def refusal(path: str, body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        ask(path, body)
    assert caught.value.status == 400
    assert SECRET not in caught.value.message
    return caught.value


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("parameters", "text"), TEXTS)
def test_rules_read_as_in_tgi(path: str, parameters: dict[str, Any], text: str) -> None:
    assert refusal(path, {"inputs": "Hi", "parameters": parameters}).message == text


@pytest.mark.parametrize(("parameters", "param"), WRONG)
def test_wrong_parameters(parameters: dict[str, Any], param: str) -> None:
    error = refusal("/generate", {"inputs": "Hi", "parameters": parameters})
    assert error.param is not None
    assert error.param.removeprefix("parameters.") == param, error.message


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": ""},
        {"inputs": None},
        {"inputs": 5},
        {"inputs": ["a", "b"]},
        {"inputs": "x" * 2_000_001},
        {"inputs": "Hi", "parameters": SECRET},
        {"inputs": "Hi", "parameters": []},
        {"inputs": "Hi", "stream": "yes"},
        {"inputs": "Hi", "api_base": SECRET},
        {"inputs": "Hi", "chat_template": SECRET},
        {"inputs": "Hi", "prompt_embeds": SECRET},
        {"inputs": "Hi", SECRET: 1},
        {"inputs": "Hi", "add_special_tokens": False},
    ],
)
def test_wrong_bodies(body: dict[str, Any]) -> None:
    refusal("/generate", body)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/generate_stream", {"best_of": 2, "do_sample": True}),
        ("/phi3/generate_stream", {"decoder_input_details": True}),
    ],
)
def test_what_can_not_be_streamed(path: str, parameters: dict[str, Any]) -> None:
    assert "streaming tokens" in refusal(path, {"inputs": "Hi", "parameters": parameters}).message


def test_long_model_names_in_the_path() -> None:
    assert refusal("/" + "x" * 257 + "/generate", {"inputs": "Hi"}).param == "model"


@pytest.mark.parametrize(
    "inputs",
    [
        "<image>",
        "look: <image>aGVsbG8=",
        "</image>",
        "aGVsbG8=</image>",
        "<image></image>",
        "<image>not base64</image>",
        "<image><image>aGVsbG8=</image></image>",
        "<image>aGVs\nbG8=</image>",
        "<image>aGVsbG8</image>",
        "<image>data:text/html;base64,aGVsbG8=</image>",
        "![](data:image/png;base64,aGVsbG8=",
        "![](data:image/png;base64,aGVs!!bG8=)",
        "![](data:image/png,raw)",
        "![](http://example.org/a b.png)",
        "![](http://example.org/" + "x" * 2048 + ")",
        "<image>aGVsbG8=</image>" * 9,
        "![a](https://example.org/a.png)" * 9,
    ],
)
def test_broken_pictures(inputs: str) -> None:
    assert refusal("/generate", {"inputs": inputs}).param == "inputs"


@pytest.mark.parametrize(
    "inputs",
    ["<image>", "<image><image>", "![](data:", "![", "![a](http://x", "</image", "<image", "![]("],
)
def test_hostile_markup_takes_linear_time(inputs: str) -> None:
    text = inputs * (1_900_000 // len(inputs))
    started = time.process_time()
    with suppress(InvalidRequest):
        ask("/generate", {"inputs": text})
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("inputs", "prompt"),
    [
        ("plain text", ("plain text",)),
        ("![not](a/link.png) and ![] and !(x) and <img>", ("![not](a/link.png) and ![] and !(x) and <img>",)),
        ("a![](data:image/png;base64,aGVsbG8=)b", ("a", Image(data=b"hello"), "b")),
        ("![Image Description](DATA:image/jpeg;BASE64,aGVsbG8=)", (Image(data=b"hello"),)),
        ("<image>aGVsbG8=</image>\nWhat?", (Image(data=b"hello"), "\nWhat?")),
        ("<image>\naGVsbG8=\n</image>x", (Image(data=b"hello"), "x")),
        (
            "<image>https://example.org/a.png</image>![x](https://example.org/b.png)",
            None,
        ),
        ("![x](https://example.org/b.png)!", (Image(url="https://example.org/b.png"), "!")),
    ],
)
def test_pictures_in_prompts(inputs: str, prompt: tuple[object, ...] | None) -> None:
    if prompt is None:
        refusal("/generate", {"inputs": inputs})
        return
    (request,) = ask("/generate", {"inputs": inputs}).requests
    assert getattr(request, "prompt") == prompt  # noqa: B009


def test_every_generate_route_is_covered_here() -> None:
    paths = {operation.path for operation in OPERATIONS}
    assert {"/", "/generate", "/generate_stream", "/tokenize", "/chat_tokenize"} <= paths
