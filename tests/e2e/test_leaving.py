"""The client is gone, and the real engine stops for it (reliability F-10, F-11): running and queued, streamed or not.

The model `narrow` runs one sequence at a time and the answers asked for take a minute, so whoever is answered within a
second was not behind one of them.
"""

from __future__ import annotations

import json
import socket
import struct
import time

import pytest

from tests.e2e.conftest import in_flight, wait_idle
from tests.support.server import RunningServer, http_request, read_until, wait_until

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
FOREVER = 60_000
"""Tokens; over a minute's work even for this model."""


def endless(path: str, name: str, *, stream: bool) -> bytes:
    """A request whose answer takes a minute: the end of sequence is forbidden."""
    asked = {"messages": [{"role": "user", "content": "hello"}]} if path == CHAT else {"prompt": "hello"}
    body = {"model": "narrow", "max_tokens": FOREVER, "temperature": 0, "logit_bias": {"2": -100}, **asked}
    return http_request("POST", path, json.dumps({**body, "stream": stream}).encode(), x_request_id=name)


def quick(server: RunningServer) -> float:
    """Seconds that a short answer of the same model takes."""
    began = time.monotonic()
    answer = server.chat(model="narrow", max_tokens=3)
    assert answer.status == 200, answer.body
    return time.monotonic() - began


def hang_up(connection: socket.socket, how: str) -> None:
    if how == "RST":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture(scope="module", autouse=True)
def _loaded(server: RunningServer) -> None:
    quick(server)


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_running_answer_is_given_up(server: RunningServer, path: str, stream: bool, how: str) -> None:
    name = f"running-{path.rpartition('/')[2]}-{stream}-{how}"
    with server.connect() as connection:
        connection.sendall(endless(path, name, stream=stream))
        if stream:
            read_until(connection, b"data: ")
        else:
            wait_until(lambda: in_flight(server) == 1)
        left = time.monotonic()
        hang_up(connection, how)
        wait_idle(server)
    assert quick(server) < 1, "its sequence no longer holds the engine"
    assert time.monotonic() - left < 2
    record = server.wait_record(name)
    assert (record["outcome"], record["status"]) == ("cancelled", 200 if stream else 499)
    assert record["completion_tokens"] < FOREVER


@pytest.mark.parametrize("stream", [True, False])
def test_a_queued_request_is_forgotten(server: RunningServer, stream: bool) -> None:
    """One runs, one waits behind it. The waiting one leaves, then the running one: nobody is left before the next."""
    with server.connect() as running, server.connect() as queued:
        running.sendall(endless(CHAT, f"first-{stream}", stream=True))
        received = read_until(running, b"data: ")
        queued.sendall(endless(CHAT, f"queued-{stream}", stream=stream))
        wait_until(lambda: in_flight(server) == 2)
        queued.close()
        wait_until(lambda: in_flight(server) == 1, 1)
        assert server.wait_record(f"queued-{stream}")["outcome"] == "cancelled"
        read_until(running, b"data: ", received[-1:])
        running.close()
        wait_idle(server)
    assert quick(server) < 1
    assert server.wait_record(f"queued-{stream}")["completion_tokens"] == 0


def test_a_full_model_is_free_again_when_they_leave(server: RunningServer) -> None:
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    for number, connection in enumerate(connections):
        connection.sendall(endless(CHAT, f"full-{number}", stream=number != 1))
    wait_until(lambda: in_flight(server) == 3)
    refused = server.chat(model="narrow", max_tokens=3)
    assert (refused.status, refused.json["error"]["code"]) == (429, "model_overloaded")
    for connection in connections:
        connection.close()
    wait_idle(server)
    assert quick(server) < 1


def test_a_client_that_leaves_while_its_prompt_is_read(server: RunningServer) -> None:
    """A long prefill in chunks is given up between two of them."""
    body = {"model": "narrow", "prompt": [5] * 60_000, "max_tokens": 2}
    with server.connect() as connection:
        connection.sendall(
            http_request("POST", COMPLETIONS, json.dumps(body).encode(), x_request_id="prefill")
        )
        wait_until(lambda: in_flight(server) == 1)
        connection.close()
        wait_idle(server)
    assert quick(server) < 1
    assert server.wait_record("prefill")["outcome"] == "cancelled"


def test_many_leave_while_others_stay(server: RunningServer) -> None:
    """Forty come to a batch of many, every second one leaves; the others' answers are what they are alone."""

    def ask(number: int, tokens: int) -> bytes:
        body = {
            "model": "endless",
            "messages": [{"role": "user", "content": f"number {number}"}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        return http_request("POST", CHAT, json.dumps(body).encode(), x_request_id=f"many-{number}-{tokens}")

    def contents(received: bytes) -> list[str]:
        events = [line[6:] for line in received.decode().splitlines() if line.startswith("data: {")]
        return [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events]

    alone = {}
    for number in range(1, 40, 2):
        with server.connect() as connection:
            connection.sendall(ask(number, 40))
            alone[number] = contents(read_until(connection, b"[DONE]"))
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    for number, connection in enumerate(connections):
        connection.sendall(ask(number, 40 if number % 2 else FOREVER))
    begun = {number: read_until(connections[number], b"data: ") for number in range(40)}
    for number in range(0, 40, 2):
        hang_up(connections[number], ("FIN", "RST")[number % 4 // 2])
    for number in range(1, 40, 2):
        received = read_until(connections[number], b"[DONE]", begun[number])
        assert "".join(contents(received)) == "".join(alone[number])
        connections[number].close()
    wait_idle(server)
    assert {server.wait_record(f"many-{n}-{FOREVER}")["outcome"] for n in range(0, 40, 2)} == {"cancelled"}
