"""How a pull tells how far it is: to a function in its own process, and as JSON lines to another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

import msgspec

from quintet.core.errors import QuintetError
from quintet.core.events import Progress

Report = Callable[[Progress], None]
"""Is told how far a pull is; stages are look, wait, download, copy, check, convert and install, in bytes or steps."""

INTERVAL_SECONDS = 0.2


class Advanced(msgspec.Struct, frozen=True, tag="progress"):
    """The pull is so far."""

    stage: str
    done: float
    total: float


class Ended(msgspec.Struct, frozen=True, tag="installed"):
    """The pull is over, and the model is installed; `already` = it was before."""

    name: str
    size: int
    revision: str
    already: bool


class Failed(msgspec.Struct, frozen=True, tag="error"):
    """The pull is over without a model."""

    message: str
    code: str
    status: int = 500
    kind: str = "server_error"


Line = Advanced | Ended | Failed
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode_line(line: Line) -> bytes:
    """One line of JSON with its end."""
    return msgspec.json.encode(line) + b"\n"


def decode_line(data: bytes) -> Line | None:
    """What a line says; None if it is none of ours."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        return None


def failed(error: QuintetError) -> Failed:
    """An error as a line."""
    return Failed(message=error.message, code=error.code, status=error.status, kind=error.kind)


def error_of(line: Failed) -> QuintetError:
    """The error that a line says."""
    error = QuintetError(line.message, code=line.code)
    error.status, error.kind = line.status, line.kind
    return error


class Counter:
    """Adds up what several threads have done in one stage, and reports it a few times a second."""

    def __init__(self, report: Report, stage: str, total: int) -> None:
        self._report = report
        self._stage = stage
        self._total = total
        self._done = 0
        self._said_at = 0.0
        self._lock = Lock()
        report(Progress(stage, 0, total))

    def advance(self, size: int) -> None:
        """So many units more are done."""
        with self._lock:
            self._done += size
            now = time.monotonic()
            if self._done < self._total and now - self._said_at < INTERVAL_SECONDS:
                return
            self._said_at = now
            self._report(Progress(self._stage, self._done, self._total))
