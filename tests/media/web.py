"""A small internet on one loopback socket: names, public addresses, and hosts that answer as the test says."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from quintet.core.errors import InvalidRequest
from quintet.media.containers import sniff
from quintet.media.fetch import Fetcher, FetchPolicy, Streams, open_pinned

PUBLIC = "93.184.216.34"
PUBLIC_V6 = "2606:2800:220:1::1"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
"""Begins like a PNG, which is all that a fetch looks at."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def is_picture(start: bytes) -> bool:
    """What the caller of a fetch wants."""
    return sniff(start) is not None


def answer(body: bytes = PICTURE, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def redirect(location: str, status: int = 302) -> bytes:
    """An answer that points elsewhere."""
    return answer(b"gone", f"Location: {location}", status=f"{status} Elsewhere")


@dataclass
class Web:
    """Use it as `async with Web.open()`; every host is served by the same socket."""

    names: dict[str, list[str]] = field(default_factory=dict)
    """What the resolver says; other names have the address PUBLIC."""
    answers: dict[str, bytes | Handler] = field(default_factory=dict)
    """By path, or by host and path as in "b.example/x"; other paths give PICTURE."""
    closed: set[str] = field(default_factory=set)
    """Addresses that refuse connections."""
    dialled: list[tuple[str, int]] = field(default_factory=list)
    """Every connection that was asked for."""
    server_names: list[str] = field(default_factory=list)
    lookups: Counter[str] = field(default_factory=Counter)
    requests: list[bytes] = field(default_factory=list)
    """Heads of all requests."""
    open_now: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)
    """By host; "" is all together."""
    port: int = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, tls: ssl.SSLContext | None = None) -> AsyncGenerator["Web"]:
        """Serve until the block ends."""
        web = cls()
        server = await asyncio.start_server(web._serve, "127.0.0.1", 0, ssl=tls)
        web.port = server.sockets[0].getsockname()[1]
        try:
            yield web
        finally:
            server.close()

    def fetcher(self, **policy: Any) -> Fetcher:
        """A fetcher that lives in this internet; it tells failures at once unless the policy says otherwise."""
        options = {
            name: policy.pop(name) for name in ("resolver", "connect", "tls", "rules") if name in policy
        }
        options = {"resolver": self.resolve, "connect": self.connect} | options
        return Fetcher(FetchPolicy(**({"floor_seconds": 0.0} | policy)), **options)

    async def resolve(self, name: str) -> list[str]:
        self.lookups[name] += 1
        found = self.names.get(name, [PUBLIC])
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return found

    async def connect(self, address: str, port: int, tls: ssl.SSLContext | None, name: str) -> Streams:
        self.dialled.append((address, port))
        if address in self.closed:
            raise ConnectionRefusedError
        if tls is not None:
            self.server_names.append(name)
        return await open_pinned("127.0.0.1", self.port, tls, name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = ""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            host, path = header(head, "host"), head.split(b" ")[1].decode()
            for key in ("", host):
                self.open_now[key] += 1
                self.most_at_once[key] = max(self.most_at_once[key], self.open_now[key])
            try:
                said = self.answers.get(host + path, self.answers.get(path, answer()))
                if isinstance(said, bytes):
                    writer.write(said)
                    await writer.drain()
                else:
                    await said(reader, writer)
            finally:
                for key in ("", host):
                    self.open_now[key] -= 1
        writer.transport.abort() if writer.transport.is_closing() else writer.close()


@dataclass
class Inside:
    """A service of this machine that no link may reach; counts who does."""

    port: int = 0
    connections: int = 0

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncGenerator["Inside"]:
        """Listens until the block is left."""
        inside = cls()

        async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inside.connections += 1
            writer.close()

        listener = await asyncio.start_server(count, "127.0.0.1", 0)
        inside.port = listener.sockets[0].getsockname()[1]
        try:
            yield inside
        finally:
            listener.close()


def header(head: bytes, name: str) -> str:
    """The value of one header; empty if it isn't there."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return ""


async def get(fetcher: Fetcher, url: str = "http://a.example/x", owner: str = "") -> bytes:
    """Fetch a picture."""
    return await fetcher.fetch(url, field="image", wanted=is_picture, owner=owner)


async def refusal(fetcher: Fetcher, url: str = "http://a.example/x") -> InvalidRequest:
    """The error that a link is refused with."""
    with pytest.raises(InvalidRequest) as caught:
        await get(fetcher, url)
    assert caught.value.param == "image"
    assert caught.value.message.startswith("`image` ")
    return caught.value


async def assert_fails(fetcher: Fetcher, url: str = "http://a.example/x", reason: str = "") -> None:
    """It fails in the constant words; `reason` is what the operator is told."""
    before = +fetcher.outcomes
    error = await refusal(fetcher, url)
    assert error.code == "fetch_failed"
    policy = fetcher._policy
    assert error.message == (
        "`image` holds a link that could not be fetched. It must be public, answer 200 with an accepted kind of file "
        f"of at most {policy.max_bytes // 2**20} MiB within {policy.total_seconds:g} seconds. "
        "Or send the data itself as a data URL."
    )
    assert (error.__cause__, error.__context__) == (None, None)
    told = fetcher.outcomes - before
    assert sum(told.values()) == 1
    assert not reason or set(told) == {reason}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces; fails after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never answer, until the other side goes."""
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An endless head, byte by byte."""
    for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 10_000:
        writer.write(bytes((letter,)))
        await writer.drain()
        await asyncio.sleep(0.02)


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body without an end, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + PICTURE)
    while True:
        writer.write(bytes(65536))
        await writer.drain()


async def pour_crumbs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Chunks of one byte."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n108\r\n" + PICTURE + b"\r\n")
    while True:
        writer.write(b"1\r\nx\r\n" * 5000)
        await writer.drain()


async def pour_heads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Early hints without an end."""
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
        await writer.drain()
