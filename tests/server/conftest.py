"""Servers that the tests of this room share; whoever changes a server's state starts one of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quintet.store.keys import open_key_store
from tests.support.server import RunningServer

Start = Callable[..., RunningServer]
MakeKey = Callable[..., str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that lets requests from this machine in without a key."""
    with RunningServer.start(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers that are stopped when the test ends."""
    started: list[RunningServer] = []

    def start_one(**settings: object) -> RunningServer:
        running = RunningServer.start(tmp_path / "home", **settings)
        started.append(running)
        return running

    yield start_one
    for running in started:
        running.stop()


@pytest.fixture
def make_key(tmp_path: Path) -> MakeKey:
    """Makes keys in the home of this test's server."""

    def make(owner: str = "ada", **more: object) -> str:
        home = tmp_path / "home"
        store = open_key_store(home / "quintet.db", home / "pepper")
        try:
            return store.create(owner, **more)
        finally:
            store.database.close()

    return make
