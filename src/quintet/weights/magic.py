"""What a file really is by its first bytes, so that a pickle or program under an innocent name is refused."""

from __future__ import annotations

import os
from typing import BinaryIO

from quintet.weights.names import Kind

# Long enough that weights and lengths do not begin like that by chance.
_SURE = (
    (b"PK\x03\x04", "a zip archive (or a pickle inside one)"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x7fELF", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xce\xfa\xed\xfe", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x00asm", "a program"),
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x28\xb5\x2f\xfd", "a compressed file"),
    (b"\xfd7zXZ\x00", "a compressed file"),
    (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", "a pickle"),
    (b"SQLite format 3\x00", "a database"),
)
# Bytes that weights might begin with, but that no text does.
_SHORT = (
    (b"\x1f\x8b", "a compressed file"),
    (b"BZh", "a compressed file"),
    (b"MZ", "a program"),
    (b"#!", "a script"),
    *((bytes((0x80, version)), "a pickle") for version in range(1, 6)),
)
_HEAD_BYTES = 512
# An opcode that pickles begin with after their version: frame, mark, empty tuple, dict, list, a global, a long.
_PICKLE_OPENINGS = b"\x95()}](c\x8aX\x8c"


def foreign_kind(stream: BinaryIO, size: int, kind: Kind) -> str:
    """What the file is in words, if that is not its kind; empty if nothing speaks against it."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    if kind is Kind.SAFETENSORS:
        # It begins with a length: the upper half of a length that is allowed is zero.
        return "" if head[4:8] == b"\0\0\0\0" else _name(head, (*_SURE, *_SHORT))
    if head[257:262] == b"ustar":
        return "a tar archive"
    if kind is Kind.IR_WEIGHTS:
        return _name(head, _SURE) or ("a pickle" if _is_pickle(stream, head, size) else "")
    if kind is Kind.CTRANSLATE2:
        return _name(head, _SURE)
    return _name(head, (*_SURE, *_SHORT))


def _name(head: bytes, magics: tuple[tuple[bytes, str], ...]) -> str:
    return next((words for magic, words in magics if head.startswith(magic)), "")


def _is_pickle(stream: BinaryIO, head: bytes, size: int) -> bool:
    """Whether raw bytes have a pickle's version, first instruction and last one."""
    if len(head) < 4 or head[0] != 0x80 or head[1] not in range(2, 6) or head[2] not in _PICKLE_OPENINGS:
        return False
    stream.seek(size - 1, os.SEEK_SET)
    return stream.read(1) == b"."
