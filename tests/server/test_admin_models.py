"""Models managed over HTTP: pulled with progress, listed, removed, without a restart."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.server.conftest import MakeKey, Start
from tests.support.hub import LocalHub
from tests.support.server import Answer, RunningServer, is_alive, wait_until
from tests.support.starter import FOLDER, SIZE_BYTES

NAME = "owner/model"
WEIGHTS = "openvino_model.bin"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[LocalHub]:
    """A hub that servers started by this test pull from."""
    with LocalHub() as running:
        for name, value in running.environ(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield running


def pull(server: RunningServer, **body: Any) -> Answer:
    return server.ask("POST", "/admin/models/pull", {"model": NAME} | body)


def is_gone(pid: int) -> bool:
    return not is_alive(pid)


def find(server: RunningServer, name: str = NAME) -> dict[str, Any]:
    rows = server.ask("GET", "/admin/models").json["models"]
    return next((row for row in rows if row["model"] == name), {})


def follow(server: RunningServer, **body: Any) -> list[tuple[str, Any]]:
    """The events of a streamed pull, to its end."""
    headers = {"accept": "text/event-stream"}
    answer = server.ask("POST", "/admin/models/pull", {"model": NAME} | body, headers, timeout=60)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "text/event-stream"
    events = []
    for block in answer.body.decode().strip().split("\n\n"):
        if block.startswith("event: "):
            event, _, data = block.partition("\n")
            events.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def test_a_streamed_pull_shows_progress_and_the_model_answers(hub: LocalHub, start: Start) -> None:
    hub.add(NAME, FOLDER).fault(WEIGHTS, bytes_per_second=8_000_000)
    server = start()
    events = follow(server)
    assert events[-1][0] == "installed"
    assert events[-1][1]["size_bytes"] == SIZE_BYTES
    downloads = [data["done"] for event, data in events[:-1] if data["stage"] == "download"]
    assert downloads == sorted(downloads)
    assert 0 < downloads[len(downloads) // 2] < SIZE_BYTES
    body = {"model": NAME, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    assert server.ask("POST", "/v1/chat/completions", body, timeout=60).status == 200
    assert find(server)["installed"]["repo"] == NAME
    metrics = server.ask("GET", "/metrics").body.decode()
    assert f'model="{NAME}"' in metrics


def test_a_pull_goes_on_without_its_caller_and_is_one_for_all(hub: LocalHub, start: Start) -> None:
    repo = hub.add(NAME, FOLDER)
    repo.fault(WEIGHTS, hold_after=2_000_000)
    server = start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    body = json.dumps({"model": NAME})
    connection.request("POST", "/admin/models/pull?stream=1", body, {"content-type": "application/json"})
    assert connection.getresponse().read(1)
    connection.close()
    assert hub.holding.wait(20)
    again = pull(server)
    assert (again.status, again.json["state"]) == (202, "downloading")
    other = pull(server, revision="v2")
    assert (other.status, "another revision" in other.body.decode()) == (409, True)
    row = wait_until(lambda: (row := find(server)) and row["progress"]["stage"] == "download" and row)
    assert row["state"] == "downloading"
    assert row["progress"]["total"] == SIZE_BYTES
    assert server.ask("DELETE", f"/admin/models/{NAME}").status == 409
    hub.release.set()
    assert wait_until(lambda: find(server).get("state") in ("installed", "ready"))
    assert repo.sent_bytes == SIZE_BYTES
    already = follow(server)[-1]
    assert already[0] == "installed"
    assert already[1]["already_installed"]


def test_the_state_of_a_known_model_says_that_it_is_downloaded(hub: LocalHub, start: Start) -> None:
    hub.add(NAME, FOLDER).fault(WEIGHTS, hold_after=2_000_000)
    server = start()
    table = (
        f'[known]\ntask = "text"\nengine = "text"\nsources = [{{ repo = "{NAME}", format = "openvino" }}]\n'
    )
    (server.home / "models" / "known.toml").write_text(table)
    server.stop()
    server = start()
    assert server.ask("GET", "/v1/models/known").json["state"] == "absent"
    assert pull(server, model="known").status == 202
    assert server.ask("GET", "/v1/models/known").json["state"] == "downloading"
    assert hub.holding.wait(20)
    hub.release.set()
    wait_until(lambda: server.ask("GET", "/v1/models/known").json["state"] == "installed")
    wait_until(lambda: find(server, "known")["state"] == "installed")  # a moment later: the child has ended
    removed = server.ask("DELETE", "/admin/models/known")
    assert removed.json == {"model": "known", "state": "absent", "freed_bytes": removed.json["freed_bytes"]}
    assert removed.json["freed_bytes"] > SIZE_BYTES
    assert server.ask("GET", "/v1/models/known").json["state"] == "absent"
    assert server.ask("DELETE", "/admin/models/known").status == 404
    assert server.ask("DELETE", "/admin/models/..").status == 404


def test_a_replaced_model_is_loaded_anew_and_a_removed_one_unloaded(hub: LocalHub, start: Start) -> None:
    body = {"model": NAME, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}

    def answer() -> int:
        return server.ask("POST", "/v1/chat/completions", body, timeout=60).status

    hub.add(NAME, FOLDER, commit="1" * 40)
    server = start(preload="[]")
    follow(server)
    assert answer() == 200
    (first,) = server.workers()
    hub.add(NAME, FOLDER, commit="2" * 40)
    assert follow(server)[-1][1]["revision"] == "2" * 40
    assert answer() == 200
    wait_until(lambda: not is_alive(first))
    (second,) = wait_until(lambda: len(found := server.workers()) == 1 and found)
    assert second != first
    assert server.ask("DELETE", f"/admin/models/{NAME}").status == 200
    wait_until(lambda: not is_alive(second))
    assert answer() == 404


def test_a_failed_pull_says_why(hub: LocalHub, start: Start) -> None:
    hub.add("owner/gated", FOLDER, gated=True)
    server = start()
    event, data = follow(server, model="owner/gated")[-1]
    assert (event, data["code"]) == ("error", "gated_repo")
    assert f"{hub.url}/owner/gated" in data["message"]
    assert find(server, "owner/gated")["error"]["code"] == "gated_repo"
    assert find(server, "owner/gated")["state"] == "failed"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"model": "starter-chta"}, 404, "starter-chat"),
        ({"model": "./starter"}, 400, "by the command alone"),
        ({"model": "/etc"}, 400, "by the command alone"),
        ({"model": NAME, "precision": "int3"}, 400, "precision"),
        ({"model": NAME, "directory": "/etc"}, 400, "directory"),
        ({"model": 3}, 400, "model"),
        ({}, 400, "model"),
    ],
)
def test_bad_orders(server: RunningServer, body: dict[str, Any], status: int, says: str) -> None:
    answer = server.ask("POST", "/admin/models/pull", body)
    assert answer.status == status
    assert says in answer.json["error"]["message"] if "error" in answer.json else says in answer.body.decode()


def test_only_admins_may(start: Start, make_key: MakeKey) -> None:
    server = start(auth__local="false")
    user = {"authorization": f"Bearer {make_key()}"}
    admin = {"authorization": f"Bearer {make_key('root', admin=True)}"}
    for method, path, body in (
        ("GET", "/admin/models", None),
        ("POST", "/admin/models/pull", {}),
        ("DELETE", "/admin/models/nothing", None),
    ):
        assert server.ask(method, path, body).status == 401
        assert server.ask(method, path, body, user).status == 403
        assert server.ask(method, path, body, admin).status in (200, 400, 404)


def test_a_pull_does_not_outlive_its_server(hub: LocalHub, start: Start) -> None:
    hub.add(NAME, FOLDER).fault(WEIGHTS, hold_after=2_000_000)
    for end in ("kill", "stop"):
        hub.holding.clear()
        server = start(preload="[]")
        assert pull(server).status == 202
        assert hub.holding.wait(20)
        (child,) = server.workers()
        getattr(server, end)()
        wait_until(partial(is_gone, child))
        assert not (server.home / "weights" / "owner--model").exists()


def test_a_removed_model_takes_its_alias_of_the_settings_along(hub: LocalHub, start: Start) -> None:
    hub.add(NAME, FOLDER)
    server = start(preload="[]")
    follow(server)
    server.stop()
    server = start(preload="[]", aliases=json.dumps({"mine": NAME}))
    assert server.ask("GET", "/v1/models/mine").json["id"] == NAME
    assert server.ask("DELETE", f"/admin/models/{NAME}").status == 200
    for name in (NAME, "mine"):
        assert server.ask("GET", f"/v1/models/{name}").status == 404
