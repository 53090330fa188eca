"""A small HTTP client for measuring: it reads as little as a client can, so that the server is what is measured."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answered:
    """One answer: when its bytes came (seconds after the request was sent), and how many events it had."""

    first_byte: float = 0.0
    whole: float = 0.0
    events: int = 0
    status: int = 0
    body: bytes = b""
    arrivals: list[float] = field(default_factory=list)


async def post(
    port: int, path: str, body: dict[str, Any] | bytes, *, stream: bool, arrivals: bool = False
) -> Answered:
    """Send one request, a body that may be encoded already, on a connection of its own; read the answer to its end."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(payload)}\r\nconnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = Answered()
    begin = time.perf_counter()
    writer.write(head.encode() + payload)
    try:
        while chunk := await reader.read(65536):
            now = time.perf_counter() - begin
            if not answered.first_byte:
                answered.first_byte = now
                answered.status = int(chunk[9:12])
            if stream:
                answered.events += chunk.count(b"data: ")
                if arrivals:
                    answered.arrivals.append(now)
                answered.body = (answered.body + chunk)[-64:]
            else:
                answered.body += chunk
        answered.whole = time.perf_counter() - begin
    finally:
        writer.close()
    return answered


class Connection:
    """A kept-alive connection for whole answers of known length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        """Use `open`."""
        self._reader, self._writer, self._port = reader, writer, port

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a server on this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port), port)

    async def post(self, path: str, payload: bytes) -> tuple[int, float]:
        """Status and seconds of one whole answer."""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(payload)}\r\n\r\n"
        )
        begin = time.perf_counter()
        self._writer.write(head.encode() + payload)
        headers = await self._reader.readuntil(b"\r\n\r\n")
        length = int(headers.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await self._reader.readexactly(length)
        return int(headers[9:12]), time.perf_counter() - begin

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
