"""The backend of one machine: one worker process per model."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress

from quintet.core.errors import EngineFailed, ShuttingDown, WorkerLost
from quintet.core.events import Event
from quintet.core.models import Model, ModelState, ModelStatus
from quintet.core.requests import Request, pictures_of
from quintet.runtime.courtesy import Courtesy
from quintet.runtime.lineup import Turn
from quintet.runtime.process import Lost, WorkerProcess
from quintet.runtime.quarantine import Quarantine, digest_of
from quintet.runtime.supervisor import Check, Patience, Supervisor

_IDLE_LOOK_SECONDS = 0.2


class LocalBackend:
    """Implements `core.ports.Backend`. Lives on one event loop."""

    def __init__(
        self,
        *,
        patience: Patience | None = None,
        factories: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        check: Check | None = None,
    ) -> None:
        """`factories` maps an engine to "module:function" where that isn't quintet.engines.NAME.engine:open_engine.

        `check` is awaited before a model's first worker is started.
        """
        self._patience = patience or Patience()
        self._factories = dict(factories or {})
        self._clock = clock
        self._check = check
        self._quarantine = Quarantine()
        self._courtesy = Courtesy()
        self._supervisors: dict[str, Supervisor] = {}
        self._leaving: dict[Supervisor, asyncio.Task[None]] = {}
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False

    async def run(self, model: Model, request: Request) -> AsyncGenerator[Event]:
        """Events of one request; closing the generator cancels the work. Raises QuintetError.

        If the worker dies before the first event, the request is sent once more to the next worker.
        """
        supervisor = self._supervisor(model)
        self._active += 1
        self._idle.clear()
        try:
            digest = await _digest(model, request)
            for is_last in (False, True):
                worker, turn = await _enter(supervisor, digest)
                seen = 0
                try:
                    turn.start()
                    with self._courtesy.working(model, worker.pid):
                        async with aclosing(worker.run(request, digest)) as batches:
                            async for batch in batches:
                                seen += len(batch)
                                turn.progress(seen)
                                for event in batch:
                                    yield event
                    return
                except Lost as lost:
                    if self._closing:
                        raise ShuttingDown("The server went down before the answer was complete.") from None
                    if seen or is_last:
                        raise _loss(broken=lost.broken) from None
                finally:
                    turn.release()
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    async def ensure_ready(self, model: Model) -> None:
        """Load the model if it isn't; raises NotReady or LoadFailed."""
        await self._supervisor(model).ready()

    def status(self, model: Model) -> ModelStatus:
        """How the model is doing now."""
        supervisor = self._supervisors.get(model.name)
        if supervisor is None:
            is_absent = not model.is_installed or (bool(model.path) and not os.path.isdir(model.path))
            return ModelStatus(model=model, state=ModelState.ABSENT if is_absent else ModelState.INSTALLED)
        return supervisor.status()

    def worker_pid(self, model: Model) -> int | None:
        """Process id of the model's worker, if there is one; for the admin's eyes and for tests."""
        supervisor = self._supervisors.get(model.name)
        return supervisor.pid if supervisor else None

    def metrics(self) -> list[str]:
        """Prometheus texts of the engines that have metrics of their own."""
        return [text for supervisor in self._supervisors.values() if (text := supervisor.metrics)]

    def forget(self, model: Model) -> None:
        """Let go of a model whose files are gone or new: work under way is finished, the next loads it anew."""
        supervisor = self._supervisors.pop(model.name, None)
        if supervisor is not None and not self._closing:
            # Owned by this object: `close` ends and awaits it.
            task = asyncio.get_running_loop().create_task(self._let_go(supervisor))
            self._leaving[supervisor] = task

    async def _let_go(self, supervisor: Supervisor) -> None:
        """Task: stop a worker once it has nothing left to do."""
        while supervisor.in_flight:  # noqa: ASYNC110  # its requests end in too many ways to hear of each
            await asyncio.sleep(_IDLE_LOOK_SECONDS)
        await supervisor.close(self._patience.quit_seconds)
        del self._leaving[supervisor]

    async def close(self, drain_seconds: float) -> None:
        """Stop all workers, letting work in flight finish for at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await self._idle.wait()
        self._closing = True
        grace = self._patience.quit_seconds if not self._active else 0.0
        async with asyncio.TaskGroup() as group:
            for supervisor in (*self._supervisors.values(), *self._leaving):
                group.create_task(supervisor.close(grace))
        for task in list(self._leaving.values()):  # with nothing in flight any more, they end by themselves
            await task

    def _supervisor(self, model: Model) -> Supervisor:
        if self._closing:
            raise ShuttingDown("The server is going down; try again in a moment.", retry_after=5)
        supervisor = self._supervisors.get(model.name)
        if supervisor is None:
            factory = self._factories.get(model.engine, f"quintet.engines.{model.engine}.engine:open_engine")
            supervisor = Supervisor(
                model, factory, self._patience, self._quarantine, self._clock, self._check
            )
            self._supervisors[model.name] = supervisor
        return supervisor


async def _digest(model: Model, request: Request) -> str:
    """Beside the event loop where there are pictures, which are megabytes."""
    if pictures_of(request):
        return await asyncio.to_thread(digest_of, model, request)
    return digest_of(model, request)


async def _enter(supervisor: Supervisor, digest: str) -> tuple[WorkerProcess, Turn]:
    """A living worker and the right to use it."""
    while True:
        worker = await supervisor.ready()
        turn = await supervisor.lineup.turn(digest)
        if not worker.down.done():
            return worker, turn
        turn.release()


def _loss(*, broken: bool) -> EngineFailed | WorkerLost:
    if broken:
        return EngineFailed("The engine failed before the answer was complete; try again.", retry_after=1)
    return WorkerLost("The model's worker died before the answer was complete; try again.", retry_after=1)
