"""Which requests killed workers and are therefore refused for a while. Pure: the caller brings the time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from quintet.core.errors import PoisonRequest
from quintet.core.models import Model
from quintet.core.requests import Request
from quintet.runtime.frames import encode_value

MAX_STRIKES = 2
WINDOW_SECONDS = 600.0
MAX_DIGESTS = 10_000


def digest_of(model: Model, request: Request) -> str:
    """The same for the same work on the same model, whoever asks."""
    anonymous = replace(request, owner="", model=model.name)
    name = type(request).__name__.encode()
    return hashlib.sha256(name + b"\0" + memoryview(encode_value(anonymous))).hexdigest()


@dataclass(frozen=True, slots=True)
class _Strike:
    """What is held against a request."""

    count: int
    time: float
    events: int
    """How many events it had delivered when the worker died."""


class Quarantine:
    """Counts one strike per crash for every request that ran; two within ten minutes and it is refused."""

    def __init__(self) -> None:
        self._strikes: dict[str, _Strike] = {}
        """By digest; least recently struck first."""

    def strike(self, running: Mapping[str, int], now: float) -> None:
        """A worker died while these ran (digest → events delivered)."""
        for digest, events in running.items():
            before = self._strikes.pop(digest, None)
            count = before.count if before and now - before.time < WINDOW_SECONDS else 0
            self._strikes[digest] = _Strike(count + 1, now, events)
        while len(self._strikes) > MAX_DIGESTS:
            del self._strikes[next(iter(self._strikes))]

    def acquit(self, digest: str) -> None:
        """The request got further than where it was when the worker died: somebody else did it."""
        self._strikes.pop(digest, None)

    def is_suspect(self, digest: str, now: float) -> bool:
        """Whether a worker died under it within the window."""
        strike = self._strikes.get(digest)
        return strike is not None and now - strike.time < WINDOW_SECONDS

    def crash_point(self, digest: str) -> int:
        """How many events a suspect had delivered when the worker died; -1 = it is none."""
        strike = self._strikes.get(digest)
        return strike.events if strike else -1

    def check(self, digest: str, now: float) -> None:
        """Raise PoisonRequest if the request is in quarantine."""
        if self.is_suspect(digest, now) and self._strikes[digest].count >= MAX_STRIKES:
            raise PoisonRequest(
                "This very request crashed the engine more than once, so it is refused for ten minutes; "
                "change it, and report it if the model should be able to do it."
            )
