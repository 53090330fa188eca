"""POST /v1/images/generations and /v1/images/edits: what their bodies mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from quintet.core.content import Image
from quintet.core.errors import InvalidRequest, QuintetError, Unsupported
from quintet.core.requests import ImageRequest
from quintet.dialects.base import Call, Form, Incoming, Reply, Upload
from quintet.dialects.drawing import sampler_name, to_loras
from quintet.dialects.errors import error_reply, rename_fields
from quintet.dialects.forms import form_body
from quintet.dialects.openai.fields import refuse_fields
from quintet.dialects.openai.images_answers import Kind, PicturesRenderer
from quintet.dialects.openai.images_wire import EditBody, GenerationBody, PicturesBody
from quintet.dialects.pictures import parse_picture, parse_uploaded
from quintet.dialects.validation import check

MIN_SIDE, MAX_SIDE, SIDE_STEP = 16, 4096, 8
REPAINT_STRENGTH = 1.0
"""With a mask: what lies under it is painted anew, as OpenAI does it."""
IMAGE, MASK = "image", "mask"
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_WHOLE = ("n", "partial_images", "output_compression", "steps", "num_inference_steps", "seed")
_DECIMAL = ("strength", "guidance", "cfg_scale", "guidance_scale")
_FLAGS = ("stream", "progress", "enlarge", "metadata")
_NAMES: Final = {
    "width": "size",
    "height": "size",
    "images_per_prompt": "n",
    "prompts": "prompt",
    "negative_prompts": "negative_prompt",
    "source": IMAGE,
}


def refuse_pictures(error: QuintetError) -> Reply:
    """An error in OpenAI's shape, with the names that fields have on these routes."""
    return error_reply(rename_fields(error, _NAMES), "openai")


def parse_generation(incoming: Incoming) -> Call:
    """POST /v1/images/generations."""
    refuse_fields(incoming.body)
    body = check(GenerationBody, incoming.body)
    return _draw(body, incoming, "image_generation", None, None, 0.0)


def parse_edit(incoming: Incoming) -> Call:
    """POST /v1/images/edits: with a mask a part of the picture is painted anew, without one all of it is changed."""
    given, files = _read(incoming.body)
    refuse_fields(given)
    body = check(EditBody, given)
    sources = _sources(body, files.get(IMAGE, ()))
    if not sources:
        raise InvalidRequest(
            f"`{IMAGE}` is required. Send the picture as a file of the form.",
            param=IMAGE,
            code="missing_required_parameter",
        )
    if len(sources) > 1:
        raise Unsupported(f"`{IMAGE}` may hold one picture here. Send that one alone.", param=IMAGE)
    mask = _mask(body, files.get(MASK, ()))
    usual = ImageRequest(model="", prompts=()).strength if mask is None else REPAINT_STRENGTH
    strength = usual if body.strength is None else float(body.strength)
    return _draw(body, incoming, "image_edit", sources[0], mask, strength)


def _draw(
    body: PicturesBody,
    incoming: Incoming,
    kind: Kind,
    source: Image | None,
    mask: Image | None,
    strength: float,
) -> Call:
    width, height = _size(body.size)
    _check_format(body)
    wanted = (body.partial_images or 0) if body.stream else 0
    request = ImageRequest(
        model=_model(body, incoming),
        prompts=(body.prompt,),
        negative_prompts=(body.negative_prompt,) if body.negative_prompt else (),
        width=width,
        height=height,
        steps=body.steps,
        guidance=None if body.guidance is None else float(body.guidance),
        sampler=sampler_name(body.sampler),
        seed=None if body.seed == -1 else body.seed,
        images_per_prompt=body.n or 1,
        loras=to_loras(body.loras),
        source=source,
        mask=mask,
        strength=strength or ImageRequest(model="", prompts=()).strength,
        refiner=body.refiner,
        enlarge=body.enlarge,
        with_metadata=incoming.with_metadata and body.metadata is not False,
        previews=wanted > 0,
    )
    renderer = PicturesRenderer(
        incoming=incoming,
        request=request,
        kind=kind,
        as_url=body.response_format == "url",
        quality=body.quality or "auto",
        partial_pictures=wanted,
        with_progress=bool(body.progress),
    )
    return Call(requests=(request,), renderer=renderer, stream=bool(body.stream))


def _model(body: PicturesBody, incoming: Incoming) -> str:
    model = body.model or incoming.default_image_model
    if not model:
        raise InvalidRequest(
            "`model` is required. GET /v1/models lists the models of this server.",
            param="model",
            code="missing_required_parameter",
        )
    return model


def _size(given: str | None) -> tuple[int | None, int | None]:
    """Width and height; None = the model's own, or those of the picture that is changed."""
    if given in (None, "auto"):
        return None, None
    match = _SIZE.fullmatch(given or "")
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(MIN_SIDE <= side <= MAX_SIDE and side % SIDE_STEP == 0 for side in sides):
        raise InvalidRequest(
            f"`size` must be auto, or WIDTHxHEIGHT such as 512x768, with sides from {MIN_SIDE} to {MAX_SIDE} pixels "
            f"that are multiples of {SIDE_STEP}.",
            param="size",
        )
    return sides


def _check_format(body: PicturesBody) -> None:
    """Refuse what would make another file than ours."""
    if body.output_format not in (None, "png"):
        raise Unsupported(
            "`output_format` must be png: that is what is drawn here. Leave it out.", param="output_format"
        )
    if body.background not in (None, "auto", "opaque"):
        raise Unsupported(
            "`background` must be opaque or auto: the models here draw the whole picture. Leave it out.",
            param="background",
        )
    if body.partial_images and not body.stream:
        raise InvalidRequest(
            "`partial_images` needs `stream`: true. Set it, or leave `partial_images` out.",
            param="partial_images",
        )


# ------------------------------------------------------------------------------------------ pictures that come in


def _read(given: Any) -> tuple[Any, dict[str, list[Upload]]]:
    """The texts of a form as one body, and its files by their names; JSON as it is."""
    if not isinstance(given, Form):
        return given, {}
    files: dict[str, list[Upload]] = {}
    for sent_name, uploads in given.files.items():
        name = sent_name.removesuffix("[]")
        if name not in (IMAGE, MASK):
            raise InvalidRequest(
                f"Files may only be sent as `{IMAGE}` and `{MASK}`. Rename the field.", param=IMAGE
            )
        # A page whose file field was left empty sends a file without name and content.
        files.setdefault(name, []).extend(file for file in uploads if file.name or file.data)
    body = form_body(
        given, lists=(IMAGE,), numbers=_WHOLE, decimals=_DECIMAL, flags=_FLAGS, tables=("loras",)
    )
    return body, files


def _sources(body: EditBody, files: Sequence[Upload]) -> list[Image]:
    texts = [body.image] if isinstance(body.image, str) else body.image or []
    count = len(texts) + len(files)
    names = [IMAGE] if count == 1 else [f"{IMAGE}[{i}]" for i in range(count)]
    found = [parse_uploaded(file.data, name) for file, name in zip(files, names, strict=False)]
    return found + [parse_picture(text, name) for text, name in zip(texts, names[len(files) :], strict=True)]


def _mask(body: EditBody, files: Sequence[Upload]) -> Image | None:
    if len(files) + (body.mask is not None) > 1:
        raise InvalidRequest(f"`{MASK}` may stand only once in the form.", param=MASK)
    if files:
        return parse_uploaded(files[0].data, MASK, is_mask=True)
    return None if body.mask is None else parse_picture(body.mask, MASK, is_mask=True)
