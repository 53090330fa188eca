"""Bodies of VisionCraft's drawing routes. Unknown keys are refused: a mistyped one must not pass silently.

Ranges are those of its documentation and, on the older routes, of its Python client's. Null is the same as absent.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from quintet.dialects.drawing import MAX_SEED, Loras, PictureText
from quintet.dialects.formats import AnimationFormat
from quintet.dialects.validation import WireModel

MIN_SIDE, MAX_SIDE, SIDE_STEP = 64, 1024, 8
MAX_PICTURES = 5


def _in_blocks(side: int) -> int:
    if side % SIDE_STEP:
        raise ValueError(f"must be a multiple of {SIDE_STEP}. Change it and send the request again.")
    return side


def _not_blank(prompt: str) -> str:
    if not prompt.strip():
        raise ValueError("must not be empty. Say what to draw.")
    return prompt


Prompt = Annotated[PictureText, AfterValidator(_not_blank)]
ModelName = Annotated[str, Field(min_length=1, max_length=256)] | None
SamplerName = Annotated[str, Field(max_length=64)] | None
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE), AfterValidator(_in_blocks)] | None
Guidance = Annotated[float, Field(ge=1, le=30)] | None
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)] | None


class _Drawing(WireModel):
    """What all of them have."""

    model_config = ConfigDict(extra="forbid")

    prompt: Prompt
    negative_prompt: PictureText | None = None
    seed: Seed = None
    """The same seed gives the same picture. VisionCraft's own API has none."""


class SdBody(_Drawing):
    """POST /sd."""

    model: ModelName = None
    sampler: SamplerName = None
    """One of GET /sd/samplers."""
    steps: Annotated[int, Field(ge=1, le=35)] | None = None
    """Default: the model's own."""
    width: Side = None
    """A multiple of 8, default 1024."""
    height: Side = None
    """A multiple of 8, default 1024."""
    cfg_scale: Guidance = None
    """How closely to follow the prompt. Default: the model's own."""
    loras: Loras | None = None
    """Weights by the names of GET /sd/loras."""
    image_count: Annotated[int, Field(ge=1, le=1)] | None = None
    """The answer is one picture."""
    upscale: bool | None = None
    """Twice the width and height: drawn smaller, enlarged, and gone over."""


class GenerateBody(SdBody):
    """POST /generate and /generate-xl."""

    steps: Annotated[int, Field(ge=1, le=50)] | None = None
    """Default: the model's own."""
    image_count: Annotated[int, Field(ge=1, le=MAX_PICTURES)] | None = None
    """Each is drawn with the seed after the one before."""


class GifBody(_Drawing):
    """POST /text2gif and /generate-gif."""

    model: ModelName = None
    sampler: SamplerName = None
    steps: Annotated[int, Field(ge=1, le=50)] | None = None
    cfg_scale: Guidance = None
    format: AnimationFormat | None = None
    """Default: what the Accept header prefers, GIF if it has no preference."""


class RedrawBody(_Drawing):
    """POST /img2img."""

    image: Annotated[str, Field(min_length=1)]
    """Base64, a data URL or an http(s) link."""
    model: ModelName = None
    scheduler: SamplerName = None
    """One of GET /img2img/schedulers."""
    refiner: Annotated[str, Field(max_length=256)] | None = None
    """One of GET /img2img/refiners; empty or `no_refiner` = none."""
    mask: str | None = None
    """Like `image`: white parts are drawn anew, black ones stay. Empty = all of it is drawn anew."""
    steps: Annotated[int, Field(ge=1, le=50)] | None = None
    strength: Annotated[float, Field(ge=0.1, le=1)] | None = None
    """How far the picture may change, default 0.8."""
    cfg_scale: Guidance = None


class UpscaleBody(WireModel):
    """POST /upscale."""

    model_config = ConfigDict(extra="forbid")

    image: Annotated[str, Field(min_length=1)]
    """Base64, a data URL or an http(s) link."""
    model: ModelName = None
    """One of GET /models-upscale."""
    resize: Annotated[int, Field(ge=2, le=4)] | None = None
    """How many times as long each side becomes."""
