"""Keeps one model's worker alive: started on demand, watched, restarted with growing pauses."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from quintet.core.errors import LoadFailed, NotReady, ShuttingDown
from quintet.core.models import Model, ModelState, ModelStatus
from quintet.runtime.lineup import Lineup
from quintet.runtime.process import WorkerProcess
from quintet.runtime.quarantine import Quarantine
from quintet.runtime.restarts import Restarts

log = logging.getLogger(__name__)

Check = Callable[[Model], Awaitable[None]]
"""Looks at a model's files before anything loads them; raises LoadFailed."""

LONGEST_RETRY_AFTER_SECONDS = 60.0
_SECOND_LOOK_SECONDS = 0.1
_FOREIGN_MORE_SECONDS = 30.0
"""Beside what a foreign server may take to start."""
_STANDSTILL_SECONDS = 1.0
"""A look that comes so late means that this process stood still, and the worker maybe with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the gateway waits for its workers, in seconds."""

    load_seconds: float = 300.0
    """From the start of the process until the model is loaded."""
    progress_seconds: float = 30.0
    """Without any frame while requests are open; then the worker counts as hung."""
    prepare_seconds: float = 20.0
    """For what an engine does before a request's first step; shorter than callers wait for a first event, so
    that a request that hangs there is still known when its worker gives up."""
    restart_seconds: float = 5.0
    """A caller waits for a restart that is so near; otherwise it is refused at once."""
    quit_seconds: float = 5.0
    """For a worker to quit when asked."""


