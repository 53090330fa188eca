"""What a request asked for, checked and completed: sizes, steps, guidance, sampler, seed. Thread-safe."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from quintet.core.errors import InvalidRequest
from quintet.core.requests import AnimationRequest, ImageRequest
from quintet.core.samplers import SAMPLERS, Sampler, find_sampler
from quintet.engines.image.brush import Brush
from quintet.engines.image.settings import Settings

MIN_SIDE = 32
MAX_STEPS = 500
MAX_GUIDANCE = 100.0
SEEDS = 2**64
"""As many as torch's generators know."""
_DRAWN_BITS = 32
"""Of a seed that is drawn: what every client can hold."""
_NAMED = 8
"""So many samplers are named to somebody who asked for another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The numbers of a request."""

    width: int
    height: int
    steps: int
    guidance: float
    sampler: Sampler | None
    """None = the model's own."""
    seed: int


def read_asked(
    request: ImageRequest | AnimationRequest, brush: Brush, settings: Settings, usual_size: tuple[int, int]
) -> Asked:
    """The numbers of a request; raises InvalidRequest that names the field."""
    family = brush.family
    width, height = _size(request, usual_size)
    longest = max(settings.max_side, *usual_size)
    for name, side in (("width", width), ("height", height)):
        if not MIN_SIDE <= side <= longest:
            raise InvalidRequest(
                f"`{name}` must be between {MIN_SIDE} and {longest} pixels for this model.", param=name
            )
    steps = family.steps if request.steps is None else request.steps
    if not 1 <= steps <= MAX_STEPS:
        raise InvalidRequest(f"`steps` must be between 1 and {MAX_STEPS}.", param="steps")
    guidance = family.guidance if request.guidance is None else request.guidance
    if not 0 <= guidance <= MAX_GUIDANCE:
        raise InvalidRequest(f"`guidance` must be between 0 and {MAX_GUIDANCE:g}.", param="guidance")
    return Asked(
        width=width,
        height=height,
        steps=steps,
        guidance=min(guidance, settings.guidance_max or guidance),
        sampler=_sampler(request.sampler, brush),
        seed=secrets.randbits(_DRAWN_BITS) if request.seed is None else request.seed % SEEDS,
    )


def _size(request: ImageRequest | AnimationRequest, usual: tuple[int, int]) -> tuple[int, int]:
    """What was said of a side holds; one that was left open follows the other in the usual proportion."""
    width, height = usual
    if request.width and not request.height:
        return request.width, max(1, round(request.width * height / width))
    if request.height and not request.width:
        return max(1, round(request.height * width / height)), request.height
    return request.width or width, request.height or height


def _sampler(name: str | None, brush: Brush) -> Sampler | None:
    if name is None:
        return None
    found = find_sampler(name)
    if found is None:
        some = ", ".join(list(SAMPLERS)[:_NAMED])
        raise InvalidRequest(f"`sampler` is unknown; there are {some} and others.", param="sampler")
    brush.make_scheduler(found)  # raises for one that the family can't use
    return found
