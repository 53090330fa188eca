"""Pictures and frames as Krutrim's SDK asks for them: what its 0.7.3 puts on the wire, and how it reads the answers.

The SDK brings half a gigabyte along, so the tests send its requests themselves.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.support.server import RunningServer

DIFFUSION, VIDEO = "/v1/images/generations/diffusion", "/v1/videos/generations/text2video"
ALIASES = {"diffusion1XL": "echo-image", "ModelScope": "echo-animation"}
HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "authorization": "Bearer local",
    "X-Krutrim-Cloud-Lang": "python",
    "X-Krutrim-Cloud-Async": "false",
}
EXAMPLE = {
    "modelName": "diffusion1XL",
    "prompt": "A cat holding a sign that says hello world",
    "imageHeight": 64,
    "imageWidth": 32,
    "numOutputImages": 2,
    "guidanceScale": 9.0,
    "numInferenceSteps": 3,
    "outputImgType": "pil",
    "seed": 7,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("home"), aliases=json.dumps(ALIASES)) as running:
        yield running


def pictures(answer: Any) -> list[Image.Image]:
    """As the SDK's `save` and its examples read them."""
    assert answer.status == 200, answer.body
    assert answer.json["error"] is None
    found = [Image.open(io.BytesIO(base64.b64decode(entry["b64_json"]))) for entry in answer.json["data"]]
    assert all(
        value is not None and isinstance(value, str)
        for entry in answer.json["data"]
        for value in entry.values()
    )
    return found


def test_the_example(server: RunningServer) -> None:
    answer = server.ask("POST", DIFFUSION, EXAMPLE, HEADERS)
    found = pictures(answer)
    assert answer.json["created"] == 2, "the example prints it as the number of images"
    assert [picture.size for picture in found] == [(32, 64)] * 2
    assert [picture.info["parameters"] for picture in found] == [
        f"{EXAMPLE['prompt']}\nSteps: 3, Seed: {seed}" for seed in (7, 8)
    ]
    assert server.ask("POST", DIFFUSION, EXAMPLE, HEADERS).body == answer.body


def test_several_prompts(server: RunningServer) -> None:
    more = {"prompt": ["one", "two"], "prompt2": "ink", "negativePrompt": ["a", "b"], "negativePrompt2": None}
    answer = server.ask("POST", DIFFUSION, {**EXAMPLE, **more}, HEADERS)
    found = pictures(answer)
    assert answer.json["created"] == 4
    assert [picture.info["parameters"].partition("\n")[0] for picture in found] == [
        "one",
        "one",
        "two",
        "two",
    ]


def test_without_metadata(server: RunningServer) -> None:
    headers = {**HEADERS, "X-Quintet-Metadata": "off"}
    for picture in pictures(server.ask("POST", DIFFUSION, EXAMPLE, headers)):
        assert picture.info == {}


def test_a_video(server: RunningServer) -> None:
    body = {
        "modelName": "ModelScope",
        "prompt": ["a boat on the sea"],
        "guidanceScale": 9.0,
        "numFrames": 10,
        "numInferenceSteps": 2,
        "numVideosPerPrompt": 1,
    }
    answer = server.ask("POST", VIDEO, body, HEADERS)
    frames = pictures(answer)
    assert len(frames) == 10
    assert {(frame.format, frame.size) for frame in frames} == {("PNG", (64, 64))}
    assert set(answer.json) == {"data", "error"}


@pytest.mark.parametrize(
    ("path", "change", "status", "param"),
    [
        (DIFFUSION, {"modelName": "difusion1XL"}, 404, "modelName"),
        (DIFFUSION, {"modelName": "echo"}, 400, "modelName"),
        (DIFFUSION, {"guidanceScale": 20}, 400, "guidanceScale"),
        (DIFFUSION, {"numInferenceSteps": 101}, 400, "numInferenceSteps"),
        (DIFFUSION, {"imageHeight": 100}, 400, "imageHeight"),
        (DIFFUSION, {"outputImgType": "latent"}, 400, "outputImgType"),
        (DIFFUSION, {"steps": 3}, 400, "steps"),
    ],
)
def test_refusals(server: RunningServer, path: str, change: dict[str, Any], status: int, param: str) -> None:
    answer = server.ask("POST", path, {**EXAMPLE, **change}, HEADERS)
    assert (answer.status, answer.json["error"]["param"]) == (status, param)
    assert answer.headers["x-should-retry"] == "false"
    if status == 404:
        assert "diffusion1XL" in answer.json["error"]["message"]
