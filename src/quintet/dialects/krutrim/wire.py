"""The bodies of Krutrim's own routes. Unknown keys are refused: a mistyped one must not pass silently."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from quintet.dialects.conversation import MAX_PARTS
from quintet.dialects.drawing import MAX_SEED, PictureText
from quintet.dialects.pictures import MAX_PICTURES
from quintet.dialects.validation import WireModel

MAX_ENTRIES = 64
"""Of `prompts` and `images`; what they may ask for in all is bounded when they are put together."""


class IdeficsPart(WireModel):
    """One piece of a turn; an image is a place that the next picture of the turn's list takes."""

    type: Annotated[str, Field(max_length=64)]
    text: str | None = None


class IdeficsTurn(WireModel):
    """One turn of a conversation; roles are User, Assistant and System in any case."""

    role: Annotated[str, Field(max_length=64)]
    content: Annotated[list[IdeficsPart], Field(min_length=1, max_length=MAX_PARTS)]


def _prompts_tag(value: object) -> str:
    """Strings or turns; the first entry says which it is."""
    return "(turns)" if isinstance(value, list) and value and isinstance(value[0], dict) else "(strings)"


Prompts = Annotated[
    Annotated[list[str], Field(min_length=1, max_length=MAX_ENTRIES), Tag("(strings)")]
    | Annotated[list[IdeficsTurn], Field(min_length=1, max_length=MAX_ENTRIES), Tag("(turns)")],
    Discriminator(_prompts_tag),
]
Slot = Annotated[list[str], Field(max_length=MAX_PICTURES)]


class IdeficsBody(WireModel):
    """POST /v1/multimodal/generations/idefics."""

    model_config = ConfigDict(extra="forbid")

    modelName: Annotated[str, Field(min_length=1, max_length=256)]
    prompts: Prompts
    images: Annotated[list[Slot], Field(max_length=MAX_ENTRIES)]
    """The pictures of every entry of `prompts`, in base64; an empty list where it has none."""
    maxTokens: Annotated[int, Field(ge=8, le=1024)] | None = None


# ------------------------------------------------------------------------------------------ pictures and animations

MAX_PROMPTS = 5
MAX_OUTPUTS = 5
MIN_SIDE, MAX_SIDE, SIDE_STEP = 8, 2048, 8
"""8 to 1,024 is what the SDK documents; its later releases take 256 to 2,048."""

ModelName = Annotated[str, Field(min_length=1, max_length=256)]
Prompt = Annotated[PictureText, Field(min_length=1)]
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE, multiple_of=SIDE_STEP)]
Steps = Annotated[int, Field(ge=1, le=100)]


def _text_tag(value: object) -> str:
    return "(list)" if isinstance(value, list) else "(text)"


OnePrompt = Annotated[
    Annotated[Prompt, Tag("(text)")]
    | Annotated[list[Prompt], Field(min_length=1, max_length=1), Tag("(list)")],
    Discriminator(_text_tag),
]
ManyPrompts = Annotated[
    Annotated[Prompt, Tag("(text)")]
    | Annotated[list[Prompt], Field(min_length=1, max_length=MAX_PROMPTS), Tag("(list)")],
    Discriminator(_text_tag),
]
MoreTexts = Annotated[
    Annotated[PictureText, Tag("(text)")]
    | Annotated[list[PictureText], Field(min_length=1, max_length=MAX_PROMPTS), Tag("(list)")],
    Discriminator(_text_tag),
]


class DiffusionBody(WireModel):
    """POST /v1/images/generations/diffusion. Every optional field may also be null."""

    model_config = ConfigDict(extra="forbid")

    modelName: ModelName
    prompt: ManyPrompts
    prompt2: MoreTexts | None = None
    negativePrompt: MoreTexts | None = None
    negativePrompt2: MoreTexts | None = None
    imageHeight: Side | None = None
    imageWidth: Side | None = None
    numOutputImages: Annotated[int, Field(ge=1, le=MAX_OUTPUTS)] | None = None
    """Of every prompt."""
    guidanceScale: Annotated[float, Field(gt=0, lt=20)] | None = None
    numInferenceSteps: Steps | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    outputImgType: Literal["pil", "latent"] | None = None


class VideoBody(WireModel):
    """POST /v1/videos/generations/text2video. Every optional field may also be null."""

    model_config = ConfigDict(extra="forbid")

    modelName: ModelName
    prompt: OnePrompt
    guidanceScale: Annotated[float, Field(gt=0, lt=15)] | None = None
    numFrames: Annotated[int, Field(ge=10, le=49)] | None = None
    numInferenceSteps: Steps | None = None
    numVideosPerPrompt: Annotated[int, Field(ge=1, le=1)] | None = None
