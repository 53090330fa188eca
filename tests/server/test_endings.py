"""How requests end: well, with an error that looks like one, or because the client left (reliability F-10, F-11)."""

from __future__ import annotations

import base64
import json
import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.server.conftest import Start
from tests.support.server import (
    RunningServer,
    chat_bytes,
    http_request,
    is_alive,
    read_all,
    read_until,
    wait_until,
)

CHAT = "/v1/chat/completions"


def in_flight(server: RunningServer) -> float:
    metrics = server.ask("GET", "/metrics").body.decode()
    return float(metrics.partition("\nquintet_in_flight ")[2].split()[0])


def hang_up(connection: socket.socket, how: str) -> None:
    if how == "RST":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def named(request: bytes, name: str) -> bytes:
    """The same request with an id of its own."""
    return request.replace(b"\r\n\r\n", f"\r\nx-request-id: {name}\r\n\r\n".encode(), 1)


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_client_that_leaves_with_a_request_in_line(server: RunningServer, how: str, at_once: bool) -> None:
    name = f"first-{how}-{at_once}"
    first = named(chat_bytes("hello", stream=True, model="paced", max_tokens=8000), name)
    second = chat_bytes("two")
    with server.connect() as connection:
        connection.sendall(first + second if at_once else first)
        read_until(connection, b"hello")
        if not at_once:
            connection.sendall(second)
            read_until(connection, b"hello")
        hang_up(connection, how)
    wait_until(lambda: in_flight(server) == 0, 2)
    assert server.wait_record(name)["outcome"] == "cancelled"
    assert not [line for line in server.log if "Traceback" in line]


