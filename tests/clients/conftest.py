"""Other people's clients, unmodified, against a real server with the echo engine."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from tests.support.clients import run_script
from tests.support.server import RunningServer, http_request, read_until

MAX_IN_FLIGHT = 4
SLOT_FREE_SECONDS = 5.0

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("home"), limits__max_in_flight=MAX_IN_FLIGHT) as running:
        yield running


@pytest.fixture
def run_in(server: RunningServer) -> Run:
    """Runs a script in the environment of a client, with `url` for this server."""
    return partial(run_script, url=server.url)


@pytest.fixture
def full_model(server: RunningServer) -> Iterator[str]:
    """A model that has as many requests in flight as it takes."""
    with ExitStack() as stack:
        for _ in range(MAX_IN_FLIGHT):
            stack.enter_context(_held_stream(server))
        yield "echo-vision"


@contextmanager
def _held_stream(server: RunningServer) -> Iterator[None]:
    """A stream that has begun and doesn't end; the slots of an earlier test's streams may take a moment to be free."""
    request = http_request(
        "POST", "/echo-vision/generate_stream", json.dumps({"inputs": "wait for me !stall@1"}).encode()
    )
    deadline = time.monotonic() + SLOT_FREE_SECONDS
    while True:
        with server.connect() as connection:
            connection.sendall(request)
            begun = read_until(connection, b"\r\n")
            if begun.startswith(b"HTTP/1.1 200 "):
                read_until(connection, b"data:", begun)
                yield
                return
        assert time.monotonic() < deadline, "the slots of closed streams were not freed"
        time.sleep(0.02)
