"""Real workers that are killed, stopped, poisoned and confused; the gateway's side must stay whole."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest

from quintet.core.errors import (
    DeadlineExceeded,
    EngineFailed,
    LoadFailed,
    PayloadTooLarge,
    PoisonRequest,
    QuintetError,
    WorkerLost,
)
from quintet.core.events import Outcome, Token
from quintet.core.models import Model, ModelState
from quintet.runtime import frames
from quintet.runtime.local import LocalBackend
from quintet.runtime.process import worker_environment
from quintet.runtime.service import Deadlines
from quintet.runtime.supervisor import Patience
from quintet.runtime.worker import EXIT_ORPHANED, PREPARERS
from tests.runtime.house import ask, echo, is_alive, is_gone, open_house, signal_worker, until, within

pytestmark = pytest.mark.anyio


async def test_kill_under_fifty_streams():
    model = echo(tokens_per_second=50)
    async with open_house(model) as house:
        seen = [[] for _ in range(50)]
        async with asyncio.TaskGroup() as group:
            streams = [
                group.create_task(house.ending(ask(f"stream {number}", endless=True), seen[number]))
                for number in range(50)
            ]
            await until(lambda: all(seen), 10, "every stream has begun")
            killed = time.monotonic()
            signal_worker(house.pid, signal.SIGKILL)
        assert time.monotonic() - killed < 1, "errors come at once"
        assert {type(stream.result()) for stream in streams} == {WorkerLost}
        assert [record.ending for record in house.records] == ["failed"] * 50
        assert all(record.usage.completion_tokens > 0 for record in house.records)
        # The same requests again: nobody is blamed for what the kill did.
        outcomes = await within(
            10, asyncio.gather(*(house.ending(ask(f"stream {n}", most=5)) for n in range(50)))
        )
        assert all(isinstance(outcome, Outcome) for outcome in outcomes)


async def test_streams_begun_at_a_kill_are_not_convicted():
    async with open_house(echo(tokens_per_second=50)) as house:
        for _ in range(2):
            seen = [[] for _ in range(5)]
            async with asyncio.TaskGroup() as group:
                streams = [
                    group.create_task(house.ending(ask(f"stream {number}", endless=True), seen[number]))
                    for number in range(5)
                ]
                await until(lambda: all(len(events) > 1 for events in seen), 10, "all go on")  # noqa: B023
                signal_worker(house.pid, signal.SIGKILL)
            assert {type(stream.result()) for stream in streams} == {WorkerLost}


async def test_requests_not_yet_begun_are_sent_again():
    async with open_house(echo(first_token_seconds=0.4)) as house:
        await house.service.ensure_ready(house.models[0])
        first = house.pid
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(house.ending(ask(f"word {number}"))) for number in range(5)]
            await until(lambda: house.backend.status(house.models[0]).in_flight == 5, 5, "all sent")
            signal_worker(first, signal.SIGKILL)
        assert [task.result().choices[0].text for task in asked] == [f"word {number}" for number in range(5)]
        assert house.pid != first


@pytest.mark.parametrize(
    ("switch", "error"),
    [("frame", WorkerLost), ("error", EngineFailed), ("crash", WorkerLost), ("oom", WorkerLost)],
)
async def test_worker_is_replaced(switch, error):
    async with open_house(echo()) as house:
        seen = []
        ending = await within(10, house.ending(ask(f"one two !{switch}@1 three"), seen))
        assert type(ending) is error
        assert [event.text for event in seen if isinstance(event, Token)] == ["one"]
        assert "echo" not in ending.message
        assert (await within(10, house.answer(ask("still here")))).choices[0].text == "still here"


async def test_error_of_one_request_spares_worker_and_neighbours():
    async with open_house(echo(tokens_per_second=100)) as house:
        neighbour, ending = await asyncio.gather(
            house.answer(ask("good", most=20, endless=True)), house.ending(ask("bad !refuse@3", endless=True))
        )
        assert isinstance(ending, EngineFailed)
        assert len(neighbour.choices[0].tokens) == 20
        before = house.pid
        await house.answer(ask("again"))
        assert house.pid == before


@pytest.mark.parametrize("how", ["stopped", "hanging"])
async def test_watchdog_kills_a_worker_without_progress(how):
    async with open_house(echo(tokens_per_second=50), patience=Patience(progress_seconds=1.5)) as house:
        seen = []
        words = "go on" if how == "stopped" else "go on !hang@3"
        async with asyncio.TaskGroup() as group:
            stream = group.create_task(house.ending(ask(words, endless=True), seen))
            await until(lambda: len(seen) > 2, 10, "it has begun")
            before = house.pid
            if how == "stopped":
                signal_worker(before, signal.SIGSTOP)
            await within(4, asyncio.wait({stream}))
        assert isinstance(stream.result(), WorkerLost)
        assert (await within(10, house.answer(ask("back")))).choices[0].text == "back"
        assert not is_alive(before)


async def test_watchdog_notices_a_hang_that_every_caller_has_left():
    async with open_house(echo(), patience=Patience(progress_seconds=1.5)) as house:
        await house.answer(ask("well"))
        hanging = ask("!hang")
        for _ in range(2):
            before = house.pid
            with pytest.raises(TimeoutError):
                await within(0.3, house.answer(hanging))
            await until(partial(is_gone, before), 5, "the hung worker is gone")
            assert (await within(10, house.answer(ask("back")))).choices[0].text == "back"
        assert isinstance(await house.ending(hanging), PoisonRequest)


async def test_workers_whose_callers_all_left_are_left_alone():
    async with open_house(echo(tokens_per_second=20), patience=Patience(progress_seconds=0.5)) as house:
        stream = house.stream(ask("on", endless=True))
        await anext(stream)
        before = house.pid
        await stream.aclose()
        await asyncio.sleep(1.5)  # nothing is to happen
        assert (await house.answer(ask("still"))).choices[0].text == "still"
        assert house.pid == before


async def test_a_machine_that_stood_still_is_no_hang():
    skipped = 0.0
    async with open_house(echo(tokens_per_second=20), patience=Patience(progress_seconds=2.0)) as house:
        house.backend._clock = lambda: time.monotonic() + skipped
        stream = house.stream(ask("on", endless=True))
        await anext(stream)
        before = house.pid
        signal_worker(before, signal.SIGSTOP)
        skipped = 60.0
        await asyncio.sleep(1.0)  # the watchdog looks twice
        signal_worker(before, signal.SIGCONT)
        assert is_alive(before)
        for _ in range(20):
            await within(2, anext(stream))
        await stream.aclose()
        assert (house.pid, house.backend.status(house.models[0]).state) == (before, ModelState.READY)


async def test_a_gateway_that_died_early_leaves_no_worker():
    ours, theirs = socket.socketpair()
    with theirs:
        model = echo(load_fault="hang")
        ours.sendall(frames.frame(frames.Open(model, "quintet.engines.echo.engine:open_engine", 20.0)))
        ours.close()
        command = [sys.executable, "-m", "quintet.runtime.worker", str(theirs.fileno())]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as worker:
            try:
                assert worker.wait(10) == EXIT_ORPHANED
            finally:
                worker.kill()


async def test_preparations_nobody_waits_for_are_called_off(tmp_path, monkeypatch):
    (tmp_path / "slow_prepare.py").write_text(
        "import time\n"
        "from quintet.engines.echo.engine import EchoEngine\n"
        "class Slow(EchoEngine):\n"
        "    def prepare(self, request):\n"
        "        time.sleep(0.5)\n"
        "        return super().prepare(request)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    async with open_house(echo()) as house:
        house.backend._factories["echo"] = "slow_prepare:Slow"
        await house.answer(ask("well"))
        async with asyncio.TaskGroup() as group:
            leaving = [group.create_task(house.answer(ask(f"leaving {n}"))) for n in range(5 * PREPARERS)]
            await until(lambda: house.backend.status(house.models[0]).in_flight == len(leaving), 2)
            for task in leaving:
                task.cancel()
        began = time.monotonic()
        await house.answer(ask("staying"))
        assert time.monotonic() - began < 1.8, "two preparations that ran, and its own"


async def test_preparation_that_hangs_costs_only_its_request():
    async with open_house(echo(), patience=Patience(prepare_seconds=1.0)) as house:
        stuck = ask("!stuck")
        assert isinstance(await within(10, house.ending(stuck)), EngineFailed)
        assert isinstance(await house.ending(stuck), PoisonRequest)
        assert isinstance(await within(10, house.ending(ask("fine"))), Outcome)


async def test_long_silence_with_signs_of_life_is_no_hang():
    deadlines = Deadlines(idle_seconds=10)
    async with open_house(
        echo(first_token_seconds=2.5), patience=Patience(progress_seconds=1.5), deadlines=deadlines
    ) as house:
        assert (await house.answer(ask("patience"))).choices[0].text == "patience"


async def test_poison_is_quarantined_and_bystanders_are_not():
    async with open_house(echo(tokens_per_second=50)) as house:
        poison = ask("boom !crash@0")
        bystanders = [ask(f"innocent {number}", most=30, endless=True) for number in range(8)]
        endings = await within(20, asyncio.gather(*(house.ending(each) for each in [poison, *bystanders])))
        assert isinstance(endings[0], WorkerLost), "killed the first worker, and the one that tried again"
        pid = house.pid
        assert isinstance(await house.ending(poison), PoisonRequest)
        assert house.pid == pid, "it did not get near a worker"
        again = await within(20, asyncio.gather(*(house.ending(each) for each in bystanders)))
        assert all(isinstance(outcome, Outcome) for outcome in again)
        assert isinstance(await house.ending(ask("boom !crash@0 otherwise")), QuintetError)


async def test_late_poison_is_found_among_suspects():
    async with open_house(echo(tokens_per_second=100)) as house:
        poison = ask("a b c d e f g !crash@5")
        bystanders = [ask(f"innocent {number}", most=60, endless=True) for number in range(4)]
        for expected in (WorkerLost, WorkerLost, PoisonRequest):
            endings = await within(
                20, asyncio.gather(*(house.ending(each) for each in [poison, *bystanders]))
            )
            assert isinstance(endings[0], expected)
            assert not any(isinstance(ending, PoisonRequest) for ending in endings[1:])
        assert all(isinstance(ending, Outcome) for ending in endings[1:])


@pytest.mark.parametrize("how", ["error", "crash", "hang"])
async def test_model_that_does_not_load(how):
    model = echo(load_fault=how)
    async with open_house(model, patience=Patience(load_seconds=1.0)) as house:
        endings = await within(5, asyncio.gather(*(house.ending(ask("hello")) for _ in range(5))))
        assert {type(ending) for ending in endings} == {LoadFailed}
        status = house.service.status(model)
        assert status.state is ModelState.FAILED
        assert status.reason
        assert house.backend.worker_pid(model) is None, "nothing of it is left"
        again = await house.ending(ask("hello"))
        assert isinstance(again, LoadFailed)
        assert 0 < again.retry_after <= 60, "refused at once, with the time of the next attempt"
        assert {record.ending for record in house.records} == {"refused"}


async def test_circuit_opens_after_too_many_crashes():
    async with open_house(echo(), patience=Patience(restart_seconds=0.0)) as house:
        refusals = []
        for number in range(3):
            ending = await within(10, house.ending(ask(f"number {number} !crash@1")))
            refusals.append(type(ending).__name__)
        # The first restart is immediate; then callers are told how long the pause is.
        assert refusals[:2] == ["WorkerLost", "WorkerLost"]
        ending = await house.ending(ask("hello"))
        assert isinstance(ending, QuintetError)
        assert ending.code == "model_restarting"
        assert 0 < ending.retry_after <= 60


async def test_stalled_answer_meets_its_deadline():
    deadlines = Deadlines(first_event_seconds=0.5, idle_seconds=0.3)
    async with open_house(echo(), deadlines=deadlines) as house:
        assert isinstance(await within(3, house.ending(ask("never !stall@0"))), DeadlineExceeded)
        assert isinstance(await within(3, house.ending(ask("then no more !stall@2"))), DeadlineExceeded)
        await until(lambda: house.in_flight == 0, 1, "both are cancelled in the worker")
        assert [record.code for record in house.records] == ["deadline_exceeded"] * 2


async def test_total_deadline():
    deadlines = Deadlines(text_seconds=0.5)
    async with open_house(echo(tokens_per_second=50), deadlines=deadlines) as house:
        assert isinstance(await within(3, house.ending(ask("on and on", endless=True))), DeadlineExceeded)


GATEWAY = """
import asyncio
from quintet.core.models import Model
from quintet.runtime.local import LocalBackend

