"""`quintet pull` and `quintet models` as a user types them, against a hub on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from quintet.cli.failure import Failure
from quintet.cli.main import app
from quintet.core.errors import QuintetError
from tests.conftest import TinyModel
from tests.support.hub import LocalHub
from tests.support.server import RunningServer, wait_until
from tests.support.starter import FILES, FOLDER, SIZE_BYTES

NAME = "owner/model"
WEIGHTS = "openvino_model.bin"
CATALOG = """
[little-llama]
task = "text"
engine = "text"
aliases = ["tiny-one"]
context_length = 256
sources = [{ repo = "owner/model", format = "openvino" }, { repo = "owner/gated", format = "openvino", gated = true }]
"""


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "models" / "mine.toml").write_text(CATALOG)
    return home


def command(hub: LocalHub, home: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    environ = {"PATH": os.environ["PATH"], "QUINTET_HOME": str(home), "QUINTET_PORT": "1"}
    return [sys.executable, "-m", "quintet", *words], environ | hub.environ(home)


def quintet(hub: LocalHub, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line, environ = command(hub, home, *words)
    return subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60, check=False)


def typed(home: Path, *words: str) -> str:
    """What a command says that needs no hub: its output and, if it fails, the one line of that."""
    result = CliRunner().invoke(app, [*words, "--home", str(home)])
    error = result.exception
    if error is None:
        return result.output
    assert isinstance(error, Failure | QuintetError), error
    return result.output + str(error)


def ask(server: RunningServer, model: str) -> Any:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 4,
        "temperature": 0,
    }
    return server.ask("POST", "/v1/chat/completions", body, timeout=60)


def test_a_pulled_model_answers_at_once_in_a_running_server(
    hub: LocalHub, home: Path, tiny: TinyModel
) -> None:
    hub.add(NAME, tiny.directory)
    with RunningServer.start(home) as server:
        before = ask(server, "tiny-one")
        assert before.status == 404
        assert "quintet pull little-llama" in before.json["error"]["message"]
        done = quintet(hub, home, "pull", "tiny-one")
        assert (done.returncode, done.stderr) == (0, "")
        assert "little-llama: downloading" in done.stdout
        assert "little-llama is installed at revision" in done.stdout
        assert ask(server, "tiny-one").status == 200
        assert server.ask("GET", "/v1/models/little-llama").json["state"] == "ready"
        assert "little-llama" in [model["id"] for model in server.ask("GET", "/v1/models").json["data"]]
        assert "little-llama is installed already" in quintet(hub, home, "pull", "little-llama").stdout
        assert "is removed" in typed(home, "models", "remove", "tiny-one")
        gone = ask(server, "tiny-one")
        assert (gone.status, gone.json["error"]["code"]) == (404, "model_not_installed")


def test_a_pull_killed_midway_goes_on_where_it_was(hub: LocalHub, home: Path) -> None:
    repo = hub.add(NAME, FOLDER)
    repo.fault(WEIGHTS, hold_after=4_000_000)
    line, environ = command(hub, home, "pull", NAME)
    with subprocess.Popen(line, env=environ, stdout=subprocess.DEVNULL) as process:
        assert hub.holding.wait(30)
        part = home / "weights" / ".staging" / "owner--model" / "source" / f"{WEIGHTS}.part"
        wait_until(lambda: part.exists() and part.stat().st_size >= 3_900_000)
        process.kill()
    assert "not installed" in typed(home, "models", "verify", NAME)
    hub.release.set()
    repo.faults.clear()
    before = repo.sent_bytes
    done = quintet(hub, home, "pull", NAME)
    assert done.returncode == 0, done.stderr
    assert repo.sent_bytes - before <= FILES[WEIGHTS].stat().st_size - 3_900_000
    assert "all as installed" in typed(home, "models", "verify", NAME)


def test_ctrl_c_says_that_nothing_is_lost(hub: LocalHub, home: Path) -> None:
    repo = hub.add(NAME, FOLDER)
    repo.fault(WEIGHTS, hold_after=1_000_000)
    line, environ = command(hub, home, "pull", NAME)
    with subprocess.Popen(
        line,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Who starts the tests in the background ignores Ctrl-C, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert hub.holding.wait(30)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=8)  # less than the connection's own patience
    assert process.returncode == 130
    assert errors.startswith("quintet: stopped; what is here of owner/model is kept")
    assert errors.count("\n") == 1


def test_failures_are_one_line(hub: LocalHub, home: Path) -> None:
    hub.add("owner/gated", FOLDER, gated=True)
    for words, says in (
        (["pull", "owner/nothing"], "has no repository owner/nothing"),
        (["pull", "little-llama", "--source", "2"], "/owner/gated first"),
    ):
        done = quintet(hub, home, *words)
        assert done.returncode == 1
        assert done.stderr.startswith("quintet: ")
        assert done.stderr.count("\n") == 1
        assert says in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pull", "litle-lama"], "The nearest names: little-llama"),
        (["pull", "./nowhere"], "no directory ./nowhere"),
        (["pull", "little-llama", "--precision", "int3"], "int8, int4, fp16"),
        (["models", "remove", "little-llama"], "not installed"),
        (["models", "verify", "little-llama"], "not installed"),
        (["models", "show", "litle-lama"], "little-llama"),
    ],
)
def test_mistakes_say_what_to_do(home: Path, words: list[str], says: str) -> None:
    assert says in typed(home, *words)


def test_models_are_shown_verified_and_removed(hub: LocalHub, home: Path) -> None:
    hub.add(NAME, FOLDER)
    assert "little-llama" in typed(home, "models", "list", "--all")
    assert "quintet pull little-llama" in typed(home, "models", "show", "little-llama")
    assert quintet(hub, home, "pull", "little-llama").returncode == 0
    shown = typed(home, "models", "show", "tiny-one")
    assert "owner/model at " in shown
    assert WEIGHTS in shown
    assert "all as installed" in typed(home, "models", "verify")
    weights = home / "weights" / "little-llama" / WEIGHTS
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    damaged = typed(home, "models", "verify")
    assert f"little-llama: {WEIGHTS}: has SHA-256" in damaged
    again = "quintet models remove little-llama && quintet pull little-llama"
    assert damaged.endswith(again)
    (weights.parent / "quintet.json").write_text("{")
    torn = typed(home, "models", "verify")
    assert "little-llama: quintet.json is missing or can't be read" in torn
    assert torn.endswith(again)
    removed = typed(home, "models", "remove", "little-llama")
    assert removed.startswith(f"little-llama is removed; {SIZE_BYTES / 1e6:.1f} MB")
    assert "not installed" in typed(home, "models", "verify", "little-llama")


def test_the_models_that_the_settings_name_can_be_pulled(
    hub: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, FOLDER)
    monkeypatch.setenv("QUINTET_DEFAULT_MODEL", NAME)
    assert "`quintet pull` gets others" in typed(home, "models", "list", "--all")
    line, environ = command(hub, home, "pull", NAME)
    done = subprocess.run(
        line,
        env=environ | {"QUINTET_DEFAULT_MODEL": NAME, "QUINTET_ALIASES__MINE": NAME},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert NAME in typed(home, "models", "list", "--all")


def test_the_library_needs_neither_xet_nor_fsspec(hub: LocalHub, home: Path) -> None:
    hub.add(NAME, FOLDER)
    code = (
        "import sys; sys.modules.update(hf_xet=None, fsspec=None)\n"
        f"sys.argv = ['quintet', 'pull', '{NAME}']\n"
        "from quintet.cli.main import main; main()"
    )
    _, environ = command(hub, home)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("GET", "/api/agent-harnesses") not in hub.requests
