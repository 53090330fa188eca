"""Starting: ready in time and small, or refused in one clear line."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import pytest

from quintet.config import Deadlines, Echo, Settings
from quintet.log import LEVELS, LineWriter, Logger
from quintet.runtime.local import LocalBackend
from quintet.server.app import build
from quintet.server.run import Run, _bind
from quintet.store.keys import open_key_store
from tests.server.conftest import MakeKey, Start
from tests.support.server import RunningServer


def refusal(home: Path, **settings: object) -> str:
    """The one line with which a server refuses to start."""
    server = RunningServer.start(home, wait=False, **settings)
    assert server.wait_exit() == 1
    server.wait_for(lambda: server.log, 5)
    assert len(server.log) == 1, server.log
    assert not any("ready" in line for line in server.lines)
    assert server.log[0].startswith(("quintet: ", "Error: ", "error: "))
    return server.log[0]


def test_it_is_ready_soon_and_small(tmp_path: Path) -> None:
    began = time.monotonic()
    with RunningServer.start(tmp_path / "home", port="0") as server:
        assert time.monotonic() - began < 6, "3 s on an idle machine"
        assert server.lines[-1] == f"Quintet is ready at http://127.0.0.1:{server.port}"
        assert server.chat().status == 200
        assert server.resident_bytes() < 150 * 2**20
        mapped = Path(f"/proc/{server.pid}/maps").read_text()
        for heavy in ("openvino", "torch", "numpy", "tokenizers"):
            assert heavy not in mapped
        assert server.ask("GET", "/ready").json == {"status": "ready"}
    assert server.process.returncode == 0


def test_files_of_the_home_are_private(aliased: RunningServer) -> None:
    server = aliased
    for name in ("quintet.db", "quintet.db-wal", "quintet.db-shm", "pepper"):
        assert stat.S_IMODE((server.home / name).stat().st_mode) == 0o600


def test_a_corrupt_database(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "quintet.db").write_bytes(b"garbage" * 1000)
    assert "corrupt" in refusal(home)


def test_a_missing_database(start: Start, make_key: MakeKey) -> None:
    server = start()
    make_key()
    server.stop()
    for name in ("quintet.db", "quintet.db-wal", "quintet.db-shm"):
        (server.home / name).unlink(missing_ok=True)
    assert "missing" in refusal(server.home)
    assert not (server.home / "quintet.db").exists()


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        line = refusal(tmp_path / "home", port=holder.getsockname()[1])
    assert "already" in line
    assert "QUINTET_PORT" in line


def test_of_two_that_start_at_once_only_one_gets_the_port(tmp_path: Path) -> None:
    with closing(_bind(Settings(home=tmp_path, port=0))) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            _bind(Settings(home=tmp_path, port=port))


def test_a_reload_reads_the_home_it_was_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_HOME", str(tmp_path / "elsewhere"))
    settings = Settings(home=tmp_path, port=0, default_model="echo", echo=Echo(enabled=True))
    store = open_key_store(settings.database_path, settings.pepper_path)
    with open(os.devnull, "wb") as nowhere, closing(store.database), closing(_bind(settings)) as listener:
        run = Run(build(settings, store, Logger(LineWriter(nowhere.fileno()), "error")), listener)
        (tmp_path / "quintet.toml").write_text(
            '[auth]\nban_failures = 1\n[limits]\nsockets_per_remote_address = 3\n[log]\nlevel = "warning"\n'
        )
        run._reload()
        assert run._gateway.bans.fail("1.2.3.4")
        assert run._gateway.sockets_per_address("1.2.3.4") == 3
        assert run._gateway.logger.threshold == LEVELS["warning"]


def test_longer_waits_for_answers_make_the_watchdog_patient(tmp_path: Path) -> None:
    patience = []
    for idle, first in ((30, 30), (120, 90), (5, 3)):
        settings = Settings(
            home=tmp_path / str(idle),
            default_model="echo",
            echo=Echo(enabled=True),
            deadlines=Deadlines(idle_seconds=idle, first_byte_seconds=first),
        )
        store = open_key_store(settings.database_path, settings.pepper_path)
        with open(os.devnull, "wb") as nowhere, closing(store.database):
            backend = build(settings, store, Logger(LineWriter(nowhere.fileno()))).service.backend
        assert isinstance(backend, LocalBackend)
        patience.append((backend._patience.progress_seconds, backend._patience.prepare_seconds))
    assert patience == [(30, 20), (120, 20), (30, 2)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"auth__ban_second": "1"}, ["auth.ban_second", "QUINTET_AUTH__BAN_SECOND"]),
        ({"default_model": "nothing"}, ["default_model", "starter-chat"]),
        ({"aliases": '{"a": "nothing"}'}, ['alias "a"']),
        ({"host": "no.such.name.invalid"}, ["QUINTET_HOST"]),
    ],
)
def test_settings_that_can_not_be_used(tmp_path: Path, settings: dict[str, str], words: list[str]) -> None:
    line = refusal(tmp_path / "home", **settings)
    assert all(word in line for word in words), line


def test_a_default_model_that_does_not_load(tmp_path: Path) -> None:
    server = RunningServer.start(tmp_path / "home", wait=False, default_model="broken")
    try:
        line = server.wait_for(lambda: next((li for li in server.lines if "not ready" in li), None))
        server.port = int(line.rpartition(":")[2])
        assert any(line.startswith("This model could not be loaded") for line in server.lines)
        assert server.ask("GET", "/health").status == 200
        ready = server.ask("GET", "/ready")
        assert (ready.status, ready.json["error_type"]) == (503, "not_ready")
        assert server.chat().status == 200, "other models are served"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def aliased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with RunningServer.start(home, aliases='{"llava": "echo-vision", "mine": "echo"}') as running:
        yield running


def test_built_in_aliases_lead_to_the_default_model(aliased: RunningServer) -> None:
    server = aliased
    for alias in ("phi3", "llava", "tgi", "dummy", "mine"):
        answer = server.ask("POST", f"/{alias}/generate", {"inputs": "hello"})
        assert (answer.status, answer.json["generated_text"]) == (200, "hello"), alias
    assert server.ask("POST", "/", {"inputs": "hello"}).json[0]["generated_text"].endswith("hello")
    listed = server.ask("POST", "/phi3/gpu0/generate", {"inputs": "hello"})
    assert listed.json[0]["generated_text"].endswith("hello")
    assert server.ask("POST", "/v1/generate", {"inputs": "hello"}).status == 404


def test_views(aliased: RunningServer) -> None:
    server = aliased
    assert server.ask("GET", "/health").json == {"status": "healthy"}
    assert server.ask("GET", "/").status == 200
    info = server.ask("GET", "/info").json
    assert info["model_id"] == "echo"
    assert info["max_concurrent_requests"] == 100
    models = server.ask("GET", "/v1/models").json
    assert "echo" in [model["id"] for model in models["data"]]
    assert server.ask("GET", "/v1/models/echo").json["id"] == "echo"
    metrics = server.ask("GET", "/metrics").body.decode()
    assert re.search(r'quintet_requests_total\{.*route="/v1/models".*\} 1\.0', metrics)


def test_the_documentation_needs_nothing_from_elsewhere(aliased: RunningServer) -> None:
    server = aliased
    page = server.ask("GET", "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    text = page.body.decode()
    assert "/v1/chat/completions" in text
    assert "max_tokens" in text
    assert "max_new_tokens" in text, "a field of an object inside the body"
    assert "<script" not in text
    assert "http" not in text.replace("http://127.0.0.1", "")
    HTMLParser().feed(text)
    document = server.ask("GET", "/openapi.json").json
    json.dumps(document)
    for methods in document["paths"].values():
        for operation in methods.values():
            content = operation.get("requestBody", {}).get("content", {})
            for media in content.values():
                for body in media["schema"].get("anyOf", [media["schema"]]):
                    name = body["$ref"].rpartition("/")[2]
                    assert name in document["components"]["schemas"]
