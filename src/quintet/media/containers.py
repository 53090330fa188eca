"""Reads picture files without decoding them: what they are, how large, how turned, and only the parts that are pixels.

Decoders are given the reduced file, so that nothing else in it – comments, profiles, previews, further frames,
what hides behind the end – is ever parsed. Standard library only; raises nothing but Refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from quintet.media.rules import Refused, Rule

Format = Literal["JPEG", "PNG", "WEBP"]
_MAX_PIECES = 65_536
"""Chunks or segments of one file; real ones have some thousand at most."""
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
_START_OF_SCAN, _END_OF_IMAGE, _COMMENT, _APP0, _APP1, _APP14, _APP15 = (
    0xDA,
    0xD9,
    0xFE,
    0xE0,
    0xE1,
    0xEE,
    0xEF,
)
_EXIF_START = b"Exif\0\0"
_ORIENTATION_TAG, _SHORT = 0x0112, 3
_MAX_EXIF_ENTRIES = 256


@dataclass(frozen=True, slots=True)
class Container:
    """A picture file, reduced. Sizes in pixels, before it is turned."""

    format: Format
    width: int
    height: int
    orientation: int
    """1–8 as in Exif; 1 = upright."""
    data: bytes


def sniff(data: bytes) -> Format | None:
    """The format that the first bytes announce; None if it is none that is taken."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_START):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and data[12:16] in (b"VP8 ", b"VP8L", b"VP8X"):
        return "WEBP"
    return None


def read_container(data: bytes) -> Container:
    """Take a file apart; raises Refused if it is not of a known format, or its frame is broken."""
    kind = sniff(data)
    if kind is None:
        raise Refused(Rule.UNSUPPORTED)
    reader = {"JPEG": _read_jpeg, "PNG": _read_png, "WEBP": _read_webp}[kind]
    try:
        return reader(data)
    except (struct.error, IndexError):
        raise Refused(Rule.DAMAGED) from None


def _read_png(data: bytes) -> Container:
    """Keep header, palette, transparency and the pixels of the still picture (ISO/IEC 15948)."""
    pieces: list[memoryview | bytes] = [_PNG_START]
    header: tuple[int, int, int] | None = None
    orientation = 1
    pixels = False
    for kind, start, end in _png_chunks(data):
        if header is None:
            if kind != b"IHDR" or end - start != 25:
                raise Refused(Rule.DAMAGED)
            header = struct.unpack_from(">IIB", data, start + 8)
        elif kind == b"eXIf":
            orientation = _orientation(data[start + 8 : end - 4])
            continue
        # A single transparent colour of 16 bits would be compared with pixels cut to 8.
        elif kind not in (b"PLTE", b"tRNS", b"IDAT") or (kind == b"tRNS" and header[2] == 16):
            continue
        pixels = pixels or kind == b"IDAT"
        pieces.append(memoryview(data)[start:end])
    if header is None or not pixels:
        raise Refused(Rule.DAMAGED)
    return Container("PNG", header[0], header[1], orientation, b"".join([*pieces, _PNG_END]))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of every chunk up to the last; a chunk that is cut off is damage if it holds pixels."""
    position = len(_PNG_START)
    for _ in range(_MAX_PIECES):
        if position + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind == b"IEND":
            return
        if end > len(data):
            raise Refused(Rule.DAMAGED)
        yield kind, position, end
        position = end
    raise Refused(Rule.DAMAGED)


def _read_jpeg(data: bytes) -> Container:
    """Keep the tables and scans, and the two application segments that say how colours are stored (ITU-T T.81)."""
    pieces: list[memoryview | bytes] = [b"\xff\xd8"]
    size: tuple[int, int] | None = None
    orientation = 1
    for marker, start, end in _jpeg_segments(data):
        content = start + 4
        if marker in _SIZE_MARKERS:
            if size is not None:
                raise Refused(Rule.DAMAGED)
            size = struct.unpack_from(">HH", data, content + 1)
        if marker == _APP1 and data.startswith(_EXIF_START, content):
            orientation = _orientation(data[content:end])
        colours = (marker == _APP0 and data.startswith(b"JFIF\0", content)) or (
            marker == _APP14 and data.startswith(b"Adobe", content)
        )
        if colours or not (_APP0 <= marker <= _APP15 or marker == _COMMENT):
            pieces.append(memoryview(data)[start:end])
    if size is None:
        raise Refused(Rule.DAMAGED)
    return Container("JPEG", size[1], size[0], orientation, b"".join(pieces))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment; the first scan is the last of them and reaches to the file's end."""
    position = 2
    for _ in range(_MAX_PIECES):
        position = data.find(b"\xff", position)
        if position < 0:
            break
        marker = data[position + 1]
        if marker == 0xFF:  # any number of these may stand before a marker
            position += 1
            continue
        if marker == _END_OF_IMAGE:
            break
        if marker == _START_OF_SCAN:
            yield marker, position, len(data)
            return
        if marker == 0 or marker in _BARE_MARKERS:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if length < 2 or end > len(data):
            break
        yield marker, position, end
        position = end
    raise Refused(Rule.DAMAGED)


def _read_webp(data: bytes) -> Container:
    """Size and orientation; the file stays whole, as its first frame may be part of an animation (RFC 9649)."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<xI", data, 20)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    orientation = _webp_orientation(data) if kind == b"VP8X" else 1
    return Container("WEBP", width, height, orientation, data)


def _webp_orientation(data: bytes) -> int:
    position, end = 12, min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    for _ in range(_MAX_PIECES):
        if position + 8 > end:
            return 1
        name, length = struct.unpack_from("<4sI", data, position)
        if name == b"EXIF":
            return _orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + (length & 1)
    raise Refused(Rule.DAMAGED)


def _orientation(exif: bytes) -> int:
    """How the camera was held (Exif 2.32, tag 0x0112); 1 if that can't be read."""
    tiff = exif.removeprefix(_EXIF_START)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for number in range(min(count, _MAX_EXIF_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * number)
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
