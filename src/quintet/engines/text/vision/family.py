"""What the engine needs to know of a family of vision-language models; one module beside this one per family.

A picture goes through four hands: `layout` says which tokens stand for it in the prompt (from its size alone),
`tiles` cuts and resizes it as the family's own image processor does, `encode` runs the vision encoder on a few tiles
of one size, `join` makes of all its tiles' rows the embeddings that replace its placeholder tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL.Image import Image as Picture

from quintet.core.errors import LoadFailed
from quintet.engines.text.vision.network import Network
from quintet.engines.text.vocabulary import read_json

Tile = npt.NDArray[np.uint8]
"""[height, width, 3] RGB, of a size that the encoder takes."""
Rows = npt.NDArray[np.float32]
"""[tokens, width of the language model]: embeddings, one row per token."""
Positions = npt.NDArray[np.int64]
"""[axes, tokens]: where each token stands in time, height and width."""

MISFIT = "the vision encoder doesn't fit config.json and the image processor; convert the model again."


@dataclass(frozen=True, slots=True)
class Layout:
    """The tokens that stand for one picture in a prompt; those equal to the family's `token` become embeddings."""

    ids: tuple[int, ...]
    grid: tuple[int, int] = (0, 0)
    """Height and width in tokens, for families whose positions have axes."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a family is made from."""

    directory: Path
    config: dict[str, Any]
    """config.json."""
    ids_of: Callable[[str], list[int]]
    """Text to token ids; special tokens written in it count as such, none are added."""
    network: Callable[[str], Network]
    """A compiled model of the directory by its file's stem, such as openvino_vision_embeddings_model."""

    @property
    def image_processor(self) -> dict[str, Any]:
        """How its makers resize and normalise; raises LoadFailed if no file says it.

        It is part of processor_config.json in newer releases, which also win where both are there.
        """
        nested = read_json(self.directory / "processor_config.json").get("image_processor")
        found = nested or read_json(self.directory / "preprocessor_config.json")
        if not found or not isinstance(found, dict):
            raise LoadFailed(
                "the model directory has no preprocessor_config.json; pull or convert the model again."
            )
        return found


class Family(Protocol):
    """One loaded vision encoder and its habits. `layout` and `positions` are thread-safe; the rest is not."""

    token: int
    """Id of the placeholder token."""
    markup: str
    """What the chat template writes for a picture; it holds the placeholder token once."""
    axes: int
    """How many numbers a token's position has: 1 where tokens are counted, 3 for time, height and width."""
    width: int
    """Numbers in a row of embeddings; the language model's has as many, or the two don't belong together."""

    def layout(self, width: int, height: int) -> Layout:
        """The tokens that replace the placeholder token of `markup` for a picture of so many pixels.

        Raises InvalidRequest for a shape that the model can't see.
        """
        ...

    def tiles(self, picture: Picture) -> list[Tile]:
        """The picture, RGB, cut and resized for the encoder, in the order of `join`."""
        ...

    def encode(self, tiles: Sequence[Tile]) -> list[Rows]:
        """Run the encoder on tiles of one shape; rows [n, width] of each, projected to the language model's width."""
        ...

    def join(self, rows: Sequence[Rows], width: int, height: int) -> Rows:
        """The embeddings of a picture of so many pixels from its tiles' rows: one per placeholder token of `layout`."""
        ...

    def positions(self, ids: Sequence[int], layouts: Sequence[Layout]) -> Positions:
        """Positions [axes, tokens] of a prompt with these pictures in this order; called where `axes` is not 1.

        Tokens generated after it are counted on from the largest position, alike on all axes.
        """
        return np.arange(len(ids), dtype=np.int64)[None]


def width_of_rows(
    encode: Callable[[Sequence[Tile]], Sequence[Rows]], size: tuple[int, int], count: int
) -> int:
    """See an empty tile of `size`, height and width, which must become `count` rows; returns how wide they are.

    Raises LoadFailed, so that files which don't fit each other fail when the model is loaded.
    """
    try:
        found = encode([np.zeros((*size, 3), np.uint8)])[0].shape
    except RuntimeError as error:
        raise LoadFailed(MISFIT) from error
    if len(found) != 2 or found[0] != count:
        raise LoadFailed(MISFIT)
    width: int = found[1]
    return width


def normalised(tiles: Sequence[Tile], mean: Sequence[float], deviation: Sequence[float]) -> Rows:
    """Tiles of one shape as the encoder's pixel_values [n, 3, height, width]: (pixel / 255 - mean) / deviation."""
    pixels = np.stack(tiles).astype(np.float32)
    scale = 1 / (255 * np.asarray(deviation, np.float32))
    shift = np.asarray(mean, np.float32) / np.asarray(deviation, np.float32)
    return np.ascontiguousarray((pixels * scale - shift).transpose(0, 3, 1, 2))
