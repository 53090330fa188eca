"""VisionCraft's drawing routes: what becomes of their fields, whose /generate is, and what their client is told."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from quintet.core.errors import (
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    QuintetError,
    Unauthenticated,
)
from quintet.core.events import Finished, Media, Progress
from quintet.core.requests import AnimationRequest, ImageRequest, Lora, TextRequest, UpscaleRequest
from quintet.core.samplers import SAMPLERS
from quintet.dialects import visioncraft
from quintet.dialects.base import Incoming
from tests.dialects.wire import ask, find, stream

PICTURE = "iVBORw=="


def request(path: str, **body: Any) -> Any:
    (made,) = ask(path, {"prompt": "a cat", **body}).requests
    return made


def test_a_prompt_alone() -> None:
    expected = ImageRequest(model="painter", prompts=("a cat",), width=1024, height=1024)
    for path in ("/sd", "/generate-xl"):
        assert request(path) == expected
        nothing = dict.fromkeys(find(path)[0].schema.model_fields.keys() - {"prompt"})
        assert request(path, **nothing) == expected
    assert request("/text2gif") == AnimationRequest(model="animator", prompt="a cat")


def test_everything() -> None:
    made = request(
        "/generate",
        model="sdxl-base",
        negative_prompt="dogs",
        sampler="dpm++ 2m karras",
        steps=30,
        width=768,
        height=64,
        cfg_scale=7,
        loras={"one": 1, "two": -0.5},
        image_count=5,
        seed=7,
    )
    assert made == ImageRequest(
        model="sdxl-base",
        prompts=("a cat",),
        negative_prompts=("dogs",),
        sampler="DPM++ 2M Karras",
        steps=30,
        width=768,
        height=64,
        guidance=7.0,
        loras=(Lora(name="one", weight=1.0), Lora(name="two", weight=-0.5)),
        images_per_prompt=5,
        seed=7,
    )


def test_an_upscaled_picture_is_twice_as_large() -> None:
    made = request("/sd", width=512, height=1024, upscale=True)
    assert (made.width, made.height, made.enlarge) == (1024, 2048, True)
    assert request("/sd", upscale=False).enlarge is None


def test_every_sampler_of_the_list_is_taken() -> None:
    for name in SAMPLERS:
        assert request("/sd", sampler=name).sampler == name
        assert request("/img2img", image=PICTURE, scheduler=name).sampler == name


@pytest.mark.parametrize(
    ("named", "accept", "found"),
    [
        (None, "", "gif"),
        (None, "*/*", "gif"),
        (None, "image/webp", "webp"),
        (None, "video/mp4, */*", "mp4"),
        ("mp4", "image/webp", "mp4"),
    ],
)
def test_formats_of_animations(named: str | None, accept: str, found: str) -> None:
    for path in ("/text2gif", "/generate-gif"):
        operation = find(path)[0]
        assert operation.reads_accept
        (made,) = operation.parse(Incoming(body={"prompt": "x", "format": named}, accept=accept)).requests
        assert isinstance(made, AnimationRequest)
        assert made.format == found


def test_a_picture_drawn_anew() -> None:
    made = request(
        "/img2img",
        image=PICTURE,
        mask=f"data:image/png;base64,{PICTURE}",
        scheduler="DDIM",
        refiner="sdxl-refiner",
    )
    assert made.source.data == made.mask.data == b"\x89PNG"
    assert (made.source.is_mask, made.mask.is_mask) == (False, True)
    assert (made.model, made.strength, made.sampler, made.refiner) == ("painter", 0.8, "DDIM", "sdxl-refiner")
    assert (made.width, made.height) == (None, None), "the size of the picture that came"
    linked = request("/img2img", image="https://example.com/a.png", mask="", strength=1)
    assert (linked.source.url, linked.mask, linked.strength) == ("https://example.com/a.png", None, 1.0)
    for nothing in ("", "no_refiner"):
        assert request("/img2img", image=PICTURE, refiner=nothing).refiner == ""
    assert request("/img2img", image=PICTURE).refiner is None


def test_an_enlarged_picture() -> None:
    (made,) = ask("/upscale", {"image": PICTURE, "model": "lanczos", "resize": 4}).requests
    assert isinstance(made, UpscaleRequest)
    assert (made.model, made.picture.data, made.scale) == ("lanczos", b"\x89PNG", 4.0)
    (made,) = ask("/upscale", {"image": PICTURE}).requests
    assert isinstance(made, UpscaleRequest)
    assert (made.model, made.scale) == ("enlarger", None)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/sd", {"prompt": " "}, "prompt"),
        ("/sd", {"prompt": "x" * 100_000}, "prompt"),
        ("/sd", {"prompt": ["x"] * 1000}, "prompt"),
        *(
            ("/sd", {name: side}, name)
            for name in ("width", "height")
            for side in (0, 63, 1025, 513, -8, 10**9)
        ),
        ("/sd", {"steps": 0}, "steps"),
        ("/sd", {"steps": 36}, "steps"),
        ("/generate-xl", {"steps": 51}, "steps"),
        ("/sd", {"cfg_scale": 0}, "cfg_scale"),
        ("/sd", {"cfg_scale": 31}, "cfg_scale"),
        ("/sd", {"cfg_scale": float("nan")}, "cfg_scale"),
        ("/sd", {"sampler": "Oiler"}, "sampler"),
        ("/sd", {"sampler": "__class__"}, "sampler"),
        ("/sd", {"sampler": "x" * 65}, "sampler"),
        ("/sd", {"loras": {str(k): 1 for k in range(6)}}, "loras"),
        ("/sd", {"loras": {"one": float("nan")}}, "loras.one"),
        ("/sd", {"loras": {"one": "1"}}, "loras.one"),
        ("/sd", {"loras": ["one"]}, "loras"),
        ("/sd", {"image_count": 2}, "image_count"),
        ("/generate-xl", {"image_count": 6}, "image_count"),
        ("/generate-xl", {"image_count": 0}, "image_count"),
        ("/sd", {"step": 7}, "step"),
        ("/text2gif", {"format": "avi"}, "format"),
        ("/generate-gif", {"steps": 51}, "steps"),
        ("/img2img", {}, "image"),
        ("/img2img", {"image": ""}, "image"),
        ("/img2img", {"image": "aGVs!!bG8="}, "image"),
        ("/img2img", {"image": "file:///etc/passwd"}, "image"),
        ("/img2img", {"image": PICTURE, "mask": "ftp://a/b"}, "mask"),
        ("/img2img", {"image": PICTURE, "strength": 0}, "strength"),
        ("/img2img", {"image": PICTURE, "scheduler": "Oiler"}, "scheduler"),
    ],
)
def test_what_is_wrong_is_named(path: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(path, **body)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_whose_generate_is() -> None:
    prompt = {"prompt": "a cat"}
    for body, dialect in (
        (prompt | {"token": "key"}, "visioncraft"),
        (prompt | {"model": "sdxl-base"}, "visioncraft"),
        (prompt | {"sampler": "Euler"}, "visioncraft"),
        (prompt, "imagine"),
        (prompt | {"img_size": 512}, "imagine"),
        ({"inputs": "x"}, "tgi"),
        ({"inputs": "x", "prompt": "a cat", "token": "key"}, "tgi"),
        ({"token": "key"}, "tgi"),
        ({}, "tgi"),
        (["prompt", "token"], "tgi"),
        ("prompt token", "tgi"),
        (None, "tgi"),
    ):
        assert find("/generate", body)[0].parse.__module__.split(".")[2] == dialect, body
    (made,) = ask("/generate", {"inputs": "x"}).requests
    assert isinstance(made, TextRequest)
    with pytest.raises(InvalidRequest, match="inputs"):
        ask("/generate", {})


@pytest.mark.parametrize("path", ["/sd", "/text2gif", "/generate-xl", "/generate-gif"])
def test_the_stream_is_the_whole_as_one_piece(path: str) -> None:
    """Nobody can ask for this stream; the renderer says the same all the same."""
    events = [
        (0, Progress("denoise", 1, 1)),
        (0, Media("image/png", b"first", "Seed: 7")),
        (0, Media("image/png", b"second!")),
        (0, Finished(seed=7)),
    ]
    call = ask(path, {"prompt": "a cat"})
    streamed = stream(call, events)
    if path in ("/sd", "/text2gif"):
        assert streamed == b"first"
    else:
        assert json.loads(streamed) == {"images": ["http://host/files/5", "http://host/files/7"]}


def client_class(error: QuintetError) -> str:
    """What VisionCraftAPI 1.0.8 raises, by its own rules; it reads `error.message` and the status."""
    reply = visioncraft.refuse_to_client(error)
    body = json.loads(reply.body)
    message, status = body["error"]["message"], reply.status
    assert "code" not in body, "a status of its own to that client"
    if "users can" in message:
        number, unit = re.findall(r"(?<=per\s)\d+\s\w+", message)[0].split(" ")
        assert unit == "seconds"
        return f"RateLimitExceeded {number}"
    if "doesn't have" in message or status == 422:
        return "InvalidParam " + str(re.findall(r"(?<=doesn't have\s)\w+", message)[0])
    return {403: "InvalidAPIKey", 404: "EndpointNotFound"}.get(status, f"HTTPError {status}")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (Unauthenticated("This key is not valid."), "InvalidAPIKey"),
        (Overloaded("Full.", retry_after=7), "RateLimitExceeded 7"),
        (ModelNotFound("There is no such model here."), "InvalidParam model"),
        (InvalidRequest("No.", code="lora_not_found", param="loras"), "InvalidParam loras"),
        (InvalidRequest("No.", code="sampler_not_found", param="sampler"), "InvalidParam sampler"),
        (InvalidRequest("`steps` must be at most 35."), "HTTPError 400"),
        (PayloadTooLarge("No."), "HTTPError 413"),
        (EngineFailed("No."), "HTTPError 500"),
    ],
)
def test_what_the_client_raises(error: QuintetError, name: str) -> None:
    before = error.message
    assert client_class(error) == name
    assert (error.message, error.status) == (before, type(error).status), "the log has the error as it was"


def test_a_wrong_key_is_401_where_the_documentation_says_so() -> None:
    for path in ("/sd", "/text2gif"):
        assert find(path)[0].refuse(Unauthenticated("No.")).status == 401


def test_errors_have_the_names_of_the_fields() -> None:
    reply = visioncraft.refuse(InvalidRequest("`guidance` is too large.", param="guidance"))
    assert json.loads(reply.body)["error"] == {
        "message": "`cfg_scale` is too large.",
        "type": "invalid_request_error",
        "param": "cfg_scale",
        "code": 400,
    }


def test_lists_have_every_name_once() -> None:
    assert json.loads(visioncraft.names_reply(["b", "a", "b"]).body) == ["b", "a"]
