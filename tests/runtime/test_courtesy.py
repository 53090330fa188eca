"""Heavy workers give up cores while light ones work, and get them back."""

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from quintet.core.models import Model
from quintet.runtime import courtesy
from quintet.runtime.courtesy import Courtesy

CHAT = Model(name="chat", task="text", engine="text")
PAINTER = Model(name="painter", task="image", engine="image")
CORES = sorted(courtesy._cores())

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(len(CORES) < 2, reason="with one core there is nothing to leave to others"),
]

TWO_THREADS = """
import sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker():
    """The pid of a process with two threads."""
    with subprocess.Popen(
        [sys.executable, "-c", TWO_THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process.pid
        process.kill()


def cores_of(pid: int) -> list[set[int]]:
    """Where each of its threads may run."""
    return [os.sched_getaffinity(int(thread)) for thread in os.listdir(f"/proc/{pid}/task")]


async def until_free(pid: int) -> None:
    """Returns once all threads may run everywhere."""
    async with asyncio.timeout(5):
        while cores_of(pid) != [set(CORES)] * 2:  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0.005)


async def test_a_heavy_worker_keeps_off_half_of_the_cores_while_a_light_one_works(worker: int, monkeypatch):
    monkeypatch.setattr(courtesy, "GRACE_SECONDS", 0.01)
    all_of_them, upper = set(CORES), set(CORES[(len(CORES) + 1) // 2 :])
    house = Courtesy()
    with house.working(PAINTER, worker):
        assert cores_of(worker) == [all_of_them] * 2
        with house.working(CHAT, os.getpid()):
            assert cores_of(worker) == [upper] * 2
            with house.working(CHAT, os.getpid()):
                pass
            assert cores_of(worker) == [upper] * 2
        await until_free(worker)
    assert os.sched_getaffinity(threading.get_native_id()) == all_of_them


async def test_one_that_begins_beside_light_work_or_right_after_it_is_kept_off_too(worker: int, monkeypatch):
    monkeypatch.setattr(courtesy, "GRACE_SECONDS", 0.05)
    upper = set(CORES[(len(CORES) + 1) // 2 :])
    house = Courtesy()
    with house.working(CHAT, os.getpid()), house.working(PAINTER, worker):
        assert cores_of(worker) == [upper] * 2
    with house.working(PAINTER, worker):
        assert cores_of(worker) == [upper] * 2
        await until_free(worker)


async def test_a_worker_that_is_gone_disturbs_nobody(worker: int):
    house = Courtesy()
    gone = 2**22 - 1
    with house.working(PAINTER, gone), house.working(PAINTER, worker), house.working(CHAT, os.getpid()):
        assert all(len(cores) < len(CORES) for cores in cores_of(worker))


async def test_models_that_only_talk_are_light():
    assert [Model(name="m", task=task, engine="e").is_heavy for task in ("text", "embedding")] == [False] * 2
    assert all(Model(name="m", task=task, engine="e").is_heavy for task in ("vision", "image", "speech"))
