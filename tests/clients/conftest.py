"""Other people's clients, unmodified, against a real server with the echo engine."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from tests.support.clients import run_script
from tests.support.server import RunningServer, http_request, read_until

MAX_IN_FLIGHT = 4

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
    body = json.dumps({"inputs": "wait for me !stall@1"}).encode()
    with ExitStack() as stack:
        for _ in range(MAX_IN_FLIGHT):
            connection = stack.enter_context(server.connect())
            connection.sendall(http_request("POST", "/echo-vision/generate_stream", body))
            read_until(connection, b"data:")
        yield "echo-vision"
