"""When a worker may be started again after it died or did not load. Pure: the caller brings the time."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 600.0
MAX_CRASHES = 5
"""More deaths than this within the window open the circuit."""
LONGEST_PAUSE_SECONDS = 60.0


class Restarts:
    """The history of one model's worker.

    The first restart comes at once, the next after 1, 2, 4 … 60 s; loads that fail pause from the first time on.
    """

    def __init__(self) -> None:
        self._crashes: deque[float] = deque()
        self._failed_loads = 0
        self._not_before = 0.0

    def crashed(self, now: float) -> None:
        """A loaded worker died."""
        self._failed_loads = 0
        self._crashes.append(now)
        self._forget(now)
        count = len(self._crashes)
        if count > MAX_CRASHES:
            self._not_before = self._crashes[0] + WINDOW_SECONDS
        else:
            self._not_before = now + (0.0 if count == 1 else _pause(count - 1))

    def load_failed(self, now: float) -> None:
        """A worker did not get as far as being loaded."""
        self._failed_loads += 1
        self._not_before = max(self._not_before, now + _pause(self._failed_loads))

    def pause_seconds(self, now: float) -> float:
        """How long to wait before the next start; 0 = start now."""
        return max(0.0, self._not_before - now)

    def is_open(self, now: float) -> bool:
        """Whether the worker died so often that it isn't started again by itself."""
        self._forget(now)
        return len(self._crashes) > MAX_CRASHES

    def _forget(self, now: float) -> None:
        while self._crashes and now - self._crashes[0] >= WINDOW_SECONDS:
            self._crashes.popleft()


def _pause(failures: int) -> float:
    return float(min(LONGEST_PAUSE_SECONDS, 2.0 ** min(failures - 1, 10)))
