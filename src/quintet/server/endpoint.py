"""One handler for every operation of every dialect: bytes in, a call run, bytes out.

The first event is awaited before the status line is chosen, so a failure before it keeps its true status. A
request has three tasks: this one, which sends; the pump, which iterates the events; and the watch, which
notices that the client hung up. Whoever ends first ends the others, and the engine with them.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from quintet.core.budget import Budget, Loan
from quintet.core.errors import EngineFailed, ModelNotFound, PayloadTooLarge, QuintetError
from quintet.core.events import Outcome
from quintet.core.identity import Principal
from quintet.core.requests import TASKS, Request
from quintet.dialects.base import Call, Incoming, Operation
from quintet.dialects.strict_json import parse_json
from quintet.runtime.service import Service, advise
from quintet.server.addresses import AddressBook
from quintet.server.asgi import Receive, Scope, Send, send_reply
from quintet.server.auth import Gatekeeper
from quintet.server.body import Pace, body_budget, check_json_headers, read_body, too_large
from quintet.server.drain import Drain
from quintet.server.exchange import KEY, ClientGone, Exchange
from quintet.server.files import Files
from quintet.server.forms import form_boundary, parse_form
from quintet.server.inbox import Inbox
from quintet.server.stream import StreamAnswer, Waits

log = logging.getLogger(__name__)

Parsed = TypeVar("Parsed")

CURRENT: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("exchange", default=None)
"""The exchange that the running code works for, so that the meter's record finds its log line."""
STRANGERS_BYTES = 32 * 1024 * 1024
"""Of all large bodies together that are being read to find the key in them: who has none can't use up what the
bodies of others need."""
TOKEN = re.compile(rb'"token"\s*:\s*"([!#-\[\]-~]{1,256})"')
METADATA_HEADER = b"x-quintet-metadata"
OFF = frozenset({b"off", b"false", b"no", b"0"})
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
    files: Files
    addresses: AddressBook
    default_image_model: str = ""
    default_animation_model: str = ""
    default_upscaler: str = ""
    with_metadata: bool = True
    """Whether pictures say in their file how they were made, unless a caller wants it left out."""
    strangers: Budget = field(default_factory=lambda: body_budget(STRANGERS_BYTES))
    """For large bodies of which nobody knows yet whose they are."""
    parsing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Held while a body of more than ALONE_BYTES is parsed."""

    @property
    def seeing_model(self) -> str:
        """The default model for pictures; empty while the catalog has none of its name."""
        return self.default_vision_model if self.default_vision_model in self.service.catalog else ""

    def check_defaults(self, requests: Iterable[Request]) -> None:
        """Raise ModelNotFound, saying what to get, where a setting names a model that the catalog doesn't have."""
        settings = {
            self.default_image_model: "default_image_model",
            self.default_animation_model: "default_animation_model",
            self.default_upscaler: "default_upscaler",
        }
        for request in requests:
            setting = settings.get(request.model)
            if setting and request.model not in self.service.catalog:
                advice = advise(self.service.catalog, TASKS[type(request)], self.service.can_run)
                raise ModelNotFound(
                    f"There is no model {request.model} here, which {setting} names; {advice}", param="model"
                )


