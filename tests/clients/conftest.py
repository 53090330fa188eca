"""Other people's clients, unmodified, against a real server with the echo engine."""

import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import RunningServer

CLIENTS = Path(__file__).parents[2] / ".venv-clients"

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("home"), limits__max_in_flight=4) as running:
        yield running


@pytest.fixture
def run_in(server: RunningServer) -> Run:
    """Runs a script in the environment of a client and gives back the `result` it leaves, by way of JSON."""

    def run(environment: str, script: str, **names: str) -> Any:
        python = CLIENTS / environment / "bin" / "python"
        assert python.exists(), f"{python} is missing: `make test` installs it"
        given = {"url": server.url, **names}
        lines = [f"{name} = {value!r}" for name, value in given.items()]
        source = "\n".join(["import json", *lines, textwrap.dedent(script), "print(json.dumps(result))"])
        done = subprocess.run(
            [python, "-c", source],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"HF_HUB_DISABLE_TELEMETRY": "1"},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
