"""Who may fetch now: so many at once, so many per host and per owner, and a bounded number who wait.

Decides without a clock; a place that becomes free goes to the owner who holds fewest, the longest waiting first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from quintet.core.errors import Overloaded, QuintetError, ShuttingDown


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLimits:
    """How many at once."""

    total: int = 16
    per_host: int = 2
    per_owner: int = 8
    """Of `total`; for fetches whose owner is known."""
    waiting: int = 512
    """Of all owners together; one owner may have half of it."""


@dataclass(eq=False, slots=True)
class Place:
    """The permission of one fetch; it follows the fetch from host to host."""

    owner: str
    host: str
    is_inside: bool = False
    """It holds one of the total already, and waits for the next host only."""
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Places:
    """Lives on one event loop."""

    def __init__(self, limits: PlaceLimits) -> None:
        self._limits = limits
        self._waiting: list[Place] = []
        self._owners: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._running = 0
        self._is_closed = False

    @property
    def running(self) -> int:
        """Fetches under way."""
        return self._running

    @property
    def waiting(self) -> int:
        """Fetches that have no place yet, or wait for their next host."""
        return len(self._waiting)

    @asynccontextmanager
    async def hold(self, owner: str, host: str) -> AsyncGenerator[Place]:
        """Wait for a place and keep it; raises Overloaded when too many wait, ShuttingDown after `close`."""
        self._check_room(owner)
        place = Place(owner, host)
        await self._wait(place)
        place.is_inside = True
        try:
            yield place
        finally:
            self._running -= 1
            _count_down(self._owners, place.owner)
            _count_down(self._hosts, place.host)
            self._grant()

    async def move(self, place: Place, host: str) -> None:
        """Go on to another host; waits until that has room. Holds no host meanwhile, so nobody waits in a circle."""
        if host == place.host:
            return
        _count_down(self._hosts, place.host)
        place.host = ""
        self._grant()
        step = Place(place.owner, host, is_inside=True)
        await self._wait(step)
        place.host = host

    def close(self) -> None:
        """Send everybody who waits away, and let nobody in."""
        self._is_closed = True
        for place in self._waiting:
            if not place.granted.done():
                place.granted.set_exception(ShuttingDown("The server is going down. Try again later."))

    def _check_room(self, owner: str) -> None:
        if self._is_closed:
            raise ShuttingDown("The server is going down. Try again later.")
        mine = sum(place.owner == owner for place in self._waiting) if owner else 0
        if len(self._waiting) >= self._limits.waiting or mine >= max(1, self._limits.waiting // 2):
            raise too_many()

    async def _wait(self, place: Place) -> None:
        self._waiting.append(place)
        self._grant()
        try:
            await place.granted
        except BaseException:
            if place in self._waiting:
                self._waiting.remove(place)
            elif place.granted.done() and not place.granted.cancelled():
                self._take_back(place)
            raise

    def _grant(self) -> None:
        while (place := self._next()) is not None:
            self._waiting.remove(place)
            self._hosts[place.host] += 1
            if not place.is_inside:
                self._running += 1
                self._owners[place.owner] += 1
            place.granted.set_result(None)

    def _next(self) -> Place | None:
        can_start = [place for place in self._waiting if self._fits(place)]
        return min(
            can_start, key=lambda place: (not place.is_inside, self._owners[place.owner]), default=None
        )

    def _fits(self, place: Place) -> bool:
        if place.granted.done() or self._hosts[place.host] >= self._limits.per_host:
            return False
        if place.is_inside:
            return True
        is_owner_full = bool(place.owner) and self._owners[place.owner] >= self._limits.per_owner
        return self._running < self._limits.total and not is_owner_full

    def _take_back(self, place: Place) -> None:
        """It was granted in the same turn in which its fetch was cancelled."""
        _count_down(self._hosts, place.host)
        if not place.is_inside:
            self._running -= 1
            _count_down(self._owners, place.owner)
        self._grant()


def too_many() -> QuintetError:
    """What a fetch is refused with when too much is being fetched already."""
    return Overloaded(
        "Too many links are being fetched at once. Try again in a few seconds, or send the data itself as a data URL.",
        code="fetch_overloaded",
        retry_after=2,
    )


def _count_down(counter: Counter[str], key: str) -> None:
    if key in counter:
        counter[key] -= 1
        if counter[key] <= 0:
            del counter[key]
