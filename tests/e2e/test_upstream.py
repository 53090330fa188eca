"""llama.cpp's own server behind a whole Quintet: used, left, killed from every side, and stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.upstream.tiny_gguf import write_gguf
from tests.support.server import RunningServer, http_request, is_alive, read_until, wait_until

SERVER = Path(__file__).parents[1] / "engines" / "upstream" / "llama_server.py"
MODELS = """
[foreign]
task = "text"
engine = "upstream"
aliases = ["unused-alias"]
context_length = 8192
options = {{ command = "{python} {server} {model} {{port}}", health_seconds = 0.3 }}

[elsewhere]
task = "text"
engine = "upstream"
options = {{ url = "http://127.0.0.1:{closed}/v1" }}
"""
Start = Callable[..., RunningServer]


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in llama.cpp's format."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


def start_foreign(home: Path, gguf_file: Path) -> RunningServer:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    (home / "models").mkdir(parents=True, exist_ok=True)
    table = MODELS.format(python=sys.executable, server=SERVER, model=gguf_file, closed=closed)
    (home / "models" / "foreign.toml").write_text(table)
    return RunningServer.start(home, default_model="foreign", drain_seconds=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gguf_file: Path) -> Iterator[RunningServer]:
    """A server that is only used."""
    with start_foreign(tmp_path_factory.mktemp("home"), gguf_file) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, gguf_file: Path) -> Iterator[Start]:
    """Starts servers that are broken and then stopped."""
    started: list[RunningServer] = []

    def start_one() -> RunningServer:
        started.append(start_foreign(tmp_path / "home", gguf_file))
        return started[-1]

    yield start_one
    for running in started:
        running.stop()


def children(pid: int) -> list[int]:
    """All children of a process, whichever of its threads started them."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def family(server: RunningServer) -> tuple[int, int, int]:
    """The worker, the keeper, and llama.cpp's server."""
    (worker,) = server.workers()
    (keeper,) = children(worker)
    (llama,) = children(keeper)
    return worker, keeper, llama


def slots(llama: int) -> list[dict[str, Any]]:
    """What llama.cpp's slots are doing."""
    port = int(Path(f"/proc/{llama}/cmdline").read_bytes().split(b"\0")[3])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/slots")
        found: list[dict[str, Any]] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


def ask(server: RunningServer, **more: Any) -> Any:
    return server.chat(**{"model": "foreign", "max_tokens": 5, "temperature": 0, **more})


def endless(name: str = "endless") -> bytes:
    body = {"model": "foreign", "messages": [{"role": "user", "content": name}], "max_tokens": 7000}
    body |= {"stream": True, "ignore_eos": True}
    return http_request("POST", "/v1/chat/completions", json.dumps(body).encode())


def test_whole_and_streamed_answers_are_the_same(server: RunningServer) -> None:
    whole = ask(server, logprobs=True, top_logprobs=2).json
    assert whole["usage"]["completion_tokens"] == 5
    assert len(whole["choices"][0]["logprobs"]["content"]) == 5
    streamed = ask(server, stream=True, stream_options={"include_usage": True}).body.decode()
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    assert text == whole["choices"][0]["message"]["content"] != ""
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert streamed.rstrip().endswith("data: [DONE]")


def test_every_dialect_reaches_it(server: RunningServer) -> None:
    raw = server.ask("POST", "/v1/completions", {"model": "foreign", "prompt": "hello", "max_tokens": 4})
    assert (raw.status, raw.json["usage"]["completion_tokens"]) == (200, 4)
    body = {"inputs": "hello", "parameters": {"max_new_tokens": 4, "details": True}}
    answer = server.ask("POST", "/generate", body)
    details = answer.json["details"]
    assert (details["finish_reason"], len(details["tokens"])) == ("length", 4)
    assert all(token["logprob"] < 0 for token in details["tokens"])
    tokens = server.ask("POST", "/tokenize", {"inputs": "hello"}).json
    assert "".join("hello"[token["start"] : token["stop"]] for token in tokens) == "hello"


def test_refusals(server: RunningServer) -> None:
    too_long = ask(server, text="word " * 9000)
    assert (too_long.status, too_long.json["error"]["code"]) == (400, "context_length_exceeded")
    closed = ask(server, model="elsewhere")
    assert (closed.status, closed.json["error"]["code"]) == (503, "upstream_unreachable")
    assert int(closed.headers["retry-after"]) >= 1
    again = ask(server, model="elsewhere")
    assert again.status == 503, "its worker stays"


def test_metrics_are_passed_on(server: RunningServer) -> None:
    ask(server)

    def predicted() -> float:
        text = server.ask("GET", "/metrics").body.decode()
        lines = [line for line in text.splitlines() if line.startswith("llamacpp:tokens_predicted_total")]
        return (
            float(lines[0].removeprefix('llamacpp:tokens_predicted_total{model="foreign"} ')) if lines else 0
        )

    assert wait_until(predicted, 8) >= 5


def test_who_leaves_frees_the_slot(server: RunningServer) -> None:
    ask(server)
    llama = next(
        pid for worker in server.workers() for keeper in children(worker) for pid in children(keeper)
    )
    connections = [server.connect() for _ in range(2)]
    for number, entered in enumerate(connections):
        with entered as connection:
            connection.sendall(endless(str(number)))
            read_until(connection, b'"content":"')
            assert any(slot["is_processing"] for slot in slots(llama))
        left = time.monotonic()
        wait_until(lambda: not any(slot["is_processing"] for slot in slots(llama)), 2)
        assert time.monotonic() - left < 2
    assert ask(server).status == 200


def test_a_killed_server_is_back_within_seconds(start: Start) -> None:
    server = start()
    worker, _, llama = family(server)
    with server.connect() as connection:
        connection.sendall(endless())
        read_until(connection, b'"content":"')
        os.kill(llama, signal.SIGKILL)
        killed = time.monotonic()
        ending = read_until(connection, b"\r\n0\r\n\r\n")
    assert b'"error"' in ending
    assert b"[DONE]" not in ending
    wait_until(lambda: ask(server).status == 200, 10)
    assert time.monotonic() - killed < 10
    assert not is_alive(worker)
    idle = family(server)
    os.kill(idle[2], signal.SIGKILL)
    wait_until(lambda: not is_alive(idle[0]), 5)
    wait_until(lambda: ask(server).status == 200, 10)


def test_no_llama_outlives_its_worker_or_its_gateway(start: Start) -> None:
    server = start()
    first = family(server)
    os.kill(first[0], signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in first), 5)
    wait_until(lambda: ask(server).status == 200, 10)
    second = family(server)
    with server.connect() as connection:
        connection.sendall(endless())
        read_until(connection, b'"content":"')
        server.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in second), 5)


def test_it_goes_down_with_the_server(start: Start) -> None:
    server = start()
    pids = family(server)
    assert ask(server).status == 200
    server.signal()
    assert server.wait_exit(10) == 0
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 1)
