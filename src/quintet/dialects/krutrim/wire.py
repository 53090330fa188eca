"""The body of /v1/multimodal/generations/idefics. Unknown keys are refused: a mistyped one must not pass silently."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Discriminator, Field, Tag

from quintet.dialects.conversation import MAX_PARTS
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
