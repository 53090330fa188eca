"""The model.bin of a CTranslate2 model, walked before the library reads it, which trusts every length in it."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Mapping
from typing import BinaryIO

from quintet.weights.refusal import GateRefused

VERSIONS = range(4, 7)
MAX_VARIABLES = 1_000_000
MAX_RANK = 8
DTYPES = (("f32", 4), ("i8", 1), ("i16", 2), ("i32", 4), ("f16", 2), ("bf16", 2))
"""Name and bytes of an element, in the order of the format's numbers."""


class _Walk:
    """A position in the file that never leaves it."""

    def __init__(self, file: str, stream: BinaryIO) -> None:
        self._file = file
        self._stream = stream
        self._left = os.fstat(stream.fileno()).st_size

    @property
    def is_done(self) -> bool:
        return self._left == 0

    def take(self, layout: str) -> tuple[int, ...]:
        """Little-endian numbers."""
        size = struct.calcsize("<" + layout)
        self._spend(size)
        data = self._stream.read(size)
        if len(data) != size:
            raise refuse(self._file, "It ends too early.")
        return struct.unpack("<" + layout, data)

    def skip(self, size: int) -> None:
        self._spend(size)
        self._stream.seek(size, os.SEEK_CUR)

    def skip_text(self) -> None:
        (length,) = self.take("H")
        if not length:
            raise refuse(self._file, "A name in it has no end.")
        self.skip(length - 1)
        if self.take("B") != (0,):
            raise refuse(self._file, "A name in it has no end.")

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise refuse(self._file, "It ends too early.")


def read_variables(file: str, stream: BinaryIO) -> Mapping[str, int]:
    """Bytes of every type in the checked file; raises GateRefused."""
    walk = _Walk(file, stream)
    (version,) = walk.take("I")
    if version not in VERSIONS:
        raise refuse(file, f"This is not a CTranslate2 model of version {VERSIONS[0]} to {VERSIONS[-1]}.")
    walk.skip_text()
    _, count = walk.take("II")
    if count > MAX_VARIABLES:
        raise refuse(file, f"It claims more than {MAX_VARIABLES:,} variables.")
    sizes: Counter[str] = Counter()
    for _ in range(count):
        walk.skip_text()
        (rank,) = walk.take("B")
        if rank > MAX_RANK:
            raise refuse(file, f"A variable has more than {MAX_RANK} dimensions.")
        elements = 1
        for length in walk.take(f"{rank}I"):
            elements *= length
        dtype, size = walk.take("BI")
        if dtype >= len(DTYPES):
            raise refuse(file, "A variable has a type that CTranslate2 does not know.")
        name, width = DTYPES[dtype]
        if size != elements * width:
            raise refuse(file, "A variable's size does not fit its type and shape.")
        walk.skip(size)
        sizes[name] += size
    (aliases,) = walk.take("I")
    if aliases > MAX_VARIABLES:
        raise refuse(file, f"It claims more than {MAX_VARIABLES:,} aliases.")
    for _ in range(2 * aliases):
        walk.skip_text()
    if not walk.is_done:
        raise refuse(file, "Something follows after its last variable.")
    return sizes


def refuse(file: str, rule: str) -> GateRefused:
    """A refusal of a CTranslate2 file."""
    return GateRefused(file, rule, "Download the model again, or convert it anew with CTranslate2.")
