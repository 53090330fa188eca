"""Clients that send or read too slowly (reliability F-12), and how many connections one address may have."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from uvicorn.server import ServerState

from quintet.server.protocol import Guard, make_protocol
from tests.server.conftest import Start
from tests.support.server import RunningServer, chat_bytes, http_request, read_all, read_until, wait_until


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of little patience."""
    with RunningServer.start(
        tmp_path_factory.mktemp("home"),
        deadlines__header_seconds=0.5,
        deadlines__body_grace_seconds=0.8,
        deadlines__body_seconds=2,
        deadlines__write_seconds=0.5,
    ) as running:
        yield running


def test_slow_headers_are_cut(strict: RunningServer) -> None:
    server = strict
    with server.connect() as idle, server.connect() as slow:
        began = time.monotonic()
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: 127")
        answer = read_all(slow)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
        assert read_all(idle).startswith(b"HTTP/1.1 408 "), "a connection that sends nothing is cut too"
        assert 0.4 < time.monotonic() - began < 3


def test_dripping_headers_do_not_extend_the_deadline(strict: RunningServer) -> None:
    server = strict
    with server.connect() as connection:
        connection.settimeout(0.05)
        began = time.monotonic()
        received = b""
        while time.monotonic() - began < 5 and not received:
            try:
                connection.sendall(b"G")
                received = connection.recv(100)
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - began < 3


def test_a_second_request_has_the_same_deadline(strict: RunningServer) -> None:
    server = strict
    with server.connect() as connection:
        connection.sendall(http_request("GET", "/health"))
        read_until(connection, b"}")
        connection.sendall(b"GET /hea")
        assert b"408" in read_all(connection)


def test_slow_bodies_are_cut(strict: RunningServer) -> None:
    server = strict
    head = http_request("POST", "/generate", content_type="application/json", content_length="1000")
    with server.connect() as connection:
        began = time.monotonic()
        connection.sendall(head + b'{"in')
        answer = read_until(connection, b"}")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        assert time.monotonic() - began < 1.8


def test_the_whole_body_has_a_deadline(start: Start) -> None:
    server = start(deadlines__body_seconds=0.6, deadlines__body_bytes_per_second=0)
    with server.connect() as connection:
        connection.sendall(
            http_request("POST", "/generate", content_type="application/json", content_length="9")
        )
        assert read_until(connection, b"}").startswith(b"HTTP/1.1 408 ")


def test_good_clients_are_served_beside_slow_ones(server: RunningServer) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-")
        began = time.monotonic()
        assert all(server.chat().status == 200 for _ in range(20))
        assert time.monotonic() - began < 4
    finally:
        for connection in slow:
            connection.close()


def test_connections_per_address_are_capped(start: Start) -> None:
    server = start(limits__sockets_per_address=5)
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    try:
        held[0].sendall(http_request("GET", "/health"))
        read_until(held[0], b"}")
        with server.connect() as sixth:
            assert read_all(sixth).startswith(b"HTTP/1.1 429 ")
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: status(server) == 200)


class Line(asyncio.Transport):
    """A connection from some address; keeps what is written to it."""

    def __init__(self, peer: str) -> None:
        super().__init__({"peername": (peer, 1)})
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return bool(self.written)

    def close(self) -> None:
        pass


def test_an_ipv6_network_counts_as_one_address() -> None:
    guard = Guard(sockets_per_address=lambda _address: 2)
    lines = [Line(peer) for peer in ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1")]

    async def connect() -> None:
        config = uvicorn.Config(FastAPI(), log_config=None)
        made = [make_protocol(guard)(config, ServerState(), {}) for _ in lines]
        for protocol, line in zip(made, lines, strict=True):
            protocol.connection_made(line)
        assert [line.written[:12] for line in lines] == [b"", b"", b"HTTP/1.1 429", b""]
        for protocol in made:
            protocol.connection_lost(None)

    asyncio.run(connect())
    assert not guard.sockets


def status(server: RunningServer) -> int:
    try:
        return server.ask("GET", "/health").status
    except OSError:
        return 0


def test_a_client_that_stops_reading_is_dropped(strict: RunningServer) -> None:
    server = strict
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", server.port))
        request = chat_bytes("flood " * 50, stream=True, model="flood", max_tokens=50_000)
        connection.sendall(request)
        record = server.wait_for(
            lambda: next((r for r in server.records() if r["model"] == "flood"), None), 20
        )
    assert record["outcome"] in ("cancelled", "failed")
    assert server.chat().status == 200
    wait_until(lambda: "quintet_in_flight 0.0" in server.ask("GET", "/metrics").body.decode())


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_reads_slowly_gets_everything(server: RunningServer, stream: bool) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(chat_bytes("one two", stream=stream, model="flood", max_tokens=1_000))
        received = b""
        while not (b"[DONE]" in received or (not stream and received.endswith(b"}"))):
            received += connection.recv(2048)
    assert received.count(b"two") == 500


def test_bodies_in_memory_are_capped(start: Start) -> None:
    server = start(limits__body_bytes_in_memory=2**20)
    big = {"inputs": "y" * 200 * 1024}

    def is_refused_beside_an_unfinished_body() -> bool:
        with server.connect() as connection:
            connection.sendall(
                http_request("POST", "/generate", content_type="application/json", content_length=str(2**20))
            )
            connection.sendall(b'{"inputs":"' + b"x" * (900 * 1024))
            while server.ask("POST", "/generate", big).status != 429:
                if select.select([connection], [], [], 0)[0]:
                    return False  # this time the other body was in first, and the unfinished one too much
            return server.chat().status == 200

    wait_until(is_refused_beside_an_unfinished_body)
    wait_until(lambda: server.ask("POST", "/generate", big).status != 429)
