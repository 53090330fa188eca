"""Prompts with or without pictures → domain requests; the answer is text alone, sent as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from quintet.core.content import Image, Message
from quintet.core.errors import InvalidRequest, QuintetError
from quintet.core.events import Event, Outcome, Token
from quintet.core.requests import Limits, Sampling, TextRequest
from quintet.dialects.base import Call, Form, Incoming, Reply, Upload
from quintet.dialects.conversation import check_length
from quintet.dialects.forms import form_body
from quintet.dialects.manager.wire import FromImageTextBody, FromTextBody
from quintet.dialects.pictures import check_count, parse_encoded, parse_picture, parse_uploaded
from quintet.dialects.validation import check

DEFAULT_NEW_TOKENS = 1024
CONTENT_TYPE = "text/event-stream; charset=utf-8"
"""What the original says of its answers, though there are no events in them."""
FILES = "image_files"

Body = TypeVar("Body", bound=FromTextBody)


def parse_from_text(incoming: Incoming) -> Call:
    """POST /generate/fromtext."""
    body, files = _read(FromTextBody, incoming)
    if files:
        raise InvalidRequest(
            f"`{FILES}` is not a parameter of this route. Send pictures to /generate/fromimagetext.",
            param=FILES,
            code="unknown_parameter",
        )
    return _answer(body, [])


def parse_from_image_text(incoming: Incoming) -> Call:
    """POST /generate/fromimagetext."""
    body, files = _read(FromImageTextBody, incoming)
    encoded, links = body.image_files or [], body.image_links or []
    check_count(len(files) + len(encoded) + len(links), FILES if files or encoded else "image_links")
    pictures = [parse_uploaded(file.data, f"{FILES}[{i}]") for i, file in enumerate(files)]
    pictures += [parse_encoded(text, f"{FILES}[{len(files) + i}]") for i, text in enumerate(encoded)]
    pictures += [parse_picture(link, f"image_links[{i}]") for i, link in enumerate(links)]
    return _answer(body, pictures)


def _read(schema: type[Body], incoming: Incoming) -> tuple[Body, list[Upload]]:
    """The checked body and the files beside it. The model may also be named in the URL; the body goes first."""
    body, files = incoming.body, []
    if isinstance(body, Form):
        for name in body.files:
            if name.removesuffix("[]") != FILES:
                raise InvalidRequest(f"Files may only be sent as `{FILES}`. Rename the field.", param=FILES)
            # A page whose file field was left empty sends a file without name and content.
            files += [file for file in body.files[name] if file.name or file.data]
        body = form_body(body, lists=(FILES, "image_links"), numbers=("max_new_tokens",))
    if isinstance(body, dict) and body.get("model_name") is None and "model_name" in incoming.query:
        body = {**body, "model_name": incoming.query["model_name"]}
    return check(schema, body), files


def _answer(body: FromTextBody, pictures: Sequence[Image]) -> Call:
    check_length(len(body.prompt), "prompt")
    request = TextRequest(
        model=body.model_name,
        messages=(Message("user", (*pictures, body.prompt)),),
        sampling=Sampling(given=frozenset()),
        limits=Limits(
            max_new_tokens=DEFAULT_NEW_TOKENS if body.max_new_tokens is None else body.max_new_tokens,
            fit=True,
        ),
    )
    return Call(requests=(request,), renderer=TextRenderer(), stream=True, is_bare=True)


class TextRenderer:
    """Renders an answer as its text and nothing else."""

    stream_content_type = CONTENT_TYPE

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The text."""
        return Reply(body=outcomes[0].choice(0).text.encode(), content_type=CONTENT_TYPE)

    def event(self, index: int, event: Event) -> bytes:
        """What became readable with this token."""
        return event.text.encode() if type(event) is Token else b""

    def end(self) -> bytes:
        """Nothing: the text ends with its last word."""
        return b""

    def failure(self, error: QuintetError) -> bytes:
        """Nothing: the connection is dropped before the body's proper end, which clients report."""
        return b""
