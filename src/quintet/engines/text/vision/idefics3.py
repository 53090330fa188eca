"""Idefics3 and SmolVLM: the picture enlarged to a fixed longer side, cut into square tiles, and once more as a whole.

After HuggingFaceM4/Idefics3-8B-Llama3 and HuggingFaceTB/SmolVLM: the longer side becomes `size.longest_edge`, both
sides grow to multiples of a tile's, and every tile stands in the prompt behind its row and column. So the cost of a
picture depends on its shape alone: SmolVLM-256M reads a square one as 17 tiles of 512 pixels, 1,088 tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL.Image import Image as Picture
from PIL.Image import Resampling

from quintet.core.errors import LoadFailed
from quintet.engines.text.vision.family import (
    Family,
    Layout,
    Parts,
    Rows,
    Tile,
    normalised,
    width_of_rows,
)
from quintet.engines.text.vision.numbers import section, whole
from quintet.engines.text.vision.pixels import Pixels

LONGEST_EDGE = 4096
"""No picture is enlarged beyond this, whatever a config says; so it is in transformers."""
MAX_TILES = 8
"""In a row or a column. Real models have 4, and names for 6."""
MAX_SIDE = 1024
"""Pixels of a tile's side. Real models have 512 or less."""
MAX_PATCHES = 64
"""Along a tile's side. Real models have 32 or less; the encoder's attention grows with their fourth power."""
_EVEN = (0.5, 0.5, 0.5)
_AROUND, _WHOLE = "<fake_token_around_image>", "<global-img>"


