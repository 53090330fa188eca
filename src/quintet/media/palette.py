"""One palette for a whole clip: a colour that stays in its place keeps its index from frame to frame: no flicker."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]
"""The frames of a clip: (frames, height, width, 3), red, green and blue from 0 to 255."""

MOST_COLOURS = 256
_FLAT_COLOURS, _FLAT_PART = 64, 0.98
"""A drawing: so many coarse colours make up so much of it."""
_BAYER_SIDE = 8
_DITHER_STRENGTH = 100.0
"""Divided by the cube root of the number of colours: about how far neighbours in a palette are apart."""
_STILL = 5
"""A pixel that differs by so little from what is shown already keeps its colour: that is noise, and would flicker."""
_COARSE_BITS = 6
"""Colours that are alike in so many upper bits of every part count as one while a palette is chosen."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A clip in numbers of colours: `palette` (colours, 3) and `indices` (frames, height, width)."""

    palette: NDArray[np.uint8]
    indices: NDArray[np.uint8]


def index_clip(frames: Frames, colours: int = MOST_COLOURS) -> Indexed:
    """The clip in at most so many colours: exactly if it has no more, else in those that come nearest.

    Drawings are not dithered; photographs are, by a pattern that stays where it is from frame to frame.
    """
    packed = _packed(frames)
    seen = np.zeros(1 << 24, dtype=np.bool_)
    seen[packed] = True
    found = seen.nonzero()[0]
    if len(found) <= colours:
        return Indexed(_unpacked(found), np.searchsorted(found, packed).astype(np.uint8))
    frames = _steadied(frames)
    palette = _choose(frames, colours)
    if not is_flat(frames):
        frames = _dithered(frames, colours)
    return Indexed(palette, _nearest(frames, palette))


def is_flat(frames: Frames) -> bool:
    """Whether this looks like a drawing: few colours, if small differences don't count."""
    counts = np.bincount(_packed(frames, bits=4).ravel())
    most = np.sort(counts)[::-1][:_FLAT_COLOURS]
    return bool(most.sum() >= _FLAT_PART * counts.sum())


def _packed(frames: Frames, bits: int = 8) -> NDArray[np.uint32]:
    """Each pixel as one number, made of the upper bits of its three parts."""
    red, green, blue = (frames[..., part].astype(np.uint32) >> 8 - bits for part in range(3))
    return red << 2 * bits | green << bits | blue  # type: ignore[return-value]


def _unpacked(packed: NDArray[np.intp]) -> NDArray[np.uint8]:
    return np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8)


def _steadied(frames: Frames) -> Frames:
    """The same clip without the noise of parts that stand still."""
    steady = frames.copy()
    for before, now in itertools.pairwise(steady):
        near = (np.maximum(before, now) - np.minimum(before, now)).max(axis=-1) <= _STILL
        now[near] = before[near]
    return steady


def _choose(frames: Frames, colours: int) -> NDArray[np.uint8]:
    """A palette by median cut, in which a background counts by the root of its size: else it would take it all."""
    numbers, pixels = _packed(frames, _COARSE_BITS).ravel(), frames.reshape(-1, 3)
    counts = np.bincount(numbers)
    sums = np.stack([np.bincount(numbers, pixels[:, part]) for part in range(3)], axis=-1)
    counts, sums = counts[counts > 0], sums[counts > 0]
    means = np.rint(sums / counts[:, None]).astype(np.uint8)
    if len(means) <= colours:
        return np.unique(means, axis=0)
    weighted = np.repeat(means, np.rint(np.sqrt(counts)).astype(np.int64), axis=0)
    chosen = Image.fromarray(weighted[None]).quantize(colours, Image.Quantize.MEDIANCUT)
    palette = np.array(chosen.getpalette() or [], dtype=np.uint8).reshape(-1, 3)
    return np.unique(palette[: int(np.max(chosen)) + 1], axis=0)  # type: ignore[call-overload]


def _nearest(frames: Frames, palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The number of the palette's nearest colour for every pixel."""
    book = Image.new("P", (1, 1))
    book.putpalette(palette.tobytes())
    count, height, width = frames.shape[:3]
    tall = Image.fromarray(frames.reshape(count * height, width, 3))
    indices = np.asarray(tall.quantize(palette=book, dither=Image.Dither.NONE))
    return indices.reshape(count, height, width)


def _dithered(frames: Frames, colours: int) -> Frames:
    """Ordered dithering (Bayer 1973): what is added depends on the place alone, so still parts stay still."""
    pattern = np.zeros((1, 1))
    while len(pattern) < _BAYER_SIDE:
        pattern = np.block([[4 * pattern, 4 * pattern + 2], [4 * pattern + 3, 4 * pattern + 1]])
    height, width = frames.shape[1:3]
    tiles = np.tile(pattern, (height // _BAYER_SIDE + 1, width // _BAYER_SIDE + 1))[:height, :width]
    offsets = ((tiles + 0.5) / pattern.size - 0.5) * _DITHER_STRENGTH / colours ** (1 / 3)
    mixed = frames.astype(np.int16) + np.rint(offsets).astype(np.int16)[None, :, :, None]
    return np.clip(mixed, 0, 255).astype(np.uint8)  # type: ignore[no-any-return]
