"""How much one request for pictures may take: pixels × steps × pictures or frames, by the caller's tier. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from quintet.core.content import Image
from quintet.core.errors import InvalidRequest
from quintet.core.identity import Principal
from quintet.core.requests import AnimationRequest, ImageRequest, Request

USUAL_SIDE, USUAL_STEPS, USUAL_FRAMES = 512, 30, 16
"""What counts where neither the caller nor the catalog says anything."""
_PNG_SIZE = struct.Struct(">16xII")


def check_pixel_steps(most: Mapping[str, int], principal: Principal, request: Request) -> None:
    """Raise InvalidRequest if this would take more than the tier's callers may ask for at once.

    A tier that is not named may ask for anything. The request must have its defaults, and its pictures made anew.
    """
    allowed = most.get(principal.tier)
    if allowed is None or not isinstance(request, ImageRequest | AnimationRequest):
        return
    width, height, steps, count = _measure(request)
    wanted = width * height * steps * count
    if wanted > allowed:
        what = "pictures" if isinstance(request, ImageRequest) else "frames"
        raise InvalidRequest(
            f"This would take {wanted:,} pixel-steps ({width} × {height} pixels, {steps} steps, {count} {what}), "
            f"and your tier may ask for {allowed:,} at once. Ask for fewer {what}, fewer steps or fewer pixels.",
            param="width",
            code="budget_exceeded",
            facts={"pixel_steps": wanted, "max_pixel_steps": allowed},
        )


def _measure(request: ImageRequest | AnimationRequest) -> tuple[int, int, int, int]:
    """Width, height, steps, and how many pictures or frames."""
    width = height = USUAL_SIDE
    if isinstance(request, ImageRequest):
        count = len(request.prompts) * request.images_per_prompt
        if request.source is not None:
            width, height = _size(request.source)
    else:
        count = USUAL_FRAMES if request.frames is None else request.frames
    steps = USUAL_STEPS if request.steps is None else request.steps
    return request.width or width, request.height or height, steps, count


def _size(picture: Image) -> tuple[int, int]:
    """Of a PNG that we made."""
    width, height = _PNG_SIZE.unpack_from(picture.data)
    return width, height
