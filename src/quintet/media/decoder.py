"""The bounded pool of decoding processes: pictures wait their turn here, first come first served.

The gateway never decodes by itself and never imports the imaging library.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math

from quintet.core.errors import EngineFailed, InvalidRequest, Overloaded, QuintetError, ShuttingDown
from quintet.media.child import Child, Vanished
from quintet.media.containers import sniff
from quintet.media.rules import MAX_FILE_BYTES, WORDS, Refused, Rule

log = logging.getLogger(__name__)

CHILDREN = 2
MEMORY_BYTES = 600 * 1024 * 1024
"""Address space of one process; the worst picture that is taken needs 360 MiB (16 megapixels of WebP with alpha)."""
SECONDS = 2.0
"""Processor time of one picture."""
MAX_HELD = 256
MAX_HELD_BYTES = 256 * 1024 * 1024
_SMOOTHING = 0.2
"""Weight of the newest duration in the moving average."""


class _Job:
    """One picture on its way."""

    __slots__ = ("data", "is_mask", "max_side", "outcome")

    def __init__(self, data: bytes, max_side: int, is_mask: bool) -> None:
        self.data = data
        self.max_side = max_side
        self.is_mask = is_mask
        self.outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End it, if somebody still waits."""
        if not self.outcome.done():
            self.outcome.set_exception(error.with_traceback(None))  # whose frames hold the file


class Decoder:
    """Makes pictures anew in processes of its own, started when first needed. Lives on one event loop."""

    def __init__(
        self,
        *,
        children: int = CHILDREN,
        memory_bytes: int = MEMORY_BYTES,
        seconds: float = SECONDS,
        max_held: int = MAX_HELD,
        max_held_bytes: int = MAX_HELD_BYTES,
    ) -> None:
        """`max_held` pictures, of `max_held_bytes` together, are waiting or in work at most."""
        self._most_children = children
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._max_held = max_held
        self._max_held_bytes = max_held_bytes
        self._waiting: dict[int, _Job] = {}
        self._numbers = itertools.count()
        self._news = asyncio.Event()
        self._runners: list[asyncio.Task[None]] = []
        self._idle = 0
        self._seats: list[_Seat] = []
        self._average_seconds = 0.1
        self._closing = False
        self.held = 0
        """Pictures that wait or are in work."""
        self.held_bytes = 0
        """The size of their files."""

    @property
    def pids(self) -> list[int]:
        """Process ids of the children that are up."""
        return [pid for seat in self._seats if (pid := seat.pid) is not None]

    async def normalise(self, data: bytes, *, max_side: int, field: str, is_mask: bool = False) -> bytes:
        """The picture in a file as an RGB PNG of at most `max_side` pixels, and nothing else that was in the file.

        A mask has one channel. `field` says where it stood in the caller's body. Raises InvalidRequest, or Overloaded
        at once. The pictures of one request are best given one after the other, each original dropped as soon as its
        answer is there.
        """
        if len(data) > MAX_FILE_BYTES:
            raise refusal(Rule.FILE_TOO_LARGE, field)
        if sniff(data) is None:
            raise refusal(Rule.UNSUPPORTED, field)
        self._check_room(len(data))
        job, number, size = _Job(data, max_side, is_mask), next(self._numbers), len(data)
        self.held += 1
        self.held_bytes += size
        self._waiting[number] = job
        self._news.set()
        self._staff()
        try:
            return await job.outcome
        except Refused as refused:
            raise refusal(refused.rule, field) from None
        finally:
            self._waiting.pop(number, None)
            self.held -= 1
            self.held_bytes -= size
            del job  # it holds the outcome, a refusal holds this frame, and the file must not wait for the collector

    async def close(self) -> None:
        """End all processes; pictures on their way get ShuttingDown. Safe to call twice."""
        self._closing = True
        for runner in self._runners:
            runner.cancel()
        if self._runners:
            await asyncio.wait(self._runners)
        for job in self._waiting.values():
            job.fail(_shutting_down())

    def _check_room(self, size: int) -> None:
        if self._closing:
            raise _shutting_down()
        if self.held >= self._max_held or self.held_bytes + size > self._max_held_bytes:
            seconds = self.held * self._average_seconds / self._most_children
            raise Overloaded(
                "As many pictures as the server takes are waiting to be decoded; try again after the time in "
                "Retry-After.",
                retry_after=float(min(60, max(1, math.ceil(seconds)))),
            )

    def _staff(self) -> None:
        """One more runner, if all are busy and there may be more."""
        if len(self._waiting) > self._idle and len(self._runners) < self._most_children:
            seat = _Seat(self._memory_bytes, self._seconds)
            self._seats.append(seat)
            # Owned by this object: `close` ends and awaits it.
            self._runners.append(asyncio.get_running_loop().create_task(self._run(seat)))

    async def _run(self, seat: _Seat) -> None:
        """One runner: takes one picture after the other to its own child."""
        try:
            while True:
                job = await self._next_job()
                try:
                    await self._serve(job, seat)
                finally:
                    job.fail(_shutting_down())  # still open only if this runner is being cancelled
                    del job  # not kept until the next one comes
        finally:
            await seat.end()

    async def _next_job(self) -> _Job:
        self._idle += 1
        try:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
        finally:
            self._idle -= 1
        return self._waiting.pop(next(iter(self._waiting)))

    async def _serve(self, job: _Job, seat: _Seat) -> None:
        """Settle one job. A caller who left meanwhile changes nothing."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            picture = await seat.normalise(job.data, job.max_side, job.is_mask)
        except (Refused, QuintetError) as error:
            job.fail(error)
        except Exception:
            log.exception("decoding a picture: unexpected failure")
            job.fail(EngineFailed("Pictures can't be decoded just now; the server's log says why."))
        else:
            if not job.outcome.done():
                job.outcome.set_result(picture)
        self._average_seconds += _SMOOTHING * (loop.time() - began - self._average_seconds)


class _Seat:
    """The place of one child, which is started when needed and replaced when lost."""

    def __init__(self, memory_bytes: int, seconds: float) -> None:
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child that sits here, if any does."""
        return None if self._child is None or self._child.has_ended else self._child.pid

    async def normalise(self, data: bytes, max_side: int, is_mask: bool) -> bytes:
        """Have a child decode a picture; raises Refused, or EngineFailed if no child can be started."""
        try:
            return await (await self._sitting()).normalise(data, max_side, is_mask)
        except Vanished:  # killed between two pictures, by whomever
            await self.end()
        try:
            return await (await self._sitting()).normalise(data, max_side, is_mask)
        except Vanished:
            await self.end()
            raise Refused(Rule.CRASHED) from None

    async def end(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            await child.end()

    async def _sitting(self) -> Child:
        if self._child is None or self._child.has_ended:
            await self.end()
            self._child = await Child.start(self._memory_bytes, self._seconds)
        return self._child


def refusal(rule: Rule, field: str) -> InvalidRequest:
    """The error for a picture that stood in this field and breaks this rule."""
    return InvalidRequest(f"`{field}` {WORDS[rule]}", param=field, code="image_decode_failed")


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The server is going down; try again in a moment.", retry_after=5)
