"""Reads the body of a request: under a cap, within deadlines, and only where its type and encoding are ours."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from quintet.core.budget import Budget, Loan
from quintet.core.errors import Overloaded, PayloadTooLarge, RequestTimeout, UnsupportedMediaType
from quintet.server.asgi import Receive
from quintet.server.exchange import ClientGone, Exchange

_JSON = re.compile(rb'application/json\s*(?:;\s*charset\s*=\s*"?utf-?8"?\s*)?', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How slowly a body may come."""

    total_seconds: float = 60.0
    bytes_per_second: float = 1024.0
    grace_seconds: float = 5.0
    """The rate counts from here on."""


def body_budget(max_bytes: int) -> Budget:
    """How many bytes of bodies a server holds at once, over all requests."""
    return Budget(
        max_bytes,
        lambda: Overloaded(
            "Too many large requests are being received. Try again in a moment.", retry_after=2
        ),
    )


def check_json_headers(exchange: Exchange, *, or_form: bool = False) -> None:
    """Raise UnsupportedMediaType unless the body is plain JSON in UTF-8; `or_form` says that a form would do too."""
    check_encoding(exchange)
    types = exchange.headers(b"content-type")
    if len(types) != 1 or not _JSON.fullmatch(types[0].strip()):
        accepted = "JSON, or multipart/form-data" if or_form else "JSON"
        raise UnsupportedMediaType(
            f"The body must be {accepted}. Send it with Content-Type: application/json."
        )


def check_encoding(exchange: Exchange) -> None:
    """Raise UnsupportedMediaType if the body is compressed."""
    encodings = exchange.headers(b"content-encoding")
    if any(encoding.strip().lower() not in (b"", b"identity") for encoding in encodings):
        raise UnsupportedMediaType(
            "Compressed request bodies are not accepted. Send it without Content-Encoding."
        )


async def read_body(
    exchange: Exchange,
    receive: Receive,
    *,
    max_bytes: int,
    pace: Pace,
    loan: Loan,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """The whole body; raises PayloadTooLarge, RequestTimeout, Overloaded or ClientGone."""
    announced = exchange.headers(b"content-length")
    if announced and announced[0].isdigit() and int(announced[0]) > max_bytes:
        raise too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    began = clock()
    while True:
        try:
            async with asyncio.timeout(_patience(size, clock() - began, pace)):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout("The request body came too slowly. Send it faster, or send less.") from None
        if message["type"] != "http.request":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        loan.take(len(chunk))
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


def _patience(size: int, elapsed: float, pace: Pace) -> float:
    """How long the next piece may take until the whole is late or too slow."""
    until_total = pace.total_seconds - elapsed
    if pace.bytes_per_second <= 0:
        return until_total
    until_rate = max(pace.grace_seconds, size / pace.bytes_per_second) - elapsed
    return min(until_total, until_rate)


def too_large(max_bytes: int) -> PayloadTooLarge:
    """What to answer to a body above a cap."""
    return PayloadTooLarge(f"The body is larger than the {max_bytes} bytes accepted here. Send less.")
