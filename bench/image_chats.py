"""Chats while a picture is drawn: the time from token to token, in a real server."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.client import post
from bench.gateway import percentile
from bench.house import House, running
from bench.image_shapes import SIDE, catalog
from bench.table import Table

CHAT, PAINTER = "starter-chat", "bench-image"
STEPS = 6
QUESTIONS = (
    "Tell me a story about a cat.",
    "What can you do?",
    "Describe a forest.",
    "Who lives by the sea?",
)
NEW_TOKENS = 160
PAUSE_SECONDS = 0.2
"""Between two chats."""


@dataclass
class Seen:
    """Seconds between tokens, alone and beside a picture; seconds that pictures took."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    pictures: list[float] = field(default_factory=list)
    undisturbed: list[float] = field(default_factory=list)
    """Pictures without chats."""


async def paint(port: int) -> float:
    """One picture; seconds."""
    body = {
        "model": PAINTER,
        "prompt": "a red circle",
        "size": f"{SIDE}x{SIDE}",
        "steps": STEPS,
        "response_format": "b64_json",
    }
    answer = await post(port, "/v1/images/generations", body, stream=False)
    if answer.status != 200:
        raise RuntimeError(f"the picture had status {answer.status}")
    return answer.whole


async def chat(port: int, done: Callable[[], bool]) -> list[float]:
    """One streamed chat after the other until `done`; all times from one arrival to the next within a stream."""
    gaps: list[float] = []
    for seed in itertools.count():
        if done():
            return gaps
        body = {
            "model": CHAT,
            "messages": [{"role": "user", "content": QUESTIONS[seed % len(QUESTIONS)]}],
            "max_tokens": NEW_TOKENS,
            "temperature": 1,
            "seed": seed,
            "stream": True,
        }
        answer = await post(port, "/v1/chat/completions", body, stream=True, arrivals=True)
        if answer.status != 200:
            raise RuntimeError(f"a chat had status {answer.status}")
        gaps += [after - before for before, after in itertools.pairwise(answer.arrivals)]
        await asyncio.sleep(PAUSE_SECONDS)
    return gaps


async def measure(house: House, rounds: int) -> Seen:
    """In turns: chats beside a picture, then alone for as long as it took."""
    seen = Seen()
    await chat(house.port, _after(2.0))
    seen.undisturbed.append(await paint(house.port))
    for _ in range(rounds):
        async with asyncio.TaskGroup() as group:
            picture = group.create_task(paint(house.port))
            seen.beside += await chat(house.port, picture.done)
        seen.pictures.append(picture.result())
        seen.alone += await chat(house.port, _after(picture.result()))
    return seen


def chats(rounds: int = 3) -> Table:
    """The table."""
    table = Table(
        "image-chats",
        f"Chats with {CHAT}, one after the other, alone and beside a picture of {SIDE} pixels and {STEPS} steps: from "
        "token to token",
        ("what", "measured", "asked"),
    )
    with running(catalog(), CHAT, preload=json.dumps([CHAT, PAINTER])) as house:
        seen = asyncio.run(measure(house, rounds))
    alone, beside = ([percentile(side, share) for share in (0.5, 0.99)] for side in (seen.alone, seen.beside))
    table.add("tokens beside pictures", len(seen.beside), "–")
    for share, before, after in zip(("p50", "p99"), alone, beside, strict=True):
        table.add(f"{share} alone (ms)", before * 1000, "–")
        table.add(f"{share} beside (ms)", after * 1000, "–")
    table.add("ratio of p99", beside[1] / alone[1], "≤ 3")
    table.add("a picture, no chats (s)", statistics.median(seen.undisturbed), "–")
    table.add("a picture beside chats (s)", statistics.median(seen.pictures), "–")
    return table


def _after(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() > end
