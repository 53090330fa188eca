"""Pictures made by code, as files: plain ones, odd ones, and ones that lie about themselves."""

import random
import struct
import zlib
from io import BytesIO

from PIL import Image

ARROW = [(0, 0, 255), (255, 0, 0), (255, 255, 0), (0, 160, 0)]
"""Colours of the four corners, clockwise from the top left."""
PNG_START = b"\x89PNG\r\n\x1a\n"


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def decode(data: bytes) -> Image.Image:
    picture = Image.open(BytesIO(data), formats=["PNG"])
    picture.load()
    return picture


def plain(colour=(200, 30, 30), size=(32, 24), mode="RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def corners(size=(64, 32)) -> Image.Image:
    """Four quarters of four colours, wider than high: how it is turned can be seen."""
    width, height = size
    picture = Image.new("RGB", size)
    boxes = [(0, 0), (width // 2, 0), (width // 2, height // 2), (0, height // 2)]
    for colour, (left, top) in zip(ARROW, boxes, strict=True):
        picture.paste(colour, (left, top, left + width // 2, top + height // 2))
    return picture


def corner_colours(picture: Image.Image) -> list[tuple[int, ...]]:
    width, height = picture.size
    places = [(4, 4), (width - 5, 4), (width - 5, height - 5), (4, height - 5)]
    return [tuple(picture.crop((x, y, x + 1, y + 1)).tobytes()) for x, y in places]


def noise(size=(64, 64)) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(4).randbytes(3 * size[0] * size[1]))


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, size=(16, 16), depth=8, colour=2, pixels: bytes | None = None) -> bytes:
    """A PNG with more chunks between its header and its pixels."""
    width, height = size
    if pixels is None:
        pixels = (b"\0" + b"\x10\x80\xf0" * width) * height
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return PNG_START + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(pixels, 1)) + chunk(b"IEND")


def png_header(width: int, height: int) -> bytes:
    """A small file that claims any size."""
    return png(size=(width, height), pixels=bytes(100_000))


def jpeg_header(width: int, height: int) -> bytes:
    """A real JPEG whose header is changed to claim any size."""
    data = bytearray(encode(plain(), "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def webp_header(width: int, height: int) -> bytes:
    """A WebP container of any size around a frame of 32 x 24."""
    frame = encode(plain(), "WEBP", lossless=True)[12:]
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sizes + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def huge_canvas(width: int, height: int) -> bytes:
    """A moving WebP of two small frames on a canvas of any size."""
    data = bytearray(encode(plain(), "WEBP", save_all=True, append_images=[plain((1, 2, 3))]))
    assert data[12:16] == b"VP8X"
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def exif(orientation: int, order: str = "<", extra: bytes = b"") -> bytes:
    """An Exif block whose directory holds a date of birth, an orientation and whatever else follows."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHII", 0x010E, 2, 4, 0x41424300)
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    body = struct.pack(order + "IH", 8, 2) + entries + bytes(4) + extra
    return b"Exif\0\0" + start + body


def slow_jpeg(scans: int, side: int = 2048) -> bytes:
    """A progressive JPEG that refines its last bit again and again."""
    data = encode(plain(size=(side, side)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def chunk_names(data: bytes) -> list[bytes]:
    """The chunks of a PNG, in order; everything up to the very end must be chunks."""
    names, position = [], len(PNG_START)
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        names.append(data[position + 4 : position + 8])
        position += 12 + length
    return names
