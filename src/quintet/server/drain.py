"""Going down politely: no new work, the old may finish, and what is left at the end is told so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quintet.core.errors import ShuttingDown

RETRY_AFTER_SECONDS = 5.0

Interrupt = Callable[[BaseException], None]


class Drain:
    """Knows the work in flight of one server. One event loop, so no locks."""

    def __init__(self) -> None:
        self.is_on = False
        """Whether the server is going down."""
        self._interrupts: set[Interrupt] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """How many requests are being worked on."""
        return len(self._interrupts)

    def check(self) -> None:
        """Raise ShuttingDown once the server is going down."""
        if self.is_on:
            raise _going_down("The server is going down. Try again in a moment.")

    def begin(self) -> None:
        """Take no new work from now on."""
        self.is_on = True

    @contextmanager
    def counted(self, interrupt: Interrupt) -> Iterator[None]:
        """Count one request while it is worked on; `interrupt` ends it with an error."""
        self._interrupts.add(interrupt)
        self._idle.clear()
        try:
            yield
        finally:
            self._interrupts.discard(interrupt)
            if not self._interrupts:
                self._idle.set()

    async def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until nothing is in flight; False if that takes too long."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def interrupt_all(self) -> None:
        """End whatever is still in flight."""
        for interrupt in list(self._interrupts):
            interrupt(
                _going_down("The server went down before the answer was complete. Try again in a moment.")
            )


def _going_down(message: str) -> ShuttingDown:
    return ShuttingDown(message, retry_after=RETRY_AFTER_SECONDS)
