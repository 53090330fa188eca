"""The routes that manage models: which there are, pull one, remove one. For admin keys and the local principal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import parse_qs

from pydantic import ConfigDict, Field

from quintet.core.errors import Conflict, QuintetError
from quintet.core.events import Event, Outcome, Progress
from quintet.core.models import ModelState, ModelStatus
from quintet.dialects import sse
from quintet.dialects.base import Reply
from quintet.dialects.strict_json import parse_json
from quintet.dialects.validation import WireModel, check
from quintet.server.asgi import Receive, Scope, Send, send_reply
from quintet.server.body import check_json_headers, read_body
from quintet.server.endpoint import House, watch_client
from quintet.server.exchange import KEY, Exchange
from quintet.server.inbox import Inbox
from quintet.server.pulls import Pulls, PullState
from quintet.server.shelf import Shelf
from quintet.server.stream import StreamAnswer
from quintet.weights.library import Installed
from quintet.weights.order import Precision, make_order

MAX_BODY_BYTES = 16 * 1024

Act = Callable[[Exchange, Receive, Send], Awaitable[None]]


class PullBody(WireModel):
    """What is to be pulled."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=200)
    """A name or alias of the catalog, or owner/name of a repository on the hub."""
    revision: str = Field(default="", max_length=200)
    """Branch, tag or commit; it is pinned to the commit. Default: what the catalog says, else main."""
    precision: Precision | Literal[""] = ""
    """What the weights are stored in after a conversion: int8, int4 or fp16."""
    source: int | None = Field(default=None, ge=1)
    """Which of the catalog's sources, counted from 1. Default: the best for this server."""


class AdminEndpoint:
    """The ASGI application of one managing action."""

    def __init__(self, act: Act, house: House, schema: type[WireModel] | None = None) -> None:
        """`act` answers; `schema` is its body's, for /docs."""
        self._act = act
        self._house = house
        self.schema = schema
        self.path = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check who asks, and act."""
        exchange: Exchange = scope[KEY]
        exchange.route = self.path
        await self._house.gate.authenticate(exchange, "admin")
        await self._act(exchange, receive, send)


class Admin:
    """What may be done to the models of one server."""

    def __init__(self, house: House, shelf: Shelf, pulls: Pulls, refresh: Callable[[], None]) -> None:
        """`refresh` takes over what is installed now."""
        self._house = house
        self._shelf = shelf
        self._pulls = pulls
        self._refresh = refresh

    async def list(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """GET /admin/models: every model, what is installed of it, and how far its pull is."""
        here = {one.manifest.name: one for one in await asyncio.to_thread(self._shelf.library.installed)}
        statuses = self._house.service.models()
        rows = [
            _row(status, here.get(status.model.name), self._pull(status.model.name)) for status in statuses
        ]
        known = {status.model.name for status in statuses}
        rows += [describe(pull) for name, pull in self._pulls.states.items() if name not in known]
        await send_reply(send, Reply(body=sse.encode_json({"models": rows})))

    async def pull(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """POST /admin/models/pull: 202 with the state, or its progress as a stream."""
        body = check(PullBody, await self._read(exchange, receive))
        self._house.drain.check()
        order = make_order(
            body.model,
            self._shelf.find_known,
            self._shelf.known.nearest,
            revision=body.revision,
            precision=body.precision,
            source=body.source,
            directories=False,
        )
        state = self._pulls.start(order)
        if _wants_stream(exchange):
            await self._stream(state, exchange, receive, send)
        else:
            await send_reply(send, Reply(body=sse.encode_json(describe(state)), status=202))

    async def remove(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """DELETE /admin/models/{model}: what is being answered with it is finished, then it is unloaded."""
        name = exchange.scope["path_params"]["model"]
        name = self._house.service.catalog.aliases.get(name, name)
        if self._pulls.is_running(name):
            raise Conflict(f"{name} is being pulled. Wait until that is over, then remove it.")
        freed = await asyncio.to_thread(self._shelf.library.remove, name)
        self._refresh()
        await send_reply(
            send, Reply(body=sse.encode_json({"model": name, "state": "absent", "freed_bytes": freed}))
        )

    def _pull(self, name: str) -> PullState | None:
        return self._pulls.states.get(name)

    async def _read(self, exchange: Exchange, receive: Receive) -> Any:
        check_json_headers(exchange)
        with self._house.budget.loan() as loan:
            body = await read_body(
                exchange, receive, max_bytes=MAX_BODY_BYTES, pace=self._house.pace, loan=loan
            )
        return parse_json(body)

    async def _stream(self, state: PullState, exchange: Exchange, receive: Receive, send: Send) -> None:
        """Progress until the pull is over; the pull goes on if the client leaves."""
        inbox = Inbox()
        waits = replace(self._house.waits, commit_seconds=0.0)
        with self._house.drain.counted(inbox.drop):
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(_pump(state, inbox))
                watch = tasks.create_task(watch_client(receive, inbox))
                try:
                    error = await StreamAnswer(exchange, PullRenderer(state), send, waits).deliver(inbox)
                finally:
                    pump.cancel()
                    watch.cancel()
        if error is not None:
            raise error


class PullRenderer:
    """A pull as server-sent events: any number of `progress`, then `installed` or `error`."""

    stream_content_type = sse.CONTENT_TYPE

    def __init__(self, state: PullState) -> None:
        self._state = state

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The state as it is now."""
        return Reply(body=sse.encode_json(describe(self._state)))

    def event(self, index: int, event: Event) -> bytes:
        """How far it is."""
        return b"event: progress\n" + sse.data(_progress(event)) if isinstance(event, Progress) else b""

    def end(self) -> bytes:
        """It is installed."""
        return b"event: installed\n" + sse.data(describe(self._state))

    def failure(self, error: QuintetError) -> bytes:
        """It failed, or the server goes down."""
        return b"event: error\n" + sse.data({"message": error.message, "code": error.code})


