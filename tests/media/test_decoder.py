"""The pool of decoding processes: what it does, what hostile pictures do to it, and how it is fenced in."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import uvloop

from quintet.media.child import child_environment
from quintet.media.rules import MAX_FILE_BYTES, Rule
from tests.media.decoding import (
    PICTURE,
    SLOW,
    ask,
    is_gone,
    pool,
    rule_of,
    status,
    working,
)
from tests.media.pictures import decode, encode, huge_canvas, noise, plain, png, png_header

pytestmark = pytest.mark.anyio

# ------------------------------------------------------------------------------------------------- what it does


async def test_a_hundred_at_once_each_get_their_own() -> None:
    async with pool() as decoder:
        colours = [(index, 255 - index, 7 * index % 256) for index in range(100)]
        files = [encode(plain(colour), "PNG") for colour in colours]
        results = await asyncio.gather(*[ask(decoder, data) for data in files])
        assert [decode(result).getpixel((3, 3)) for result in results] == colours
        assert len(decoder.pids) == 2
        assert results == await asyncio.gather(*[ask(decoder, data) for data in files])


async def test_children_start_when_needed_and_stay() -> None:
    async with pool() as decoder:
        assert decoder.pids == []
        await ask(decoder)
        (pid,) = decoder.pids
        for _ in range(3):
            await ask(decoder)
        assert decoder.pids == [pid]


async def test_large_files_and_large_answers_pass() -> None:
    padded = png() + random.Random(1).randbytes(MAX_FILE_BYTES - len(png()))
    async with pool() as decoder:
        assert decode(await ask(decoder, padded)).size == (16, 16)
        large = encode(noise((700, 700)), "PNG")
        assert decode(await ask(decoder, large, 700)).size == (700, 700)


async def test_children_are_fenced_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_DATABASE_URL", "SECRET")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    async with pool() as decoder:
        await ask(decoder)
        (pid,) = decoder.pids
        assert b"SECRET" not in Path(f"/proc/{pid}/environ").read_bytes()
        limits = re.sub(r"  +", "|", Path(f"/proc/{pid}/limits").read_text())
        for line in (
            "Max core file size|0|0|",
            "Max file size|0|0|",
            "Max open files|16|16|",
            f"Max address space|{600 * 2**20}|{600 * 2**20}|",
        ):
            assert line in limits
        assert status(pid, "NoNewPrivs") == 1
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (1, 2)} == {"/dev/null"}
        assert len(os.listdir(f"/proc/{pid}/fd")) == 3


def test_secrets_are_not_passed_on() -> None:
    passed = child_environment(
        {"PATH": "/bin", "LC_ALL": "C", "HF_TOKEN": "x", "QUINTET_PORT": "1", "HOME": "/h"}
    )
    assert {name for name in passed if not name.startswith("MALLOC_")} == {"PATH", "LC_ALL"}


# ------------------------------------------------------------------------------------------------- hostile pictures


async def test_bombs_are_refused_before_they_take_memory() -> None:
    bombs = [png_header(30_000, 30_000), png_header(4096, 4097), png_header(1, 10_000)]
    async with pool(children=1) as decoder:
        await ask(decoder, encode(noise(), "JPEG"))
        (pid,) = decoder.pids
        before = status(pid, "VmHWM"), status(os.getpid(), "VmRSS")
        for _ in range(10):
            rules = [await rule_of(decoder, bomb) for bomb in bombs]
            assert rules == [Rule.TOO_MANY_PIXELS, Rule.TOO_MANY_PIXELS, Rule.TOO_SMALL]
        assert status(pid, "VmHWM") - before[0] <= 5 * 1024
        assert status(os.getpid(), "VmRSS") - before[1] <= 5 * 1024


async def test_what_is_no_picture_does_not_even_start_a_child() -> None:
    async with pool() as decoder:
        for data in (b"", b"GIF89a", b"%PDF-1.7", b"<svg/>"):
            assert await rule_of(decoder, data) is Rule.UNSUPPORTED
        assert await rule_of(decoder, PICTURE + bytes(MAX_FILE_BYTES)) is Rule.FILE_TOO_LARGE
        assert decoder.pids == []


async def test_a_thousand_broken_files() -> None:
    rng = random.Random(44)
    seeds = [
        encode(noise((24, 24)), "JPEG"),
        encode(noise((24, 24)), "JPEG", progressive=True),
        encode(noise((24, 24)).convert("CMYK"), "JPEG"),
        encode(noise((24, 24)), "PNG"),
        encode(noise((24, 24)).convert("P"), "PNG", transparency=3),
        encode(noise((24, 24)), "WEBP"),
        encode(noise((24, 24)).convert("RGBA"), "WEBP", lossless=True),
        encode(plain(), "WEBP", save_all=True, append_images=[plain((1, 2, 3))]),
    ]
    async with pool() as decoder:
        await asyncio.gather(ask(decoder), ask(decoder))
        pids = decoder.pids
        seen = set()
        for number in range(1000):
            data = bytearray(seeds[number % len(seeds)])
            for _ in range(rng.randint(1, 6)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            seen.add(await rule_of(decoder, bytes(data)))
        assert {None, Rule.DAMAGED} <= seen <= {None, Rule.DAMAGED, *list(Rule)[:5]}
        assert decoder.pids == pids, "no child was lost"


async def test_a_slow_picture_is_given_up_and_the_others_are_not() -> None:
    async with pool(seconds=0.2) as decoder:
        began = time.monotonic()
        slow = asyncio.gather(rule_of(decoder, SLOW), rule_of(decoder, SLOW))
        answers = await asyncio.gather(*[rule_of(decoder, PICTURE) for _ in range(5)])
        assert await slow == [Rule.TOO_SLOW, Rule.TOO_SLOW]
        assert answers == [None] * 5
        assert time.monotonic() - began < 10


async def test_a_child_that_hangs_is_replaced() -> None:
    async with pool(children=1, seconds=0.1) as decoder:
        await ask(decoder)
        (pid,) = decoder.pids
        os.kill(pid, signal.SIGSTOP)
        assert await rule_of(decoder, PICTURE) is Rule.TOO_SLOW
        assert is_gone(pid)
        assert await rule_of(decoder, PICTURE) is None
        assert decoder.pids != [pid]


HEAVY = png(size=(4096, 4096), colour=6, pixels=(b"\0" + b"\0\x5a\0\x80" * 4096) * 4096)


async def test_too_much_memory() -> None:
    async with pool(children=1, memory_bytes=120 * 2**20) as decoder:
        assert await rule_of(decoder, HEAVY) is Rule.TOO_MUCH_MEMORY
        assert await rule_of(decoder, PICTURE) is None


async def test_the_heaviest_pictures_fit_into_a_child() -> None:
    async with pool(children=1) as decoder:
        for data in (HEAVY, huge_canvas(4096, 4096)):
            assert await rule_of(decoder, data) is None
        (pid,) = decoder.pids
        assert status(pid, "VmPeak") < 450 * 1024
        assert status(pid, "VmRSS") < 60 * 1024, "it is given back"


# ------------------------------------------------------------------------------------------------- the gateway


def test_all_this_on_the_loop_that_servers_run() -> None:
    async def scenario() -> None:
        async with pool(children=1, seconds=0.2) as decoder, asyncio.TaskGroup() as group:
            await ask(decoder, png() + bytes(5_000_000))
            lost = group.create_task(rule_of(decoder, SLOW))
            await working(decoder)
            behind = [group.create_task(rule_of(decoder, PICTURE)) for _ in range(3)]
            behind[1].cancel()
            assert await lost is Rule.TOO_SLOW
            assert [await behind[0], await behind[2]] == [None, None]
            os.kill(decoder.pids[0], signal.SIGKILL)
            assert await rule_of(decoder, PICTURE) is None

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


def test_children_die_with_the_gateway() -> None:
    code = (
        "import asyncio, sys\n"
        "from quintet.media.decoder import Decoder\n"
        "async def main():\n"
        "    decoder = Decoder(children=1)\n"
        "    await decoder.normalise(bytes.fromhex(sys.argv[1]), max_side=64, field='x')\n"
        "    print(decoder.pids[0], flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, PICTURE.hex()], stdout=subprocess.PIPE) as gateway:
        pid = int(gateway.stdout.readline())
        gateway.kill()
    deadline = time.monotonic() + 10
    while not is_gone(pid) and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_gateway_never_imports_the_imaging_library() -> None:
    names = ("PIL", "numpy", "quintet.media.images")
    code = f"import sys, quintet.media.decoder; print([name for name in {names!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
