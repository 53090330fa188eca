"""How CLIP and SigLIP cut a picture: resize, maybe crop its middle. Pixels as transformers' own processors.

Old and new forms of preprocessor_config.json are read; what would give tiles of changing size is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Image as Picture

from quintet.core.errors import LoadFailed
from quintet.engines.text.vision.family import Rows, Tile, normalised
from quintet.engines.text.vision.numbers import whole
from quintet.engines.text.vision.pixels import CLIP_DEVIATION, CLIP_MEAN, Pixels

MAX_SIDE = 1024
"""Pixels of a tile. The largest known encoders take 980, and a picture 100 times as long as high is kept in bounds."""
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class ClipProcessor:
    """One model's recipe for tiles. Sizes are (height, width)."""

    size: tuple[int, int]
    """What a picture is resized to; both the same where only the shorter side is meant."""
    keeps_ratio: bool
    """Whether the shorter side becomes `size` and the longer one follows."""
    crop: tuple[int, int]
    crops: bool
    squares: bool
    """Whether a picture is first padded to a square, in the mean colour."""
    pixels: Pixels

    @classmethod
    def of(cls, described: dict[str, Any]) -> ClipProcessor:
        """Read the image processor's part of a model's files; raises LoadFailed."""
        kind = str(described.get("image_processor_type") or described.get("feature_extractor_type") or "CLIP")
        is_clip = not kind.startswith("Siglip")
        size, keeps_ratio = _size(described, "size", squares=not is_clip)
        crop, _ = _size(described, "crop_size", squares=True)
        pixels = Pixels.of(
            described,
            mean=CLIP_MEAN if is_clip else _HALF,
            deviation=CLIP_DEVIATION if is_clip else _HALF,
        )
        crops = described.get("do_center_crop")
        crops = is_clip if crops is None else bool(crops)
        squares = kind.startswith("LlavaImage") and described.get("do_pad") is True
        if keeps_ratio and not crops and not squares:
            raise LoadFailed("the model's image processor makes tiles of changing size; use another model.")
        return cls(size, keeps_ratio, crop, crops, squares, pixels)

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of what `cut` returns."""
        return self.crop if self.crops else self.size

    def cut(self, picture: Picture) -> Tile:
        """The whole picture, or its middle, as one tile."""
        if self.squares:
            picture = self._square(picture)
        picture = self.resize(picture, self._target(*picture.size))
        if self.crops:
            height, width = self.crop
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            # What lies outside becomes black.
            picture = picture.crop((left, top, left + width, top + height))
        return np.array(picture)

    def resize(self, picture: Picture, size: tuple[int, int]) -> Picture:
        """The picture in this (height, width), by the model's way to resample."""
        return picture.resize((size[1], size[0]), self.pixels.resample)

    def pixel_values(self, tiles: Sequence[Tile]) -> Rows:
        """What the encoder is given for these tiles."""
        return normalised(tiles, self.pixels.mean, self.pixels.deviation)

    def _target(self, width: int, height: int) -> tuple[int, int]:
        if not self.keeps_ratio:
            return self.size
        short, long = self.size[0], int(self.size[0] * max(width, height) / min(width, height))
        return (long, short) if width <= height else (short, long)

    def _square(self, picture: Picture) -> Picture:
        side = max(picture.size)
        red, green, blue = (int(255 * part) for part in self.pixels.mean)
        square = Image.new("RGB", (side, side), (red, green, blue))
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return square


def _size(described: dict[str, Any], key: str, *, squares: bool) -> tuple[tuple[int, int], bool]:
    """(height, width), and whether only the shorter side is meant; a bare number means what `squares` says."""
    found = described.get(key)
    if not isinstance(found, dict):
        side = 224 if found is None else found
        found = {"height": side, "width": side} if squares else {"shortest_edge": side}
    if found.get("shortest_edge") is not None and found.get("longest_edge") is None:
        short = whole(found, "shortest_edge", least=8, most=MAX_SIDE)
        return (short, short), True
    return (
        whole(found, "height", least=8, most=MAX_SIDE),
        whole(found, "width", least=8, most=MAX_SIDE),
    ), False