def test_nonsense_behind_a_request_does_not_get_into_its_answer(server: RunningServer) -> None:
    with server.connect() as connection:
        connection.sendall(chat_bytes("hello", stream=True, model="paced", max_tokens=8000))
        received = read_until(connection, b"hello")
        connection.sendall(chat_bytes("two") + b"nonsense\r\n\r\n")
        received += read_all(connection)
    assert received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("model", ["paced", "late"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(
    server: RunningServer, how: str, model: str, stream: bool
) -> None:
    name = f"gone-{how}-{model}-{stream}"
    with server.connect() as connection:
        connection.sendall(named(chat_bytes("hello", stream=stream, model=model, max_tokens=8000), name))
        if stream and model == "paced":
            read_until(connection, b"hello")
        else:
            wait_until(lambda: in_flight(server) == 1)
        left = time.monotonic()
        hang_up(connection, how)
    record = server.wait_record(name)
    assert time.monotonic() - left < 1
    assert record["outcome"] == "cancelled"
    assert record["status"] == (200 if stream and model == "paced" else 499)
    assert record["model"] == model
    assert in_flight(server) == 0


def test_a_hundred_clients_leave_at_once(server: RunningServer) -> None:
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    for connection in connections:
        connection.sendall(chat_bytes("hello", stream=True, model="paced", max_tokens=8000))
    for connection in connections:
        read_until(connection, b"hello")
    refused = server.chat(model="paced")
    assert refused.status == 429
    assert refused.json["error"]["code"] == "model_overloaded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    for number, connection in enumerate(connections):
        hang_up(connection, ("FIN", "RST")[number % 2])
    wait_until(lambda: in_flight(server) == 0, 2)
    assert server.chat(model="paced", max_tokens=2).status == 200


def test_a_stream_that_breaks_looks_broken(server: RunningServer) -> None:
    body = chat_bytes("one two three four !crash@2", stream=True)
    with server.connect() as connection:
        connection.sendall(body)
        received = read_until(connection, b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b'"one"' in received or b"one" in received
    assert b'"error":' in received
    assert b"[DONE]" not in received
    events = [line for line in received.split(b"\r\n") if line.startswith(b"data: ")]
    assert json.loads(events[-1].strip().removeprefix(b"data: "))["error"]["message"]
    wait_until(lambda: server.chat().status == 200)


def test_a_stream_of_bare_text_breaks_off(server: RunningServer) -> None:
    """There are no words for an error in it, so all that can be seen is that its end is missing."""
    body = json.dumps({"model_name": "echo", "prompt": "one two three four !crash@2 bare"}).encode()
    with server.connect() as connection:
        connection.sendall(http_request("POST", "/generate/fromtext", body, x_request_id="bare"))
        head, _, text = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"one" in text
    assert b"error" not in text
    assert not text.endswith(b"0\r\n\r\n")
    assert server.wait_record("bare")["error"] == "worker_lost"
    wait_until(lambda: server.chat().status == 200)


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_before_the_first_event_keeps_its_status(server: RunningServer, stream: bool) -> None:
    unknown = server.chat(model="nothing", stream=stream)
    assert (unknown.status, unknown.json["error"]["code"]) == (404, "model_not_found")
    broken = server.chat(model="broken", stream=stream)
    assert (broken.status, broken.json["error"]["code"]) == (503, "model_load_failed")
    failed = server.chat(f"!refuse hello {stream}", stream=stream)
    assert failed.status == 500
    for answer in (unknown, broken, failed):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"]
    wait_until(lambda: server.chat().status == 200)


def test_a_waiting_stream_commits_and_pings(start: Start) -> None:
    server = start(
        deadlines__commit_seconds=0.2, deadlines__ping_seconds=0.2, deadlines__first_byte_seconds=1
    )
    with server.connect() as connection:
        connection.sendall(chat_bytes("hello", stream=True, model="late"))
        received = read_until(connection, b"0\r\n\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/event-stream" in head
    assert b"x-accel-buffering: no" in head
    assert b"cache-control: no-cache" in head
    assert 2 <= body.count(b": ping\n\n") <= 6
    assert b'"deadline_exceeded"' in body
    assert b"[DONE]" not in body


def test_a_late_first_event_is_504(start: Start) -> None:
    server = start(deadlines__first_byte_seconds=0.3)
    for stream in (True, False):
        answer = server.chat(model="late", stream=stream)
        assert answer.status == 504
        assert answer.json["error"]["code"] == "deadline_exceeded"


def test_many_streams_keep_their_own_words(server: RunningServer) -> None:
    def ask(number: int) -> tuple[str, str]:
        word = f"word{number}"
        answer = server.chat(" ".join([word] * 20), stream=True)
        pieces = [
            json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "")
            for line in answer.body.decode().splitlines()
            if line.startswith("data: {")
        ]
        assert answer.body.endswith(b"data: [DONE]\n\n")
        return word, "".join(pieces)

    with ThreadPoolExecutor(20) as pool:
        for word, text in pool.map(ask, range(100)):
            assert text == " ".join([word] * 20)


def test_every_request_has_exactly_one_line(server: RunningServer) -> None:
    names = [f"line-{number}" for number in range(40)]

    def ask(name: str) -> None:
        body = {"model": ["echo", "nothing"][hash(name) % 2], "messages": [{"role": "user", "content": "x"}]}
        server.ask("POST", CHAT, body, {"x-request-id": name})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, names))
    for name in names:
        server.wait_record(name)
    found = [record["request_id"] for record in server.records() if record["request_id"].startswith("line-")]
    assert sorted(found) == sorted(names)


def test_a_log_line_says_what_happened(server: RunningServer) -> None:
    server.ask(
        "POST",
        CHAT,
        {"model": "echo", "messages": [{"role": "user", "content": "secret words"}]},
        {"x-request-id": "told"},
    )
    record = server.wait_record("told")
    assert record["route"] == CHAT
    assert record["owner"] == "local"
    assert record["model"] == "echo"
    assert record["dialect"] == "openai"
    assert record["completion_tokens"] == 2
    assert record["prompt_tokens"] > 0
    assert 0 <= record["queue_ms"] <= record["first_byte_ms"] <= record["total_ms"]
    assert "secret" not in "\n".join(server.log)


def test_terminating_lets_requests_finish(start: Start) -> None:
    server = start()
    with server.connect() as connection, server.connect() as idle:
        idle.sendall(http_request("GET", "/health"))
        read_until(idle, b"}")
        connection.sendall(chat_bytes("hello", stream=True, model="paced", max_tokens=60))
        received = read_until(connection, b"hello")
        began = time.monotonic()
        server.signal()
        assert read_all(idle) == b"", "idle connections are closed"
        refused = wait_until(lambda: (answer := server.chat()).status == 503 and answer)
        assert refused.json["error"]["code"] == "shutting_down"
        assert refused.headers["connection"] == "close"
        ready = server.ask("GET", "/ready")
        assert (ready.status, ready.json["error"]["code"]) == (503, 503)
        assert server.ask("GET", "/health").status == 200
        assert read_until(connection, b"[DONE]", received).count(b'"content":') >= 60
    assert server.wait_exit() == 0
    assert time.monotonic() - began < 6
    assert server.process.poll() == 0


def test_what_does_not_finish_in_time_is_told(start: Start) -> None:
    server = start(drain_seconds=0.5)
    workers = server.workers()
    assert workers
    with ThreadPoolExecutor(1) as pool, server.connect() as connection:
        connection.sendall(chat_bytes("hello", stream=True, model="paced", max_tokens=8000))
        read_until(connection, b"hello")
        whole = pool.submit(server.chat, model="paced", max_tokens=8000)
        wait_until(lambda: in_flight(server) == 2)
        server.signal()
        received = read_all(connection)
        assert b'"shutting_down"' in received
        assert b"[DONE]" not in received
        assert received.endswith(b"0\r\n\r\n")
        assert whole.result().status == 503
    assert server.wait_exit() == 0
    assert not any(is_alive(pid) for pid in workers)


def test_a_second_signal_hurries(start: Start) -> None:
    server = start(drain_seconds=60)
    with server.connect() as connection:
        connection.sendall(chat_bytes("hello", stream=True, model="paced", max_tokens=8000))
        read_until(connection, b"hello")
        server.signal(signal.SIGINT)
        wait_until(lambda: server.ask("GET", "/ready").status == 503)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert b'"shutting_down"' in read_all(connection)
    assert server.wait_exit() == 0
    assert time.monotonic() - began < 5


def test_killing_the_gateway_leaves_no_orphan(start: Start) -> None:
    server = start()
    with server.connect() as connection:
        connection.sendall(chat_bytes("hello", stream=True, model="paced", max_tokens=8000))
        read_until(connection, b"hello")
        workers = server.workers()
        assert len(workers) == 2
        server.kill()
        wait_until(lambda: not any(is_alive(pid) for pid in workers), 10)
    again = start()
    assert again.chat().status == 200


def test_hangup_reloads_and_drops_nothing(start: Start) -> None:
    server = start()
    (server.home / "quintet.toml").write_text("[auth]\nban_failures = 2\n")
    with server.connect() as connection:
        connection.sendall(chat_bytes("hello", stream=True, model="paced", max_tokens=30))
        received = read_until(connection, b"hello")
        server.signal(signal.SIGHUP)
        server.wait_for(lambda: any('"reload"' in line for line in server.log))
        read_until(connection, b"[DONE]", received)
    assert [server.chat(key="x").status for _ in range(3)] == [401, 401, 403]
    (server.home / "quintet.toml").write_text("[auth]\nban_failure = 2\n")
    server.signal(signal.SIGHUP)
    server.wait_for(lambda: any("there is no such setting" in line for line in server.log))
    assert server.ask("GET", "/health").status == 200


def test_a_log_that_nobody_reads_blocks_nothing(start: Start) -> None:
    server = start(read_log=False)
    began = time.monotonic()
    for _ in range(100):
        assert server.chat().status == 200
    assert time.monotonic() - began < 10
    assert server.stop() == 0


def test_refused_pictures_leave_nothing_in_memory(server: RunningServer) -> None:
    broken = b"\x89PNG\r\n\x1a\n" + bytes(8 * 2**20)
    body = {"model_name": "echo-vision", "prompt": "x", "image_files": [base64.b64encode(broken).decode()]}
    before = server.resident_bytes()
    for _ in range(6):
        assert server.ask("POST", "/generate/fromimagetext", body).status == 400
        assert server.resident_bytes() < before + 20 * 2**20
