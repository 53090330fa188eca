"""Bodies of /generate/fromtext and /generate/fromimagetext. Unknown keys are refused: no picture is lost silently."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from quintet.dialects.pictures import MAX_PICTURES
from quintet.dialects.validation import WireModel

MAX_NEW_TOKENS = 250_000

Pictures = Annotated[list[str], Field(max_length=MAX_PICTURES)]


class FromTextBody(WireModel):
    """POST /generate/fromtext."""

    model_config = ConfigDict(extra="forbid")

    model_name: Annotated[str, Field(min_length=1, max_length=256)]
    prompt: Annotated[str, Field(min_length=1)]
    max_new_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)] | None = None


class FromImageTextBody(FromTextBody):
    """POST /generate/fromimagetext. In a form, `image_files` are files."""

    image_links: Pictures | None = None
    """Data URLs or http(s) links."""
    image_files: Pictures | None = None
    """Base64."""
