"""Pictures in every notation, where they stand, and hostile markup."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from quintet.core.content import Image
from quintet.core.errors import InvalidRequest
from quintet.core.requests import TextRequest
from tests.dialects.wire import ask

RAW = bytes(range(256)) * 2
BARE = base64.b64encode(RAW).decode()
URL = f"data:image/png;base64,{BARE}"
LINK = "https://example.org/a.png"


def wrapped(length: int, end: str = "\n") -> str:
    """The same base64 in lines."""
    return "".join(BARE[at : at + length] + end for at in range(0, len(BARE), length))


def chat(url: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]}


def pictures(path: str, body: Any) -> list[Image]:
    (request,) = ask(path, body).requests
    assert isinstance(request, TextRequest)
    places = (request.prompt, *(message.parts for message in request.messages))
    return [part for parts in places for part in parts if isinstance(part, Image)]


@pytest.mark.parametrize(
    "markup",
    [
        f"![]({URL})",
        f"![Image Description]({URL})",
        f"![photo [1].png]({URL})",
        f"![[a] and [b]]( {URL} )".replace("( ", "("),
        f"![not this [one] but ![this]({URL})",
        f"<image>{BARE}</image>",
        f"<image>{BARE}\n</image>\n",
        f"<image>\n{wrapped(76)}</image>",
        f"<image>{wrapped(60)}</image>",
        f"<image>{wrapped(64, chr(13) + chr(10))}</image>",
        f"<IMAGE>{URL}</IMAGE>",
        f"![](data:image/jpeg;base64,{wrapped(76)})",
    ],
)
def test_notations_in_prompts(markup: str) -> None:
    for text in (markup, f"Look: {markup} What is it?"):
        (picture,) = pictures("/generate", {"inputs": text})
        assert picture == Image(data=RAW)
        assert picture.field == "inputs"


def test_encodebytes_is_understood_everywhere() -> None:
    text = base64.encodebytes(RAW).decode()
    assert text.count("\n") > 5
    (chatted,) = pictures("/v1/chat/completions", chat("data:image/png;base64," + text))
    assert chatted.data == RAW


@pytest.mark.parametrize(
    "text",
    [
        wrapped(4),
        wrapped(75),
        wrapped(76).replace("\n", "\n\n", 1),
        wrapped(76).replace("\n", " \n", 1),
        wrapped(76).replace("\n", " "),
        wrapped(76)[:-200] + wrapped(60),
        BARE[:76] + "\n" + BARE[76:],
        BARE.replace("/", "_"),
    ],
)
def test_other_breaks_are_junk(text: str) -> None:
    for path, body in (
        ("/generate", {"inputs": f"<image>{text}</image>"}),
        ("/v1/chat/completions", chat("data:image/png;base64," + text)),
    ):
        with pytest.raises(InvalidRequest) as caught:
            ask(path, body)
        assert caught.value.code == "image_decode_failed"
        assert text[:30] not in caught.value.message


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/v1/chat/completions", chat(URL), ["messages[0].content[1].image_url.url"]),
        ("/v1/chat/completions", chat(LINK), ["messages[0].content[1].image_url.url"]),
        ("/generate", {"inputs": f"![]({LINK})![]({URL})"}, ["inputs", "inputs"]),
        (
            "/v1/multimodal/generations/idefics",
            {"modelName": "m", "prompts": ["a<image>b<image>"], "images": [[BARE, BARE]]},
            ["images[0][0]", "images[0][1]"],
        ),
        (
            "/generate/fromimagetext",
            {"model_name": "m", "prompt": "?", "image_files": [BARE, URL], "image_links": [LINK]},
            ["image_files[0]", "image_files[1]", "image_links[0]"],
        ),
    ],
)
def test_every_picture_knows_where_it_stood(path: str, body: Any, fields: list[str]) -> None:
    assert [picture.field for picture in pictures(path, body)] == fields


@pytest.mark.parametrize(
    ("unit", "seconds"),
    # B-48 sets the first two; the others have room for a slow machine.
    [("<image><image>", 0.1), ("<image>", 0.1), ("![", 1), ("![[a]", 1), ("![x![x]", 1), ("![[a]![a]x", 1)],
)
@pytest.mark.parametrize("ending", ["</image>", "](data:"])
def test_ten_mebibytes_of_markup(unit: str, ending: str, seconds: float) -> None:
    body = {"inputs": unit * (10 * 2**20 // len(unit)) + ending}
    started = time.thread_time()
    with pytest.raises(InvalidRequest):
        ask("/generate", body)
    assert time.thread_time() - started < seconds


def test_a_picture_after_the_longest_text() -> None:
    for text, count in (
        ("a" * 2_000_000, 1),
        ("a" * 1_000_000 + f"<image>{BARE}</image>" + "a" * 1_000_000, 2),
    ):
        assert len(pictures("/generate", {"inputs": f"{text}![x]({URL})"})) == count
