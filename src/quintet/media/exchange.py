"""One HTTP request on one open connection: the shortest possible question, and an answer that is believed nothing.

No cookies, no credentials, no decompression, no second request. Everything that arrives is counted before it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quintet.core.budget import Budget
from quintet.media.links import Link

if TYPE_CHECKING:
    import h11

SNIFFED_BYTES = 64
"""So much of a body, or all of it if it is shorter, decides whether its kind is wanted."""
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PIECE_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 16 * 1024
_OVERHEAD_BYTES = 64 * 1024
"""Heads and chunk sizes on the wire, beside the body."""
_FREE_EVENTS = 4096
_BYTES_PER_EVENT = 256
"""A body in smaller crumbs than this, on average, costs more time than it is worth."""


class FetchFailed(Exception):
    """A fetch came to nothing; the reason is for the operator's eyes, never for the caller's."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """The answer says that the thing is elsewhere."""

    location: str


@dataclass(slots=True)
class Body:
    """Collects one body, as long as its beginning is wanted and it isn't too long."""

    wanted: Callable[[bytes], bool]
    max_bytes: int
    budget: Budget
    data: bytearray = field(default_factory=bytearray)
    _is_known: bool = False

    def add(self, piece: bytes) -> None:
        """Keep a piece; raises FetchFailed or Overloaded."""
        if len(self.data) + len(piece) > self.max_bytes:
            raise FetchFailed("too_large")
        self.budget.take(len(piece))
        self.data += piece
        if len(self.data) >= SNIFFED_BYTES:
            self._check()

    def whole(self) -> bytes:
        """All of it, once it has ended; raises FetchFailed."""
        self._check()
        return bytes(self.data)

    def release(self) -> None:
        """Give back what was taken from the budget."""
        self.budget.give_back(len(self.data))
        self.data.clear()

    def _check(self) -> None:
        if not self._is_known:
            if not self.wanted(bytes(self.data[:SNIFFED_BYTES])):
                raise FetchFailed("unwanted_kind")
            self._is_known = True


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link, body: Body
) -> bytes | Redirect:
    """Ask for `link` and read the answer; raises FetchFailed, Overloaded, OSError."""
    import h11  # here, so that a gateway that fetches nothing doesn't hold it

    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
    request = h11.Request(
        method="GET",
        target=link.target,
        headers=[
            ("host", link.authority),
            ("user-agent", "quintet"),
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
            ("connection", "close"),
        ],
    )
    writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    await writer.drain()
    try:
        return await _Answer(reader, connection, body).read()
    except h11.RemoteProtocolError:
        raise FetchFailed("not_http") from None


class _Answer:
    """Reads one answer event by event."""

    def __init__(self, reader: asyncio.StreamReader, connection: h11.Connection, body: Body) -> None:
        self._reader = reader
        self._connection = connection
        self._body = body
        self._received = 0
        self._events = 0

    async def read(self) -> bytes | Redirect:
        import h11

        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise FetchFailed("not_http")
        if event.status_code in _REDIRECTS:
            return _redirect(event)
        self._check_head(event)
        while isinstance(event := await self._next(), h11.Data):
            self._body.add(event.data)
        if not isinstance(event, h11.EndOfMessage) or self._connection.trailing_data[0]:
            raise FetchFailed("wrong_length")
        return self._body.whole()

    def _check_head(self, response: h11.Response) -> None:
        if response.status_code != 200:
            raise FetchFailed("status")
        for name, value in response.headers:
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise FetchFailed("encoded")
            # h11 has made sure that it is one number, of at most 20 digits.
            if name == b"content-length" and int(value) > self._body.max_bytes:
                raise FetchFailed("too_large")

    async def _next(self) -> object:
        import h11

        while (event := self._connection.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(_PIECE_BYTES)
            self._received += len(data)
            if self._received > self._body.max_bytes + _OVERHEAD_BYTES:
                raise FetchFailed("too_large")
            self._connection.receive_data(data)
        self._events += 1
        if self._events > _FREE_EVENTS + self._received // _BYTES_PER_EVENT:
            raise FetchFailed("crumbs")
        return event


def _redirect(response: h11.Response) -> Redirect:
    locations = [value for name, value in response.headers if name == b"location"]
    if len(locations) != 1:
        raise FetchFailed("redirect")
    return Redirect(locations[0].decode("latin-1"))