async def _pump(state: PullState, inbox: Inbox) -> None:
    """Task: bring the progress of a pull into the inbox."""
    error: BaseException | None = None
    try:
        async with aclosing(state.follow()) as steps:
            async for step in steps:
                await inbox.put((0, step))
    except QuintetError as failure:
        error = failure
    inbox.end(error)


def describe(state: PullState) -> dict[str, Any]:
    """A pull as JSON."""
    described: dict[str, Any] = {"model": state.order.name, "state": state.state}
    if state.state == "downloading":
        described["progress"] = _progress(state.progress)
    if state.error is not None:
        described["error"] = {"message": state.error.message, "code": state.error.code}
    if state.result is not None:
        described |= {
            "already_installed": state.result.already,
            "size_bytes": state.result.size,
            "revision": state.result.revision,
        }
    return described


def _row(status: ModelStatus, here: Installed | None, pull: PullState | None) -> dict[str, Any]:
    model = status.model
    row: dict[str, Any] = {
        "model": model.name,
        "aliases": model.aliases,
        "task": model.task,
        "engine": model.engine,
        "state": status.state,
        "reason": status.reason,
        "device": status.device,
        "in_flight": status.in_flight,
        "context_length": model.context_length,
        "licence": model.licence,
        "sources": [source.repo for source in model.sources],
    }
    if here is not None:
        manifest = here.manifest
        row["installed"] = {
            "repo": manifest.repo,
            "revision": manifest.revision,
            "precision": manifest.precision,
            "size_bytes": manifest.size_bytes,
        }
    if pull is not None and pull.state == "downloading":
        row |= {"state": ModelState.DOWNLOADING, "progress": _progress(pull.progress)}
    elif pull is not None and pull.error is not None:
        row["pull_error"] = {"message": pull.error.message, "code": pull.error.code}
    return row


def _progress(progress: Progress) -> Mapping[str, Any]:
    return {"stage": progress.stage, "done": progress.done, "total": progress.total}


def _wants_stream(exchange: Exchange) -> bool:
    query = parse_qs(exchange.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if "stream" in query:
        return query["stream"][0].lower() not in ("0", "false", "no")
    return any(sse.CONTENT_TYPE.encode() in value for value in exchange.headers(b"accept"))
