"""What a running server says of models that are known but not installed, and of names it never heard."""

import http.client
import json

import pytest

from tests.support.server import RunningServer

HELLO = {"messages": [{"role": "user", "content": "hello there"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RunningServer.start(tmp_path_factory.mktemp("home")) as running:
        yield running


def call(server, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(
            method, path, json.dumps(body) if body else None, {"content-type": "application/json"}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_lists_have_only_what_can_be_used(server):
    status, listed = call(server, "GET", "/v1/models")
    names = {model["id"] for model in listed["data"]}
    assert status == 200
    assert {"echo", "paced", "starter-chat"} <= names
    assert "qwen3-0.6b" not in names
    status, one = call(server, "GET", "/v1/models/Qwen/Qwen3-0.6B")
    assert (status, one["id"], one["state"]) == (200, "qwen3-0.6b", "absent")


def test_a_known_model_says_how_to_get_it(server):
    status, body = call(server, "POST", "/v1/chat/completions", {"model": "Qwen3-0.6B", **HELLO})
    assert (status, body["error"]["code"]) == (404, "model_not_installed")
    assert "quintet pull qwen3-0.6b" in body["error"]["message"]
    status, body = call(server, "POST", "/v1/chat/completions", {"model": "idefics2-8b", **HELLO})
    assert (status, body["error"]["code"]) == (404, "model_not_installed")
    assert "can't run it" in body["error"]["message"]


def test_an_unknown_name_gets_the_nearest(server):
    status, body = call(server, "POST", "/v1/chat/completions", {"model": "qwen3-06b", **HELLO})
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert '"qwen3-0.6b"' in body["error"]["message"]


def test_seed_paths_answer_until_their_model_is_pulled(server):
    """/phi3/generate is the default model's as long as Phi-3 is not installed."""
    status, body = call(server, "POST", "/phi3/generate", {"inputs": "hello there"})
    assert (status, body["generated_text"]) == (200, "hello there")
