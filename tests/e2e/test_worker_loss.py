"""Processes that are killed under load, seen from the clients (reliability F-01, F-09, F-25)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from tests.e2e.conftest import Start, in_flight, wait_idle
from tests.support.server import (
    Answer,
    RunningServer,
    http_request,
    is_alive,
    read_all,
    read_until,
    wait_until,
)

CHAT = "/v1/chat/completions"
LONG = 8000


def asking(model: str, name: str, tokens: int, *, stream: bool = True) -> bytes:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"hello {name}"}],
        "max_tokens": tokens,
        "stream": stream,
        "ignore_eos": True,
    }
    return http_request("POST", CHAT, json.dumps(body).encode(), x_request_id=name)


@contextmanager
def streams(server: RunningServer, model: str, count: int, tokens: int) -> Iterator[list[socket.socket]]:
    """So many connections, each with a stream on it that has said something."""
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(count)]
        for number, connection in enumerate(connections):
            connection.sendall(asking(model, f"{model}-{number}", tokens))
        for connection in connections:
            read_until(connection, b'"content":')
        yield connections


def rest(connection: socket.socket) -> bytes:
    """What comes until the end of the answer, which the connection outlives."""
    return read_until(connection, b"\r\n0\r\n\r\n")


def error_of(received: bytes) -> dict[str, object]:
    """The error that a broken stream ends with."""
    lines = [line for line in received.split(b"\r\n") if line.startswith(b"data: ")]
    return json.loads(lines[-1].strip().removeprefix(b"data: "))["error"]


@pytest.mark.parametrize(("model", "count"), [("paced", 50), ("endless", 12)])
def test_killing_a_worker_ends_every_stream_with_an_error(start: Start, model: str, count: int) -> None:
    server = start(default_model=model)
    (worker,) = server.workers()
    neighbour = "small" if model == "paced" else "paced"
    with server.connect() as other, streams(server, model, count, LONG) as connections:
        other.sendall(asking(neighbour, "neighbour", 200))
        read_until(other, b'"content":')
        with ThreadPoolExecutor(count) as pool:
            os.kill(worker, signal.SIGKILL)
            killed = time.monotonic()
            endings = list(pool.map(rest, connections))
            assert time.monotonic() - killed < 2, "errors come at once"
        for received in endings:
            assert error_of(received)["code"] == "worker_lost"
            assert error_of(received)["message"]
            assert b"[DONE]" not in received
            assert b'"finish_reason":"' not in received
        again = wait_until(
            lambda: (answer := server.chat(model=model, max_tokens=3)).status == 200 and answer, 10
        )
        assert time.monotonic() - killed < 10, "the model is back"
        assert again.json["usage"]["completion_tokens"] == 3
        assert is_alive(worker) is False
        assert b"[DONE]" in rest(other), "another model's stream notices nothing"
    records = [server.wait_record(f"{model}-{number}") for number in range(count)]
    assert {(one["outcome"], one["status"], one["error"]) for one in records} == {
        ("failed", 200, "worker_lost")
    }
    assert max(Counter(one["request_id"] for one in server.records()).values()) == 1
    wait_idle(server)


def test_whole_answers_that_lose_their_worker(start: Start) -> None:
    """Each is either the whole answer, from the next worker, or an error that says to try again; never a part."""
    server = start(default_model="endless")
    (worker,) = server.workers()

    def ask(number: int) -> Answer:
        body = {"model": "endless", "prompt": f"hello {number}", "max_tokens": 1500, "temperature": 0}
        return server.ask("POST", "/v1/completions", {**body, "ignore_eos": True}, timeout=60)

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, number) for number in range(6)]
        wait_until(lambda: in_flight(server) == 6)
        os.kill(worker, signal.SIGKILL)
        answers = [each.result() for each in asked]
    for number, answer in enumerate(answers):
        if answer.status == 200:
            assert answer.json["choices"] == ask(number).json["choices"]
        else:
            assert (answer.status, answer.json["error"]["code"]) == (502, "worker_lost")
            assert answer.headers["x-should-retry"] == "true"
            assert int(answer.headers["retry-after"]) >= 1
    assert wait_until(lambda: ask(0).status == 200, 10)
    wait_idle(server)


def test_killing_the_gateway_leaves_no_real_worker(start: Start) -> None:
    """An engine in the middle of its native code is gone as well, and the home can be used again at once."""
    server = start(default_model="endless")
    with streams(server, "endless", 8, LONG), server.connect() as other:
        other.sendall(asking("paced", "other", LONG))
        read_until(other, b'"content":')
        workers = server.workers()
        assert len(workers) == 2
        server.kill()
        wait_until(lambda: not any(is_alive(pid) for pid in workers), 10)
    again = start(default_model="endless")
    assert again.chat(model="endless", max_tokens=3).status == 200
    assert not set(again.workers()) & set(workers)


def test_terminating_under_load_ends_every_stream_properly(start: Start) -> None:
    """Short answers finish, those too long for the drain are told, nobody is cut off silently, and it exits with 0."""
    server = start(default_model="endless", drain_seconds=4)
    with (
        streams(server, "endless", 12, 200) as short,
        streams(server, "paced", 20, 60) as paced,
        streams(server, "narrow", 1, 60_000) as endless,
        ThreadPoolExecutor(33) as pool,
    ):
        workers = server.workers()
        reading = [pool.submit(read_all, connection) for connection in (*short, *paced, *endless)]
        server.signal()
        received = [each.result(timeout=60) for each in reading]
    for answer in received:
        assert answer.endswith(b"\r\n0\r\n\r\n"), "no silent truncation"
    for answer in received[:-1]:
        assert b"data: [DONE]" in answer
        assert b'"error"' not in answer
    assert error_of(received[-1])["code"] == "shutting_down"
    assert b"[DONE]" not in received[-1]
    assert server.wait_exit() == 0
    assert not any(is_alive(pid) for pid in workers)
    outcomes = Counter(record["outcome"] for record in server.records())
    assert outcomes == {"ok": 32, "failed": 1}


def test_no_process_of_the_house_is_left(start: Start) -> None:
    """A gateway that goes down by itself takes its workers along, busy or idle."""
    server = start(default_model="endless", drain_seconds=0)
    server.chat(model="paced", max_tokens=2)
    workers = server.workers()
    with streams(server, "endless", 4, LONG) as connections:
        server.signal(signal.SIGINT)
        for connection in connections:
            assert error_of(rest(connection))["code"] == "shutting_down"
        assert server.wait_exit(10) == 0
    wait_until(lambda: not any(is_alive(pid) for pid in workers), 1)
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server.pid)], capture_output=True, check=False)
    assert listed.stdout == b""