class Supervisor:
    """One model on this machine. Its task runs from the first demand until the model fails or `close`."""

    def __init__(
        self,
        model: Model,
        factory: str,
        patience: Patience,
        quarantine: Quarantine,
        clock: Callable[[], float] = time.monotonic,
        check: Check | None = None,
    ) -> None:
        """`check` is awaited before the first worker; once it has let the model pass, never again."""
        self.model = model
        self._factory = factory
        self._patience = patience
        self._quarantine = quarantine
        self._clock = clock
        self._check = check
        self._restarts = Restarts()
        self.lineup = Lineup(quarantine, clock)
        """Where requests under suspicion wait for their turn."""
        self._worker: WorkerProcess | None = None
        self._state = ModelState.INSTALLED
        self._error: LoadFailed | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._closing = False

    @property
    def in_flight(self) -> int:
        """How many requests its worker has open."""
        return self._worker.in_flight if self._worker else 0

    @property
    def pid(self) -> int | None:
        """Process id of the worker, if there is one."""
        return self._worker.pid if self._worker else None

    @property
    def metrics(self) -> str:
        """Its engine's own metrics; empty if it has none."""
        return self._worker.metrics if self._worker else ""

    def status(self) -> ModelStatus:
        """How the model is doing."""
        pause = self._restarts.pause_seconds(self._clock())
        return ModelStatus(
            model=self.model,
            state=self._state,
            reason=self._error.message if self._error else "",
            retry_seconds=pause or None,
            in_flight=self.in_flight,
            device=self._worker.info.device if self._worker and self._state is ModelState.READY else "",
        )

    async def ready(self) -> WorkerProcess:
        """The loaded worker, started if need be; raises NotReady, LoadFailed or ShuttingDown."""
        while True:
            if self._closing:
                raise ShuttingDown("The server is going down; try again in a moment.", retry_after=5)
            worker = self._worker
            if self._state is ModelState.READY and worker is not None and not worker.down.done():
                return worker
            self._refuse_if_far()
            if self._task is None or self._task.done():
                self._state, self._error = ModelState.LOADING, None
                # Owned by this object: `close` ends and awaits it.
                self._task = asyncio.get_running_loop().create_task(self._keep_alive())
            await self._changed.wait()

    async def close(self, grace_seconds: float) -> None:
        """Stop the worker for good."""
        self._closing = True
        self._announce(ModelState.DRAINING)
        worker = self._worker
        if worker is not None:
            await worker.stop(grace_seconds)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._worker is not None:  # a start was under way
            await self._worker.stop(0)
        self._announce(ModelState.INSTALLED)

    def _refuse_if_far(self) -> None:
        """Raise if the next start is further away than a caller should wait."""
        now = self._clock()
        pause = self._restarts.pause_seconds(now)
        if pause <= (0.0 if self._error else self._patience.restart_seconds):
            return
        retry_after = min(pause, LONGEST_RETRY_AFTER_SECONDS)
        if self._error is not None:
            raise LoadFailed(self._error.message, code=self._error.code, retry_after=retry_after)
        if self._restarts.is_open(now):
            raise LoadFailed(
                "The model's worker died too often and rests now; the server's log says why.",
                retry_after=retry_after,
            )
        raise NotReady(
            "The model is being restarted; try again later.", code="model_restarting", retry_after=retry_after
        )

    async def _keep_alive(self) -> None:
        """Start, watch, restart; ends when the model can't be loaded or dies too often."""
        try:
            while not self._closing:
                await asyncio.sleep(self._restarts.pause_seconds(self._clock()))
                worker = await self._load()
                if worker is None:
                    return
                await self._watch(worker)
                if not self._note_crash(worker):
                    return
                if self._restarts.is_open(self._clock()):
                    log.error("model %s: died too often, not restarted for now", self.model.name)
                    self._announce(ModelState.FAILED)
                    return
        except Exception:
            log.exception("model %s: its supervision failed", self.model.name)
            self._error = LoadFailed("The model could not be run; the server's log says why.")
            self._restarts.load_failed(self._clock())
            self._announce(ModelState.FAILED)
        finally:
            if self._worker is not None:
                self._worker.kill()

    async def _load(self) -> WorkerProcess | None:
        """A new worker with its model loaded; None = it failed and nothing of it is left."""
        self._announce(ModelState.LOADING)
        started = self._clock()
        worker: WorkerProcess | None = None
        try:
            async with asyncio.timeout(self._load_seconds()):
                if self._check is not None:
                    await self._check(self.model)
                    self._check = None
                worker = await WorkerProcess.start(
                    self.model, self._factory, self._patience.prepare_seconds, self._clock
                )
                self._worker = worker
                await asyncio.wait({worker.opened})
                worker.opened.result()
        except TimeoutError:
            self._error = LoadFailed("The model did not load in time; see the server's log.")
        except LoadFailed as error:
            self._error = error
        except OSError as error:
            log.error("model %s: no worker could be started: %s", self.model.name, error)
            self._error = LoadFailed("No worker process could be started; see the server's log.")
        else:
            log.info("model %s: ready after %.2f s", self.model.name, self._clock() - started)
            self._announce(ModelState.READY)
            return worker
        log.error("model %s: %s", self.model.name, self._error.message)
        if worker is not None:
            await worker.stop(0)
        self._worker = None
        self._restarts.load_failed(self._clock())
        self._announce(ModelState.FAILED)
        return None

    def _load_seconds(self) -> float:
        """How long a load may take; a foreign server's table may say more than is usual."""
        usual, asked = self._patience.load_seconds, self.model.options.get("start_seconds")
        if self.model.engine == "upstream" and isinstance(asked, int | float):
            return max(usual, asked + _FOREIGN_MORE_SECONDS)
        return usual

    async def _watch(self, worker: WorkerProcess) -> None:
        """Return when the worker is gone; kill it if it stops making progress."""
        limit = self._patience.progress_seconds
        pause = min(1.0, limit / 4)
        while not worker.down.done():
            looked = self._clock()
            await asyncio.wait({worker.down}, timeout=pause)
            worker.forgive(self._clock() - looked - pause - _STANDSTILL_SECONDS)
            if worker.silent_seconds() > limit:
                # If it was the gateway that stood still, the frames lie ready to be read.
                await asyncio.wait({worker.down}, timeout=_SECOND_LOOK_SECONDS)
            if not worker.down.done() and worker.silent_seconds() > limit:
                log.error("model %s: no progress for %.0f s, worker killed", self.model.name, limit)
                break
        await worker.stop(0)

    def _note_crash(self, worker: WorkerProcess) -> bool:
        """Account for a worker that is gone; False = it was told to go."""
        if self._closing:
            return False
        self._worker = None
        now = self._clock()
        self._restarts.crashed(now)
        self._quarantine.strike(worker.lost_under, now)
        log.error(
            "model %s: worker died (exit code %s) under %d requests",
            self.model.name,
            worker.exit_code,
            len(worker.lost_under),
        )
        self._announce(ModelState.LOADING)
        return True

    def _announce(self, state: ModelState) -> None:
        """Change the state and let everybody who waits look at it."""
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()
