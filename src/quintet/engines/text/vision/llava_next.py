"""LLaVA-NeXT: a picture is seen whole and again in tiles, on the grid that keeps most of its detail.

The tiles' patches form one large picture. Rows and columns that are mere padding are left out of the prompt, and
every line of patches ends with a vector that the model has learned for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Image as Picture

from quintet.core.errors import LoadFailed
from quintet.engines.text.vision.family import Layout, Parts, Rows, Tile
from quintet.engines.text.vision.llava import Llava
from quintet.engines.text.vision.numbers import numbers

MAX_GRIDS = 256
MAX_TILES = 36
"""Of one grid; the known families go up to 36."""
_KNOWN_GRIDS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
"""What models that name none were trained with."""


class LlavaNext(Llava):
    """LLaVA's encoder on several tiles."""

    def __init__(self, parts: Parts) -> None:
        """Read the model's files and compile its encoder; raises LoadFailed."""
        super().__init__(parts)
        self._side = self._processor.tile[0]
        self._grids = _read_grids(parts, self._side)
        newline = numbers(parts.config, "image_newline", count=self.width)
        self._newline = np.asarray(newline, np.float32)
        if self._tile_rows != self._grid**2:
            raise LoadFailed(
                "`vision_feature_select_strategy` in config.json doesn't leave one row for each patch of a tile; "
                "pull the model again."
            )

    def layout(self, width: int, height: int) -> Layout:
        """Placeholders for the whole picture and for each line of its tiles."""
        top, bottom, left, right = self._kept(width, height)
        lines = (bottom - top) * (right - left + 1)
        return Layout((self.token,) * (self._tile_rows + lines))

    def tiles(self, picture: Picture) -> list[Tile]:
        """The picture in the size of a tile, then its tiles from left to right and from top to bottom."""
        height, width = self._best_grid(*picture.size)
        inner_height, inner_width = _fitted(*picture.size, height, width)
        padded = Image.new("RGB", (width, height))
        corner = ((width - inner_width) // 2, (height - inner_height) // 2)
        padded.paste(self._processor.resize(picture, (inner_height, inner_width)), corner)
        side = self._side
        corners = [(left, top) for top in range(0, height, side) for left in range(0, width, side)]
        pieces = [
            self._processor.resize(picture, self._processor.size),
            *(padded.crop((left, top, left + side, top + side)) for left, top in corners),
        ]
        return [self._processor.cut(piece) for piece in pieces]

    def join(self, rows: Sequence[Rows], width: int, height: int) -> Rows:
        """The whole picture's rows, then line by line those of its tiles without the padding."""
        down, across = (pixels // self._side for pixels in self._best_grid(width, height))
        top, bottom, left, right = self._kept(width, height)
        large = np.stack(rows[1:]).reshape(down, across, self._grid, self._grid, self.width)
        large = large.transpose(0, 2, 1, 3, 4).reshape(down * self._grid, across * self._grid, self.width)
        lines = np.empty((bottom - top, right - left + 1, self.width), np.float32)
        lines[:, :-1] = large[top:bottom, left:right]
        lines[:, -1] = self._newline
        return np.concatenate([rows[0], lines.reshape(-1, self.width)])

    def _best_grid(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) in pixels of the grid that keeps most of the picture's pixels, then wastes fewest."""
        best, most_kept, least_wasted = self._grids[0], 0, math.inf
        for grid in self._grids:
            scale = min(grid[1] / width, grid[0] / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            wasted = grid[0] * grid[1] - kept
            if kept > most_kept or (kept == most_kept and wasted < least_wasted):
                best, most_kept, least_wasted = grid, kept, wasted
        return best

    def _kept(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Top, bottom, left and right, in patches, of what is not padding in the tiles of a picture."""
        # In floating point and rounded as in training, or the count would differ by a line now and then.
        lines, columns = (pixels // self._side * self._grid for pixels in self._best_grid(width, height))
        if width / height > columns / lines:
            padding = (lines - int(round(height * (columns / width), 7))) // 2
            return padding, lines - padding, 0, columns
        padding = (columns - int(round(width * (lines / height), 7))) // 2
        return 0, lines, padding, columns - padding


def _fitted(width: int, height: int, most_height: int, most_width: int) -> tuple[int, int]:
    """(height, width) of the picture scaled until it just fits."""
    by_width, by_height = most_width / width, most_height / height
    if by_width < by_height:
        return min(math.ceil(height * by_width), most_height), most_width
    return most_height, min(math.ceil(width * by_height), most_width)


def _read_grids(parts: Parts, side: int) -> list[tuple[int, int]]:
    """(height, width) in pixels of all grids of tiles that a picture may be laid on; raises LoadFailed."""
    key = "image_grid_pinpoints"
    found: Any = parts.image_processor.get(key)
    if found is None:
        found = parts.config.get(key)
    if found is None:
        found = _KNOWN_GRIDS
    if (
        not isinstance(found, list)
        or not 1 <= len(found) <= MAX_GRIDS
        or not all(_is_grid(one, side) for one in found)
    ):
        raise LoadFailed(
            f"`{key}` in the model's files must be a list of 1 to {MAX_GRIDS} heights and widths, each a multiple of "
            f"{side} pixels and with at most {MAX_TILES} tiles. Pull or convert the model again."
        )
    return [(height, width) for height, width in found]


def _is_grid(found: Any, side: int) -> bool:
    """Whether this is a height and a width that tiles fill."""
    if not isinstance(found, list) or len(found) != 2 or any(type(one) is not int for one in found):
        return False
    return (
        all(one > 0 and one % side == 0 for one in found)
        and (found[0] // side) * (found[1] // side) <= MAX_TILES
    )
