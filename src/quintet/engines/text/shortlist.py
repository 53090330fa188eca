"""The largest logits of a row without sorting the row; plain numpy, because it beats a compiled graph here.

A compiled TopK over 49,152 logits costs twice as much and leaves the order of equal logits to chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]

SPREAD = 8
"""Groups per wanted logit: more groups find fewer candidates too many, but cost more to look through."""


def shortlist(logits: Floats, size: int, few: Mapping[int, Floats] | None = None) -> tuple[Floats, Floats]:
    """Values [R, K] and ids [R, K] of the K = `size` largest logits of rows [R, V]: largest first, equal ones by id.

    The V logits are dealt into groups; the K-th largest of the groups' maxima is a bound that at least K logits
    reach, so only those that reach it are sorted. `few` names the tokens, in order, that come into question in rows
    where all others are impossible; such a row's list is filled up with impossible tokens.
    """
    rows, vocabulary_size = logits.shape
    size = min(size, vocabulary_size)
    groups = size * SPREAD
    dealt = vocabulary_size // groups * groups
    values = np.empty((rows, size), logits.dtype)
    ids = np.empty((rows, size), np.int64)
    for row in range(rows):
        line = logits[row]
        if few is not None and row in few:
            best = _best_of_few(line, few[row], size)
            ids[row, : len(best)], ids[row, len(best) :] = best, best[0]
            values[row, : len(best)], values[row, len(best) :] = line[best], -np.inf
            continue
        if dealt > groups:
            peaks = line[:dealt].reshape(-1, groups).max(axis=0)
            peaks.partition(groups - size)
            found = np.flatnonzero(line >= peaks[groups - size])
            best = found[np.argsort(-line[found], kind="stable")[:size]]
        else:
            best = np.argsort(-line, kind="stable")[:size]
        ids[row] = best
        values[row] = line[best]
    return values, ids


def _best_of_few(line: Floats, few: Floats, size: int) -> Floats:
    found = line[few]
    if len(few) > SPREAD * size:
        bound = np.partition(found, -size)[-size]
        few = few[found >= bound]
        found = line[few]
    best: Floats = few[np.argsort(-found, kind="stable")[:size]]
    return best


def log_sum(line: Floats, top: float, scale: float) -> float:
    """log(sum(exp((x - top) * scale))) over one row [V], `top` being its largest logit."""
    return float(np.log(np.exp((line - top) * np.float32(scale)).sum(dtype=np.float64)))
