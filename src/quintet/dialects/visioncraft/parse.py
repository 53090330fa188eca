"""Bodies of VisionCraft's drawing routes → domain requests, answered with bytes or with links."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quintet.core.content import Image
from quintet.core.requests import AnimationRequest, ImageRequest, UpscaleRequest
from quintet.dialects.base import Call, Incoming
from quintet.dialects.drawing import sampler_name, to_loras
from quintet.dialects.formats import animation_format
from quintet.dialects.one_file import OneFileRenderer
from quintet.dialects.pictures import parse_encoded, parse_picture
from quintet.dialects.validation import check
from quintet.dialects.visioncraft.links import LinksRenderer
from quintet.dialects.visioncraft.wire import GenerateBody, GifBody, RedrawBody, SdBody, UpscaleBody

DEFAULT_SIDE = 1024
DEFAULT_STRENGTH = 0.8
UPSCALE_FACTOR = 2
NO_REFINER = "no_refiner"
_OWN_KEYS = frozenset({"token", "model", "sampler"})
"""What a prompt has beside it in VisionCraft's bodies, and in no other dialect's."""


def claims(body: Any) -> bool:
    """Whether a body of the shared /generate is this dialect's."""
    return (
        isinstance(body, dict)
        and "prompt" in body
        and "inputs" not in body
        and not _OWN_KEYS.isdisjoint(body)
    )


def parse_sd(incoming: Incoming) -> Call:
    """POST /sd: one picture, as bytes."""
    return Call(
        requests=(_drawing(check(SdBody, incoming.body), incoming),),
        renderer=OneFileRenderer(),
    )


def parse_generate(incoming: Incoming) -> Call:
    """POST /generate and /generate-xl: up to five pictures, as links."""
    return Call(
        requests=(_drawing(check(GenerateBody, incoming.body), incoming),),
        renderer=LinksRenderer(incoming.publish),
    )


def parse_text2gif(incoming: Incoming) -> Call:
    """POST /text2gif: an animation, as bytes."""
    return Call(requests=(_animation(incoming),), renderer=OneFileRenderer())


def parse_generate_gif(incoming: Incoming) -> Call:
    """POST /generate-gif: an animation, as a link."""
    return Call(requests=(_animation(incoming),), renderer=LinksRenderer(incoming.publish))


def parse_img2img(incoming: Incoming) -> Call:
    """POST /img2img: a picture drawn anew, as bytes."""
    body = check(RedrawBody, incoming.body)
    refiner = body.refiner
    request = ImageRequest(
        model=body.model or incoming.default_image_model,
        prompts=(body.prompt,),
        negative_prompts=_negative(body.negative_prompt),
        source=_picture(body.image, "image"),
        mask=replace(_picture(body.mask, "mask"), is_mask=True) if body.mask else None,
        strength=DEFAULT_STRENGTH if body.strength is None else body.strength,
        steps=body.steps,
        guidance=body.cfg_scale,
        sampler=sampler_name(body.scheduler or None, "scheduler"),
        seed=body.seed,
        refiner="" if refiner == NO_REFINER else refiner,
        with_metadata=incoming.with_metadata,
    )
    return Call(requests=(request,), renderer=OneFileRenderer())


def parse_upscale(incoming: Incoming) -> Call:
    """POST /upscale: a picture with more pixels, as bytes."""
    body = check(UpscaleBody, incoming.body)
    request = UpscaleRequest(
        model=body.model or incoming.default_upscaler,
        picture=_picture(body.image, "image"),
        scale=None if body.resize is None else float(body.resize),
    )
    return Call(requests=(request,), renderer=OneFileRenderer())


def _drawing(body: SdBody, incoming: Incoming) -> ImageRequest:
    factor = UPSCALE_FACTOR if body.upscale else 1
    return ImageRequest(
        model=body.model or incoming.default_image_model,
        prompts=(body.prompt,),
        negative_prompts=_negative(body.negative_prompt),
        width=(body.width or DEFAULT_SIDE) * factor,
        height=(body.height or DEFAULT_SIDE) * factor,
        steps=body.steps,
        guidance=body.cfg_scale,
        sampler=sampler_name(body.sampler or None),
        seed=body.seed,
        images_per_prompt=body.image_count or 1,
        loras=to_loras(body.loras),
        enlarge=True if body.upscale else None,
        with_metadata=incoming.with_metadata,
    )


def _animation(incoming: Incoming) -> AnimationRequest:
    body = check(GifBody, incoming.body)
    return AnimationRequest(
        model=body.model or incoming.default_animation_model,
        prompt=body.prompt,
        negative_prompt=body.negative_prompt or "",
        steps=body.steps,
        guidance=body.cfg_scale,
        sampler=sampler_name(body.sampler or None),
        seed=body.seed,
        format=animation_format(body.format, incoming.accept),
        with_metadata=incoming.with_metadata,
    )


def _negative(prompt: str | None) -> tuple[str, ...]:
    return (prompt,) if prompt else ()


def _picture(text: str, field: str) -> Image:
    """Base64, a data URL or a link, told apart by how it begins."""
    is_link = text[:8].lower().startswith(("http://", "https://"))
    return parse_picture(text, field) if is_link else parse_encoded(text, field)
