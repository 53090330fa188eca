"""Speaks HTTP with one foreign server, and with no other: no redirects, no proxies, nothing unbounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, cast

import httpx

from quintet.core.errors import QuintetError
from quintet.engines.upstream.failures import (
    MAX_BODY_BYTES,
    error_in_stream,
    error_of_status,
    error_of_transport,
    late,
)
from quintet.engines.upstream.flavours import Served, recognise
from quintet.engines.upstream.options import Upstream
from quintet.engines.upstream.sse import LineCutter, decode_object, malformed

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of an answer that comes as a whole: embeddings of many texts."""
_CONNECT_SECONDS = 5.0
_DRAIN_SECONDS, _DRAIN_PIECES = 0.05, 8
_MAX_CONNECTIONS = 1024
_KEEP_ALIVE_SECONDS = 2.0
"""Less than servers keep idle connections open."""


class Client:
    """Lives on one event loop."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        headers = {"accept-encoding": "identity", "user-agent": "quintet"}
        if upstream.key:
            headers["authorization"] = f"Bearer {upstream.key}"
        read_seconds = upstream.options.read_seconds
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(read_seconds, connect=_CONNECT_SECONDS, pool=_CONNECT_SECONDS),
            limits=httpx.Limits(
                max_connections=_MAX_CONNECTIONS,
                max_keepalive_connections=32,
                keepalive_expiry=_KEEP_ALIVE_SECONDS,
            ),
            follow_redirects=False,
            trust_env=False,
        )
        self.heard = 0
        """Grows whenever the server works on a request. Its metrics may well be served while it can't."""

    async def is_healthy(self) -> bool:
        """Whether it answers that it can work."""
        try:
            await self._whole("GET", self._upstream.health_url, seconds=self._upstream.options.health_seconds)
        except QuintetError:
            return False
        return True

    async def recognise(self) -> Served:
        """What kind of server it is and which model it has; raises QuintetError if it can't be asked."""
        options = self._upstream.options
        try:
            body = await self._whole("GET", f"{self._upstream.url}/models", seconds=options.health_seconds)
            listing: object = decode_object(body)
        except QuintetError as error:
            if error.code not in ("upstream_model_not_found", "upstream_malformed"):
                raise
            listing = {}  # it has no such list
        return recognise(listing, options.upstream_model, options.server)

    async def ask(self, path: str, body: dict[str, Any], *, at_root: bool = False) -> dict[str, Any]:
        """A whole answer; raises QuintetError."""
        base = self._upstream.root if at_root else self._upstream.url
        data = await self._whole("POST", base + path, body)
        self.heard += 1
        return decode_object(data)

    async def metrics(self) -> bytes:
        """Its metrics as text; raises QuintetError."""
        url = self._upstream.metrics_url
        return await self._whole("GET", url, seconds=self._upstream.options.health_seconds, most=1024 * 1024)

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The pieces of a streamed answer up to its end mark or its end; closing it closes the connection."""
        begun = False
        cutter = LineCutter()
        try:
            async with aclosing(await self._send("POST", self._upstream.url + path, body)) as response:
                await self._check(response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise malformed()
                async with _pieces(response) as pieces:
                    async for data in pieces:
                        self.heard += 1
                        for value in cutter.feed(data):
                            if isinstance(value, str):
                                await _drain(pieces)
                                return
                            begun = True
                            yield _checked(value)
                rest = cutter.rest
                if rest is not None and not isinstance(rest, str):
                    yield _checked(rest)
        except httpx.HTTPError as error:
            raise error_of_transport(error, begun=begun) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def _whole(
        self,
        method: str,
        url: str,
        body: dict[str, Any] | None = None,
        *,
        seconds: float | None = None,
        most: int = MAX_ANSWER_BYTES,
    ) -> bytes:
        """A whole body; `seconds` are for all of it, as a server that drips must not be waited for."""
        try:
            async with (
                asyncio.timeout(seconds),
                aclosing(await self._send(method, url, body, seconds)) as response,
            ):
                await self._check(response)
                return await _read(response, most)
        except TimeoutError:
            raise late() from None
        except httpx.HTTPError as error:
            raise error_of_transport(error, begun=False) from error

    async def _send(
        self, method: str, url: str, body: dict[str, Any] | None, seconds: float | None = None
    ) -> httpx.Response:
        """The beginning of an answer. Once more if the connection was an old one that the server had given up."""
        timeout = httpx.USE_CLIENT_DEFAULT if seconds is None else httpx.Timeout(seconds)
        request = self._http.build_request(method, url, json=body, timeout=timeout)
        try:
            return await self._http.send(request, stream=True)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            again = self._http.build_request(method, url, json=body, timeout=timeout)
            return await self._http.send(again, stream=True)

    async def _check(self, response: httpx.Response) -> None:
        """Raise for everything but a plain 200."""
        if response.status_code != 200:
            body = b""
            if 400 <= response.status_code < 500:
                body = await _read(response, MAX_BODY_BYTES)
            raise error_of_status(response.status_code, response.headers, body)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise malformed()


def _pieces(response: httpx.Response) -> aclosing[AsyncGenerator[bytes]]:
    """The body as it comes, undecoded; httpx calls a generator an iterator."""
    return aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw()))


async def _drain(pieces: AsyncGenerator[bytes]) -> None:
    """Read what little follows the end mark, so that the connection can be used again."""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            for _ in range(_DRAIN_PIECES):
                if not await anext(pieces, b""):
                    return


async def _read(response: httpx.Response, most: int) -> bytes:
    data = bytearray()
    async with _pieces(response) as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > most:
                raise malformed()
    return bytes(data)


def _checked(value: dict[str, Any]) -> dict[str, Any]:
    if value.get("error"):
        raise error_in_stream(value["error"])
    return value
