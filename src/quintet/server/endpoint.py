"""One handler for every operation of every dialect: bytes in, a call run, bytes out.

The first event is awaited before the status line is chosen, so a failure before it keeps its true status. A
request has three tasks: this one, which sends; the pump, which iterates the events; and the watch, which
notices that the client hung up. Whoever ends first ends the others, and the engine with them.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from quintet.core.errors import EngineFailed, PayloadTooLarge, QuintetError
from quintet.core.events import Outcome
from quintet.core.identity import Principal
from quintet.core.requests import Request
from quintet.dialects.base import Call, Incoming, Operation
from quintet.dialects.strict_json import parse_json
from quintet.runtime.service import Service
from quintet.server.asgi import Receive, Scope, Send, send_reply
from quintet.server.auth import Gatekeeper
from quintet.server.body import Budget, Loan, Pace, check_json_headers, read_body
from quintet.server.drain import Drain
from quintet.server.exchange import KEY, ClientGone, Exchange
from quintet.server.forms import form_boundary, parse_form
from quintet.server.inbox import Inbox
from quintet.server.stream import StreamAnswer, Waits

log = logging.getLogger(__name__)

Parsed = TypeVar("Parsed")

CURRENT: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("exchange", default=None)
"""The exchange that the running code works for, so that the meter's record finds its log line."""
MAX_BYTES_BEFORE_AUTH = 64 * 1024
"""Of a body that must be read to find the credential in it."""
ALONE_BYTES = 64 * 1024
"""Larger bodies are parsed off the event loop, and one at a time: each takes its size in memory again, and threads
that parse side by side would only keep the interpreter from the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A request that may run."""

    exchange: Exchange
    principal: Principal
    call: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What every endpoint of a server shares."""

    service: Service
    gate: Gatekeeper
    drain: Drain
    default_model: str
    default_vision_model: str
    pace: Pace
    waits: Waits
    budget: Budget
    parsing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Held while a body of more than ALONE_BYTES is parsed."""

    @property
    def seeing_model(self) -> str:
        """The default model for pictures; empty while the catalog has none of its name."""
        return self.default_vision_model if self.default_vision_model in self.service.catalog else ""


