"""What became of every request: exactly one record each, handed to a sink. What the sink does is not our concern."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal

from quintet.core.errors import (
    Forbidden,
    NotReady,
    Overloaded,
    QuintetError,
    RateLimited,
    RequestTimeout,
)
from quintet.core.events import Event, Finished, Media, Segment, Token, Usage
from quintet.core.identity import Principal

log = logging.getLogger(__name__)

Ending = Literal["ok", "client_error", "refused", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request and how it ended. Times in milliseconds."""

    request_id: str
    dialect: str
    kind: str
    """Class name of the domain request."""
    model: str
    """Catalog name; empty if the request named none we know."""
    owner: str
    key_id: str
    tier: str
    ending: Ending
    code: str
    """The error's code; empty if all went well or the caller left."""
    usage: Usage
    queue_ms: float
    """From arrival until the work was handed to a loaded worker."""
    first_event_ms: float | None
    """From arrival until the first event."""
    run_ms: float
    """From arrival until the end."""


OK: tuple[Ending, str] = ("ok", "")

Sink = Callable[[Record], None]


class Meter:
    """Opens an entry per request."""

    def __init__(self, sink: Sink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._clock = clock

    def open(self, principal: Principal, *, request_id: str, dialect: str, kind: str) -> Entry:
        """Start the account of one request; use as a context manager."""
        return Entry(self._sink, self._clock, principal, request_id, dialect, kind)


class Entry:
    """The account of one request; leaving the context writes the record, whatever happened."""

    def __init__(
        self,
        sink: Sink,
        clock: Callable[[], float],
        principal: Principal,
        request_id: str,
        dialect: str,
        kind: str,
    ) -> None:
        self.model = ""
        self._sink = sink
        self._clock = clock
        self._principal = principal
        self._names = (request_id, dialect, kind)
        self._arrived = clock()
        self._started: float | None = None
        self._first: float | None = None
        self._tokens = 0
        self._seconds = 0.0
        self._files = 0
        self._finished: Finished | None = None

    def __enter__(self) -> Entry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now = self._clock()
        request_id, dialect, request_kind = self._names
        # A caller that leaves after the last event has had its whole answer.
        ending, code = OK if self._finished else ending_of(error)
        record = Record(
            request_id=request_id,
            dialect=dialect,
            kind=request_kind,
            model=self.model,
            owner=self._principal.owner,
            key_id=self._principal.key_id,
            tier=self._principal.tier,
            ending=ending,
            code=code,
            usage=self._usage(),
            queue_ms=_milliseconds((self._started or now) - self._arrived),
            first_event_ms=None if self._first is None else _milliseconds(self._first - self._arrived),
            run_ms=_milliseconds(now - self._arrived),
        )
        try:
            self._sink(record)
        except Exception:  # a full disk must not fail a request that is answered
            log.exception("request %s: its record could not be written", request_id)

    def started(self) -> None:
        """The work goes to a loaded worker now."""
        self._started = self._clock()

    def saw(self, event: Event) -> None:
        """Count an event that is being delivered."""
        if self._first is None:
            self._first = self._clock()
        kind = type(event)
        if kind is Token:
            self._tokens += 1
        elif kind is Finished:
            self._finished = event  # type: ignore[assignment]
        elif kind is Media:
            self._files += 1
        elif isinstance(event, Segment):
            self._seconds = event.end

    def _usage(self) -> Usage:
        """What the engine reported, or else what was delivered until the request broke off."""
        if self._finished is not None:
            return self._finished.usage
        return replace(
            Usage(), completion_tokens=self._tokens, images=self._files, audio_seconds=self._seconds
        )


def ending_of(error: BaseException | None) -> tuple[Ending, str]:
    """How a request ended that left its context with this error, and the code to note."""
    match error:
        case None:
            return "failed", "incomplete"  # the engine broke the grammar: no Finished came
        case GeneratorExit() | asyncio.CancelledError():
            return "cancelled", ""
        case Overloaded() | RateLimited() | NotReady() | Forbidden():
            return "refused", error.code
        case RequestTimeout():
            return "cancelled", error.code
        case QuintetError(status=status) if status < 500:
            return "client_error", error.code
        case QuintetError():
            return "failed", error.code
        case _:
            return "failed", "internal_error"


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
