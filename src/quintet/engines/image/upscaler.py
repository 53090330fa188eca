"""Enlarges pictures: with Swin2SR tile by tile, or with Lanczos' filter where there is no model.

A tile is read with a margin around it that is thrown away afterwards, so that tiles meet without seams. Memory is that
of one tile and of the picture itself, however large it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Image as Picture

from quintet.core.errors import InvalidRequest, LoadFailed

MAX_PIXELS = 64 * 1024 * 1024
"""Of the result, and of what a model makes on the way to it."""
MAX_SCALE = 8.0
_LANCZOS_SCALE = 2.0
"""What is meant where there is no model and nobody says."""
_TILE = 128
"""Side of what the model sees at once, in the source's pixels."""
_MARGIN = 16
_MODEL_TYPE = "swin2sr"

OnTile = Callable[[int, int], None]
"""Told after each tile: how many are done, and of how many. An exception of it ends the work."""


class Upscaler:
    """One way to enlarge. `upscale` belongs to the painting thread; the rest is thread-safe."""

    def __init__(self, folder: Path | None = None, *, device: str = "cpu", tile: int = _TILE) -> None:
        """Load the Swin2SR model in `folder`; None = Lanczos. Raises LoadFailed."""
        self._model = None if folder is None else _load(folder, device)
        self._device = device
        self._tile = tile
        self._factor: int = 1 if self._model is None else self._model.config.upscale
        self._window: int = 1 if self._model is None else self._model.config.window_size

    @property
    def scale(self) -> float:
        """How much longer sides become if nobody says."""
        return _LANCZOS_SCALE if self._model is None else float(self._factor)

    def size(self, size: tuple[int, int], scale: float | None) -> tuple[int, int]:
        """Width and height of the result for a picture of this size; raises InvalidRequest if that is too much."""
        scale = self.scale if scale is None else scale
        if not 1 <= scale <= MAX_SCALE:
            raise InvalidRequest(f"`scale` must be between 1 and {MAX_SCALE:g}.", param="scale")
        width, height = (max(1, round(side * scale)) for side in size)
        largest = max(scale, float(self._factor ** self._passes(scale)))
        if math.prod(size) * largest**2 > MAX_PIXELS or width * height > MAX_PIXELS:
            megapixels = math.prod(size) * largest**2 / 1024**2
            raise InvalidRequest(
                f"The picture would have {megapixels:.0f} megapixels on the way, and at most "
                f"{MAX_PIXELS // 1024**2} are made; send a smaller one or ask for a smaller `scale`.",
                param="scale",
            )
        return width, height

    def upscale(self, picture: Picture, scale: float | None, on_tile: OnTile) -> Picture:
        """The picture with longer sides; raises InvalidRequest, and what `on_tile` raises."""
        size = self.size(picture.size, scale)
        made = picture.convert("RGB")
        passes = self._passes(self.scale if scale is None else scale)
        sizes = [tuple(side * self._factor**number for side in picture.size) for number in range(passes)]
        total = sum(len(list(self._tiles(*sides))) for sides in sizes) or 1
        done = 0
        for _ in range(passes):
            source = np.asarray(made)
            enlarged = np.empty((source.shape[0] * self._factor, source.shape[1] * self._factor, 3), np.uint8)
            for left, top, right, bottom in self._tiles(*made.size):
                self._enlarge(source, enlarged, (left, top, right, bottom))
                done += 1
                on_tile(done, total)
            made = Image.fromarray(enlarged)
        if made.size != size:
            made = made.resize(size, Image.Resampling.LANCZOS)
        if not passes:
            on_tile(1, 1)
        return made

    def _passes(self, scale: float) -> int:
        """How often the model goes over a picture; what is too much of it is taken back with Lanczos' filter."""
        return 0 if self._model is None else max(1, math.ceil(math.log(scale, self._factor) - 1e-9))

    def _tiles(self, width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
        """Boxes that cover a picture, without their margins."""
        step = self._tile - 2 * _MARGIN
        for top in range(0, height, step):
            for left in range(0, width, step):
                yield left, top, min(left + step, width), min(top + step, height)

    def _enlarge(self, source: Any, enlarged: Any, box: tuple[int, int, int, int]) -> None:
        """Fill one tile of `enlarged` (height, width, 3; 0–255) from its place in `source` and the margin around it."""
        left, top, right, bottom = box
        height, width = source.shape[:2]
        west, north = max(0, left - _MARGIN), max(0, top - _MARGIN)
        seen = source[north : min(height, bottom + _MARGIN), west : min(width, right + _MARGIN)]
        made = self._run(seen)
        factor = self._factor
        rows = slice((top - north) * factor, (bottom - north) * factor)
        columns = slice((left - west) * factor, (right - west) * factor)
        enlarged[top * factor : bottom * factor, left * factor : right * factor] = made[rows, columns]

    def _run(self, seen: Any) -> Any:
        """One tile through the model, mirrored at its edges to whole windows."""
        import torch

        assert self._model is not None  # noqa: S101  # without a model there are no tiles
        height, width = seen.shape[:2]
        padding = [(0, -side % self._window) for side in (height, width)]
        padded = np.pad(seen, [*padding, (0, 0)], mode="symmetric")
        pixels = torch.from_numpy(padded.copy()).permute(2, 0, 1)[None].to(self._device, torch.float32) / 255
        with torch.inference_mode():
            made = self._model(pixel_values=pixels).reconstruction[0]
        made = (made.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return made[: height * self._factor, : width * self._factor]


def _load(folder: Path, device: str) -> Any:
    from transformers import Swin2SRForImageSuperResolution

    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise LoadFailed("the model's config.json can't be read; pull the model again.") from error
    if not isinstance(config, dict) or config.get("model_type") != _MODEL_TYPE:
        raise LoadFailed("models that enlarge pictures are of the architecture swin2sr; this one is not.")
    if type(config.get("upscale", 2)) is not int or not 2 <= config.get("upscale", 2) <= MAX_SCALE:
        raise LoadFailed("the model enlarges by no factor between 2 and 8; choose one that does.")
    try:
        model = Swin2SRForImageSuperResolution.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # foreign: whatever broken weights make the library raise
        raise LoadFailed("the model's weights can't be loaded; pull the model again.") from error
    return model.eval().to(device)
