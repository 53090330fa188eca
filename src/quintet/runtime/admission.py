"""Who may start: a bounded number of requests in flight per model, and none while the server goes down. No I/O."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from quintet.core.errors import Overloaded, ShuttingDown
from quintet.core.models import Model

_SMOOTHING = 0.2
"""Weight of the newest duration in the moving average."""
_SHUTDOWN_RETRY_SECONDS = 5.0


@dataclass(slots=True)
class _Load:
    """What one model is busy with."""

    in_flight: int = 0
    average_seconds: float = 1.0


class Ticket:
    """Permission to run one request; a context manager that gives it back exactly once."""

    __slots__ = ("_clock", "_load", "_since", "is_held")

    def __init__(self, load: _Load, clock: Callable[[], float]) -> None:
        load.in_flight += 1
        self._load = load
        self._clock = clock
        self._since = clock()
        self.is_held = True

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release(completed=kind is None)

    def release(self, *, completed: bool) -> None:
        """Give the place back; only completed requests teach how long one takes."""
        if not self.is_held:
            return
        self.is_held = False
        self._load.in_flight -= 1
        if completed:
            taken = self._clock() - self._since
            self._load.average_seconds += _SMOOTHING * (taken - self._load.average_seconds)


class Admission:
    """Counts requests in flight. One event loop, so no locks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loads: dict[str, _Load] = {}
        self._draining = False

    @property
    def is_draining(self) -> bool:
        """Whether no new work is taken."""
        return self._draining

    def admit(self, model: Model) -> Ticket:
        """A ticket at once, or Overloaded or ShuttingDown at once: nobody queues here."""
        if self._draining:
            raise ShuttingDown(
                "The server is going down; try again in a moment.", retry_after=_SHUTDOWN_RETRY_SECONDS
            )
        load = self._loads.setdefault(model.name, _Load())
        if load.in_flight >= model.max_in_flight:
            raise Overloaded(
                "This model has as many requests in flight as it takes; try again after the time in Retry-After.",
                retry_after=retry_after_seconds(load.in_flight, load.average_seconds, model.max_in_flight),
            )
        return Ticket(load, self._clock)

    def in_flight(self, model: Model) -> int:
        """How many tickets of a model are held."""
        load = self._loads.get(model.name)
        return load.in_flight if load else 0

    def drain(self) -> None:
        """Take no new work from now on."""
        self._draining = True


def retry_after_seconds(in_flight: int, average_seconds: float, slots: int) -> float:
    """When a place should be free: whole seconds, 1 to 60 (clients give up on more)."""
    return float(min(60, max(1, math.ceil(in_flight * average_seconds / slots))))