class OperationEndpoint:
    """The ASGI application of one operation, and of those that other dialects have on the same path."""

    def __init__(
        self,
        operation: Operation,
        dialect: str,
        house: House,
        claimants: Mapping[str, Operation] | None = None,
    ) -> None:
        """`dialect` is its name in logs and metrics; `claimants`, by their dialects, are asked first, in order."""
        self.operation = operation
        self.dialect = dialect
        self.operations: Mapping[str, Operation] = {**(claimants or {}), dialect: operation}
        self._house = house
        self._takes_tokens = any(each.token_in_body for each in self.operations.values())
        self._max_body_bytes = max(each.max_body_bytes for each in self.operations.values())
        most = min(each.max_bytes_before_auth for each in self.operations.values())
        self._max_bytes_before_auth = min(most, self._max_body_bytes)

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
            await send_reply(send, self.operations[exchange.dialect].refuse(error))
        finally:
            ending = None  # it would refer to this frame, and this frame to it

    async def _accept(self, exchange: Exchange, receive: Receive) -> Accepted:
        """Everything before the work: who asks, and for what. The body counts as held until it is parsed."""
        with self._house.budget.loan() as loan:
            return await self._accept_on(loan, exchange, receive)

    async def _accept_on(self, loan: Loan, exchange: Exchange, receive: Receive) -> Accepted:
        gate = self._house.gate
        if self._takes_tokens and not gate.has_credential(exchange):
            gate.check_ban(exchange)
            body, size = await self._read_unknown(exchange, receive, loan)
            operation = self._claim(exchange, body, size)
            principal = await gate.authenticate(exchange, "key", _take_token(operation, body))
        else:
            principal = await gate.authenticate(exchange, "key")
            body, size = await self._read(exchange, receive, self._max_body_bytes, loan)
            operation = self._claim(exchange, body, size)
            _take_token(operation, body)
        self._house.drain.check()
        incoming = Incoming(
            body=body,
            path=exchange.scope.get("path_params", {}),
            query=_read_query(operation, exchange),
            default_model=self._house.default_model,
            default_vision_model=self._house.seeing_model,
            default_image_model=self._house.default_image_model,
            default_animation_model=self._house.default_animation_model,
            default_upscaler=self._house.default_upscaler,
            request_id=exchange.request_id,
            created=int(time.time()),
            accept=_accepted_types(operation, exchange),
            with_metadata=self._house.with_metadata and not _leaves_metadata_out(exchange),
            publish=self._house.files.publisher(exchange, self._house.addresses),
        )
        call = await self._parse(size, partial(operation.parse, incoming))
        self._house.check_defaults(call.requests)
        return Accepted(exchange=exchange, principal=principal, call=call)

    def _claim(self, exchange: Exchange, body: Any, size: int) -> Operation:
        """The operation that this body is meant for; raises PayloadTooLarge where it takes less than others do."""
        operation = self.operation
        for dialect, each in self.operations.items():
            if each.claims is not None and each.claims(body):
                exchange.dialect, operation = dialect, each
                break
        if size > operation.max_body_bytes:
            raise too_large(operation.max_body_bytes)
        return operation

    async def _read_unknown(self, exchange: Exchange, receive: Receive, loan: Loan) -> tuple[Any, int]:
        """The body of somebody who may still turn out to be nobody, and its size in bytes."""
        gate, most = self._house.gate, self._max_bytes_before_auth
        if not gate.needs_credential(exchange):
            return await self._read(exchange, receive, self._max_body_bytes, loan)
        if most <= ALONE_BYTES:
            return await self._read(exchange, receive, most, loan)
        decode = self._decoder(exchange)
        with self._house.strangers.loan() as strangers_loan:
            box = [await self._receive(exchange, receive, most, strangers_loan)]
            # Nothing so large is parsed for nobody. That it was found at its place is checked once it is parsed.
            found = TOKEN.search(box[0])
            await gate.authenticate(exchange, "key", found and found[1].decode("ascii"))
            loan.take(len(box[0]))
        return await self._parse_box(box, decode)

    async def _read(
        self, exchange: Exchange, receive: Receive, max_bytes: int, loan: Loan
    ) -> tuple[Any, int]:
        """The decoded body and its size in bytes."""
        decode = self._decoder(exchange)
        return await self._parse_box([await self._receive(exchange, receive, max_bytes, loan)], decode)

    async def _receive(self, exchange: Exchange, receive: Receive, max_bytes: int, loan: Loan) -> bytes:
        pace = self._house.pace
        try:
            return await read_body(exchange, receive, max_bytes=max_bytes, pace=pace, loan=loan)
        except PayloadTooLarge:
            if max_bytes < self._max_body_bytes:
                raise PayloadTooLarge(
                    f"Without an Authorization header the body may have {max_bytes // 1024} KiB at most. Send the key "
                    "in the header."
                ) from None
            raise

    async def _parse_box(self, box: list[bytes], decode: Callable[[bytes], object]) -> tuple[Any, int]:
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
            accepted.principal, requests, request_id=request_id, dialect=accepted.exchange.dialect
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


def _take_token(operation: Operation, body: Any) -> object:
    """What stood under `token`, which is taken out, if the operation's dialect has the caller's key there."""
    return body.pop("token", None) if operation.token_in_body and isinstance(body, dict) else None


def _read_query(operation: Operation, exchange: Exchange) -> dict[str, str]:
    """The parameters that the operation reads; where one stands twice, the first counts."""
    if not operation.query:
        return {}
    pairs = parse_qsl(exchange.scope["query_string"].decode("latin-1"))
    return {name: value for name, value in reversed(pairs) if name in operation.query}


def _accepted_types(operation: Operation, exchange: Exchange) -> str:
    if not operation.reads_accept:
        return ""
    return ", ".join(value.decode("latin-1") for value in exchange.headers(b"accept"))


def _leaves_metadata_out(exchange: Exchange) -> bool:
    """Whether the caller wants pictures that don't say how they were made."""
    return any(value.strip().lower() in OFF for value in exchange.headers(METADATA_HEADER))


async def _answer_whole(
    accepted: Accepted, inbox: Inbox, outcomes: Sequence[Outcome], send: Send
) -> BaseException | None:
    await inbox.wait_until_over()
    if inbox.error is not None:
        return inbox.error
    try:
        large = sum(len(media.data) for outcome in outcomes for media in outcome.media) > ALONE_BYTES
        whole = accepted.call.renderer.whole
        # Files in base64, or on their way to the disk, would keep the event loop from everybody else.
        reply = await asyncio.to_thread(whole, outcomes) if large else whole(outcomes)
    except QuintetError as error:
        return error
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
