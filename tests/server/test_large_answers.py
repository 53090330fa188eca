"""Answers that hold large files are written off the event loop; a renderer may refuse them to the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from quintet.core.errors import InsufficientStorage, QuintetError
from quintet.core.events import Event, Media, Outcome
from quintet.core.identity import LOCAL
from quintet.dialects.base import Call, Reply
from quintet.server.endpoint import ALONE_BYTES, Accepted, _answer_whole
from quintet.server.inbox import Inbox
from quintet.server.stream import LARGE_BYTES, StreamAnswer, Waits
from tests.server.test_stream import Client, filled

SMALL, LARGE = Media("image/png", b"x" * LARGE_BYTES), Media("image/png", b"x" * (LARGE_BYTES + 1))


class Files:
    """A dialect that says who wrote each answer."""

    stream_content_type = "image/png"

    def __init__(self, error: QuintetError | None = None) -> None:
        self.error = error

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        if self.error is not None:
            raise self.error
        return Reply(body=self.event(0, outcomes[0].media[0]))

    def event(self, index: int, event: Event) -> bytes:
        if self.error is not None:
            raise self.error
        return b"loop " if threading.current_thread() is threading.main_thread() else b"other "

    def end(self) -> bytes:
        return b"."

    def failure(self, error: QuintetError) -> bytes:
        return error.code.encode()


def whole(renderer: Files, *files: Media) -> tuple[BaseException | None, bytes]:
    async def go() -> tuple[BaseException | None, bytes]:
        client = Client()
        accepted = Accepted(
            exchange=client.exchange, principal=LOCAL, call=Call(requests=(), renderer=renderer)
        )
        inbox = Inbox()
        inbox.end(None)
        return await _answer_whole(accepted, inbox, [Outcome(media=list(files))], client.send), client.body

    return asyncio.run(go())


def streamed(renderer: Files, *files: Media) -> tuple[BaseException | None, bytes]:
    async def go() -> tuple[BaseException | None, bytes]:
        client = Client()
        inbox = await filled(*[(0, file) for file in files])
        answer = StreamAnswer(client.exchange, renderer, client.send, Waits())
        return await answer.deliver(inbox), client.body

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("files", "written"), [([SMALL], b"loop "), ([LARGE], b"other "), ([SMALL, SMALL], b"other ")]
)
def test_whole(files: list[Media], written: bytes) -> None:
    """All files together count."""
    assert ALONE_BYTES == LARGE_BYTES
    assert whole(Files(), *files) == (None, written)


def test_stream() -> None:
    assert streamed(Files(), SMALL) == (None, b"loop .")
    assert streamed(Files(), LARGE) == (None, b"other .")


@pytest.mark.parametrize("file", [SMALL, LARGE])
def test_a_renderer_that_refuses(file: Media) -> None:
    """As one whose files the disk does not take: the caller is told so, before the status line."""
    error = InsufficientStorage("The disk is full.")
    assert whole(Files(error), file) == (error, b"")
    assert streamed(Files(error), file) == (error, b"")
