"""Our server over HTTP, its client on the same cores, against OpenVINO GenAI's pipeline called in process."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from functools import partial
from typing import Any

from bench import shapes
from bench.client import Answered, post
from bench.contestant import Contestant
from bench.house import House, running
from bench.table import Table
from bench.text_engine import NEW_TOKENS, prompts, take_turns


def catalog() -> str:
    """The catalog table of the benchmark's model."""
    return f"""
[bench]
task = "text"
engine = "text"
path = {json.dumps(str(shapes.smollm2_135m()))}
context_length = 8192
"""


async def ask_all(port: int, asked: list[list[int]], *, stream: bool) -> list[Answered]:
    """All prompts at once, each on a connection of its own."""
    bodies: list[dict[str, Any]] = [
        {"model": "bench", "prompt": ids, "max_tokens": NEW_TOKENS, "temperature": 0, "stream": stream}
        for ids in asked
    ]
    return await asyncio.gather(*(post(port, "/v1/completions", body, stream=stream) for body in bodies))


def run_server(house: House, count: int, *, stream: bool) -> float:
    """New tokens per second, as the client sees them."""
    asked = prompts(count)
    begin = time.perf_counter()
    answers = asyncio.run(ask_all(house.port, asked, stream=stream))
    seconds = time.perf_counter() - begin
    if any(answer.status != 200 for answer in answers):
        raise RuntimeError(f"an answer had status {next(a.status for a in answers if a.status != 200)}")
    for answer in answers:
        if stream and b"[DONE]" not in answer.body:
            raise RuntimeError("a stream broke off")
        if (
            not stream
            and json.loads(answer.body.split(b"\r\n\r\n", 1)[1])["usage"]["completion_tokens"] != NEW_TOKENS
        ):
            raise RuntimeError("an answer is too short")
    return count * NEW_TOKENS / seconds


def main(rounds: int = 2) -> list[Table]:
    """Whole and streamed answers for n = 1, 16, 64."""
    genai = Contestant("genai")
    table = Table(
        "server",
        "Server over HTTP (client on the same two cores) against OpenVINO GenAI in process (new tokens/s, greedy)",
        ("answers", "n", "ours over HTTP", "GenAI in process", "ratio", "asked"),
    )
    with running(catalog(), "bench") as house:
        for stream, bar in ((False, "≥ 0.95"), (True, "≥ 0.90")):
            for count in (1, 16, 64):
                mine, theirs = take_turns(
                    rounds * (3 if count == 1 else 1),
                    partial(run_server, house, count, stream=stream),
                    partial(genai.run, count, "greedy"),
                )
                ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
                label = "streamed" if stream else "whole"
                table.add(label, count, statistics.median(mine), statistics.median(theirs), ratio, bar)
    genai.close()
    return [table]
