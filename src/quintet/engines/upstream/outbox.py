"""Outputs on their way from the event loop that receives them to the thread that steps the engine."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Generic, TypeVar

from quintet.core.events import Embedding, Token, ToolCallPart
from quintet.core.ports import Output

Job = TypeVar("Job")
CAPACITY = 2048
"""Outputs that may wait; the loop reads no more from any server until the stepping thread has taken them."""
CHARACTERS = 4 * 1024 * 1024
"""Their size, likewise: what waits goes into one frame."""


class Outbox(Generic[Job]):
    """A bounded queue of outputs and the jobs they belong to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """`loop` is where outputs come from."""
        self._loop = loop
        self._outputs: deque[tuple[Job, Output]] = deque()
        self._ready = threading.Condition()
        self._room = asyncio.Event()
        self._characters = 0
        self._is_full = False

    async def put(self, job: Job, output: Output) -> None:
        """Add an output, then wait while there are too many; to be called on the loop."""
        with self._ready:
            self._outputs.append((job, output))
            self._characters += size_of(output)
            if len(self._outputs) >= CAPACITY or self._characters >= CHARACTERS:
                self._is_full = True
                self._room.clear()
            else:
                self._room.set()
            self._ready.notify()
        await self._room.wait()

    def take(self, wait_seconds: float) -> list[tuple[Job, Output]]:
        """Everything that is there; waits a moment for the first."""
        with self._ready:
            if not self._outputs:
                self._ready.wait(wait_seconds)
            taken = list(self._outputs)
            self._outputs.clear()
            was_full, self._is_full, self._characters = self._is_full, False, 0
        if was_full:
            self._loop.call_soon_threadsafe(self._room.set)
        return taken

    def wake(self) -> None:
        """End a `take` that waits."""
        with self._ready:
            self._ready.notify()


def size_of(output: Output) -> int:
    """About how many bytes of an output come from the server."""
    match output:
        case Token():
            return len(output.text) + len(output.raw) + sum(len(other.raw) + 16 for other in output.top)
        case ToolCallPart():
            return len(output.id) + len(output.name) + len(output.arguments)
        case Embedding():
            return len(output.vector)
        case _:
            return 0
