"""How much memory a model may take: weights are weighed before they are loaded, the KV cache is sized by what is left.

Without `kv_cache_mb` the cache holds as many whole contexts as sequences may run, but takes at most SHARE of the
memory that is free once the weights are loaded – and one whole context in any case, or the load fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quintet.core.errors import LoadFailed
from quintet.core.machine import free_memory_bytes, gigabytes

SHARE = 0.25
"""Of the free memory: the prefix cache fills its part in time, and other models want to be loaded too."""
LARGEST_SHARE = 0.9
"""Of the free memory, for a single context or for what `kv_cache_mb` asks for."""
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheWish:
    """What the KV cache of a model has to hold."""

    context_length: int
    """Tokens of one whole sequence."""
    max_sequences: int = 1
    """So many of them at once, if there is room."""
    megabytes: int | None = None
    """The size, if the operator has chosen one; at least one whole sequence fits all the same."""


def check_weights(path: Path) -> None:
    """Raise LoadFailed if this IR or the weights beside it are missing, or larger than the free memory."""
    weights = path.with_suffix(".bin")
    if not path.is_file() or not weights.is_file():
        raise LoadFailed(f"the model directory has no {path.name} and .bin; pull or convert the model again.")
    size, free = weights.stat().st_size, free_memory_bytes()
    if size > free:
        raise LoadFailed(
            f"The model's weights take {gigabytes(size)} of memory, and {gigabytes(free)} are free. Stop something, "
            "or pull the model with smaller weights (--precision int4) or a smaller model.",
            facts={"needed_bytes": size, "free_bytes": free},
        )


def count_blocks(wish: CacheWish, block_bytes: int, block_size: int) -> int:
    """How many blocks of `block_bytes` for `block_size` tokens the cache gets; raises LoadFailed."""
    # One more than a context fills, for the token that is read while the last one is chosen.
    context = -(-wish.context_length // block_size) + 1
    free = free_memory_bytes()
    most = int(free * LARGEST_SHARE)
    if context * block_bytes > most:
        fits = max(0, most // block_bytes - 1) * block_size
        raise LoadFailed(
            f"One context of {wish.context_length:,} tokens takes {gigabytes(context * block_bytes)} of memory for "
            f"keys and values, and {gigabytes(free)} are free. Set context_length to {fits:,} or less, or free some "
            "memory.",
            facts={"needed_bytes": context * block_bytes, "free_bytes": free},
        )
    if wish.megabytes is None:
        return max(context, min(context * wish.max_sequences, int(free * SHARE) // block_bytes))
    wanted = wish.megabytes * _MEGABYTE
    if wanted > most:
        raise LoadFailed(
            f"Option kv_cache_mb asks for {gigabytes(wanted)} of memory, and {gigabytes(free)} are free. Set it to "
            f"{most // _MEGABYTE} or less, or leave it out.",
            facts={"needed_bytes": wanted, "free_bytes": free},
        )
    return max(context, wanted // block_bytes)