class Idefics3(Family):
    """One loaded encoder of Idefics3 or SmolVLM: model types idefics3 and smolvlm, whose pictures are alike."""

    markup: str = "<image>"
    axes: int = 1

    def __init__(self, parts: Parts) -> None:
        """Read the configs and open the encoder; raises LoadFailed."""
        described = parts.image_processor
        self._pixels = Pixels.of(described, resample=Resampling.LANCZOS, mean=_EVEN, deviation=_EVEN)
        size = section(described, "size") or {"longest_edge": 4 * 364}
        largest = section(described, "max_image_size") or {"longest_edge": 364}
        self._longest = min(whole(size, "longest_edge", most=1 << 20), LONGEST_EDGE)
        self._splits = described.get("do_image_splitting", True) is True
        encoder = section(parts.config, "vision_config")
        patch = whole(encoder, "patch_size", most=MAX_SIDE, default=32)
        self._side = whole(largest, "longest_edge", least=patch, most=min(patch * MAX_PATCHES, MAX_SIDE))
        if self._splits and self._longest > self._side * MAX_TILES:
            raise LoadFailed(
                f"the model's image processor makes more than {MAX_TILES} tiles of a row. "
                "Pull or convert the model again."
            )
        scale = whole(parts.config, "scale_factor", most=MAX_PATCHES, default=2)
        patches = self._side // patch
        if patches % scale:
            raise LoadFailed(
                f"`scale_factor` must divide the {patches} patches of a tile. Pull the model again."
            )
        self._tokens = (patches // scale) ** 2
        trained = whole(encoder, "image_size", least=patch, most=LONGEST_EDGE, default=224) // patch
        self._places = _places(patches, trained)
        self._ids_of = parts.ids_of
        self.token = self._find_token(parts)
        self._layouts: dict[tuple[int, int], Layout] = {}
        self._encoder = parts.network("openvino_vision_embeddings_model")
        self.width = width_of_rows(self.encode, (self._side, self._side), self._tokens)

    def layout(self, width: int, height: int) -> Layout:
        """The tiles with their rows and columns, then the whole picture."""
        grid = self._plan(width, height)[1]
        known = self._layouts.get(grid)
        if known is None:  # two threads may both work it out, to the same end
            ids: list[int] = []
            for id in self._ids_of(self._written(*grid)):
                ids.extend([id] * (self._tokens if id == self.token else 1))
            known = self._layouts[grid] = Layout(tuple(ids))
        return known

    def tiles(self, picture: Picture) -> list[Tile]:
        """The tiles row by row, then the whole picture in a tile's size; all of them square and alike."""
        sizes, (rows, columns) = self._plan(picture.width, picture.height)
        for size in sizes:
            picture = picture.resize(size, self._pixels.resample)
        side = self._side
        boxes = [(column * side, row * side) for row in range(rows) for column in range(columns)]
        tiles = [np.asarray(picture.crop((x, y, x + side, y + side)), np.uint8) for x, y in boxes]
        return [*tiles, np.asarray(picture.resize((side, side), self._pixels.resample), np.uint8)]

    def encode(self, tiles: Sequence[Tile]) -> list[Rows]:
        """Rows of each tile; every patch is part of the picture, so the attention mask hides none."""
        count = len(tiles)
        patches = math.isqrt(self._places.size)
        rows = self._encoder(
            pixel_values=normalised(tiles, self._pixels.mean, self._pixels.deviation),
            patch_attention_mask=np.ones((count, patches, patches), np.bool_),
            patch_position_ids=np.tile(self._places, (count, 1)),
        )
        return list(rows)

    def join(self, rows: Sequence[Rows], width: int, height: int) -> Rows:
        """All tiles' rows in their order."""
        return np.concatenate(rows)

    def _plan(self, width: int, height: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
        """The sizes (width, height) that a picture goes through, and its grid (rows, columns), 0 × 0 for no tiles."""
        first = _longest_edge(width, height, self._longest)
        if not self._splits:
            return [first, (self._side, self._side)], (0, 0)
        width, height = _multiples(*first, self._side)
        rows, columns = height // self._side, width // self._side
        return [first, (width, height)], ((rows, columns) if rows * columns > 1 else (0, 0))

    def _written(self, rows: int, columns: int) -> str:
        """What stands for a picture in the prompt, with one placeholder for the many of a tile."""
        lines = [
            "".join(f"{_AROUND}<row_{row}_col_{column}>{self.markup}" for column in range(1, columns + 1))
            for row in range(1, rows + 1)
        ]
        above = "".join(line + "\n" for line in [*lines, ""]) if lines else ""
        return f"{above}{_AROUND}{_WHOLE}{self.markup}{_AROUND}"

    def _find_token(self, parts: Parts) -> int:
        """The placeholder's id, on which tokenizer and language model have to agree; raises LoadFailed."""
        token = whole(parts.config, "image_token_id", least=0, most=1 << 31, default=128257)
        if parts.ids_of(self.markup) != [token]:
            raise LoadFailed(
                f"`image_token_id` in config.json is not the tokenizer's {self.markup}. Pull the model again."
            )
        return token


def _longest_edge(width: int, height: int, edge: int) -> tuple[int, int]:
    """The longer side becomes `edge`; the other one follows, cut to a whole number, odd ones plus 1."""
    ratio = width / height
    if width >= height:
        other = int(edge / ratio)
        return edge, max(1, other + other % 2)
    other = int(edge * ratio)
    return max(1, other + other % 2), edge


def _multiples(width: int, height: int, side: int) -> tuple[int, int]:
    """Both sides grown to multiples of a tile's: the longer one first, the other one from the ratio of before."""
    ratio = width / height
    if width >= height:
        width = -(-width // side) * side
        return width, -(-int(width / ratio) // side) * side
    height = -(-height // side) * side
    return -(-int(height * ratio) // side) * side, height


def _places(patches: int, trained: int) -> npt.NDArray[np.int64]:
    """Which of the encoder's trained × trained positions each of a tile's patches takes, [patches × patches]."""
    # transformers reckons in float32, which for odd sizes that no real model has (25, 29, 31) falls into the
    # neighbour's place now and then; here is what is meant.
    along = np.arange(patches) * trained // patches
    return (along[:, None] * trained + along).ravel().astype(np.int64)
