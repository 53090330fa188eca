"""Directories that an operator's table names: judged by the gate before their first worker, and only those."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from quintet.core.errors import LoadFailed
from quintet.core.models import Model
from quintet.server.inspection import Inspector
from tests.server.conftest import Start
from tests.support.server import RunningServer, is_alive, wait_until
from tests.support.starter import FOLDER
from tests.weights.gate_files import constant, network

EVIL = b"\x80\x04}."
"""An empty dictionary, pickled."""


def add_model(home: Path, folder: Path) -> None:
    """A table as an operator writes it."""
    (home / "models").mkdir(parents=True, exist_ok=True)
    table = f'[mine]\ntask = "text"\nengine = "text"\npath = "{folder}"\ncontext_length = 256\n'
    (home / "models" / "mine.toml").write_text(table)


def ask(server: RunningServer) -> Any:
    body = {"model": "mine", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    return server.ask("POST", "/v1/chat/completions", body, timeout=60)


def check(home: Path, folder: Path | str, **facts: Any) -> None:
    model = Model(**({"name": "mine", "task": "text", "engine": "text", "path": str(folder)} | facts))
    asyncio.run(Inspector(home).check(model))


def test_a_pickle_beside_the_weights_is_refused_and_the_server_lives_on(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(FOLDER, folder)
    (folder / "extra.pkl").write_bytes(EVIL)
    add_model(tmp_path / "home", folder)
    server = start()
    before = server.workers()
    answer = ask(server)
    assert answer.status == 503
    error = answer.json["error"]
    assert error["code"] == "model_refused"
    assert error["message"].startswith("mine is refused. extra.pkl: Files of this kind can run code")
    assert str(tmp_path) not in error["message"]
    assert server.workers() == before, "it never had a worker"
    assert server.ask("GET", "/v1/models/mine").json["state"] == "failed"
    assert server.chat().status == 200
    (folder / "extra.pkl").unlink()
    wait_until(lambda: ask(server).status == 200, 30)


def test_what_has_passed_is_not_checked_again(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(FOLDER, folder)
    add_model(tmp_path / "home", folder)
    server = start()
    before = set(server.workers())
    assert ask(server).status == 200
    (first,) = set(server.workers()) - before
    (folder / "extra.pkl").write_bytes(EVIL)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(first))
    assert ask(server).status == 200
    (second,) = set(server.workers()) - before
    assert second != first


def test_more_weights_than_free_memory(tmp_path: Path) -> None:
    """A file of two terabytes that takes no room."""
    size = 1 << 41
    (tmp_path / "openvino_model.xml").write_bytes(network(constant("u8", str(size), 0, size)))
    with (tmp_path / "openvino_model.bin").open("wb") as file:
        file.truncate(size)
    with pytest.raises(
        LoadFailed, match=r"^mine is refused\. The weights take 2199\.0 GB of memory, and \d+\.\d GB"
    ):
        check(tmp_path / "home", tmp_path)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"can't be opened \(No such file or directory\)\. Check the path"):
        check(tmp_path, tmp_path / "nowhere")


def test_only_what_an_operator_put_there_is_checked(tmp_path: Path) -> None:
    home = tmp_path / "home"
    pulled = home / "weights" / "mine"
    pulled.mkdir(parents=True)
    (pulled / "extra.pkl").write_bytes(EVIL)
    for folder in (pulled, FOLDER, ""):
        check(home, folder)
    check(home, tmp_path, engine="upstream")
    elsewhere = tmp_path / "elsewhere"
    pulled.rename(elsewhere)
    pulled.symlink_to(elsewhere)
    for folder in (pulled, elsewhere, home / "weights" / ".." / ".." / "elsewhere"):
        with pytest.raises(LoadFailed, match=r"extra\.pkl"):
            check(home, folder)


def test_a_gate_that_breaks_lets_nothing_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quintet").mkdir()
    (tmp_path / "quintet" / "__init__.py").write_text("raise RuntimeError('inner words')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(LoadFailed, match="could not be checked; the server's log says why") as caught:
        check(tmp_path, FOLDER.parent.parent.parent)
    assert "inner words" not in caught.value.message
