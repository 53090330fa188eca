"""One HTTP request and what became of it: filled on the way, read once at the end for the log and the metrics."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Final, Literal

from quintet.core.errors import (
    Banned,
    Forbidden,
    NotReady,
    Overloaded,
    QuintetError,
    RateLimited,
    Unauthenticated,
)
from quintet.core.events import Usage
from quintet.core.identity import Principal
from quintet.server.asgi import Scope

KEY: Final = "quintet.exchange"
"""Where the exchange lies in the ASGI scope."""

Outcome = Literal["ok", "client_error", "refused", "failed", "cancelled"]
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_REFUSALS = (Unauthenticated, Banned, Forbidden, RateLimited, Overloaded, NotReady)


class ClientGone(Exception):
    """The client hung up before its answer was complete."""


@dataclass(slots=True, eq=False)
class Exchange:
    """The record of one request. Times are monotonic seconds."""

    scope: Scope
    request_id: str
    started: float
    address: str = ""
    """The client's address, resolved over trusted proxies."""
    route: str = ""
    """The route's template; never the path itself, which anybody can choose."""
    dialect: str = ""
    principal: Principal | None = None
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    queue_seconds: float | None = None
    first_byte: float | None = None
    status: int = 0
    """Of the answer; 0 while nothing was sent, 499 if the client left before."""
    outcome: Outcome = "ok"
    error_code: str = ""

    @property
    def method(self) -> str:
        """GET, POST and the like."""
        return str(self.scope["method"])

    def headers(self, name: bytes) -> list[bytes]:
        """All values of a request header, given in lower case."""
        return header_values(self.scope, name)

    def fail(self, error: QuintetError) -> None:
        """Note the error that ends this request. What has begun to be answered can't be refused any more."""
        self.error_code = error.code
        if isinstance(error, _REFUSALS) and self.first_byte is None:
            self.outcome = "refused"
        elif error.status < 500:
            self.outcome = "client_error"
        else:
            self.outcome = "failed"

    def cancel(self) -> None:
        """Note that the client hung up."""
        self.outcome, self.error_code = "cancelled", "client_gone"
        if self.status == 0:
            self.status = 499


def begin(scope: Scope) -> Exchange:
    """The record of a request that has just arrived."""
    found = header_values(scope, b"x-request-id")
    is_sane = len(found) == 1 and _SANE_ID.fullmatch(found[0])
    request_id = found[0].decode("ascii") if is_sane else secrets.token_hex(12)
    exchange = Exchange(scope=scope, request_id=request_id, started=time.monotonic())
    scope[KEY] = exchange
    return exchange


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """All values of a request header, given in lower case."""
    return [value for key, value in scope["headers"] if key == name]