class OperationEndpoint:
    """The ASGI application of one operation."""

    def __init__(self, operation: Operation, dialect: str, house: House) -> None:
        """`dialect` is its name in logs and metrics."""
        self.operation = operation
        self.dialect = dialect
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; errors become this dialect's words."""
        exchange: Exchange = scope[KEY]
        exchange.route, exchange.dialect = self.operation.path, self.dialect
        CURRENT.set(exchange)
        try:
            ending = await self._run(await self._accept(exchange, receive), receive, send)
            if ending is not None:
                raise ending
        except QuintetError as error:
            exchange.fail(error)
            await send_reply(send, self.operation.refuse(error))
        finally:
            ending = None  # it would refer to this frame, and this frame to it

    async def _accept(self, exchange: Exchange, receive: Receive) -> Accepted:
        """Everything before the work: who asks, and for what. The body counts as held until it is parsed."""
        with self._house.budget.loan() as loan:
            return await self._accept_on(loan, exchange, receive)

    async def _accept_on(self, loan: Loan, exchange: Exchange, receive: Receive) -> Accepted:
        gate = self._house.gate
        if self.operation.token_in_body and not gate.has_credential(exchange):
            gate.check_ban(exchange)
            body, size = await self._read(exchange, receive, self._max_bytes_unknown(exchange), loan)
            token = body.pop("token", None) if isinstance(body, dict) else None
            principal = await gate.authenticate(exchange, "key", token)
        else:
            principal = await gate.authenticate(exchange, "key")
            body, size = await self._read(exchange, receive, self.operation.max_body_bytes, loan)
            if self.operation.token_in_body and isinstance(body, dict):
                body.pop("token", None)
        self._house.drain.check()
        incoming = Incoming(
            body=body,
            path=exchange.scope.get("path_params", {}),
            query=self._query(exchange),
            default_model=self._house.default_model,
            default_vision_model=self._house.seeing_model,
            request_id=exchange.request_id,
            created=int(time.time()),
        )
        call = await self._parse(size, partial(self.operation.parse, incoming))
        return Accepted(exchange=exchange, principal=principal, call=call)

    def _query(self, exchange: Exchange) -> dict[str, str]:
        """The parameters that the operation reads; where one stands twice, the first counts."""
        if not self.operation.query:
            return {}
        pairs = parse_qsl(exchange.scope["query_string"].decode("latin-1"))
        return {name: value for name, value in reversed(pairs) if name in self.operation.query}

    def _max_bytes_unknown(self, exchange: Exchange) -> int:
        """The cap for somebody who may still turn out to be nobody."""
        if self._house.gate.needs_credential(exchange):
            return min(MAX_BYTES_BEFORE_AUTH, self.operation.max_body_bytes)
        return self.operation.max_body_bytes

    async def _read(
        self, exchange: Exchange, receive: Receive, max_bytes: int, loan: Loan
    ) -> tuple[Any, int]:
        """The decoded body and its size in bytes."""
        decode = self._decoder(exchange)
        pace = self._house.pace
        try:
            box = [await read_body(exchange, receive, max_bytes=max_bytes, pace=pace, loan=loan)]
        except PayloadTooLarge:
            if max_bytes < self.operation.max_body_bytes:
                raise PayloadTooLarge(
                    "Without an Authorization header the body may have 64 KiB at most. Send the key in the header."
                ) from None
            raise
        size = len(box[0])
        # Out of the box, so that the bytes needn't stay until the last value is made of them.
        return await self._parse(size, lambda: decode(box.pop())), size

    async def _parse(self, size: int, work: Callable[[], Parsed]) -> Parsed:
        """What `work` makes of a body of this size, where it disturbs others least."""
        if size <= ALONE_BYTES:
            return work()
        async with self._house.parsing:
            return await asyncio.to_thread(work)

    def _decoder(self, exchange: Exchange) -> Callable[[bytes], object]:
        """What understands the body; raises UnsupportedMediaType."""
        boundary = form_boundary(exchange) if self.operation.accepts_form else None
        if boundary is not None:
            return partial(parse_form, boundary=boundary)
        check_json_headers(exchange, or_form=self.operation.accepts_form)
        return parse_json

    async def _run(self, accepted: Accepted, receive: Receive, send: Send) -> BaseException | None:
        """Run the call, and answer it; returns an error only while no status line is sent, or if the client left.

        Raised from here, it would keep this frame in memory, and with it what the cancelled pump worked on.
        """
        # The list is emptied by the service: what came in need not stay in memory until the answer ends.
        requests = list(accepted.call.requests)
        accepted = replace(accepted, call=replace(accepted.call, requests=()))
        exchange, call = accepted.exchange, accepted.call
        inbox = Inbox()
        outcomes = None if call.stream else [Outcome() for _ in requests]
        with self._house.drain.counted(inbox.drop):
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(self._pump(accepted, requests, inbox, outcomes))
                watch = tasks.create_task(watch_client(receive, inbox))
                try:
                    if outcomes is None:
                        stream = StreamAnswer(
                            exchange, call.renderer, send, self._house.waits, is_bare=call.is_bare
                        )
                        error = await stream.deliver(inbox)
                    else:
                        error = await _answer_whole(accepted, inbox, outcomes, send)
                finally:
                    pump.cancel()
                    watch.cancel()
        return error

    async def _pump(
        self, accepted: Accepted, requests: list[Request], inbox: Inbox, outcomes: list[Outcome] | None
    ) -> None:
        """Task: iterate the events of the call into the inbox, or fold them for a whole answer."""
        request_id = accepted.exchange.request_id
        run = self._house.service.run_all(
            accepted.principal, requests, request_id=request_id, dialect=self.dialect
        )
        error: BaseException | None = None
        try:
            async with aclosing(run) as events:
                async for index, event in events:
                    if outcomes is None:
                        await inbox.put((index, event))
                    else:
                        outcomes[index].add(event)
        except QuintetError as failure:
            # Its frames hold this request's pictures, and this frame holds it: only the collector would end that.
            error = failure.with_traceback(None)
        except Exception:
            log.exception("request %s: unexpected failure", request_id)
            error = EngineFailed("The server failed on this request, which is not to blame. Try again.")
        inbox.end(error)


async def _answer_whole(
    accepted: Accepted, inbox: Inbox, outcomes: Sequence[Outcome], send: Send
) -> BaseException | None:
    await inbox.wait_until_over()
    if inbox.error is not None:
        return inbox.error
    try:
        reply = accepted.call.renderer.whole(outcomes)
    except Exception:
        log.exception("request %s: its answer could not be rendered", accepted.exchange.request_id)
        return EngineFailed("The server could not write this answer. Try again.")
    accepted.exchange.first_byte = time.monotonic()
    await send_reply(send, reply)
    return None


async def watch_client(receive: Receive, inbox: Inbox) -> None:
    """Task: end the request when the client hangs up."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            inbox.drop(ClientGone())
            return
