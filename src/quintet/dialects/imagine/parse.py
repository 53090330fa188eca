"""A prompt and some numbers → one picture; what is wrong with them is said in the original's words."""

from __future__ import annotations

import re
from typing import Any

from quintet.core.errors import InvalidRequest
from quintet.core.requests import ImageRequest
from quintet.dialects.base import Call, Incoming
from quintet.dialects.imagine.wire import ImagineBody
from quintet.dialects.one_file import OneFileRenderer
from quintet.dialects.validation import check

MAX_PROMPT_CHARACTERS = 200
DEFAULT_SIDE, MIN_SIDE, MAX_SIDE = 512, 64, 1024
SIDE_STEP = 8
"""Models draw in blocks of so many pixels."""
MAX_GUIDANCE = 10.0
MAX_STEPS = 50
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})")


def claims(body: Any) -> bool:
    """Whether a body of the shared /generate is this dialect's: words to draw, and not TGI's `inputs`."""
    return isinstance(body, dict) and "prompt" in body and "inputs" not in body


def parse_generate(incoming: Incoming) -> Call:
    """POST /imagine/generate, with or without an alias before it, and POST /generate."""
    body = check(ImagineBody, incoming.body)
    if not body.prompt.strip():
        raise _refuse("prompt", "Prompt cannot be empty")
    if len(body.prompt) > MAX_PROMPT_CHARACTERS:
        raise _refuse("prompt", f"Prompt too long (max {MAX_PROMPT_CHARACTERS} characters)")
    side = _side(body.img_size)
    request = ImageRequest(
        model=incoming.path.get("alias", incoming.default_image_model),
        prompts=(body.prompt,),
        negative_prompts=(body.negative_prompt,) if body.negative_prompt else (),
        width=side,
        height=side,
        steps=_steps(body.num_inference_steps),
        guidance=_guidance(body.guidance_scale),
        seed=body.seed,
        with_metadata=incoming.with_metadata,
    )
    return Call(requests=(request,), renderer=OneFileRenderer())


def _side(value: Any) -> int:
    if value is None:
        return DEFAULT_SIDE
    side = _whole(value)
    if side is None:
        raise _refuse("img_size", "Image size must be an integer")
    if not MIN_SIDE <= side <= MAX_SIDE:
        raise _refuse("img_size", f"Image size must be between {MIN_SIDE} and {MAX_SIDE}")
    if side % SIDE_STEP:
        raise _refuse("img_size", f"Image size must be a multiple of {SIDE_STEP}")
    return side


def _steps(value: Any) -> int | None:
    if value is None:
        return None
    steps = _whole(value)
    if steps is None:
        raise _refuse("num_inference_steps", "Number of steps must be an integer")
    if not 1 <= steps <= MAX_STEPS:
        raise _refuse("num_inference_steps", f"Number of steps must be between 1 and {MAX_STEPS}")
    return steps


def _guidance(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if type(value) not in (int, float):
        raise _refuse("guidance_scale", "Guidance scale must be a number")
    if not 0 <= value <= MAX_GUIDANCE:
        raise _refuse("guidance_scale", f"Guidance scale must be between 0 and {MAX_GUIDANCE}")
    return float(value)


def _whole(value: Any) -> int | None:
    """A whole number, written as one, as 512.0, or as text; None for anything else."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _refuse(field: str, words: str) -> InvalidRequest:
    return InvalidRequest(words, param=field)
