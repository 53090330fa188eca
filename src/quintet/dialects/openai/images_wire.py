"""Bodies of /v1/images/generations and /v1/images/edits: OpenAI's fields, and ours beside them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Discriminator, Field, Tag

from quintet.dialects.drawing import MAX_SEED, Loras, PictureText
from quintet.dialects.validation import WireModel

MAX_PICTURES = 10
MAX_PARTIAL_PICTURES = 3
MAX_STEPS = 150

Word = Annotated[str, Field(max_length=64)]


class PicturesBody(WireModel):
    """What both routes have in common. Every optional field may also be null."""

    prompt: Annotated[PictureText, Field(min_length=1)]
    model: Annotated[str, Field(max_length=256)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_PICTURES)] | None = None
    size: Word | None = None
    """WIDTHxHEIGHT in pixels, or "auto"."""
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Word | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    background: Word | None = None
    quality: Word | None = None
    moderation: Word | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=MAX_PARTIAL_PICTURES)] | None = None

    progress: bool | None = None
    """Streams also say how far the work is, in events of their own."""
    negative_prompt: PictureText | None = None
    steps: Annotated[
        Annotated[int, Field(ge=1, le=MAX_STEPS)] | None,
        Field(validation_alias=AliasChoices("steps", "num_inference_steps")),
    ] = None
    guidance: Annotated[
        Annotated[float, Field(ge=0, le=50)] | None,
        Field(validation_alias=AliasChoices("guidance", "cfg_scale", "guidance_scale")),
    ] = None
    seed: Annotated[int, Field(ge=-1, le=MAX_SEED)] | None = None
    """-1, as elsewhere, is any."""
    sampler: Word | None = None
    loras: Loras | None = None
    refiner: Annotated[str, Field(max_length=256)] | None = None
    enlarge: bool | None = None
    metadata: bool | None = None
    """false: the files don't say how they were made."""


class GenerationBody(PicturesBody):
    """POST /v1/images/generations."""

    style: Word | None = None


def _sources_tag(value: object) -> str:
    return "(list)" if isinstance(value, list) else "(one)"


Sources = Annotated[
    Annotated[str, Tag("(one)")] | Annotated[list[str], Field(max_length=16), Tag("(list)")],
    Discriminator(_sources_tag),
]


class EditBody(PicturesBody):
    """POST /v1/images/edits. In a form, `image` and `mask` are files; in JSON, data URLs or http(s) links."""

    image: Sources | None = None
    mask: str | None = None
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    input_fidelity: Word | None = None
