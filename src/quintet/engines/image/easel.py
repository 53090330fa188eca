"""The painting thread: takes turns from the queue, paints, and hands over what came of it.

The stepping thread adds, forgets and collects; the lock is held for moments only, never while something is painted.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from quintet.core.errors import EngineFailed, QuintetError
from quintet.core.events import Finished, Progress, Timings
from quintet.core.ports import Output
from quintet.engines.image.turns import Turns
from quintet.engines.image.work import Work

SILENCE_SECONDS = 5.0
"""A request says at least so often how far it is: callers give up on those that say nothing."""
PREVIEW_SECONDS = 0.5
"""Previews come at most so often."""
STUCK_SECONDS = 600.0
"""A turn that was called off and does not end for so long never will."""
_CLOSING_SECONDS = 20.0


class _Stopped(Exception):
    """The request is not wanted any more; raised in the middle of its turn."""


@dataclass(eq=False, slots=True)
class Job:
    """A request at the easel."""

    id: int
    work: Work
    arrived_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    spoke_at: float = field(default_factory=time.monotonic)
    previewed_at: float = 0.0
    state: Progress = field(default_factory=lambda: Progress("queue", 0, 1))
    is_open: bool = True

    @property
    def owner(self) -> str:
        """Who asked for it."""
        return self.work.owner

    @property
    def turns(self) -> int:
        """How many turns it takes."""
        return self.work.turns


class Easel:
    """One thread that paints for everybody, a turn at a time."""

    def __init__(self, threads: int) -> None:
        """Start the thread; it paints with so many threads."""
        self._threads = threads
        self._changed = threading.Condition()
        self._turns: Turns[Job] = Turns()
        self._jobs: dict[int, Job] = {}
        self._ready: list[tuple[Job, Output]] = []
        self._painted: Job | None = None
        """Whose turn it is now, wanted or not."""
        self._called_off_at: float | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="easel", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether anything is owed to anybody."""
        return bool(self._jobs)

    def add(self, request_id: int, work: Work) -> None:
        """Queue work under an id."""
        job = Job(request_id, work)
        with self._changed:
            self._jobs[request_id] = job
            self._turns.add(job)
            self._changed.notify_all()

    def forget(self, request_id: int) -> None:
        """Stop a request wherever it is; nothing more is said of it."""
        with self._changed:
            job = self._jobs.pop(request_id, None)
            if job is None:
                return
            job.is_open = False
            self._turns.remove(job)
            self._ready = [entry for entry in self._ready if entry[0] is not job]
            if self._painted is job:
                self._called_off_at = time.monotonic()

    def collect(self, wait_seconds: float) -> Sequence[tuple[int, Output]]:
        """What came since the last time; waits so long for something to come. Raises TimeoutError if a turn hangs."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready, wait_seconds)
            now = time.monotonic()
            if self._called_off_at is not None and now - self._called_off_at > STUCK_SECONDS:
                raise TimeoutError("a turn at the easel did not end")
            outputs, self._ready = self._ready, []
            for job, output in outputs:
                job.spoke_at = now
                if isinstance(output, Finished | QuintetError):
                    self._jobs.pop(job.id, None)
            silent = (job for job in self._jobs.values() if now - job.spoke_at > SILENCE_SECONDS)
            for job in silent:
                job.spoke_at = now
                outputs.append((job, job.state))
        return [(job.id, output) for job, output in outputs]

    def close(self) -> None:
        """Stop everything and end the thread; safe to call twice."""
        with self._changed:
            for request_id in list(self._jobs):
                self.forget(request_id)
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSING_SECONDS)

    def _run(self) -> None:
        """The thread."""
        torch.set_num_threads(self._threads)
        while True:
            with self._changed:
                self._painted = self._called_off_at = None
                self._changed.wait_for(lambda: self._turns or self._closed)
                if self._closed:
                    return
                job, turn = self._turns.take()
                self._painted = job
                if job.started_at is None:
                    job.started_at = time.monotonic()
            try:
                self._take(job, turn)
            except _Stopped:
                pass
            except QuintetError as error:
                self._fail(job, error)
            except BaseException as error:  # foreign: its text goes to the log, never to a caller
                traceback.print_exc()
                self._fail(job, _failure(error))

    def _take(self, job: Job, turn: int) -> None:
        """Paint one turn, and finish the request if it was the last."""

        def report(done: float, total: float, preview: Callable[[], bytes]) -> None:
            if not job.is_open:
                raise _Stopped
            now = time.monotonic()
            picture = b""
            if job.work.wants_previews and now - job.previewed_at >= PREVIEW_SECONDS:
                job.previewed_at = now
                picture = preview()
            job.state = Progress(job.work.stage, done, total)
            self._tell(job, replace(job.state, preview=picture))

        self._tell(job, *job.work.run(turn, report))
        if turn + 1 == job.turns:
            ended = time.monotonic()
            started = job.started_at or ended
            timings = Timings(queue=started - job.arrived_at, decode=ended - started)
            self._tell(job, Finished(usage=job.work.usage(), timings=timings, seed=job.work.seed))

    def _tell(self, job: Job, *outputs: Output) -> None:
        with self._changed:
            if job.is_open:
                self._ready.extend((job, output) for output in outputs)
                self._changed.notify_all()

    def _fail(self, job: Job, error: QuintetError) -> None:
        """End a request whose turn went wrong."""
        with self._changed:
            self._turns.remove(job)
            self._tell(job, error.with_traceback(None))
            job.is_open = False


def _failure(error: BaseException) -> EngineFailed:
    """What a caller is told of a foreign failure."""
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )
    if is_memory and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if is_memory:
        return EngineFailed(
            "The picture does not fit into memory; ask for a smaller one.", code="out_of_memory"
        )
    return EngineFailed("The engine failed on this picture; try again, and report it if it fails again.")
