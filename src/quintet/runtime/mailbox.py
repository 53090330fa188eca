"""The events of one request between the worker's frames and the generator that hands them on. No I/O, no clock."""

from __future__ import annotations

import asyncio

from quintet.core.errors import QuintetError, RequestTimeout
from quintet.core.events import Event

MAX_WAITING_EVENTS = 4096
MAX_WAITING_BYTES = 1024 * 1024
"""Encoded size of waiting events, those that come once a request (files, prompts) not counted."""


class Mailbox:
    """Written by the frame reader, read by one generator; one wake-up per frame, however many events it holds.

    A reader that stays too far behind gets an error instead of memory without bound. It is judged by what it left
    waiting when the next frame came: one frame may hold a whole answer, which is nobody's fault.
    """

    __slots__ = ("_bytes", "_error", "_events", "_frame", "_waiter", "delivered", "overflowed")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._bytes = 0
        self._frame = 0
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.delivered = 0
        """How many events ever came."""
        self.overflowed = False

    def put(self, event: Event, size: int, frame: int) -> None:
        """Add an event of `size` encoded bytes; `overflowed` turns true when the reader is too slow.

        `frame` numbers the frame it came in; events of one frame are put one after the other.
        """
        if self._error is not None:
            return
        self.delivered += 1
        is_behind = len(self._events) >= MAX_WAITING_EVENTS or self._bytes >= MAX_WAITING_BYTES
        if is_behind and frame != self._frame:
            self.overflowed = True
            self._events.clear()
            self.fail(RequestTimeout("The answer was read too slowly, so it was given up; read faster."))
            return
        self._frame = frame
        self._events.append(event)
        self._bytes += size
        self._wake()

    def fail(self, error: QuintetError | BaseException) -> None:
        """End the request; what came before is still delivered."""
        if self._error is None:
            self._error = error
            self._wake()

    async def take(self) -> list[Event]:
        """All events that wait, at least one; raises the error once they are gone."""
        while not self._events:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        taken, self._events, self._bytes = self._events, [], 0
        return taken

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
