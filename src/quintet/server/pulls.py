"""Pulls that were ordered over the API: a child process for each, and what is known of them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from quintet.core.errors import Conflict, LoadFailed, Overloaded, QuintetError, ShuttingDown
from quintet.core.events import Progress
from quintet.weights.order import Order
from quintet.weights.progress import Advanced, Ended, Failed, decode_line, error_of

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Models that are pulled at the same time."""
KEPT = 32
"""Pulls that are over and still remembered."""


class PullState:
    """One pull: running, or over."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.state: Literal["downloading", "installed", "failed"] = "downloading"
        self.progress = Progress("look", 0, 1)
        self.error: QuintetError | None = None
        self.result: Ended | None = None
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncGenerator[Progress]:
        """How far it is, now and whenever that changes, until it is over; raises what it failed with."""
        while True:
            changed = self._changed
            yield self.progress
            if self.state == "downloading":
                await changed.wait()
                continue
            if self.error is not None:
                raise self.error
            return

    def take(self, line: bytes) -> None:
        """One line of the child."""
        match decode_line(line):
            case Advanced(stage=stage, done=done, total=total):
                self.progress = Progress(stage, done, total)
                self._wake()
            case Ended() as ended:
                self.result = ended
            case Failed() as failure:
                self.error = error_of(failure)

    def end(self, error: QuintetError | None = None) -> None:
        """The child is gone."""
        if self.result is None and self.error is None:
            self.error = error or LoadFailed("The pull died; the server's log may say why. Pull again.")
        self.state = "failed" if self.error is not None else "installed"
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Pulls:
    """All pulls of one server. Lives on its event loop; `close` ends those that run."""

    def __init__(self, home: Path) -> None:
        """`home` is the data directory that is pulled into."""
        self._home = home
        self._states: dict[str, PullState] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    @property
    def states(self) -> Mapping[str, PullState]:
        """The last pull of each model, running or over."""
        return self._states

    def is_running(self, name: str) -> bool:
        """Whether the model is being pulled."""
        return name in self._tasks

    def start(self, order: Order) -> PullState:
        """Pull a model; whoever asks again while it is pulled gets the same pull. Raises Overloaded or Conflict."""
        if self._closing:
            raise ShuttingDown("The server is going down; pull again in a moment.", retry_after=5)
        if order.name in self._tasks:
            if self._states[order.name].order != order:
                raise Conflict(
                    f"{order.name} is being pulled at another revision, precision or source. Wait until that is over."
                )
            return self._states[order.name]
        if len(self._tasks) >= AT_ONCE:
            raise Overloaded(
                f"{AT_ONCE} models are being pulled already. Wait until one is complete.", retry_after=30
            )
        self._states.pop(order.name, None)  # to the end of the dictionary
        state = self._states[order.name] = PullState(order)
        # Owned by this object: `close` ends and awaits it.
        task = asyncio.get_running_loop().create_task(self._run(state))
        self._tasks[order.name] = task
        return state

    async def close(self) -> None:
        """End all pulls; what they have downloaded is kept."""
        self._closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, state: PullState) -> None:
        error: QuintetError | None = None
        try:
            await self._run_child(state)
        except asyncio.CancelledError:
            error = ShuttingDown("The server went down before the model was complete; pull again.")
            raise
        except Exception:
            log.exception("pull of %s: unexpected failure", state.order.name)
        finally:
            del self._tasks[state.order.name]
            state.end(error)
            self._forget()
            log.info("pull of %s: %s%s", state.order.name, state.state, _reason(state))

    async def _run_child(self, state: PullState) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "quintet.weights", str(self._home)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=_child_environment(os.environ),
            start_new_session=True,
        )
        order, lines = process.stdin, process.stdout
        try:
            if order is not None and lines is not None:  # both were asked for
                order.write(msgspec.json.encode(state.order) + b"\n")
                await order.drain()
                async for line in lines:
                    state.take(line)
                await process.wait()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _forget(self) -> None:
        over = [name for name in self._states if name not in self._tasks]
        for name in over[:-KEPT]:
            del self._states[name]


def _child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Everything but our own settings, which may hold secrets and are none of its business."""
    return {name: value for name, value in environment.items() if not name.startswith("QUINTET_")}


def _reason(state: PullState) -> str:
    return f" ({state.error.message})" if state.error is not None else ""
