"""How soon the server answers after it is started, and how much memory it takes."""

from __future__ import annotations

import asyncio
import statistics
import time

from bench.client import post
from bench.house import running
from bench.table import Table

BODY = {"model": "starter-chat", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 32}


def main(rounds: int = 3) -> list[Table]:
    """Median of a few starts with the starter model."""
    table = Table("start", "Start of `quintet serve` with starter-chat", ("what", "measured", "asked"))
    ready: list[float] = []
    gateway: list[float] = []
    first: list[float] = []
    memory: list[float] = []
    for _ in range(rounds):
        begin = time.perf_counter()
        with running("", "starter-chat") as house:
            ready.append(house.ready_seconds)
            answer = asyncio.run(post(house.port, "/v1/chat/completions", BODY, stream=False))
            if answer.status != 200:
                raise RuntimeError(f"the first answer had status {answer.status}")
            first.append(time.perf_counter() - begin)
            memory.append(house.resident_mb())
        with running("", "echo", echo__enabled="true", preload="[]") as house:
            gateway.append(house.ready_seconds)
    table.add("gateway ready, no model loaded (s)", statistics.median(gateway), "≤ 3")
    table.add("ready with starter-chat loaded (s)", statistics.median(ready), "–")
    table.add("first whole answer of starter-chat after the start (s)", statistics.median(first), "≤ 5")
    table.add("gateway resident memory (MB)", statistics.median(memory), "≤ 150")
    return [table]
