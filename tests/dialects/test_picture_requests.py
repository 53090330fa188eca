"""What bodies for pictures mean on OpenAI's routes, and which of them are refused (B-53 … B-57)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from quintet.core.content import Image
from quintet.core.errors import InvalidRequest
from quintet.core.requests import ImageRequest, Lora
from quintet.dialects.base import Call, Form, Upload
from quintet.dialects.openai.images_wire import GenerationBody
from quintet.dialects.pictures import MAX_PICTURE_BYTES
from tests.dialects.wire import ask

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
BARE = {"prompt": "a cat"}
LINK = "https://pictures.example.org/a.png"


def only(call: Call) -> ImageRequest:
    (request,) = call.requests
    assert isinstance(request, ImageRequest)
    return request


def drawn(**more: Any) -> ImageRequest:
    return only(ask(GENERATIONS, {**BARE, **more}))


def edited(texts: dict[str, list[str]] | None = None, **files: list[bytes]) -> ImageRequest:
    uploads = {name: [Upload("x.png", data) for data in found] for name, found in files.items()}
    return only(ask(EDITS, Form(texts={"prompt": ["a dog"], **(texts or {})}, files=uploads)))


def refusal(path: str, body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        ask(path, body)
    return refused.value


# -------------------------------------------------------------------------------------------------------- generations


def test_a_bare_prompt() -> None:
    """Everything else is the catalog's to say."""
    assert drawn() == ImageRequest(model="painter", prompts=("a cat",))


def test_everything() -> None:
    call = ask(
        GENERATIONS,
        {
            "model": "sdxl",
            "prompt": "a cat",
            "n": 10,
            "size": "512x768",
            "response_format": "url",
            "output_format": "png",
            "output_compression": 100,
            "background": "opaque",
            "quality": "hd",
            "style": "vivid",
            "moderation": "low",
            "user": "u",
            "stream": True,
            "partial_images": 2,
            "progress": True,
            "negative_prompt": "a dog",
            "steps": 20,
            "guidance": 7,
            "seed": 2**63 - 1,
            "sampler": "dpmpp_2m_ka",
            "loras": {"ink": 0.5, "mist": -1},
            "refiner": "",
            "enlarge": True,
            "metadata": False,
            "field_of_next_year": {"a": 1},
        },
    )
    assert call.stream
    assert not call.is_bare
    assert only(call) == ImageRequest(
        model="sdxl",
        prompts=("a cat",),
        negative_prompts=("a dog",),
        width=512,
        height=768,
        steps=20,
        guidance=7.0,
        sampler="DPM++ 2M Karras",
        seed=2**63 - 1,
        images_per_prompt=10,
        loras=(Lora(name="ink", weight=0.5), Lora(name="mist", weight=-1.0)),
        refiner="",
        enlarge=True,
        with_metadata=False,
        previews=True,
    )


def test_null_is_as_good_as_absent() -> None:
    nothing = dict.fromkeys(GenerationBody.model_fields.keys() - {"prompt"})
    assert len(nothing) > 20
    assert drawn(**nothing) == drawn()


@pytest.mark.parametrize("name", ["guidance", "cfg_scale", "guidance_scale"])
def test_other_names_of_guidance(name: str) -> None:
    assert drawn(**{name: 3}).guidance == 3.0


def test_any_seed_and_any_size() -> None:
    assert drawn(seed=-1, size="auto") == drawn()


def test_previews_are_made_only_if_a_stream_shows_them() -> None:
    assert not drawn(stream=True).previews
    assert not drawn(stream=True, partial_images=0).previews
    assert drawn(stream=True, partial_images=1).previews


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", "x" * 32_001),
        ("prompt", ["a"]),
        ("n", 0),
        ("n", 11),
        ("n", 1.0),
        ("n", True),
        ("size", "512"),
        ("size", "512x"),
        ("size", "8x512"),
        ("size", "512x4104"),
        ("size", "500x512"),
        ("size", "٥١٢x512"),
        ("size", "512x512 "),
        ("size", 512),
        ("response_format", "path"),
        ("output_format", "webp"),
        ("output_format", "svg"),
        ("background", "transparent"),
        ("partial_images", 4),
        ("partial_images", 1),
        ("steps", 0),
        ("steps", 151),
        ("guidance", -1),
        ("guidance", 51),
        ("guidance", "7"),
        ("seed", -2),
        ("seed", 2**63),
        ("seed", 1.5),
        ("sampler", "best"),
        ("sampler", ""),
        ("loras", {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}),
        ("loras", ["ink"]),
        ("enlarge", 1),
        ("trust_remote_code", True),
    ],
)
def test_what_is_refused_by_name(field: str, value: Any) -> None:
    error = refusal(GENERATIONS, {**BARE, field: value})
    assert error.param == field
    assert f"`{field}`" in error.message
    assert "٥" not in error.message


@pytest.mark.parametrize("weights", [{"": 1}, {"ink": 11}, {"ink": "1"}, {"../../etc/passwd": None}])
def test_bad_loras_are_named_without_their_names(weights: Any) -> None:
    error = refusal(GENERATIONS, {**BARE, "loras": weights})
    assert (error.param or "").startswith("loras")
    assert "passwd" not in error.message


