"""From `quintet pull` to the first answered token: a 135M-parameter model behind a hub on this machine."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.client import post
from bench.house import House, running
from bench.shapes import FOLDER, smollm2_135m
from bench.table import Table
from quintet.weights.manifest import FILE_NAME
from tests.support.hub import LocalHub


def pull(hub: LocalHub, house: House, name: str) -> float:
    """Seconds that the command takes."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "quintet", "pull", name, "--home", str(house.home)],
        env=os.environ | hub.environ(house.home),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin


def ask(house: House, name: str) -> float:
    """Seconds until the running server, which has never heard of the model, sends its first token."""
    body = {"model": name, "prompt": "a b c", "max_tokens": 1, "stream": True}
    answer = asyncio.run(post(house.port, "/v1/completions", body, stream=True))
    if answer.status != 200:
        raise RuntimeError(f"the first answer had status {answer.status}: {answer.body!r}")
    return answer.first_byte


def main(rounds: int = 3) -> list[Table]:
    """From safetensors once; then a few times from the IR that the conversion made."""
    table = Table(
        "pull",
        "`quintet pull` of a 135M-parameter model, hub on the same machine",
        ("what", "measured", "asked"),
    )
    smollm2_135m()  # makes the safetensors, too
    with (
        LocalHub() as hub,
        running("", "starter-chat", preload="[]") as house,
        tempfile.TemporaryDirectory() as kept,
    ):
        hub.add("bench/safetensors", FOLDER / "smollm2-135m").facts()
        converting = pull(hub, house, "bench/safetensors")
        answering = ask(house, "bench/safetensors")
        table.add("from safetensors, converted to int8: pull (s)", converting, "–")
        table.add("– with the first token (s)", converting + answering, "≤ 60")
        made = house.home / "weights" / "bench--safetensors"
        files = {path.name: Path(kept) / path.name for path in made.iterdir() if path.name != FILE_NAME}
        for name, path in files.items():
            path.write_bytes((made / name).read_bytes())
        pulls: list[float] = []
        totals: list[float] = []
        for number in range(rounds):
            # Another name each time: the server has not loaded that one, and the hub's list is warm.
            hub.add(f"bench/ir-{number}", files).facts()
            pulls.append(pull(hub, house, f"bench/ir-{number}"))
            totals.append(pulls[-1] + ask(house, f"bench/ir-{number}"))
        size = sum(path.stat().st_size for path in files.values()) / 1e6
        table.add(f"from int8 IR, {size:.0f} MB: pull (s)", statistics.median(pulls), "–")
        table.add("– with the first token (s)", statistics.median(totals), "≤ 10")
    return [table]
