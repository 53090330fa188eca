"""The body of /imagine/generate. Numbers may come as text; ranges are checked in parse.py, in the original's words.

Unknown keys are ignored, as the original ignores them and its clients may rely on that.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from quintet.dialects.drawing import MAX_SEED, PictureText
from quintet.dialects.validation import WireModel


class ImagineBody(WireModel):
    """POST /imagine/generate."""

    model_config = ConfigDict(extra="ignore")

    prompt: str
    """What to draw: at most 200 characters."""
    img_size: Any = None
    """Width and height in pixels: a multiple of 8 from 64 to 1024, default 512."""
    guidance_scale: Any = None
    """How closely to follow the prompt, 0–10. Default: the model's own."""
    num_inference_steps: Any = None
    """1–50. Default: the model's own."""
    negative_prompt: PictureText | None = None
    """What not to draw."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    """The same seed gives the same picture."""
