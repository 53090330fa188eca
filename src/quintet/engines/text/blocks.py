"""KV-cache blocks: who holds which, and which prefixes can be used again. Knows nothing of tensors.

A block holds the keys and values of `block_size` consecutive tokens. Full blocks are named by a digest that
chains over everything before them and starts from a salt (owner and adapter), so nobody can find (or time) another
owner's prefix (vLLM CVE-2025-46570). Blocks nobody holds keep their content until memory is needed: least recently
used goes first.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol


class OutOfBlocks(Exception):
    """No block is free and none can be evicted; the scheduler preempts somebody."""


class BlockPool:
    """Reference-counted blocks 0..total-1 with reuse by digest."""

    def __init__(self, total: int, block_size: int) -> None:
        """`total` blocks of `block_size` tokens each."""
        self.total = total
        self.block_size = block_size
        self._free = list(range(total - 1, -1, -1))
        self._holders = [0] * total
        self._digest_of: list[bytes | None] = [None] * total
        self._block_of: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Blocks that nobody holds but whose content is still known, oldest first."""

    @property
    def available(self) -> int:
        """Blocks that `take` could hand out now."""
        return len(self._free) + len(self._idle)

    def take(self) -> int:
        """One empty block, held once."""
        if self._free:
            block = self._free.pop()
        elif self._idle:
            block, _ = self._idle.popitem(last=False)
            self._forget(block)
        else:
            raise OutOfBlocks
        self._holders[block] = 1
        return block

    def hold(self, block: int) -> None:
        """One more holder of a block whose content is known."""
        if self._holders[block] == 0:
            del self._idle[block]
        self._holders[block] += 1

    def release(self, block: int) -> None:
        """One holder less; an unheld block stays reusable until its memory is needed."""
        holders = self._holders[block] = self._holders[block] - 1
        if holders < 0:
            raise AssertionError(f"block {block} released more often than held")
        if holders == 0:
            if self._digest_of[block] is None:
                self._free.append(block)
            else:
                self._idle[block] = None

    def name(self, block: int, digest: bytes) -> None:
        """Make a full block findable. If its twin is already known, the first one stays the known one."""
        if digest not in self._block_of:
            self._block_of[digest] = block
            self._digest_of[block] = digest

    def find(self, digest: bytes) -> int | None:
        """The block with this content, if it is still there."""
        return self._block_of.get(digest)

    def _forget(self, block: int) -> None:
        digest = self._digest_of[block]
        if digest is not None:
            del self._block_of[digest]
            self._digest_of[block] = None


class Span(Protocol):
    """A stretch of tokens that is not what it says: the content behind it counts."""

    digest: bytes
    start: int

    @property
    def end(self) -> int:
        """Index behind its last token."""
        ...


def chain(
    salt: str, tokens: Sequence[int], block_size: int, known: list[bytes], spans: Sequence[Span] = ()
) -> list[bytes]:
    """Extend `known` in place to the digests of all full blocks of `tokens`; digest i covers blocks 0..i."""
    parent = (
        known[-1]
        if known
        else hashlib.blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    )
    for start in range(len(known) * block_size, len(tokens) - block_size + 1, block_size):
        block = array("i", tokens[start : start + block_size]).tobytes()
        for span in spans:
            if span.start < start + block_size and span.end > start:
                block += span.digest + array("q", [start - span.start]).tobytes()
        parent = hashlib.blake2b(block, key=parent, digest_size=16).digest()
        known.append(parent)
    return known
