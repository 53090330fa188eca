"""Qwen2.5-VL: a picture in nearly its own size, in patches of which four become one token, with places in three axes.

Its encoder looks at windows in most layers and at everything in a few. The converted model is told so by a mask of
patches × patches numbers, so memory grows with the square of a picture's area: 1024 × 1024 pixels are 5,476 patches,
a mask of 120 MB and, in the encoder of the real size, 1.2 GB at the peak. Larger pictures than MAX_PATCHES are made
smaller, though the makers allow more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.Image import Image as Picture

from quintet.core.errors import InvalidRequest, LoadFailed
from quintet.engines.text.vision.family import (
    Family,
    Layout,
    Parts,
    Positions,
    Rows,
    Tile,
    normalised,
    width_of_rows,
)
from quintet.engines.text.vision.numbers import section, whole
from quintet.engines.text.vision.pixels import Pixels

MAX_PATCHES = 8192
"""Of one picture, about 1270 × 1270 pixels. Its mask takes 270 MB."""
MAX_RATIO = 200
"""Times that a picture may be longer than it is high, or the other way round; a rule of the model's makers."""
_PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
_MOST = 1 << 31


class Qwen25Vl(Family):
    """One loaded encoder of model type qwen2_5_vl."""

    markup: str = "<|vision_start|><|image_pad|><|vision_end|>"
    axes: int = 3

    def __init__(self, parts: Parts) -> None:
        """Read the configs and open both halves of the encoder; raises LoadFailed."""
        described, encoder = parts.image_processor, section(parts.config, "vision_config")
        self._pixels = Pixels.of(described)
        self._patch = _agreed(encoder, "patch_size", described, "patch_size", 14, most=32)
        self._merge = _agreed(encoder, "spatial_merge_size", described, "merge_size", 2, most=8)
        self._frames = _agreed(encoder, "temporal_patch_size", described, "temporal_patch_size", 2, most=4)
        self._factor = self._patch * self._merge
        window = whole(encoder, "window_size", least=self._factor, most=1 << 16, default=112)
        self._window = window // self._factor
        heads = whole(encoder, "num_heads", most=1024, default=16)
        width = whole(encoder, "hidden_size", least=4 * heads, most=512 * heads, default=3584)
        self._angles = width // heads // 4
        self._least, self._most = self._bounds(described)
        self.token = self._find_token(parts)
        self._embed = parts.network("openvino_vision_embeddings_model")
        self._merger = parts.network("openvino_vision_embeddings_merger_model")
        wide, high = self._size(self._factor, self._factor)
        self.width = width_of_rows(self.encode, (high, wide), wide * high // self._factor**2)

    def layout(self, width: int, height: int) -> Layout:
        """One token for each merge × merge patches; raises InvalidRequest for a strip that it can't see."""
        wide, high = (side // self._factor for side in self._size(width, height))
        return Layout((self.token,) * (wide * high), (high, wide))

    def tiles(self, picture: Picture) -> list[Tile]:
        """The picture in a size made of whole tokens."""
        size = self._size(picture.width, picture.height)
        return [np.asarray(picture.resize(size, self._pixels.resample), np.uint8)]

    def encode(self, tiles: Sequence[Tile]) -> list[Rows]:
        """Rows of each picture, one after the other: masks for all at once would hide most of each other."""
        return [self._see(tile) for tile in tiles]

    def join(self, rows: Sequence[Rows], width: int, height: int) -> Rows:
        """The only tile's rows."""
        return rows[0]

    def positions(self, ids: Sequence[int], layouts: Sequence[Layout]) -> Positions:
        """Text counts on alike on all axes; a picture stands still in time and spreads over height and width."""
        placed = np.empty((3, len(ids)), np.int64)
        done = begin = 0
        for layout in layouts:
            start = ids.index(self.token, done)
            placed[:, done:start] = np.arange(begin, begin + start - done)
            begin += start - done
            done = start + len(layout.ids)
            high, wide = layout.grid
            placed[0, start:done] = begin
            placed[1, start:done] = begin + np.arange(high).repeat(wide)
            placed[2, start:done] = begin + np.tile(np.arange(wide), high)
            begin += max(high, wide)
        placed[:, done:] = np.arange(begin, begin + len(ids) - done)
        return placed

    def patches(self, tile: Tile) -> npt.NDArray[np.float32]:
        """A tile [height, width, 3] as the encoder's input [patches, 3 · frames · patch²], tokens' patches together."""
        pixels = normalised([tile], self._pixels.mean, self._pixels.deviation)[0]
        merge, patch = self._merge, self._patch
        high, wide = (side // self._factor for side in tile.shape[:2])
        cut = pixels.reshape(3, high, merge, patch, wide, merge, patch).transpose(1, 4, 2, 5, 0, 3, 6)
        flat: npt.NDArray[np.float32] = cut.reshape(high * wide * merge**2, 3, 1, patch**2)
        return flat.repeat(self._frames, axis=2).reshape(len(flat), -1)  # a still picture: equal frames

    def _see(self, tile: Tile) -> Rows:
        high, wide = (side // self._factor for side in tile.shape[:2])
        index, sizes = _windows(high, wide, self._window)
        hidden = self._embed(hidden_states=self.patches(tile))
        return self._merger(
            hidden_states=hidden,
            attention_mask=np.zeros(
                (1, 1, 1), np.float32
            ),  # spread over all; in full it would be another 120 MB
            window_attention_mask=_blocks(sizes * self._merge**2),
            window_index=index,
            rotary_pos_emb=self._rotary(high, wide),
        )

    def _rotary(self, high: int, wide: int) -> npt.NDArray[np.float32]:
        """Angles of every patch's row and column, [patches, 2 · angles], tokens' patches together."""
        merge = self._merge
        places = np.indices((high * merge, wide * merge), np.float32)
        places = places.reshape(2, high, merge, wide, merge).transpose(1, 3, 2, 4, 0).reshape(-1, 2, 1)
        speed = 1 / 10000 ** (np.arange(self._angles, dtype=np.float32) / self._angles)
        return np.ascontiguousarray((places * speed.astype(np.float32)).reshape(len(places), -1))

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that a picture is resized to: whole tokens, within bounds, nearly its proportions."""
        if max(width, height) > MAX_RATIO * min(width, height):
            raise InvalidRequest(
                f"this model can't see a picture that is more than {MAX_RATIO} times as long as it is high, "
                "or as high as it is long; cut it into pieces."
            )
        factor = self._factor
        wide, high = (round(side / factor) * factor for side in (width, height))
        if wide * high > self._most:
            shrink = math.sqrt(width * height / self._most)
            wide, high = (
                max(factor, math.floor(side / shrink / factor) * factor) for side in (width, height)
            )
        elif wide * high < self._least:
            grow = math.sqrt(self._least / (width * height))
            wide, high = (math.ceil(side * grow / factor) * factor for side in (width, height))
        return wide, high

    def _bounds(self, described: dict[str, Any]) -> tuple[int, int]:
        """Fewest and most pixels of a resized picture."""
        size = section(described, "size") or _PIXELS
        least, most = (
            whole(described, own, most=_MOST, default=size.get(edge))
            for own, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge"))
        )
        most = min(most, MAX_PATCHES * self._patch**2)
        if not self._factor**2 <= most or least > most:
            raise LoadFailed(
                "the image processor's `min_pixels` and `max_pixels` leave no size for a picture. "
                "Pull or convert the model again."
            )
        return least, most

    def _find_token(self, parts: Parts) -> int:
        """The placeholder's id, on which tokenizer and language model have to agree; raises LoadFailed."""
        token = whole(parts.config, "image_token_id", least=0, most=_MOST, default=151655)
        found = parts.ids_of(self.markup)
        if len(found) != 3 or found[1] != token:
            raise LoadFailed(
                f"the tokenizer doesn't know {self.markup} as three tokens, of which the middle one is "
                "`image_token_id` in config.json. Pull the model again."
            )
        return token


def _agreed(
    encoder: dict[str, Any], key: str, described: dict[str, Any], its: str, default: int, *, most: int
) -> int:
    """A number that encoder and image processor both state; raises LoadFailed if they differ."""
    number = whole(encoder, key, most=most, default=default)
    if number != whole(described, its, most=most, default=default):
        raise LoadFailed(f"`{key}` of the vision encoder is not the image processor's. Pull the model again.")
    return number


def _windows(high: int, wide: int, side: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tokens of a grid in the order of their windows, side × side each, and how many each window has."""
    rows, columns = np.indices((high, wide)) // side
    owners = (rows * -(-wide // side) + columns).ravel()
    return owners.argsort(kind="stable"), np.bincount(owners)


def _blocks(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """A mask [1, n, n] under which each of n patches sees those of its own window alone."""
    total = int(sizes.sum())
    mask = np.full((1, total, total), -np.inf, np.float32)
    end = 0
    for size in sizes:
        begin, end = end, end + int(size)
        mask[:, begin:end, begin:end] = 0
    return mask
