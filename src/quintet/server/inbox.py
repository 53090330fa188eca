"""Where the three who can end a request meet: its events, its client, and the server that goes down. No I/O."""

from __future__ import annotations

import asyncio

from quintet.core.events import Event

Pair = tuple[int, Event]
MAX_WAITING = 256
"""Events that may wait for a slow client; then the pump waits, and the worker's own bounded mailbox fills."""


class Inbox:
    """Filled by the pump, emptied by the one who sends. The first ending wins."""

    __slots__ = ("_ended", "_pairs", "_room", "_waiter", "error")

    def __init__(self) -> None:
        self._pairs: list[Pair] = []
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self.error: BaseException | None = None
        """Why it ended, if not well."""

    @property
    def is_over(self) -> bool:
        """Whether no more events come, and none wait."""
        return self._ended and not self._pairs

    async def put(self, pair: Pair) -> None:
        """Add an event; waits while too many are unread."""
        while len(self._pairs) >= MAX_WAITING and not self._ended:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        self._pairs.append(pair)
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """No more events come."""
        if not self._ended:
            self._ended, self.error = True, error
            self._wake()

    def drop(self, error: BaseException) -> None:
        """End now, without what is still unread."""
        if not self._ended or self._pairs:
            self._pairs.clear()
            self._ended, self.error = True, error
            self._wake()

    async def take(self, timeout_seconds: float) -> list[Pair]:
        """All events that wait; none if the time is up or no more come."""
        if not self._pairs and not self._ended:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_later(timeout_seconds, _resolve, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        taken, self._pairs = self._pairs, []
        if self._room is not None:
            _resolve(self._room)
            self._room = None
        return taken

    async def wait_until_over(self) -> None:
        """Wait for the end, for callers who read no events here."""
        while not self._ended:
            waiter = self._waiter = asyncio.get_running_loop().create_future()
            await waiter

    def _wake(self) -> None:
        if self._waiter is not None:
            _resolve(self._waiter)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
