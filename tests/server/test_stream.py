"""Streams at the ASGI door: what is sent when, and what a broken stream looks like."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from quintet.core.errors import NotReady, QuintetError, WorkerLost
from quintet.core.events import Event, Finished, Outcome, Progress, Token
from quintet.dialects.base import Reply
from quintet.server.asgi import CONNECTION, Message
from quintet.server.exchange import ClientGone, Exchange, begin
from quintet.server.inbox import MAX_WAITING, Inbox
from quintet.server.stream import StreamAnswer, Waits


class RawText:
    """A dialect of plain text: no framing, so a broken stream can only be broken off."""

    stream_content_type = "text/plain"

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        return Reply(body=b"")

    def event(self, index: int, event: Event) -> bytes:
        if isinstance(event, Progress):
            return b"(%d)" % event.done
        return event.text.encode() if isinstance(event, Token) else b""

    def end(self) -> bytes:
        return b"."

    def failure(self, error: QuintetError) -> bytes:
        return b""


class Client:
    """The other end of `send`; `stuck` never takes anything after the status line."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.messages: list[Message] = []
        self.stuck = stuck
        self.aborted = False
        self.arrived = asyncio.Event()
        scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": [], CONNECTION: self}
        self.exchange: Exchange = begin(scope)

    async def send(self, message: Message) -> None:
        if self.stuck and message["type"] == "http.response.body":
            await asyncio.Event().wait()
        self.messages.append(message)
        self.arrived.set()

    def abort(self) -> None:
        self.aborted = True

    async def wait_for_body(self) -> None:
        while not self.body:
            self.arrived.clear()
            await self.arrived.wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def is_complete(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False


def token(text: str) -> tuple[int, Event]:
    return 0, Token(choice=0, id=1, text=text)


async def deliver(client: Client, inbox: Inbox, **waits: float) -> BaseException | None:
    return await StreamAnswer(client.exchange, RawText(), client.send, Waits(**waits)).deliver(inbox)


async def filled(*pairs: tuple[int, Event], error: BaseException | None = None) -> Inbox:
    inbox = Inbox()
    for pair in pairs:
        await inbox.put(pair)
    inbox.end(error)
    return inbox


def test_ready_events_are_written_at_once() -> None:
    async def scenario() -> None:
        client = Client()
        inbox = await filled(token("a"), token("b"), (0, Finished()))
        assert await deliver(client, inbox) is None
        assert [message["type"] for message in client.messages] == [
            "http.response.start",
            "http.response.body",
        ]
        assert client.body == b"ab."
        assert client.is_complete

    asyncio.run(scenario())


def test_a_broken_raw_stream_has_no_end() -> None:
    async def scenario() -> None:
        client = Client()
        inbox = Inbox()
        async with asyncio.TaskGroup() as tasks:
            answer = tasks.create_task(deliver(client, inbox))
            await inbox.put(token("a"))
            await client.wait_for_body()
            inbox.end(WorkerLost("gone"))
        assert answer.result() is None
        assert client.body == b"a"
        assert not client.is_complete
        assert (client.exchange.outcome, client.exchange.error_code) == ("failed", "worker_lost")

    asyncio.run(scenario())


def test_an_error_before_the_status_line_is_handed_back() -> None:
    async def scenario() -> None:
        client = Client()
        error = NotReady("loading")
        assert await deliver(client, await filled((0, Progress("queue", 1, 2)), error=error)) is error
        assert client.messages == []

    asyncio.run(scenario())


def test_progress_waits_for_a_real_event_or_the_time() -> None:
    async def scenario() -> None:
        client, inbox = Client(), Inbox()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(deliver(client, inbox, commit_seconds=0.05))
            await inbox.put((0, Progress("queue", 1, 2)))
            await asyncio.sleep(0)
            assert client.messages == []
            await client.wait_for_body()
            await inbox.put((0, Progress("queue", 2, 2)))
            inbox.end()
        assert client.body == b"(1)(2)."

    asyncio.run(scenario())


class BareText(RawText):
    """Plain text that calls itself a stream of events."""

    stream_content_type = "text/event-stream; charset=utf-8"


@pytest.mark.parametrize(("is_bare", "expected"), [(False, b": ping\n\na."), (True, b"a.")])
def test_nothing_is_put_into_bare_text(is_bare: bool, expected: bytes) -> None:
    async def scenario() -> None:
        client, inbox = Client(), Inbox()
        waits = Waits(commit_seconds=0.01, ping_seconds=60)
        answer = StreamAnswer(client.exchange, BareText(), client.send, waits, is_bare=is_bare)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(answer.deliver(inbox))
            await client.arrived.wait()
            await inbox.put(token("a"))
            inbox.end()
        assert client.body == expected

    asyncio.run(scenario())


def test_a_client_that_reads_nothing_is_dropped() -> None:
    async def scenario() -> None:
        client = Client(stuck=True)
        gone = await deliver(client, await filled(token("a")), write_seconds=0.05)
        assert isinstance(gone, ClientGone)
        assert client.aborted

    asyncio.run(scenario())


def test_a_slow_reader_holds_the_pump_back() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(_fill(inbox, MAX_WAITING + 10))
            await asyncio.sleep(0.01)
            assert not pump.done()
            assert len(await inbox.take(1)) == MAX_WAITING
            await pump
            assert len(await inbox.take(1)) == 10

    asyncio.run(scenario())


def test_the_first_ending_wins() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        first = ClientGone()
        await inbox.put(token("a"))
        inbox.drop(first)
        inbox.end(WorkerLost("later"))
        assert inbox.is_over
        assert inbox.error is first
        assert await inbox.take(1) == []

    asyncio.run(scenario())


async def _fill(inbox: Inbox, count: int) -> None:
    for _ in range(count):
        await inbox.put(token("x"))
