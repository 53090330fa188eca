"""Real servers over the real text engine and a tiny model; whoever breaks a server starts one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TinyModel
from tests.support.server import RunningServer, wait_until

MODELS = """
[tiny]
task = "text"
engine = "text"
path = "{path}"
context_length = 512
options = {{ precision = "f32", kv_precision = "f32", kv_cache_mb = 16 }}

[endless]
task = "text"
engine = "text"
path = "{path}"
context_length = 65536
options = {{ precision = "f32", kv_precision = "f32", kv_cache_mb = 128 }}

[narrow]
task = "text"
engine = "text"
path = "{path}"
context_length = 65536
max_in_flight = 3
options = {{ precision = "f32", kv_precision = "f32", kv_cache_mb = 128, max_sequences = 1 }}
"""
"""One set of weights three times: within its context, with room for answers that take minutes, one at a time."""

Start = Callable[..., RunningServer]


def start_real(home: Path, tiny: TinyModel, **settings: Any) -> RunningServer:
    """A server with the real models beside the echo models; `tiny` is the default."""
    (home / "models").mkdir(parents=True, exist_ok=True)
    (home / "models" / "real.toml").write_text(MODELS.format(path=tiny.directory))
    return RunningServer.start(home, **{"default_model": "tiny", **settings})


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel) -> Iterator[RunningServer]:
    """A server that everybody in this room may ask and nobody may break."""
    with start_real(tmp_path_factory.mktemp("home"), tiny) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, tiny: TinyModel) -> Iterator[Start]:
    """Starts servers that are stopped when the test ends."""
    started: list[RunningServer] = []

    def start_one(**settings: Any) -> RunningServer:
        running = start_real(tmp_path / "home", tiny, **settings)
        started.append(running)
        return running

    yield start_one
    for running in started:
        running.stop()


def in_flight(server: RunningServer) -> int:
    """Requests being worked on, as the metrics say."""
    metrics = server.ask("GET", "/metrics").body.decode()
    return int(float(metrics.partition("\nquintet_in_flight ")[2].split()[0]))


def wait_idle(server: RunningServer, seconds: float = 1.0) -> None:
    """Wait until nothing is in flight."""
    wait_until(lambda: in_flight(server) == 0, seconds)
