"""The hackathon guide's picture routes, as its snippets call them with only host and key replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image

from tests.support.server import RunningServer

URL_PATHS = ("/imagine/generate", "/flux/imagine/generate", "/generate")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(
        tmp_path_factory.mktemp("home"),
        default_image_model="echo-image",
        aliases=json.dumps({"flux": "echo-image"}),
    ) as running:
        yield running


def size_of(picture: bytes) -> tuple[int, int]:
    image = Image.open(BytesIO(picture))
    assert image.format == "PNG"
    image.load()
    return image.size


@pytest.mark.parametrize("path", URL_PATHS)
@pytest.mark.parametrize(
    "payload",
    [
        {
            "prompt": "a magical cosmic unicorn",
            "img_size": 1024,
            "guidance_scale": 0,
            "num_inference_steps": 4,
        },
        {
            "prompt": "a serene mountain landscape during sunset",
            "img_size": 1024,
            "guidance_scale": 7.5,
            "num_inference_steps": 50,
        },
        {"prompt": "a magical cosmic cat", "img_size": "1024"},
    ],
)
def test_the_guides_snippets(server: RunningServer, path: str, payload: dict[str, Any]) -> None:
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Authorization": "Bearer local",
    }
    response = requests.post(server.url + path, headers=headers, json=payload, timeout=30)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    assert size_of(response.content) == (1024, 1024)


def test_the_same_seed_gives_the_same_bytes(server: RunningServer) -> None:
    body = {"prompt": "a cat", "img_size": 64, "seed": 7}
    one, two, other = (
        server.ask("POST", "/imagine/generate", body | more).body for more in ({}, {}, {"seed": 8})
    )
    assert one == two
    assert one != other


def test_metadata_is_left_out_on_request(server: RunningServer) -> None:
    body = {"prompt": "a secret cat", "img_size": 64}
    answer = server.ask("POST", "/imagine/generate", body)
    assert b"a secret cat" in answer.body
    answer = server.ask("POST", "/imagine/generate", body, {"x-quintet-metadata": "off"})
    assert answer.status == 200
    assert b"a secret cat" not in answer.body


@pytest.mark.parametrize("path", URL_PATHS)
def test_errors(server: RunningServer, path: str) -> None:
    for body, words in (
        ({"prompt": ""}, "Prompt cannot be empty"),
        ({"prompt": "a cat", "img_size": 32}, "Image size must be between 64 and 1024"),
        ({"prompt": "a cat", "num_inference_steps": "99"}, "Number of steps must be between 1 and 50"),
    ):
        answer = server.ask("POST", path, body)
        assert (answer.status, answer.json["detail"]) == (400, words)


def test_models_that_do_not_draw(server: RunningServer) -> None:
    gone = server.ask("POST", "/flux-schnel/imagine/generate", {"prompt": "a cat"})
    assert gone.status == 404
    assert "flux-schnell" in gone.json["detail"]
    absent = server.ask("POST", "/sdxl/imagine/generate", {"prompt": "a cat"})
    assert absent.status == 404
    assert "quintet pull sdxl-base" in absent.json["detail"]
    reader = server.ask("POST", "/phi3/imagine/generate", {"prompt": "a cat"})
    assert reader.status == 400
    assert "image" in reader.json["detail"]
    failed = server.ask("POST", "/imagine/generate", {"prompt": "a cat !refuse"})
    assert failed.status == 500
    assert failed.json["detail"].startswith("Error generating image: ")


def test_the_path_that_three_share(server: RunningServer) -> None:
    assert server.ask("POST", "/generate", {"inputs": "hello"}).json["generated_text"] == "hello"
    for body in ({}, {"token": "local"}, [], {"inputs": "hello", "prompt": "hello"}):
        answer = server.ask("POST", "/generate", body)
        assert answer.status == 400
        assert answer.json["detail"].startswith("Input validation error: ")
    broken = server.ask("POST", "/generate", b'{"prompt": "a cat"')
    assert (broken.status, broken.json["error_type"]) == (400, "validation")
    dialects = {record["dialect"] for record in server.records() if record["route"] == "/generate"}
    assert dialects == {"tgi", "imagine"}


def test_views(server: RunningServer) -> None:
    assert server.ask("GET", "/imagine/health").json == {"status": "healthy"}
    info = server.ask("GET", "/imagine/info").json
    assert (info["model"], info["is_loaded"], info["error"]) == ("echo-image", True, None)
    assert info["system_info"]["total_memory"] >= info["system_info"]["available_memory"] > 0
    assert 0 <= info["system_info"]["cpu_usage"] <= 100


def test_a_default_that_is_not_there(tmp_path: Any) -> None:
    """Who needs keys is told so before anything else, on every page; then, what to pull."""
    with RunningServer.start(
        tmp_path, default_image_model="none", auth__local="false", auth__trusted_proxies='["127.0.0.1"]'
    ) as server:
        for path in ("/imagine/health", "/imagine/info"):
            assert server.ask("GET", path).status == 401
        for path in ("/imagine/generate", "/generate"):
            answer = server.ask("POST", path, {"prompt": "a cat"})
            assert answer.status == 401
            assert isinstance(answer.json["detail"], str)
    with RunningServer.start(tmp_path, default_image_model="none", echo__enabled="true") as server:
        assert server.ask("GET", "/imagine/health").json == {"status": "degraded"}
        info = server.ask("GET", "/imagine/info").json
        assert (info["model"], info["is_loaded"]) == ("none", False)
        answer = server.ask("POST", "/imagine/generate", {"prompt": "a cat"})
        assert answer.status == 404
        assert "default_image_model" in answer.json["detail"]
