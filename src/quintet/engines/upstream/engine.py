"""The engine: hands requests to a foreign server, and looks after that server.

An event loop on a thread of its own does all that waits; what it receives lies in a bounded outbox until `step`
takes it.
A server that we started and that dies or falls silent is an error of the whole engine, so that the worker is
replaced, and the server with it. A server of others that can't be reached is an error of each request.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
import time
import traceback
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from quintet.core.errors import DeadlineExceeded, EngineFailed, LoadFailed, NotReady, QuintetError
from quintet.core.events import Finished
from quintet.core.models import Model
from quintet.core.ports import EngineInfo, Output
from quintet.core.requests import Request
from quintet.engines.upstream.client import Client
from quintet.engines.upstream.command import Command, command_environment
from quintet.engines.upstream.exposition import labelled
from quintet.engines.upstream.failures import unreachable
from quintet.engines.upstream.flavours import Served
from quintet.engines.upstream.options import Upstream, read_options
from quintet.engines.upstream.outbox import Outbox
from quintet.engines.upstream.work import Errand, Work, work_of

T = TypeVar("T")
_NAP_SECONDS = 0.004
"""How long a step waits at most when nothing has come, so that new work and cancels come in quickly."""
_ASK_SECONDS = 10.0
"""For finding out what the server is, when a request comes first; less than a preparation may take."""
_SPARE_SECONDS = 2.0
"""So long after it could not be asked nobody else waits for it, as few requests are prepared at once."""
_EXIT_SECONDS = 1.0
"""After a connection breaks, for the news that our command has died."""
_POLL_SECONDS = 0.1


def open_engine(model: Model) -> UpstreamEngine:
    """The engine for one catalog entry; a command is started and waited for. Raises LoadFailed."""
    upstream = read_options(model)
    command = None
    if upstream.command:
        environment = command_environment(os.environ, upstream.options.environment)
        command = Command(upstream.command, name=model.name, secret=upstream.key, environment=environment)
    engine = UpstreamEngine(model, upstream, command)
    try:
        engine.wait_until_ready()
    except BaseException:
        engine.close()
        raise
    return engine


@dataclass(slots=True, eq=False)
class _Job:
    """One request that is under way."""

    number: int
    future: concurrent.futures.Future[None] | None = None


class Broken(Exception):
    """Our server is gone; the worker must be replaced."""


class UpstreamEngine:
    """Implements core.ports.Engine."""

    def __init__(self, model: Model, upstream: Upstream, command: Command | None) -> None:
        self._model = model
        self._upstream = upstream
        self._command = command
        self._served: Served | None = None
        self._jobs: dict[int, _Job] = {}
        self._failure = ""
        self._failed = asyncio.Event()
        self._metrics = ""
        self._spared_until = 0.0
        self._silent = 0
        """Looks in a row that found nobody."""
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._outbox: Outbox[_Job] = Outbox(self._loop)
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._thread.start()
        self._client = self._wait(self._make_client(), _ASK_SECONDS)
        self._guard: concurrent.futures.Future[None] | None = None

    def wait_until_ready(self) -> None:
        """Wait for a command to be healthy; look once whether a server of others is there. Raises LoadFailed."""
        if self._command is not None:
            self._wait(self._start(self._command), self._upstream.options.start_seconds + _ASK_SECONDS)
            self._command.when_gone(lambda code: self._fail(f"its command ended with exit code {code}"))
        with suppress(QuintetError, TimeoutError):
            self._served = self._wait(self._client.recognise(), _ASK_SECONDS)
        if self._command is not None and self._served is None:
            raise LoadFailed("This model's server became healthy but doesn't answer at its URL.")
        self._guard = self._begin(self._watch())

    def info(self) -> EngineInfo:
        """Facts fixed at load time."""
        served = self._served
        return EngineInfo(
            context_length=(served.context_length if served else 0) or self._model.context_length,
            vocabulary_size=served.vocabulary_size if served else 0,
            device="upstream",
            version=served.flavour.name if served else "",
        )

    def prepare(self, request: Request) -> tuple[Served, Work]:
        """The work of a request, checked against what the server understands."""
        served = self._served
        if served is None:
            if time.monotonic() < self._spared_until:
                raise unreachable()
            try:
                served = self._served = self._wait(self._client.recognise(), _ASK_SECONDS)
            except (NotReady, DeadlineExceeded, TimeoutError):
                self._spared_until = time.monotonic() + _SPARE_SECONDS
                raise unreachable() from None
        return served, work_of(request, self._model, served)

    def submit(self, request_id: int, prepared: object) -> None:
        """Send prepared work to the server."""
        job = _Job(request_id)
        self._jobs[request_id] = job
        served, work = cast("tuple[Served, Work]", prepared)
        job.future = self._begin(self._run(job, Errand(self._client, self._model, served), work))

    def cancel(self, request_id: int) -> None:
        """Forget a request and close its connection."""
        job = self._jobs.pop(request_id, None)
        if job is not None and job.future is not None:
            job.future.cancel()

    def busy(self) -> bool:
        """Whether answers are expected, or a failure is to be told."""
        return bool(self._jobs or self._failure)

    def step(self) -> Sequence[tuple[int, Output]]:
        """What came since the last step; waits a moment if nothing did. Raises if our server is gone."""
        if self._failure:
            raise Broken(f"model {self._model.name}: {self._failure}")
        outputs: list[tuple[int, Output]] = []
        for job, output in self._outbox.take(_NAP_SECONDS):
            if self._jobs.get(job.number) is job:
                outputs.append((job.number, output))
                if isinstance(output, Finished | QuintetError):
                    del self._jobs[job.number]
        return outputs

    def metrics(self) -> str:
        """The server's metrics as last seen, labelled with the model's name; empty if it has none."""
        return self._metrics

    def close(self) -> None:
        """Close every connection and stop the command."""
        if self._closed:
            return
        self._closed = True
        self._jobs.clear()
        with suppress(TimeoutError):
            self._wait(self._end(), 1.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self._loop.close()
        if self._command is not None:
            self._command.stop()

    async def _make_client(self) -> Client:
        return Client(self._upstream)

    async def _end(self) -> None:
        """End everything on the loop, so that nothing is left to the garbage collector."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._client.close()
        await self._loop.shutdown_asyncgens()

    def _begin(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start something on the loop's thread; its owner is whoever keeps the future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _wait(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        future = self._begin(work)
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise

    async def _start(self, command: Command) -> None:
        """Wait until a command is healthy; raises LoadFailed if it ends or takes too long."""
        end = time.monotonic() + self._upstream.options.start_seconds
        while command.exit_code is None:
            if await self._client.is_healthy():
                return
            if time.monotonic() > end:
                self._say("its command did not become healthy in time")
                raise LoadFailed(
                    "This model's server did not become healthy in time; the server's log says why."
                )
            await asyncio.sleep(_POLL_SECONDS)
        self._say(f"its command ended with exit code {command.exit_code} before it was healthy")
        raise LoadFailed("This model's server ended before it was ready; the server's log says why.")

    async def _run(self, job: _Job, errand: Errand, work: Work) -> None:
        """Do one request; everything that comes of it goes into the outbox."""
        try:
            async with aclosing(errand.run(work)) as events:
                async for event in events:
                    await self._outbox.put(job, event)
        except QuintetError as error:
            if not await self._died(error):
                await self._outbox.put(job, error)
        except Exception:  # foreign; its text stays in the log
            traceback.print_exc()
            await self._outbox.put(job, EngineFailed("The engine failed on this request; try again."))

    async def _died(self, error: QuintetError) -> bool:
        """Whether our command has gone, which is then told by `step` and not to this request alone."""
        if self._command is None or error.status not in (502, 503) or error.code == "upstream_not_ready":
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await self._failed.wait()
        return bool(self._failure)

    async def _watch(self) -> None:
        """Look after the server's health and metrics until this is cancelled."""
        options, heard = self._upstream.options, self._client.heard
        while True:
            is_alive = await self._client.is_healthy() or self._client.heard != heard
            heard = self._client.heard
            if is_alive == bool(self._silent):
                self._say("its server is back" if is_alive else "its server does not answer")
                if is_alive:  # it may be another one now
                    self._served = None
            self._silent = 0 if is_alive else self._silent + 1
            if self._command is not None and self._silent >= options.health_failures:
                self._fail("its server does not answer any more")
            if not is_alive:
                self._metrics = ""  # what was true a while ago would look as if it were true now
            elif self._upstream.metrics_url:
                await self._read_metrics()
            await asyncio.sleep(options.health_seconds)

    async def _read_metrics(self) -> None:
        try:
            self._metrics = labelled(
                (await self._client.metrics()).decode(errors="replace"), self._model.name
            )
        except QuintetError:
            self._metrics = ""

    def _fail(self, why: str) -> None:
        """Make the next step raise."""
        if not self._closed and not self._failure:
            self._say(why)
            self._failure = why
            self._outbox.wake()
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._failed.set)

    def _say(self, why: str) -> None:
        sys.stderr.write(f"model {self._model.name}: {why}\n")
        sys.stderr.flush()
