"""A burst of pictures: what it does to the gateway's memory, and to people who only want text."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import quintet
from bench.client import post
from bench.contestant import Contestant
from bench.gateway import percentile
from bench.house import House, running
from bench.table import Table
from bench.vision_shapes import as_file, draw, starter_shape

PART = "bench.vision_burst"
REQUESTS = 20
PICTURES = 8
NEW_TOKENS = 32
TEXTS_PER_SECOND = 5
TEXTS = 300
"""As many texts are wanted in both states; p99 is the third-slowest of them."""
MOST_BURSTS = 60
CHAT = "starter-chat"
PATH = "/v1/chat/completions"
QUESTION = "Tell me a story about a red fox."


@dataclass
class Seen:
    """What one kind of text request saw, in seconds."""

    idle: list[float] = field(default_factory=list)
    burst: list[float] = field(default_factory=list)
    bursts: list[float] = field(default_factory=list)
    """From the first byte of 20 requests to the last of their answers."""
    failed_texts: int = 0
    failed_pictures: int = 0


def seer() -> tuple[str, str]:
    """The model that sees, and the catalog that has it: starter-vision if it ships, else one of its shape."""
    if (Path(quintet.__file__).parent / "starter_models" / "vision" / "config.json").is_file():
        return "starter-vision", ""
    name = "starter-vision-shape"
    return (
        name,
        f"""
[{name}]
task = "vision"
engine = "text"
path = {json.dumps(str(starter_shape()))}
context_length = 1024
""",
    )


def open_contestant(name: str) -> Callable[..., Any]:
    """The sender, with pictures of its own: "make" draws 160 new ones, "send" posts them (port, model)."""
    random = np.random.default_rng()
    scenes = [draw(random) for _ in range(PICTURES)]
    bodies: list[bytes] = []

    def act(what: str, port: int = 0, model: str = "") -> Any:
        if what == "make":
            bodies[:] = [_body(model, scenes, random) for _ in range(REQUESTS)]
            return sum(map(len, bodies))
        return asyncio.run(_send(port, bodies))

    return act


def _body(model: str, scenes: list[Any], random: np.random.Generator) -> bytes:
    """One request with a shifted view of every scene, so that nothing can be known before."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": "What is in these pictures?"}]
    for scene in scenes:
        view = np.roll(scene, tuple(random.integers(1, 512, 2)), axis=(0, 1))
        url = f"data:image/jpeg;base64,{base64.b64encode(as_file(view, 'JPEG')).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    message = {"role": "user", "content": parts}
    return json.dumps(
        {"model": model, "messages": [message], "max_tokens": NEW_TOKENS, "temperature": 0}
    ).encode()


async def _send(port: int, bodies: list[bytes]) -> tuple[float, list[int]]:
    begin = time.perf_counter()
    answers = await asyncio.gather(*(post(port, PATH, body, stream=False) for body in bodies))
    return time.perf_counter() - begin, [answer.status for answer in answers]


async def ask_texts(port: int, model: str, done: Callable[[], bool]) -> tuple[list[float], int]:
    """Text requests at a fixed rate, whatever the answers take, until `done`; seconds of each, and failures."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": NEW_TOKENS,
        "temperature": 0,
    }
    payload = json.dumps(body).encode()
    begin, asked = time.perf_counter(), 0
    tasks = []
    async with asyncio.TaskGroup() as group:
        while not done():
            tasks.append(group.create_task(post(port, PATH, payload, stream=False)))
            asked += 1
            await asyncio.sleep(max(0.0, begin + asked / TEXTS_PER_SECOND - time.perf_counter()))
    answers = [task.result() for task in tasks]
    return [answer.whole for answer in answers], sum(answer.status != 200 for answer in answers)


async def measure(house: House, sender: Contestant, text_model: str, picture_model: str, texts: int) -> Seen:
    """In turns: texts alone, then texts beside a burst, for as long as that one took."""
    seen = Seen()
    while len(seen.burst) < texts and len(seen.bursts) < MOST_BURSTS:
        sender.run("make", 0, picture_model)
        async with asyncio.TaskGroup() as group:
            burst = group.create_task(asyncio.to_thread(sender.run, "send", house.port, picture_model))
            taken, failed = await ask_texts(house.port, text_model, burst.done)
        seen.burst += taken
        seen.failed_texts += failed
        seconds, statuses = burst.result()
        seen.bursts.append(seconds)
        seen.failed_pictures += sum(status != 200 for status in statuses)
        taken, failed = await ask_texts(house.port, text_model, _after(seconds))
        seen.idle += taken
        seen.failed_texts += failed
    return seen


def show(table: Table, text_model: str, seen: Seen, asked: str) -> None:
    """One row."""
    idle, burst = (
        [percentile(side, share) * 1000 for share in (0.5, 0.99)] for side in (seen.idle, seen.burst)
    )
    table.add(
        text_model,
        len(seen.burst),
        *idle,
        *burst,
        burst[1] / idle[1],
        asked,
        seen.failed_texts,
    )


def main(texts: int = TEXTS) -> list[Table]:
    """Texts for another model, and for the same one, beside bursts; then what the gateway's memory came to."""
    model, catalog = seer()
    slow = Table(
        "burst",
        f"Texts of {NEW_TOKENS} new tokens, {TEXTS_PER_SECOND} a second, alone and beside {REQUESTS} requests with "
        f"{PICTURES} different JPEG pictures of 512 pixels each, all at once, for {model} (ms)",
        (
            "texts for",
            "texts",
            "p50 alone",
            "p99 alone",
            "p50 beside",
            "p99 beside",
            "ratio of p99",
            "asked",
            "failed",
        ),
    )
    sizes = Table("burst-memory", "The same bursts", ("what", "measured", "asked"))
    with running(catalog, CHAT, preload=json.dumps([CHAT, model])) as house:
        sender = Contestant("sender", PART)
        megabytes = sender.run("make", 0, model) / 2**20
        sender.run("send", house.port, model)
        asyncio.run(ask_texts(house.port, CHAT, _after(2.0)))
        before = house.resident_mb()
        found = [(name, asyncio.run(measure(house, sender, name, model, texts))) for name in (CHAT, model)]
        sender.close()
        for name, seen in found:
            # Prompts of the same model share its steps: what is asked is that pictures don't slow the others down.
            show(slow, name, seen, "≤ 2" if name == CHAT else "–")
        bursts = [seconds for _, seen in found for seconds in seen.bursts]
        sizes.add("bursts", len(bursts), "–")
        sizes.add("– of their requests failed", sum(seen.failed_pictures for _, seen in found), "0")
        sizes.add("– bodies of one burst together (MB)", megabytes, "–")
        sizes.add("– one takes, median (s)", percentile(bursts, 0.5), "–")
        sizes.add("gateway resident memory after the first burst (MB)", before, "–")
        sizes.add("– at its peak (MB)", house.peak_mb(), "≤ 400")
        sizes.add("decoding processes at their peak, the largest (MB)", max(house.decoders_peak_mb()), "–")
    return [slow, sizes]


def _after(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() > end