def test_a_refused_sampler_names_the_nearest() -> None:
    error = refusal(GENERATIONS, {**BARE, "sampler": "DPM++ 2M Karas"})
    assert error.code == "sampler_not_found"
    assert "The nearest names are DPM++ 2M Karras, " in error.message
    assert "Karas" not in error.message


# -------------------------------------------------------------------------------------------------------------- edits


def test_a_form() -> None:
    assert edited(image=[b"cat"]) == ImageRequest(
        model="painter", prompts=("a dog",), source=Image(data=b"cat"), strength=0.75
    )


def test_a_form_with_everything() -> None:
    texts = {
        "model": ["sdxl"],
        "n": ["2"],
        "size": ["64x64"],
        "stream": ["true"],
        "partial_images": ["3"],
        "steps": ["9"],
        "guidance": ["7.5"],
        "seed": ["-1"],
        "strength": [".5"],
        "metadata": ["False"],
        "enlarge": ["0"],
        "loras[ink]": ["0.5"],
        "loras[mist of dawn]": ["-1"],
        "input_fidelity": ["high"],
        "user": [""],
    }
    call = ask(
        EDITS,
        Form(
            texts={"prompt": ["a dog"], **texts},
            files={"image[]": [Upload("a", b"cat"), Upload("", b"")], "mask": [Upload("b", b"where")]},
        ),
    )
    assert call.stream
    assert only(call) == ImageRequest(
        model="sdxl",
        prompts=("a dog",),
        width=64,
        height=64,
        steps=9,
        guidance=7.5,
        images_per_prompt=2,
        loras=(Lora(name="ink", weight=0.5), Lora(name="mist of dawn", weight=-1.0)),
        source=Image(data=b"cat"),
        mask=Image(data=b"where", is_mask=True),
        strength=0.5,
        enlarge=False,
        with_metadata=False,
        previews=True,
    )


def test_under_a_mask_all_is_painted_anew() -> None:
    assert edited(image=[b"cat"], mask=[b"where"]).strength == 1.0


def test_json() -> None:
    encoded = "data:image/png;base64," + base64.b64encode(b"cat").decode()
    for image in (encoded, [encoded]):
        request = only(ask(EDITS, {"prompt": "a dog", "image": image, "mask": LINK}))
        assert request.source == Image(data=b"cat")
        assert request.mask == Image(url=LINK, is_mask=True)
    assert only(ask(EDITS, {"prompt": "a dog", "image": encoded, "mask": encoded})).mask == Image(
        data=b"cat", is_mask=True
    )


def test_pictures_know_where_they_stood() -> None:
    request = edited(image=[b"cat"], mask=[b"where"])
    assert request.source is not None
    assert request.mask is not None
    assert (request.source.field, request.mask.field) == ("image", "mask")


@pytest.mark.parametrize(
    ("texts", "files", "param"),
    [
        ({}, {}, "image"),
        ({}, {"image": [b"a", b"b"]}, "image"),
        ({"image": [LINK]}, {"image": [b"a"]}, "image"),
        ({}, {"image": [b""]}, "image"),
        ({}, {"image": [bytes(MAX_PICTURE_BYTES + 1)]}, "image"),
        ({}, {"image": [b"a"], "mask": [b"a", b"b"]}, "mask"),
        ({"mask": [LINK]}, {"image": [b"a"], "mask": [b"a"]}, "mask"),
        ({"mask": ["file:///etc/passwd"]}, {"image": [b"a"]}, "mask"),
        ({}, {"image": [b"a"], "markup": [b"a"]}, "image"),
        ({"strength": ["0"]}, {"image": [b"a"]}, "strength"),
        ({"strength": ["1.1"]}, {"image": [b"a"]}, "strength"),
        ({"strength": ["nan"]}, {"image": [b"a"]}, "strength"),
        ({"strength": ["1e0"]}, {"image": [b"a"]}, "strength"),
        ({"n": ["two"]}, {"image": [b"a"]}, "n"),
        ({"n": ["1", "2"]}, {"image": [b"a"]}, "n"),
        ({"stream": ["maybe"]}, {"image": [b"a"]}, "stream"),
        ({"loras": ["ink"]}, {"image": [b"a"]}, "loras"),
        ({"loras[ink]": ["much"]}, {"image": [b"a"]}, "loras"),
        ({"loras[ink]": ["1", "2"]}, {"image": [b"a"]}, "loras"),
        ({f"loras[{i}]": ["1"] for i in range(6)}, {"image": [b"a"]}, "loras"),
        ({"prompt": []}, {"image": [b"a"]}, "prompt"),
    ],
)
def test_forms_that_are_refused(
    texts: dict[str, list[str]], files: dict[str, list[bytes]], param: str
) -> None:
    uploads = {name: [Upload("x", data) for data in found] for name, found in files.items()}
    error = refusal(EDITS, Form(texts={"prompt": ["a dog"], **texts}, files=uploads))
    assert error.param == param
    assert "passwd" not in error.message


def test_a_page_whose_file_field_was_left_empty() -> None:
    error = refusal(EDITS, Form(texts={"prompt": ["x"]}, files={"image": [Upload("", b"")]}))
    assert error.code == "missing_required_parameter"
