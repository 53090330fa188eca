"""Which file format a moving picture comes in: what the caller's body names, else what its Accept header prefers."""

from __future__ import annotations

import re
from typing import Literal

AnimationFormat = Literal["gif", "webp", "mp4"]

MIMES: dict[str, AnimationFormat] = {"image/gif": "gif", "image/webp": "webp", "video/mp4": "mp4"}
"""In the order of our own preference."""
MAX_RANGES = 32
"""Of one Accept header; what stands behind them is not read."""
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def animation_format(named: AnimationFormat | None, accept: str) -> AnimationFormat:
    """The format to answer with. A header that takes none of ours is as good as none: it gets the usual one.

    Of formats with equal weight the one spelled out wins over one that a `*` takes in, so that
    `video/mp4, */*` gets a video.
    """
    if named is not None:
        return named
    found: AnimationFormat = "gif"
    best = (0.0, 0)
    ranges = [_read(one) for one in accept.lower().split(",")[:MAX_RANGES]]
    for mime, name in MIMES.items():
        fits = [(precision, q) for pattern, q in ranges if (precision := _precision(pattern, mime))]
        if not fits:
            continue
        precision, q = max(fits)
        if q > 0 and (q, precision) > best:
            best, found = (q, precision), name
    return found


def _read(text: str) -> tuple[str, float]:
    """A media range and its weight; a weight that makes no sense counts as 0."""
    pattern, *parameters = (part.strip() for part in text.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return pattern, float(value) if _WEIGHT.fullmatch(value.strip()) else 0.0
    return pattern, 1.0


def _precision(pattern: str, mime: str) -> int:
    """How exactly a range names a type: 3 = by its name, 1 = as anything, 0 = not at all."""
    if pattern == mime:
        return 3
    if pattern == mime.partition("/")[0] + "/*":
        return 2
    return 1 if pattern == "*/*" else 0
