"""A pool of decoding processes to test, and ways to watch it from outside."""

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

from quintet.core.errors import InvalidRequest
from quintet.media.decoder import Decoder
from quintet.media.rules import WORDS, Rule
from tests.media.pictures import decode, encode, plain, slow_jpeg

FIELD = "messages[0].content[1].image_url.url"
PICTURE = encode(plain(), "PNG")
SLOW = slow_jpeg(6000)
"""Half a minute of processor time."""


@asynccontextmanager
async def pool(**options):
    decoder = Decoder(**options)
    try:
        yield decoder
    finally:
        await decoder.close()
        assert not decoder.pids
        assert (decoder.held, decoder.held_bytes) == (0, 0)


async def ask(decoder: Decoder, data: bytes = PICTURE, max_side: int = 64) -> bytes:
    return await decoder.normalise(data, max_side=max_side, field=FIELD)


async def rule_of(decoder: Decoder, data: bytes) -> Rule | None:
    """Which rule a picture broke, told in the house's own words alone."""
    refused: InvalidRequest | None = None
    try:
        result = await ask(decoder, data)
    except InvalidRequest as error:
        refused = error
    if refused is None:
        assert decode(result).mode == "RGB"
        return None
    assert (refused.code, refused.param) == ("image_decode_failed", FIELD)
    assert refused.__cause__ is None
    return next(rule for rule, words in WORDS.items() if refused.message == f"`{FIELD}` {words}")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # other processes have no events
            await asyncio.sleep(0.005)


def status(pid: int, name: str) -> int:
    """A number from the kernel's table about a process, in KiB for sizes."""
    return int(re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def working(decoder: Decoder) -> int:
    """The process id of the only child, once it is busy with a slow picture."""
    await until(lambda: decoder.pids)
    (pid,) = decoder.pids
    before = cpu_ticks(pid)
    await until(lambda: cpu_ticks(pid) > before + 5)
    return pid


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
