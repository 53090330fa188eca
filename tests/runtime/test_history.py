"""The pure memories of crashes: when to restart, and whom to suspect."""

import asyncio
from contextlib import aclosing

import pytest

from quintet.core.errors import PoisonRequest, RequestTimeout
from quintet.core.events import Embedding, Event, Finished, Token
from quintet.core.models import Model
from quintet.core.requests import EmbeddingRequest, TextRequest
from quintet.runtime import frames
from quintet.runtime.lineup import Lineup
from quintet.runtime.mailbox import MAX_WAITING_BYTES, MAX_WAITING_EVENTS, Mailbox
from quintet.runtime.process import WorkerProcess
from quintet.runtime.quarantine import MAX_DIGESTS, Quarantine, digest_of
from quintet.runtime.restarts import Restarts

TOKEN = Token(0, 1, "x")


def test_pauses_grow_and_the_circuit_opens():
    restarts = Restarts()
    pauses = []
    for _ in range(5):
        restarts.crashed(100.0)
        pauses.append(restarts.pause_seconds(100.0))
    assert pauses == [0, 1, 2, 4, 8]
    assert not restarts.is_open(100.0)
    restarts.crashed(100.0)
    assert restarts.is_open(100.0)
    assert restarts.pause_seconds(100.0) == 600
    assert not restarts.is_open(700.0)
    assert restarts.pause_seconds(700.0) == 0
    restarts.crashed(700.0)
    assert restarts.pause_seconds(700.0) == 0, "old crashes are forgotten"


def test_loads_that_fail_pause_from_the_first_time():
    restarts = Restarts()
    pauses = []
    for _ in range(9):
        restarts.load_failed(0.0)
        pauses.append(restarts.pause_seconds(0.0))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    restarts.crashed(1000.0)
    restarts.load_failed(1000.0)
    assert restarts.pause_seconds(1000.0) == 1, "a load that worked starts the count anew"


def test_two_strikes_within_ten_minutes():
    quarantine = Quarantine()
    quarantine.strike({"a": 3, "b": 0}, 0.0)
    quarantine.check("a", 1.0)
    assert quarantine.is_suspect("a", 1.0)
    assert quarantine.crash_point("a") == 3
    quarantine.strike({"a": 3}, 10.0)
    with pytest.raises(PoisonRequest):
        quarantine.check("a", 609.0)
    quarantine.check("a", 610.0)
    quarantine.check("b", 10.0)
    quarantine.strike({"b": 0}, 601.0)
    quarantine.check("b", 601.0)
    quarantine.acquit("b")
    assert not quarantine.is_suspect("b", 601.0)


def test_memory_of_suspects_is_bounded():
    quarantine = Quarantine()
    quarantine.strike({str(number): 0 for number in range(MAX_DIGESTS + 5)}, 0.0)
    assert not quarantine.is_suspect("4", 0.0)
    assert quarantine.is_suspect("5", 0.0)


def test_digest_is_about_the_work_not_the_caller():
    one, two = (Model(name=name, task="text", engine="echo") for name in ("one", "two"))
    request = TextRequest(model="alias", prompt=("x",), owner="alice")
    same = TextRequest(model="one", prompt=("x",), owner="bob")
    assert digest_of(one, request) == digest_of(one, same)
    assert digest_of(one, request) != digest_of(two, request)
    assert digest_of(one, request) != digest_of(one, TextRequest(model="one", prompt=("y",)))


def test_suspects_take_turns():
    async def scene():
        quarantine = Quarantine()
        lineup = Lineup(quarantine, lambda: 0.0)
        quarantine.strike({"a": 2, "b": 2}, 0.0)
        first = await lineup.turn("a")
        (await lineup.turn("innocent")).release()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(lineup.turn("b"))
            await asyncio.sleep(0)
            first.start()
            first.progress(2)
            await asyncio.sleep(0)
            assert not waiting.done()
            first.progress(3)
            second = await waiting
        assert not quarantine.is_suspect("a", 0.0)
        assert quarantine.is_suspect("b", 0.0)
        async with asyncio.TaskGroup() as group:
            again = group.create_task(lineup.turn("b"))
            await asyncio.sleep(0)
            second.start()  # says nothing: the next one comes in after a moment
            async with asyncio.timeout(2):
                third = await again
        quarantine.strike({"b": 2}, 0.0)
        third.release()
        third.release()
        with pytest.raises(PoisonRequest):
            await lineup.turn("b")
        quarantine.acquit("b")
        (await lineup.turn("b")).release()

    asyncio.run(scene())


def test_mailbox_hands_over_everything_at_once_then_the_error():
    async def scene():
        mailbox = Mailbox()
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(mailbox.take())
            await asyncio.sleep(0)
            mailbox.put(TOKEN, 10, 1)
            mailbox.put(TOKEN, 10, 1)
            assert await taking == [TOKEN, TOKEN]
        mailbox.put(TOKEN, 10, 2)
        mailbox.fail(ValueError("first"))
        mailbox.fail(ValueError("second"))
        mailbox.put(TOKEN, 10, 3)
        assert await mailbox.take() == [TOKEN]
        with pytest.raises(ValueError, match="first"):
            await mailbox.take()

    asyncio.run(scene())


@pytest.mark.parametrize(("count", "size"), [(MAX_WAITING_EVENTS + 1, 1), (3, MAX_WAITING_BYTES // 2)])
def test_mailbox_is_bounded(count, size):
    async def scene():
        mailbox = Mailbox()
        for frame in range(1, count + 1):
            assert not mailbox.overflowed
            mailbox.put(TOKEN, size, frame)
        assert mailbox.overflowed
        with pytest.raises(RequestTimeout):
            await mailbox.take()

    asyncio.run(scene())


def test_mailbox_takes_a_large_answer_in_one_frame():
    async def scene():
        mailbox = Mailbox()
        for _ in range(MAX_WAITING_EVENTS * 2):
            mailbox.put(TOKEN, MAX_WAITING_BYTES, 1)
        assert len(await mailbox.take()) == MAX_WAITING_EVENTS * 2
        mailbox.put(TOKEN, 10, 2)
        assert await mailbox.take() == [TOKEN]
        assert not mailbox.overflowed

    asyncio.run(scene())


def test_many_vectors_in_two_frames_that_come_at_once_are_nobody_being_slow():
    async def scene():
        worker = WorkerProcess(lambda: 0.0)
        async with aclosing(worker.run(EmbeddingRequest(model="m", texts=("x",)), "digest")) as answer:
            vectors: list[Event] = [Embedding(index, bytes(4096)) for index in range(600)]
            first = frames.batch_frame([(1, event) for event in vectors])
            rest = frames.batch_frame([(1, Embedding(600, bytes(4096))), (1, Finished())])
            asyncio.get_running_loop().call_soon(worker.data_received, first + rest)
            assert len(await anext(answer)) == 602

    asyncio.run(scene())


def test_a_whole_answer_in_one_frame_is_nobody_being_slow():
    """Ranking holds all of best_of's tokens back until the end."""

    async def scene():
        worker = WorkerProcess(lambda: 0.0)
        async with aclosing(worker.run(TextRequest(model="m", prompt=("x",)), "digest")) as answer:
            events: list[Event] = [*[TOKEN] * (MAX_WAITING_EVENTS + 1), Finished()]
            frame = frames.batch_frame([(1, event) for event in events])
            asyncio.get_running_loop().call_soon(worker.data_received, frame)
            assert await anext(answer) == events

    asyncio.run(scene())
