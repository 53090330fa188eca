"""The pool of decoding processes when children are killed, callers leave, and more come than it takes."""

import asyncio
import errno
import os
import signal
import sys
import time
from collections.abc import Awaitable
from contextlib import suppress

import pytest

from quintet.core.errors import EngineFailed, NotReady, Overloaded, QuintetError, ShuttingDown
from quintet.media import protocol
from quintet.media.child import Child
from quintet.media.decoder import Decoder
from quintet.media.rules import Rule
from tests.media.decoding import (
    PICTURE,
    SLOW,
    ask,
    is_gone,
    pool,
    rule_of,
    until,
    working,
)
from tests.media.pictures import encode, noise

pytestmark = pytest.mark.anyio


async def test_a_child_killed_at_work_costs_one_picture() -> None:
    async with pool(children=1) as decoder, asyncio.TaskGroup() as group:
        lost = group.create_task(rule_of(decoder, SLOW))
        pid = await working(decoder)
        next_one = group.create_task(rule_of(decoder, PICTURE))
        os.kill(pid, signal.SIGSEGV)
        assert await lost is Rule.CRASHED
        assert await next_one is None


async def test_a_child_killed_between_pictures_costs_none() -> None:
    async with pool(children=1) as decoder:
        for _ in range(2):
            await ask(decoder)
            (pid,) = decoder.pids
            os.kill(pid, signal.SIGKILL)
            assert await rule_of(decoder, PICTURE) is None
            assert decoder.pids != [pid]


async def test_a_caller_who_leaves_disturbs_nobody() -> None:
    async with pool(children=1, seconds=0.2) as decoder, asyncio.TaskGroup() as group:
        left = group.create_task(rule_of(decoder, SLOW))
        pid = await working(decoder)
        behind = [group.create_task(rule_of(decoder, PICTURE)) for _ in range(3)]
        await until(lambda: decoder.held == 4)
        left.cancel()
        behind[1].cancel()
        await until(lambda: decoder.held == 2)
        assert [await behind[0], await behind[2]] == [None, None]
        assert is_gone(pid), "its time was up, whoever waited"


async def test_a_caller_who_leaves_a_good_picture_keeps_the_child() -> None:
    async with pool(children=1) as decoder:
        await ask(decoder)
        pids = decoder.pids
        for turns in range(8):
            task = asyncio.get_running_loop().create_task(ask(decoder, encode(noise((300, 300)), "PNG")))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert decoder.held == 0
        assert await rule_of(decoder, PICTURE) is None
        assert decoder.pids == pids


@pytest.mark.parametrize("limits", [{"max_held": 3}, {"max_held_bytes": len(SLOW) + 2 * len(PICTURE)}])
async def test_a_full_pool_refuses_at_once(limits) -> None:
    async with pool(children=1, seconds=0.2, **limits) as decoder, asyncio.TaskGroup() as group:
        tasks = [group.create_task(rule_of(decoder, SLOW))]
        await working(decoder)
        tasks += [group.create_task(rule_of(decoder, PICTURE)) for _ in range(2)]
        await until(lambda: decoder.held == 3)
        began = time.monotonic()
        with pytest.raises(Overloaded) as refused:
            await ask(decoder)
        assert time.monotonic() - began < 0.05
        assert 1 <= refused.value.retry_after <= 60
        assert await tasks[1] is None
        assert await rule_of(decoder, PICTURE) is None


async def test_first_come_first_served() -> None:
    order: list[int] = []

    async def one(number: int, decoder: Decoder) -> None:
        await ask(decoder)
        order.append(number)

    async with pool(children=1) as decoder:
        await asyncio.gather(*[one(number, decoder) for number in range(20)])
    assert order == list(range(20))


async def test_closing_ends_what_is_under_way() -> None:
    decoder = Decoder(children=1)

    async def ending(job: Awaitable[bytes]) -> type[QuintetError] | None:
        try:
            await job
        except QuintetError as error:
            return type(error)
        return None

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ending(ask(decoder, data))) for data in (SLOW, PICTURE, PICTURE)]
        pid = await working(decoder)
        await decoder.close()
        assert [await task for task in tasks] == [ShuttingDown] * 3
    assert is_gone(pid)
    with pytest.raises(ShuttingDown):
        await ask(decoder)
    await decoder.close()


async def test_a_decoder_that_was_never_used_closes() -> None:
    await Decoder().close()


async def test_children_that_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool() as decoder:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        for _ in range(2):
            with pytest.raises(EngineFailed, match="log says why"):
                await ask(decoder)
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(EngineFailed, match="log says why"):
            await ask(decoder)
        monkeypatch.undo()
        assert await rule_of(decoder, PICTURE) is None


async def test_a_machine_that_is_full_is_not_the_callers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool(children=1) as decoder:
        with monkeypatch.context() as full:

            def refuse(*_: object, **__: object) -> None:
                raise OSError(errno.EAGAIN, "no more processes")

            full.setattr("quintet.media.child.subprocess.Popen", refuse)
            with pytest.raises(NotReady) as refused:
                await ask(decoder)
            assert (refused.value.status, refused.value.retry_after) == (503, 5)
        await ask(decoder)


async def test_an_answer_that_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    one = await Child.start(2**30, 1.0)
    try:
        monkeypatch.setattr(protocol, "max_reply_bytes", lambda _: 10)
        with pytest.raises(Exception, match=Rule.CRASHED.name):
            await one.normalise(PICTURE, 64)
        assert one.has_ended
    finally:
        await one.end()
