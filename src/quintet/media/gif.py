"""Moving GIFs (GIF89a): one palette per clip, endless, true to the clip's pace, never larger than allowed.

The format's container is written here, its compression is the imaging library's: that would choose palettes per
frame and merge frames that look alike.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from quintet.media.palette import MOST_COLOURS, Frames, Indexed, index_clip

MIME = "image/gif"
MAX_BYTES = 8 * 1024 * 1024
SHORTEST_DELAY = 2
"""Hundredths of a second: viewers show anything quicker at a tenth of its pace."""
_COLOURS = (MOST_COLOURS, 128, 64, 32)
_FEW_COLOURS = 64
_SMALLER = 0.75
_SMALLEST_SIDE = 32
_LONGEST_COMMENT = 4096


def encode_gif(
    frames: Frames, frames_per_second: float, *, comment: str = "", max_bytes: int = MAX_BYTES
) -> bytes:
    """The clip as a GIF that plays for ever. The same clip gives the same bytes.

    A file larger than `max_bytes` is made anew with 128, 64, 32 colours, and then with 64 colours and sides of
    three quarters again and again, down to 32 pixels, until it fits; the smallest one stands if none does.
    """
    delays = frame_delays(len(frames), frames_per_second)
    data = b""
    for colours, side in _attempts(frames):
        data = _written(index_clip(_resized(frames, side), colours), delays, comment)
        if len(data) <= max_bytes:
            break
    return data


def frame_delays(count: int, frames_per_second: float) -> list[int]:
    """How long each frame stays, in hundredths of a second; the whole clip lasts as long as it should."""
    ends = [round(100 * number / frames_per_second) for number in range(count + 1)]
    return [min(0xFFFF, max(SHORTEST_DELAY, end - start)) for start, end in itertools.pairwise(ends)]


def _attempts(frames: Frames) -> Iterator[tuple[int, float]]:
    """Numbers of colours, and by how much the sides shrink, the best first."""
    for colours in _COLOURS:
        yield colours, 1.0
    side = _SMALLER
    while min(frames.shape[1:3]) * side >= _SMALLEST_SIDE:
        yield _FEW_COLOURS, side
        side *= _SMALLER


def _resized(frames: Frames, side: float) -> Frames:
    if side == 1.0:
        return frames
    height, width = (round(pixels * side) for pixels in frames.shape[1:3])
    smaller = [Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS) for frame in frames]
    return np.stack([np.asarray(frame) for frame in smaller])


def _written(clip: Indexed, delays: list[int], comment: str) -> bytes:
    height, width = clip.indices.shape[1:]
    bits = max(1, (len(clip.palette) - 1).bit_length())
    table = clip.palette.tobytes().ljust(3 << bits, b"\0")
    parts = [
        b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF0 | bits - 1, 0, 0) + table,
        b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0",  # for ever
    ]
    if comment:
        parts.append(b"\x21\xfe" + _blocks(comment.encode()[:_LONGEST_COMMENT]))
    before: NDArray[np.uint8] | None = None
    for indices, delay in zip(clip.indices, delays, strict=True):
        left, top, right, bottom = _changed(before, indices)
        parts.append(b"\x21\xf9\x04\x04" + struct.pack("<H", delay) + b"\0\0")  # what was drawn stays
        picture = Image.fromarray(np.ascontiguousarray(indices[top:bottom, left:right]), "P")
        parts.extend(GifImagePlugin.getdata(picture, (left, top)))
        before = indices
    return b"".join(parts) + b"\x3b"


def _changed(before: NDArray[np.uint8] | None, now: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """The smallest box around all that is new: left, top, right, bottom; a single pixel if nothing is."""
    if before is None:
        return 0, 0, now.shape[1], now.shape[0]
    rows, columns = ((before != now).any(axis=axis).nonzero()[0] for axis in (1, 0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _blocks(data: bytes) -> bytes:
    """Bytes as GIF's sub-blocks."""
    pieces = (data[start : start + 255] for start in range(0, len(data), 255))
    return b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"
