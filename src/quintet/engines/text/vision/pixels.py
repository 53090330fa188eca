"""How a family's image processor resamples and normalises: the half of its config that all families share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL.Image import Resampling

from quintet.core.errors import LoadFailed
from quintet.engines.text.vision.numbers import numbers, whole

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""What openai/clip was trained with, and most after it."""
SMALLEST_DEVIATION = 1e-6
_STEPS = ("do_resize", "do_rescale", "do_normalize")


@dataclass(frozen=True, slots=True)
class Pixels:
    """Resampling filter, mean and deviation of red, green and blue in parts of 255."""

    resample: Resampling
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(
        cls,
        described: dict[str, Any],
        *,
        resample: Resampling = Resampling.BICUBIC,
        mean: tuple[float, ...] = CLIP_MEAN,
        deviation: tuple[float, ...] = CLIP_DEVIATION,
    ) -> Pixels:
        """Read an image processor's config; the defaults are the processor's own. Raises LoadFailed."""
        scale = numbers(described, "rescale_factor", count=1, default=(1 / 255,))[0]
        if any(described.get(step, True) is not True for step in _STEPS) or abs(scale * 255 - 1) > 1e-3:
            raise LoadFailed(
                "the model's image processor leaves out resizing or normalising, which no known model of this kind "
                "does. Pull or convert the model again."
            )
        filter = whole(described, "resample", least=0, most=max(Resampling), default=int(resample))
        spread = numbers(described, "image_std", count=3, default=deviation)
        if min(spread) < SMALLEST_DEVIATION:
            raise LoadFailed(
                "`image_std` in the model's files must be above 0. Pull or convert the model again."
            )
        return cls(Resampling(filter), numbers(described, "image_mean", count=3, default=mean), spread)
