"""What the model manager's bodies mean, as JSON and as forms."""

from __future__ import annotations

from typing import Any

import pytest

from quintet.core.content import Image, Message
from quintet.core.errors import InvalidRequest
from quintet.core.requests import Limits, Sampling, TextRequest
from quintet.dialects.base import Form, Upload
from tests.dialects.wire import ask

TEXT, PICTURES = "/generate/fromtext", "/generate/fromimagetext"
GOOD = {"model_name": "m", "prompt": "Hi"}
FIELDS = {"model_name": ["m"], "prompt": ["Hi"]}
ENCODED = "aGVsbG8="
HELLO = Image(data=b"hello")


def the_request(path: str, body: Any, **query: str) -> TextRequest:
    call = ask(path, body, query=query)
    (request,) = call.requests
    assert isinstance(request, TextRequest)
    assert call.stream
    return request


def test_a_prompt() -> None:
    expected = TextRequest(
        model="m",
        messages=(Message("user", ("Hi",)),),
        sampling=Sampling(given=frozenset()),
        limits=Limits(max_new_tokens=1024, fit=True),
    )
    assert the_request(TEXT, GOOD) == expected
    assert the_request(PICTURES, GOOD) == expected
    assert the_request(TEXT, Form(texts=FIELDS)) == expected
    assert the_request(TEXT, {"prompt": "Hi"}, model_name="m") == expected
    assert the_request(TEXT, Form(texts={"prompt": ["Hi"]}), model_name="m") == expected
    assert the_request(TEXT, GOOD, model_name="other") == expected, "the body goes first"
    assert the_request(TEXT, {**GOOD, "max_new_tokens": 7}).limits.max_new_tokens == 7
    assert the_request(TEXT, Form(texts={**FIELDS, "max_new_tokens": ["7"]})).limits.max_new_tokens == 7


def test_pictures_come_before_the_words_and_files_before_links() -> None:
    link = "https://example.org/a.png"
    body = {**GOOD, "image_links": [link, "data:image/jpg;base64," + ENCODED], "image_files": [ENCODED]}
    expected = (Message("user", (HELLO, Image(url=link), HELLO, "Hi")),)
    assert the_request(PICTURES, body).messages == expected
    form = Form(
        texts={**FIELDS, "image_links": [link, "data:image/jpg;base64," + ENCODED]},
        files={"image_files": [Upload("a.png", b"hello")]},
    )
    assert the_request(PICTURES, form).messages == expected
    assert [
        part.field for part in the_request(PICTURES, form).messages[0].parts if isinstance(part, Image)
    ] == [
        "image_files[0]",
        "image_links[0]",
        "image_links[1]",
    ]


def test_what_pages_with_forms_send() -> None:
    form = Form(
        texts={**FIELDS, "image_links": [""], "max_new_tokens": [""], "image_files": [""]},
        files={"image_files": [Upload("", b"")]},
    )
    assert the_request(PICTURES, form).messages == (Message("user", ("Hi",)),)
    form = Form(texts=FIELDS, files={"image_files[]": [Upload("a", b"hello"), Upload("b", b"hello")]})
    assert the_request(PICTURES, form).messages == (Message("user", (HELLO, HELLO, "Hi")),)


@pytest.mark.parametrize(
    "content", [b"http://127.0.0.1/x", b"https://example.org/a.png", b"file:///etc/passwd"]
)
def test_a_link_in_a_file_is_bytes(content: bytes) -> None:
    """R-27: only `image_links` holds links."""
    form = Form(texts=FIELDS, files={"image_files": [Upload("a.png", content)]})
    assert the_request(PICTURES, form).messages[0].parts[0] == Image(data=content)
    for body in (
        {**GOOD, "image_files": [content.decode()]},
        Form(texts={**FIELDS, "image_files": [content.decode()]}),
    ):
        with pytest.raises(InvalidRequest, match="base64"):
            ask(PICTURES, body)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (TEXT, {"prompt": "Hi"}, "model_name"),
        (TEXT, {**GOOD, "model_name": ""}, "model_name"),
        (TEXT, {**GOOD, "prompt": ""}, "prompt"),
        (TEXT, {**GOOD, "max_new_tokens": 0}, "max_new_tokens"),
        (TEXT, {**GOOD, "max_new_tokens": "7"}, "max_new_tokens"),
        (TEXT, {**GOOD, "image_links": []}, "image_links"),
        (TEXT, Form(texts=FIELDS, files={"image_files": [Upload("a", b"x")]}), "image_files"),
        (TEXT, Form(texts={**FIELDS, "prompt": ["a", "b"]}), "prompt"),
        (TEXT, Form(texts={**FIELDS, "max_new_tokens": ["1e3"]}), "max_new_tokens"),
        (TEXT, Form(texts={**FIELDS, "max_new_tokens": ["9" * 5000]}), "max_new_tokens"),
        (TEXT, Form(texts={**FIELDS, "stream": ["true"]}), "stream"),
        (TEXT, None, None),
        (PICTURES, {**GOOD, "image_files": [ENCODED] * 9}, "image_files"),
        (PICTURES, {**GOOD, "image_files": [ENCODED] * 4, "image_links": ["http://a"] * 5}, "image_files"),
        (PICTURES, {**GOOD, "image_links": ["ftp://a/b"]}, "image_links[0]"),
        (PICTURES, {**GOOD, "image_files": ["!"]}, "image_files[0]"),
        (PICTURES, Form(texts=FIELDS, files={"image_files": [Upload("a", b"x")] * 9}), "image_files"),
        (PICTURES, Form(texts=FIELDS, files={"image_files": [Upload("a", b"")]}), "image_files[0]"),
        (PICTURES, Form(texts=FIELDS, files={"file": [Upload("a", b"x")]}), "image_files"),
        (
            PICTURES,
            Form(texts=FIELDS, files={"image_files": [Upload("a", bytes(20 * 2**20 + 1))]}),
            "image_files[0]",
        ),
    ],
)
def test_what_is_refused(path: str, body: Any, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask(path, body)
    assert caught.value.param == param


def test_names_that_only_the_caller_chose_are_not_repeated() -> None:
    for name in ("s3cr3t-canary", "s3cr3t canary"):
        with pytest.raises(InvalidRequest) as caught:
            ask(TEXT, Form(texts={**FIELDS, name: ["a", "b"]}))
        assert "s3cr3t" not in f"{caught.value.message} {caught.value.param}"
