"""uvicorn's HTTP/1.1 protocol, made safe against clients that send slowly, hugely or nonsense.

uvicorn has no deadline for the receipt of a request and no cap on its headers; both are added here, and
everything refused before a request exists is answered in our error shape.
"""

from __future__ import annotations

import json
import secrets
import socket
from asyncio import TimerHandle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from quintet.server.asgi import CONNECTION
from quintet.server.bans import group_address

MAX_HEADERS = 128
MAX_HEADER_BYTES = 64 * 1024
MAX_URL_BYTES = 16 * 1024
MAX_OVERHEAD_BYTES = 64 * 1024
MAX_OVERHEAD_SHARE = 8
"""Chunk sizes and chunk extensions may have so many bytes, and one more for every eight of the body."""
MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""Of a body that goes on after its request was already refused; many clients read the answer only after it."""

MAX_PIPELINED = 4
"""Requests that may wait behind one that is being answered before no more is read."""


@dataclass(kw_only=True)
class Guard:
    """What all connections of a server share."""

    header_seconds: float = 10.0
    sockets_per_address: Callable[[str], int] = lambda _address: 50
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    on_refused: Callable[[int, str], None] = lambda _status, _address: None
    """Told the status and the peer of every request refused here."""
    sockets: Counter[str] = field(default_factory=Counter)


class _Refused(Exception):
    """A request is refused while it is being parsed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def make_protocol(guard: Guard) -> type[HttpToolsProtocol]:
    """The protocol class for one server."""
    return type("GuardedProtocol", (_GuardedProtocol,), {"guard": guard})


class _GuardedProtocol(HttpToolsProtocol):
    guard: Guard

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timer: TimerHandle | None = None
        self._in_headers = False
        self._header_bytes = 0
        self._wire_bytes = 0
        self._body_bytes = 0
        self._discarded_bytes = 0
        self._unsent_bytes = 0
        self._refusal: _Refused | None = None
        self._peer = self._group = ""
        self._answered: RequestResponseCycle | None = None
        """The request that is being answered; `cycle` is the one that came last, which may still have to wait."""

    # Connection

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        self._group = group_address(self._peer)  # who has one IPv6 address has 2⁶⁴ of them
        self.guard.sockets[self._group] += 1
        if self.guard.sockets[self._group] > self.guard.sockets_per_address(self._peer):
            self._refuse(_Refused(429, "Too many connections from this address. Close some, then try again."))
            return
        _notice_silence(transport.get_extra_info("socket"))
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        self.guard.sockets[self._group] -= 1
        if self.guard.sockets[self._group] <= 0:
            del self.guard.sockets[self._group]
        super().connection_lost(exc)
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self._header_timer is None and self._is_between_requests():
            self._start_header_timer()
        self._unset_keepalive_if_required()
        self._wire_bytes += len(data)
        try:
            self.parser.feed_data(data)
            self._check_sizes(len(data))
        except httptools.HttpParserUpgrade:
            pass  # no protocol to upgrade to; the request is answered as if it had not asked
        except httptools.HttpParserInvalidMethodError:
            self._refuse(_Refused(405, "There is no such method. The Allow header lists those there are."))
        except (httptools.HttpParserError, _Refused) as error:
            cause = error.__context__
            known = error if isinstance(error, _Refused) else cause if isinstance(cause, _Refused) else None
            self._refuse(known or _Refused(400, "This is not a valid HTTP/1.1 request."))

    def _is_between_requests(self) -> bool:
        return not self._in_headers and not self._is_answering()

    def _is_answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _check_sizes(self, received: int) -> None:
        if self._in_headers:
            self._header_bytes += received
            if self._header_bytes > MAX_HEADER_BYTES + MAX_URL_BYTES:
                raise _Refused(431, "The request's headers are too large.")
        elif self._wire_bytes > MAX_OVERHEAD_BYTES + self._body_bytes * (1 + 1 / MAX_OVERHEAD_SHARE):
            raise _Refused(400, "The request's chunks are too small or carry too much beside the body.")

    # Receipt of the headers

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._header_bytes = 0
        self.scope[CONNECTION] = self.transport  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            raise _Refused(414, "The request's URL is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if len(self.headers) > MAX_HEADERS or self._header_bytes > MAX_HEADER_BYTES:
            raise _Refused(431, "The request has too many headers, or too large ones.")

    def on_headers_complete(self) -> None:
        if not self.url.startswith(b"/"):
            raise _Refused(400, "The request's target must be a path that starts with a slash.")
        self._in_headers = False
        self._stop_header_timer()
        self._wire_bytes = self._body_bytes = self._discarded_bytes = 0
        super().on_headers_complete()
        if 0 < len(self.pipeline) <= MAX_PIPELINED:
            self.flow.resume_reading()  # else nobody would notice that the client hung up

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > MAX_DISCARDED_BYTES:
                self.transport.abort()
                return
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_headers and not self.transport.is_closing():
            self._start_header_timer()

    # Deadline

    def _start_header_timer(self) -> None:
        self._stop_header_timer()
        self._header_timer = self.loop.call_later(self.guard.header_seconds, self._on_header_timeout)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _on_header_timeout(self) -> None:
        self._header_timer = None
        self._refuse(_Refused(408, "The request's headers came too slowly."))

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one whose answer is still being read gets another turn, if it moves."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            super().timeout_keep_alive_handler()
        elif unsent == self._unsent_bytes:
            self.transport.abort()
        else:
            self._unsent_bytes = unsent
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # Refusal

    def send_400_response(self, msg: str) -> None:
        self._refuse(_Refused(400, "This is not a valid HTTP/1.1 request."))

    def _refuse(self, refusal: _Refused) -> None:
        """Answer in our shape and close; only where no other answer has begun."""
        self._refusal = refusal
        self._stop_header_timer()
        if self.transport.is_closing():
            return
        answered = self._answered
        if answered is None or answered.response_complete or not answered.response_started:
            self.transport.write(_refusal_bytes(refusal, self.guard.methods))
            self.guard.on_refused(refusal.status, self._peer)
        self.transport.close()


def _notice_silence(connection: Any) -> None:
    """Let the kernel find out within a minute that the other end is gone without a word."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _refusal_bytes(refusal: _Refused, methods: tuple[str, ...]) -> bytes:
    kind = "rate_limit_error" if refusal.status == 429 else "invalid_request_error"
    body = json.dumps(
        {
            "error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.status},
            "error_type": "validation",
            "detail": refusal.message,
        }
    ).encode()
    lines = [
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        f"x-request-id: {secrets.token_hex(12)}",
        "x-should-retry: " + ("true" if refusal.status in (408, 429) else "false"),
        "connection: close",
    ]
    if refusal.status == 405:
        lines.append("allow: " + ", ".join(methods))
    if refusal.status in (408, 429):
        lines.append("retry-after: 1")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
