"""What the gateway costs: streams and whole answers of the echo engine, its client on the same two cores."""

from __future__ import annotations

import asyncio
import json
import time

from bench.client import Answered, Connection, post
from bench.house import House, running
from bench.table import Table
from quintet.core.content import Message
from quintet.core.models import Model
from quintet.core.requests import Limits, TextRequest
from quintet.engines.echo.engine import open_engine

STREAMS = 100
TOKENS = 200
TOKENS_PER_SECOND = 50
RATE = 300
SECONDS = 10
MODELS = f"""
[paced]
task = "text"
engine = "echo"
context_length = 8192
options = {{ tokens_per_second = {TOKENS_PER_SECOND}, cycle = true }}

[quick]
task = "text"
engine = "echo"
context_length = 8192
"""


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of all values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def engine_alone() -> list[float]:
    """Seconds to the first token of the same streams in the engine itself, without server or worker."""
    model = Model(
        name="paced",
        task="text",
        engine="echo",
        context_length=8192,
        options={"tokens_per_second": TOKENS_PER_SECOND, "cycle": True},
    )
    engine = open_engine(model)
    message = Message("user", ("one two three four",))
    request = TextRequest(model="paced", messages=(message,), limits=Limits(max_new_tokens=TOKENS))
    begin = time.perf_counter()
    first: dict[int, float] = {}
    asked = 0
    while len(first) < STREAMS:
        due = begin + asked / STREAMS
        if asked < STREAMS and time.perf_counter() >= due:
            engine.submit(asked, engine.prepare(request))
            asked += 1
        if engine.busy():
            for id, _ in engine.step():
                first.setdefault(id, time.perf_counter() - begin - id / STREAMS)
    return list(first.values())


async def ask_streams(port: int) -> list[Answered]:
    """100 streams, begun over one second."""

    async def one(index: int) -> Answered:
        await asyncio.sleep(index / STREAMS)
        body = {
            "model": "paced",
            "messages": [{"role": "user", "content": "one two three four"}],
            "max_tokens": TOKENS,
            "stream": True,
        }
        return await post(port, "/v1/chat/completions", body, stream=True)

    return await asyncio.gather(*(one(index) for index in range(STREAMS)))


def measure_streams(house: House, table: Table) -> None:
    """Complete streams, CPU, and what the server adds to the engine's own median time to the first token."""
    alone = percentile(engine_alone(), 0.5)
    before, begin = house.cpu_seconds(), time.perf_counter()
    answers = asyncio.run(ask_streams(house.port))
    seconds = time.perf_counter() - begin
    cores = (house.cpu_seconds() - before) / seconds
    failed = sum(answer.status != 200 or answer.events < TOKENS for answer in answers)
    added = [(answer.first_byte - alone) * 1000 for answer in answers]
    table.add(f"{STREAMS} streams × {TOKENS} tokens at {TOKENS_PER_SECOND}/s: failures", failed, "0")
    table.add("– cores used by the gateway", cores, "≤ 1")
    table.add("– added time to first byte, p50 (ms)", percentile(added, 0.5), "≤ 2")
    table.add("– added time to first byte, p99 (ms)", percentile(added, 0.99), "≤ 20")


async def ask_whole(port: int) -> tuple[list[float], int]:
    """Whole answers at a fixed rate over kept-alive connections; seconds of each, and failures."""
    body = json.dumps({"model": "quick", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4})
    payload = body.encode()
    idle = [await Connection.open(port) for _ in range(64)]
    everyone = list(idle)
    taken: list[float] = []
    failed = 0

    async def one() -> None:
        nonlocal failed
        connection = idle.pop()
        status, seconds = await connection.post("/v1/chat/completions", payload)
        idle.append(connection)
        taken.append(seconds)
        failed += status != 200

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for index in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, begin + index / RATE - time.perf_counter()))
            if idle:
                tasks.create_task(one())
            else:
                failed += 1
    for connection in everyone:
        connection.close()
    return taken, failed


def measure_whole(house: House, table: Table) -> None:
    """300 requests a second; the echo engine's own time is part of the figure, so it is an upper bound."""
    before, begin = house.cpu_seconds(), time.perf_counter()
    taken, failed = asyncio.run(ask_whole(house.port))
    cores = (house.cpu_seconds() - before) / (time.perf_counter() - begin)
    table.add(f"whole answers at {RATE}/s for {SECONDS} s: failures", failed, "0")
    table.add("– time of an answer, worker included, p50 (ms)", percentile(taken, 0.5) * 1000, "≤ 3")
    table.add("– the same, p99 (ms)", percentile(taken, 0.99) * 1000, "–")
    table.add("– cores used by the gateway", cores, "–")


def main() -> list[Table]:
    """Streams, then whole answers."""
    table = Table(
        "gateway", "Gateway on the echo engine, client on the same two cores", ("what", "measured", "asked")
    )
    with running(MODELS, "quick", echo__enabled="true", preload='["quick","paced"]') as house:
        asyncio.run(ask_whole_once(house.port))
        measure_streams(house, table)
        measure_whole(house, table)
        table.add("resident memory after that (MB)", house.resident_mb(), "≤ 150")
    return [table]


async def ask_whole_once(port: int) -> None:
    """Let nobody pay for the first pass."""
    for model in ("quick", "paced"):
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        await post(port, "/v1/chat/completions", body, stream=False)
