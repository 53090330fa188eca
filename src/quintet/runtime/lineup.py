"""Suspects run one at a time, so that a crash convicts at most one request and nobody who merely stood by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quintet.runtime.quarantine import Quarantine

HOLD_SECONDS = 0.3
"""The next suspect comes in after so long even if this one has not got past the point of the crash."""


class Turn:
    """The right of one request to run. Innocent requests get one without a lock."""

    __slots__ = ("_digest", "_lock", "_quarantine", "_timer", "past_events")

    def __init__(
        self, quarantine: Quarantine, digest: str, lock: asyncio.Lock | None = None, past_events: int = -1
    ) -> None:
        self._quarantine = quarantine
        self._digest = digest
        self._lock = lock
        self.past_events = past_events
        """Events it had delivered when the worker died; -1 = it is no suspect."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The request is sent now."""
        if self._lock is not None:
            self._timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, self.release)

    def progress(self, events: int) -> None:
        """The request has delivered so many events; further than last time means innocent."""
        if self.past_events >= 0 and events > self.past_events:
            self.past_events = -1
            self._quarantine.acquit(self._digest)
            self.release()

    def release(self) -> None:
        """Let the next suspect in; safe to call again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class Lineup:
    """Hands out turns for one model."""

    def __init__(self, quarantine: Quarantine, clock: Callable[[], float]) -> None:
        self._quarantine = quarantine
        self._clock = clock
        self._lock = asyncio.Lock()

    async def turn(self, digest: str) -> Turn:
        """A turn, at once for everybody but suspects; raises PoisonRequest."""
        quarantine = self._quarantine
        if not quarantine.is_suspect(digest, self._clock()):
            return Turn(quarantine, digest)
        await self._lock.acquire()
        turn = Turn(quarantine, digest, self._lock, quarantine.crash_point(digest))
        try:
            quarantine.check(digest, self._clock())
        except BaseException:
            turn.release()
            raise
        if turn.past_events < 0:  # acquitted while it waited
            turn.release()
        return turn
