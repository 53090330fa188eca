"""POST /imagine/generate: what becomes of its fields, and the words for what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quintet.core.errors import EngineFailed, InvalidRequest, LoadFailed, ModelNotFound, Unauthenticated
from quintet.core.models import Model
from quintet.core.requests import ImageRequest
from quintet.dialects import imagine
from tests.dialects.wire import ask

PATHS = ["/imagine/generate", "/generate"]


def request(path: str = "/imagine/generate", **body: Any) -> ImageRequest:
    (made,) = ask(path, {"prompt": "a cat", **body}).requests
    assert isinstance(made, ImageRequest)
    return made


@pytest.mark.parametrize("path", PATHS)
def test_what_is_not_said_is_the_models_but_for_the_size(path: str) -> None:
    assert request(path) == ImageRequest(model="painter", prompts=("a cat",), width=512, height=512)
    nothing = dict.fromkeys(("img_size", "guidance_scale", "num_inference_steps", "negative_prompt", "seed"))
    assert request(path, **nothing) == request(path)


@pytest.mark.parametrize(
    ("size", "scale", "steps"), [(1024, 7.5, 50), ("1024", "7.5", " 50 "), (1024.0, 7.5, "+50")]
)
def test_numbers_may_be_text(size: Any, scale: Any, steps: Any) -> None:
    made = request(img_size=size, guidance_scale=scale, num_inference_steps=steps)
    assert (made.width, made.height, made.guidance, made.steps) == (1024, 1024, 7.5, 50)


def test_unknown_keys_are_ignored_as_in_the_original() -> None:
    assert request(image_size=256, user={"name": "ada"}) == request()


def test_an_alias_names_the_model() -> None:
    assert request("/flux/imagine/generate").model == "flux"


def test_more_than_the_original_has() -> None:
    made = request(negative_prompt="dogs", seed=7)
    assert (made.negative_prompts, made.seed) == (("dogs",), 7)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": ""}, "Prompt cannot be empty"),
        ({"prompt": " \n"}, "Prompt cannot be empty"),
        ({"prompt": "x" * 201}, "Prompt too long (max 200 characters)"),
        ({"prompt": 7}, "`prompt` must be a string. Send that JSON type."),
        ({"img_size": "big"}, "Image size must be an integer"),
        ({"img_size": 512.5}, "Image size must be an integer"),
        ({"img_size": True}, "Image size must be an integer"),
        ({"img_size": [512]}, "Image size must be an integer"),
        ({"img_size": 63}, "Image size must be between 64 and 1024"),
        ({"img_size": "1025"}, "Image size must be between 64 and 1024"),
        ({"img_size": -8}, "Image size must be between 64 and 1024"),
        ({"img_size": 10**9}, "Image size must be between 64 and 1024"),
        ({"img_size": "9" * 5000}, "Image size must be an integer"),
        ({"img_size": 513}, "Image size must be a multiple of 8"),
        ({"guidance_scale": "much"}, "Guidance scale must be a number"),
        ({"guidance_scale": "nan"}, "Guidance scale must be a number"),
        ({"guidance_scale": False}, "Guidance scale must be a number"),
        ({"guidance_scale": 10.1}, "Guidance scale must be between 0 and 10.0"),
        ({"guidance_scale": "-1"}, "Guidance scale must be between 0 and 10.0"),
        ({"guidance_scale": float("nan")}, "Guidance scale must be between 0 and 10.0"),
        ({"num_inference_steps": "some"}, "Number of steps must be an integer"),
        ({"num_inference_steps": 0}, "Number of steps must be between 1 and 50"),
        ({"num_inference_steps": "51"}, "Number of steps must be between 1 and 50"),
    ],
)
def test_what_is_wrong_is_said_in_the_originals_words(path: str, body: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(path, **body)
    reply = imagine.refuse(caught.value)
    assert (reply.status, json.loads(reply.body)["detail"]) == (400, words)
    assert json.loads(reply.body)["error"]["param"] in body


def test_without_a_prompt() -> None:
    with pytest.raises(InvalidRequest, match="prompt"):
        ask("/imagine/generate", {"img_size": 512})


def test_errors_of_the_server_have_the_originals_beginnings() -> None:
    for error, words in (
        (LoadFailed("No."), "Model is not available. Error: No."),
        (EngineFailed("No."), "Error generating image: No."),
        (ModelNotFound("No."), "No."),
        (Unauthenticated("No."), "No."),
        (
            InvalidRequest("`steps` and `width` are too large."),
            "`num_inference_steps` and `img_size` are too large.",
        ),
    ):
        reply = imagine.refuse(error)
        assert (reply.status, json.loads(reply.body)["detail"]) == (error.status, words)


def test_the_views() -> None:
    load = imagine.Load(cpu_percent=12.34, available_bytes=3 * 2**30, total_bytes=8 * 2**30)
    model = Model(name="flux-schnell", task="image", engine="image", defaults={"steps": 4, "guidance": 0.0})
    assert json.loads(imagine.info_reply("flux", model, "", load).body) == {
        "model": "flux-schnell",
        "is_loaded": True,
        "error": None,
        "config": {
            "default_steps": 4,
            "default_guidance": 0.0,
            "min_img_size": 64,
            "max_img_size": 1024,
            "default": True,
        },
        "system_info": {"cpu_usage": 12.3, "available_memory": 3.0, "total_memory": 8.0},
    }
    absent = json.loads(imagine.info_reply("flux", None, "It is not here.", load).body)
    assert (absent["model"], absent["is_loaded"], absent["error"]) == ("flux", False, "It is not here.")
    assert json.loads(imagine.health_reply(True).body) == {"status": "healthy"}
    assert json.loads(imagine.health_reply(False).body) == {"status": "degraded"}
