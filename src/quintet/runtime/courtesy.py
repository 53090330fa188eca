"""Keeps heavy workers off some cores while light ones work, so that nobody's chat waits for a picture.

A step of a text model ends with its slowest thread. Beside a worker that keeps every core busy each step waits for
the kernel to take a core away again, whatever the niceness; with one core to itself it doesn't. Linux alone lets a
process move the threads of another; elsewhere nothing happens here.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from quintet.core.models import Model

GRACE_SECONDS = 0.5
"""Heavy workers get all cores back so long after the last light request, as the next may come at once."""


class Courtesy:
    """Who works, and which cores the heavy ones may use. Lives on one event loop."""

    def __init__(self) -> None:
        self._all = _cores()
        ordered = sorted(self._all)
        self._shared = frozenset(ordered[(len(ordered) + 1) // 2 :])
        """Where heavy workers stay meanwhile: the upper half."""
        self._light = 0
        self._heavy: Counter[int] = Counter()
        self._confined: set[int] = set()
        self._release: asyncio.TimerHandle | None = None

    @contextmanager
    def working(self, model: Model, pid: int) -> Iterator[None]:
        """While this block lasts, the worker `pid` works on a request for the model."""
        if not self._shared:
            yield
        elif model.is_heavy:
            with self._heavy_work(pid):
                yield
        else:
            with self._light_work():
                yield

    @contextmanager
    def _heavy_work(self, pid: int) -> Iterator[None]:
        self._heavy[pid] += 1
        if self._light or self._release:
            self._confine(pid)
        try:
            yield
        finally:
            self._heavy[pid] -= 1
            if not self._heavy[pid]:
                del self._heavy[pid]

    @contextmanager
    def _light_work(self) -> Iterator[None]:
        self._light += 1
        if self._release is not None:
            self._release.cancel()
            self._release = None
        for pid in self._heavy:
            self._confine(pid)
        try:
            yield
        finally:
            self._light -= 1
            if not self._light and self._confined:
                self._release = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._set_free)

    def _confine(self, pid: int) -> None:
        if pid not in self._confined:
            self._confined.add(pid)
            _move(pid, self._shared)

    def _set_free(self) -> None:
        self._release = None
        for pid in self._confined:
            _move(pid, self._all)
        self._confined.clear()


def _cores() -> frozenset[int]:
    """The cores this process may use; none where they can't be chosen."""
    return frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else frozenset()


def _move(pid: int, cores: frozenset[int]) -> None:
    """Let all threads of a process run on these cores alone. One that ended meanwhile needs no move."""
    if sys.platform != "linux":
        return
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                os.sched_setaffinity(int(thread), cores)
