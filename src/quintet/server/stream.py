"""Sends the events of one call as a stream: first event before the status line, pings while it waits."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from quintet.core.errors import EngineFailed, QuintetError
from quintet.core.events import Media, Progress
from quintet.dialects.base import Renderer
from quintet.server.asgi import CONNECTION, Connection, Send
from quintet.server.exchange import ClientGone, Exchange
from quintet.server.inbox import Inbox, Pair

log = logging.getLogger(__name__)

SSE: Final = "text/event-stream"
PING: Final = b": ping\n\n"
LARGE_BYTES: Final = 64 * 1024
"""Larger files are written into the answer off the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long a stream waits, in seconds."""

    commit_seconds: float = 10.0
    """For the first event, before it answers 200 all the same."""
    ping_seconds: float = 15.0
    """Between keep-alive comments while no event comes."""
    write_seconds: float = 60.0
    """For a client to read what was sent."""


class StreamAnswer:
    """One streamed answer."""

    def __init__(
        self, exchange: Exchange, renderer: Renderer, send: Send, waits: Waits, *, is_bare: bool = False
    ) -> None:
        """Nothing is sent before `deliver`; a bare stream gets no keep-alive comments."""
        self._exchange = exchange
        self._renderer = renderer
        self._send = send
        self._waits = waits
        is_sse = renderer.stream_content_type.partition(";")[0] == SSE
        self._pings = PING if is_sse and not is_bare else b""
        self._is_committed = False

    async def deliver(self, inbox: Inbox) -> BaseException | None:
        """Send everything; returns the error if it came before the status line, or the client's leaving."""
        try:
            return await self._deliver(inbox)
        except ClientGone as gone:
            return gone
        except QuintetError as error:
            return await self._finish(b"", error)
        except Exception:
            log.exception("request %s: its answer could not be rendered", self._exchange.request_id)
            return await self._finish(b"", EngineFailed("The server could not write this answer. Try again."))

    async def _deliver(self, inbox: Inbox) -> BaseException | None:
        commit_at = time.monotonic() + self._waits.commit_seconds
        held = b""  # progress that came before the first real event
        while True:
            wait = self._waits.ping_seconds if self._is_committed else commit_at - time.monotonic()
            pairs = await inbox.take(max(wait, 0.0))
            is_large = any(type(event) is Media and len(event.data) > LARGE_BYTES for _, event in pairs)
            made = await asyncio.to_thread(self._render, pairs) if is_large else self._render(pairs)
            chunk = held + made
            held = b""
            if inbox.is_over:
                return await self._finish(chunk, inbox.error)
            is_due = not pairs or time.monotonic() >= commit_at
            if not self._is_committed and not is_due and all(type(event) is Progress for _, event in pairs):
                held = chunk
                continue
            await self._write(chunk if chunk or pairs else self._pings)

    def _render(self, pairs: list[Pair]) -> bytes:
        if len(pairs) == 1:
            return self._renderer.event(*pairs[0])
        return b"".join([self._renderer.event(index, event) for index, event in pairs])

    async def _finish(self, chunk: bytes, error: BaseException | None) -> BaseException | None:
        if error is None:
            await self._write(chunk + self._renderer.end(), is_last=True)
            return None
        if not self._is_committed or not isinstance(error, QuintetError):
            return error
        self._exchange.fail(error)
        ending = self._renderer.failure(error)
        # Without an ending that says so, only a body without its end looks broken: the server closes the
        # connection when the application returns before its last chunk.
        await self._write(chunk + ending, is_last=bool(ending))
        return None

    async def _write(self, chunk: bytes, *, is_last: bool = False) -> None:
        try:
            async with asyncio.timeout(self._waits.write_seconds):
                if not self._is_committed:
                    await self._commit()
                if chunk or is_last:
                    await self._send({"type": "http.response.body", "body": chunk, "more_body": not is_last})
        except TimeoutError:
            connection: Connection | None = self._exchange.scope.get(CONNECTION)
            if connection is not None:
                connection.abort()
            raise ClientGone("the client stopped reading") from None

    async def _commit(self) -> None:
        self._is_committed = True
        self._exchange.first_byte = time.monotonic()
        headers = [
            (b"content-type", self._renderer.stream_content_type.encode("latin-1")),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
