"""Picture and animation jobs: plain colours drawn from the prompt, encoded here as PNG and GIF.

A picture that changes another one has that one's size unless told otherwise.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from quintet.core.content import Image
from quintet.core.errors import Unsupported
from quintet.core.events import Event, Finished, Media, Progress, Usage
from quintet.core.requests import AnimationRequest, ImageRequest, UpscaleRequest

DEFAULT_SIDE, DEFAULT_STEPS, DEFAULT_FRAMES, DEFAULT_SCALE = 64, 4, 4, 2.0

Colour = tuple[int, int, int]


def image_job(request: ImageRequest) -> Iterator[list[Event]]:
    """Progress for every step, then the pictures in the order of the prompts."""
    own_width, own_height = (DEFAULT_SIDE, DEFAULT_SIDE) if request.source is None else _size(request.source)
    width, height = request.width or own_width, request.height or own_height
    steps = DEFAULT_STEPS if request.steps is None else request.steps
    seed = request.seed if request.seed is not None else zlib.crc32("\n".join(request.prompts).encode())
    pictures = [
        (prompt, seed + number) for prompt in request.prompts for number in range(request.images_per_prompt)
    ]
    for step in range(steps):
        preview = png(8, 8, colour_of(request.prompts[0], seed + step)) if request.previews else b""
        yield [Progress("denoise", step + 1, steps, preview)]
    last: list[Event] = []
    for prompt, own_seed in pictures:
        text = f"{prompt}\nSteps: {steps}, Seed: {own_seed}"
        data = png(width, height, colour_of(prompt, own_seed), text if request.with_metadata else "")
        last.append(Media("image/png", data, text))
    usage = Usage(images=len(pictures), pixel_steps=len(pictures) * width * height * steps)
    yield [*last, Finished(usage=usage, seed=seed)]


def animation_job(request: AnimationRequest) -> Iterator[list[Event]]:
    """Progress for every frame, then one GIF, or one PNG per frame."""
    if request.format not in ("gif", "frames"):
        raise Unsupported("This model writes GIF files only. Ask for one.", param="format")
    width, height = request.width or DEFAULT_SIDE, request.height or DEFAULT_SIDE
    count = request.frames or DEFAULT_FRAMES
    seed = request.seed if request.seed is not None else zlib.crc32(request.prompt.encode())
    for frame in range(count):
        yield [Progress("denoise", frame + 1, count)]
    colours = [colour_of(request.prompt, seed + frame) for frame in range(count)]
    steps = DEFAULT_STEPS if request.steps is None else request.steps
    usage = Usage(frames=count, pixel_steps=count * width * height * steps)
    text = f"{request.prompt}\nSeed: {seed}"
    if request.format == "frames":
        files = [Media("image/png", png(width, height, colour), text) for colour in colours]
    else:
        files = [Media("image/gif", gif(width, height, colours, request.frames_per_second or 8.0), text)]
    yield [*files, Finished(usage=usage, seed=seed)]


def _size(picture: Image) -> tuple[int, int]:
    """Of a PNG, which is what pictures of requests are."""
    width, height = struct.unpack_from(">II", picture.data, 16)
    return width, height


def upscale_job(request: UpscaleRequest) -> Iterator[list[Event]]:
    """One step, then a picture of one colour that is as much larger as was asked."""
    scale = request.scale or DEFAULT_SCALE
    width, height = (round(side * scale) for side in _size(request.picture))
    yield [Progress("enlarge", 1, 1)]
    data = png(width, height, colour_of("", zlib.crc32(request.picture.data)))
    yield [Media("image/png", data), Finished(usage=Usage(images=1, pixel_steps=width * height))]


def colour_of(prompt: str, seed: int) -> Colour:
    """The colour a prompt looks like to echo."""
    mixed = zlib.crc32(f"{seed}:{prompt}".encode())
    return mixed & 255, mixed >> 8 & 255, mixed >> 16 & 255


def png(width: int, height: int, colour: Colour, text: str = "") -> bytes:
    """A picture of one colour (PNG, ISO/IEC 15948), and what it says of itself."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(colour) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"iTXt", b"parameters\0\0\0\0\0" + text.encode()) if text else b"")
        + chunk(b"IDAT", zlib.compress(rows, 1))
        + chunk(b"IEND", b"")
    )


def gif(width: int, height: int, colours: list[Colour], frames_per_second: float) -> bytes:
    """An endless animation with one colour per frame (GIF89a)."""
    hundredths = max(2, round(100 / frames_per_second))
    parts = [
        b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0),
        b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0",
    ]
    pixels = _one_colour_pixels(width * height)
    for colour in colours:
        parts.append(b"\x21\xf9\x04\x04" + struct.pack("<H", hundredths) + b"\0\0")
        parts.append(b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0x80))
        parts.append(bytes(colour) + bytes(3) + pixels)  # two colours per table, the second is unused
    return b"".join(parts) + b"\x3b"


def _one_colour_pixels(count: int) -> bytes:
    """`count` pixels of colour 0 as GIF's LZW data.

    Each code stands for a run one pixel longer than the one before, so the table is as good as empty.
    """
    clear, end, first_free = 4, 5, 6
    bits = _BitWriter()
    size, run, free = 3, 1, first_free
    bits.write(clear, size)
    while count > 0:
        run = min(run, count)
        bits.write(0 if run == 1 else first_free + run - 2, size)
        count -= run
        if run > 1:  # from its second code on, the decoder adds one entry per code
            free += 1
            if free == 1 << size and size < 12:
                size += 1
        run += 1
        if free == 4095:
            bits.write(clear, size)
            size, run, free = 3, 1, first_free
    bits.write(end, size)
    data = bits.close()
    blocks = (data[start : start + 255] for start in range(0, len(data), 255))
    return b"\x02" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


class _BitWriter:
    """Packs codes least significant bit first."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._pending = self._count = 0

    def write(self, code: int, size: int) -> None:
        self._pending |= code << self._count
        self._count += size
        while self._count >= 8:
            self._bytes.append(self._pending & 255)
            self._pending >>= 8
            self._count -= 8

    def close(self) -> bytes:
        if self._count:
            self._bytes.append(self._pending & 255)
        return bytes(self._bytes)
