"""Several event streams as one. The only place where one request's events cross from task to task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from quintet.core.events import Event

_WAITING_EVENTS = 64
"""Per call; a slow reader slows the runs down, whose own mailboxes are bounded."""


async def merge(runs: Sequence[AsyncGenerator[Event]]) -> AsyncGenerator[tuple[int, Event]]:
    """(index, event) as they come. The first error ends all runs and is raised; closing closes all.

    Not a TaskGroup: a group that is left by GeneratorExit raises an exception group instead.
    """
    queue: asyncio.Queue[tuple[int, Event | BaseException | None]] = asyncio.Queue(_WAITING_EVENTS)
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(_pump(index, run, queue)) for index, run in enumerate(runs)]
    try:
        left = len(tasks)
        while left:
            index, item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        # Every run cleans up without waiting for anything, so this takes one turn of the loop.
        await asyncio.wait(tasks)


async def _pump(
    index: int,
    run: AsyncGenerator[Event],
    queue: asyncio.Queue[tuple[int, Event | BaseException | None]],
) -> None:
    """Task: pass one run's events on, then its end or its error."""
    try:
        async with aclosing(run) as events:
            async for event in events:
                await queue.put((index, event))
    except Exception as error:
        await queue.put((index, error))
    else:
        await queue.put((index, None))