async def main():
    backend = LocalBackend()
    models = [Model(name=name, task="text", engine="echo") for name in ("one", "two")]
    for model in models:
        await backend.ensure_ready(model)
    print(*(backend.worker_pid(model) for model in models), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_no_orphans_after_kill_of_the_gateway():
    with subprocess.Popen([sys.executable, "-c", GATEWAY], stdout=subprocess.PIPE, text=True) as gateway:
        workers = [int(pid) for pid in gateway.stdout.readline().split()]
        assert len(workers) == 2
        assert all(is_alive(pid) for pid in workers)
        gateway.kill()
        await until(lambda: not any(is_alive(pid) for pid in workers), 10, "workers die with the gateway")


async def test_signals_to_everybody_leave_workers_to_the_gateway():
    async with open_house(echo()) as house:
        await house.service.ensure_ready(house.models[0])
        before = house.pid
        signal_worker(before, signal.SIGTERM)
        signal_worker(before, signal.SIGINT)
        assert isinstance(await house.ending(ask("still there")), Outcome)
        assert house.pid == before


def test_workers_see_no_secrets():
    environment = worker_environment(
        {"PATH": "/bin", "OMP_NUM_THREADS": "2", "HF_TOKEN": "x", "QUINTET_KEY": "x"}
    )
    assert environment["PATH"] == "/bin"
    assert environment["OMP_NUM_THREADS"] == "2"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert "x" not in environment.values()


async def test_request_larger_than_a_frame(monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 10_000)
    async with open_house(echo()) as house:
        assert isinstance(await house.ending(ask("x" * 20_000)), PayloadTooLarge)
        assert isinstance(await house.ending(ask("small")), Outcome)


async def test_absent_weights_show(tmp_path):
    here = replace(echo(), path=str(tmp_path))
    gone = replace(echo("gone"), path=str(tmp_path / "nothing"))
    async with open_house(here, gone) as house:
        assert [status.state for status in house.service.models()] == [
            ModelState.INSTALLED,
            ModelState.ABSENT,
        ]


async def test_an_engine_whose_packages_are_not_installed_says_how_to_get_them(tmp_path, monkeypatch):
    (tmp_path / "brush_for_tests.py").write_text("import paint_that_is_nowhere.colours\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    model = Model(name="painter", task="image", engine="image")
    backend = LocalBackend(factories={"image": "brush_for_tests:open_engine"})
    try:
        with pytest.raises(LoadFailed, match=r"paint_that_is_nowhere.*make images.*quintet\[images\]"):
            await within(20, backend.ensure_ready(model))
    finally:
        await backend.close(0)
