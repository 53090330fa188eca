"""The header of a safetensors file, checked before any library maps it: bounds, types, no overlap, no holes."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from quintet.weights.json_text import parse_json
from quintet.weights.refusal import GateRefused

MAX_HEADER_BYTES = 100_000_000
MAX_RANK = 16
MAX_ELEMENTS = 1 << 63

BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""Every type of the format by the bits of one element."""

_NEXT_STEP = "Download the file again, or take the model from another source."


@dataclass(frozen=True, slots=True)
class Header:
    """What a file declares."""

    names: frozenset[str]
    bytes_by_dtype: Mapping[str, int]


def read_header(file: str, stream: BinaryIO) -> Header:
    """The checked header of `stream`, whose position is its start; raises GateRefused."""
    size = os.fstat(stream.fileno()).st_size
    start = stream.read(8)
    if len(start) < 8:
        raise _refuse(file, "It is too short for a safetensors file.")
    (length,) = struct.unpack("<Q", start)
    if length > MAX_HEADER_BYTES:
        raise _refuse(file, f"Its header claims to be longer than {MAX_HEADER_BYTES:,} bytes.")
    if 8 + length > size:
        raise _refuse(file, f"Its header claims {length:,} bytes, but the file ends after {size:,}.")
    text = stream.read(length)
    if len(text) != length or not text.startswith(b"{"):
        raise _refuse(file, "Its header is not a JSON object.")
    table = parse_json(file, text, max_depth=4)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or any(not isinstance(value, str) for value in metadata.values()):
        raise _refuse(file, "Its metadata are not plain text.")
    spans: list[tuple[int, int]] = []
    sizes: Counter[str] = Counter()
    for info in table.values():
        dtype, begin, end = _span(file, info)
        spans.append((begin, end))
        sizes[dtype.lower()] += end - begin
    _check_cover(file, spans, size - 8 - length)
    return Header(frozenset(table), sizes)


def _span(file: str, info: Any) -> tuple[str, int, int]:
    """Type, begin and end of one tensor, whose length is what type and shape say."""
    if not isinstance(info, dict) or info.keys() != {"dtype", "shape", "data_offsets"}:
        raise _refuse(file, "A tensor of its header has other keys than dtype, shape and data_offsets.")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _refuse(file, "A tensor has a type that safetensors does not know.")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or any(not _is_count(length) for length in shape):
        raise _refuse(file, f"A tensor's shape is not a list of at most {MAX_RANK} numbers from 0 on.")
    if not isinstance(offsets, list) or len(offsets) != 2 or any(not _is_count(place) for place in offsets):
        raise _refuse(file, "A tensor's data_offsets are not two numbers from 0 on.")
    elements = 1
    for length in shape:
        # A zero further on does not undo an overflow in programs that multiply as they go.
        elements *= length or 1
        if elements >= MAX_ELEMENTS:
            raise _refuse(file, "A tensor's shape has more elements than a computer can count.")
    bits = 0 if 0 in shape else elements * BITS[dtype]
    begin, end = offsets
    if bits % 8 or end - begin != bits // 8:
        raise _refuse(file, "A tensor's data_offsets do not fit its type and shape.")
    return dtype, begin, end


def _check_cover(file: str, spans: list[tuple[int, int]], available: int) -> None:
    """The tensors lie one after the other, from the first byte of data to the last."""
    place = 0
    for begin, end in sorted(spans):
        if begin < place:
            raise _refuse(file, "Two of its tensors overlap.")
        if begin > place:
            raise _refuse(file, "There is a hole between its tensors.")
        if end > available:
            raise _refuse(file, f"A tensor ends at byte {end:,} of data, but there are {available:,}.")
        place = end
    if place != available:
        raise _refuse(file, f"Its tensors end at byte {place:,} of data, but there are {available:,}.")


def check_index(file: str, value: Any, headers: Mapping[str, Header]) -> None:
    """The index of a model in several files; `headers` are those of its folder, by plain name."""
    mapping = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(mapping, dict) or not mapping:
        raise _refuse(file, "It has no weight_map.")
    for tensor, shard in mapping.items():
        if not isinstance(shard, str) or "/" in shard or not shard.endswith(".safetensors"):
            raise _refuse(file, "A value of its weight_map is not the plain name of a safetensors file.")
        if shard not in headers:
            raise _refuse(file, "It names a file that is not in its folder.")
        if tensor not in headers[shard].names:
            raise _refuse(file, "It names a tensor that is not in the file it says.")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _refuse(file: str, rule: str) -> GateRefused:
    return GateRefused(file, rule, _NEXT_STEP)
