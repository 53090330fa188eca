"""What bodies of diffusion and text2video mean, what is refused, and what the answers look like."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from quintet.core.errors import InvalidRequest
from quintet.core.events import Finished, Media, Outcome
from quintet.core.requests import AnimationRequest, ImageRequest, Request
from tests.dialects.wire import ask, find, stream

DIFFUSION, VIDEO = "/v1/images/generations/diffusion", "/v1/videos/generations/text2video"
BARE = {"modelName": "diffusion1XL", "prompt": "a cat", "imageHeight": 1024, "imageWidth": 512}
VIDEO_BARE = {"modelName": "ModelScope", "prompt": ["a wave"]}


def only(path: str, body: dict[str, Any]) -> Request:
    (request,) = ask(path, body).requests
    return request


def drawn(**more: Any) -> ImageRequest:
    request = only(DIFFUSION, {**BARE, **more})
    assert isinstance(request, ImageRequest)
    return request


def test_a_bare_prompt() -> None:
    assert drawn() == ImageRequest(model="diffusion1XL", prompts=("a cat",), width=512, height=1024)
    assert only(DIFFUSION, {"modelName": "m", "prompt": "x"}) == ImageRequest(model="m", prompts=("x",))


def test_everything() -> None:
    more = {
        "prompt": ["a cat", "a dog"],
        "prompt2": "in ink",
        "negativePrompt": ["grey", "brown"],
        "negativePrompt2": ["", "blurred"],
        "numOutputImages": 5,
        "guidanceScale": 5,
        "numInferenceSteps": 100,
        "seed": 1,
        "outputImgType": "pil",
    }
    assert drawn(**more) == ImageRequest(
        model="diffusion1XL",
        prompts=("a cat", "a dog"),
        second_prompts=("in ink", "in ink"),
        negative_prompts=("grey", "brown"),
        second_negative_prompts=("", "blurred"),
        width=512,
        height=1024,
        steps=100,
        guidance=5.0,
        seed=1,
        images_per_prompt=5,
    )


def test_null_and_empty_are_as_good_as_absent() -> None:
    names = (
        "prompt2",
        "negativePrompt",
        "negativePrompt2",
        "numOutputImages",
        "guidanceScale",
        "numInferenceSteps",
        "seed",
        "outputImgType",
    )
    assert drawn(**dict.fromkeys(names)) == drawn()
    assert drawn(prompt2="", negativePrompt=[""]) == drawn()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("modelName", ""),
        ("prompt", ""),
        ("prompt", []),
        ("prompt", ["a"] * 6),
        ("prompt", ["a", ""]),
        ("prompt", 7),
        ("prompt2", ["a", "b"]),
        ("negativePrompt", ["a", "b"]),
        ("negativePrompt2", []),
        ("imageHeight", 7),
        ("imageHeight", 12),
        ("imageHeight", 2056),
        ("imageWidth", 512.0),
        ("imageWidth", "512"),
        ("numOutputImages", 0),
        ("numOutputImages", 6),
        ("guidanceScale", 0),
        ("guidanceScale", 20),
        ("numInferenceSteps", 0),
        ("numInferenceSteps", 101),
        ("seed", -1),
        ("seed", 2**63),
        ("outputImgType", "latent"),
        ("outputImgType", "np"),
        ("sampler", "Euler"),
    ],
)
def test_what_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ask(DIFFUSION, {**BARE, field: value})
    assert (refused.value.param or "").partition("[")[0] == field


def test_a_multiple_is_named() -> None:
    with pytest.raises(InvalidRequest, match="`imageHeight` must be a multiple of 8"):
        ask(DIFFUSION, {**BARE, "imageHeight": 500})


def test_a_video() -> None:
    assert only(VIDEO, VIDEO_BARE) == AnimationRequest(model="ModelScope", prompt="a wave", format="frames")
    more = {
        "prompt": "a wave",
        "guidanceScale": 14.5,
        "numFrames": 49,
        "numInferenceSteps": 1,
        "numVideosPerPrompt": 1,
    }
    assert only(VIDEO, {**VIDEO_BARE, **more}) == AnimationRequest(
        model="ModelScope", prompt="a wave", frames=49, steps=1, guidance=14.5, format="frames"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ["a", "b"]),
        ("prompt", []),
        ("guidanceScale", 0),
        ("guidanceScale", 15),
        ("numFrames", 9),
        ("numFrames", 50),
        ("numInferenceSteps", 101),
        ("numVideosPerPrompt", 2),
        ("negativePrompt", "x"),
    ],
)
def test_videos_that_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ask(VIDEO, {**VIDEO_BARE, field: value})
    assert (refused.value.param or "").partition("[")[0] == field


@pytest.mark.parametrize(("path", "body"), [(DIFFUSION, BARE), (VIDEO, VIDEO_BARE)])
def test_the_answer(path: str, body: dict[str, Any]) -> None:
    files = [b"one", b"two", b"three"]
    events = [*[(0, Media("image/png", data)) for data in files], (0, Finished(seed=1))]
    outcome = Outcome()
    for _, event in events:
        outcome.add(event)
    call = ask(path, body)
    answer = json.loads(call.renderer.whole([outcome]).body)
    count = {"created": 3} if path == DIFFUSION else {}
    assert answer == {
        **count,
        "data": [{"b64_json": base64.b64encode(data).decode()} for data in files],
        "error": None,
    }
    # Nobody can ask for this stream; the renderer says the same all the same.
    assert json.loads(stream(call, events)) == answer


@pytest.mark.parametrize(
    ("path", "ours", "theirs"),
    [
        (DIFFUSION, "width", "imageWidth"),
        (DIFFUSION, "steps", "numInferenceSteps"),
        (DIFFUSION, "negative_prompts", "negativePrompt"),
        (VIDEO, "frames", "numFrames"),
        (VIDEO, "model", "modelName"),
    ],
)
def test_errors_have_the_names_on_the_wire(path: str, ours: str, theirs: str) -> None:
    reply = find(path)[0].refuse(InvalidRequest(f"`{ours}` is too much.", param=ours))
    error = json.loads(reply.body)["error"]
    assert (error["param"], error["message"]) == (theirs, f"`{theirs}` is too much.")
