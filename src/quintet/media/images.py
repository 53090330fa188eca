"""One picture made anew: checked, decoded, turned, scaled, RGB, PNG. Pure; belongs into the decoding process.

The only module of the house that meets the imaging library on what strangers sent.
"""

from __future__ import annotations

import zlib
from io import BytesIO

from PIL import Image, ImageChops, ImageFile, PngImagePlugin

from quintet.media.containers import Container, read_container
from quintet.media.rules import MAX_FILE_BYTES, MAX_PIXELS, MIN_SIDE_PIXELS, Refused, Rule, check_size

# The library's own limits, said aloud: ours come first and are tighter.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
ImageFile.LOAD_TRUNCATED_IMAGES = False
PngImagePlugin.MAX_TEXT_CHUNK = 64 * 1024
PngImagePlugin.MAX_TEXT_MEMORY = 64 * 1024

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation."""
_DETAIL = 1.5
"""A JPEG may be decoded at a fraction of its size as long as each side keeps so many times the wanted pixels."""


def normalise(data: bytes, *, max_side: int, is_mask: bool = False) -> bytes:
    """The picture in a JPEG, PNG or WebP file as an RGB PNG without metadata, at most `max_side` pixels long.

    Of a moving picture the first frame; transparent parts are white; the same input gives the same bytes.
    A mask becomes a PNG of one channel: how transparent each pixel is, or how bright where all are opaque.
    Raises Refused, and nothing else.
    """
    if len(data) > MAX_FILE_BYTES:
        raise Refused(Rule.FILE_TOO_LARGE)
    container = read_container(data)
    check_size(container.width, container.height)
    try:
        return _encode(_decode(container, max_side, is_mask))
    except MemoryError:
        raise Refused(Rule.TOO_MUCH_MEMORY) from None
    except Exception:  # what decoders raise on hostile bytes is no closed set, and its text must not get out
        raise Refused(Rule.DAMAGED) from None


def fitted(width: int, height: int, max_side: int) -> tuple[int, int]:
    """The size scaled down so that the longer side fits; never up, and no side below the smallest that is taken."""
    longest = max(width, height)
    if longest <= max_side:
        return width, height
    # Whole numbers, rounded to the nearest: the same on every machine.
    scaled = ((2 * side * max_side + longest) // (2 * longest) for side in (width, height))
    first, second = (max(MIN_SIDE_PIXELS, side) for side in scaled)
    return first, second


def _decode(container: Container, max_side: int, is_mask: bool) -> Image.Image:
    """Upright pixels of the wanted size, RGB or those of a mask."""
    size = fitted(container.width, container.height, max_side)
    with Image.open(BytesIO(container.data), formats=(container.format,)) as file:
        if file.size != (container.width, container.height):
            raise Refused(Rule.DAMAGED)
        if container.format == "JPEG":
            file.draft(None, (round(size[0] * _DETAIL), round(size[1] * _DETAIL)))
        file.load()
        picture = _to_mask(file) if is_mask else _to_rgb(file)
    if picture.size != size:
        # Sharp filters overshoot: a mask would get rings of other values along its edges.
        picture = picture.resize(size, Image.Resampling.BOX if is_mask else Image.Resampling.LANCZOS)
    turn = _TURNS.get(container.orientation)
    return picture.transpose(turn) if turn is not None else picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Three channels of 8 bits; transparent parts become white."""
    picture = _plain(picture)
    if picture.mode == "RGBA":
        flat = Image.new("RGB", picture.size, "white")
        flat.paste(picture, mask=picture.getchannel("A"))
        return flat
    return picture.convert("RGB")


def _to_mask(picture: Image.Image) -> Image.Image:
    """One channel of 8 bits."""
    picture = _plain(picture)
    if picture.mode == "RGBA":
        alpha = picture.getchannel("A")
        if alpha.getextrema() != (255, 255):
            return ImageChops.invert(alpha)
        picture = picture.convert("RGB")
    return picture.convert("L")


def _plain(picture: Image.Image) -> Image.Image:
    """8 bits per channel, and RGBA if anything may be transparent."""
    if picture.mode.startswith("I;16"):
        # The library would clip instead of scale: keep the upper byte of each little-endian pixel.
        picture = Image.frombytes("L", picture.size, picture.tobytes()[1::2])
    if picture.mode in ("LA", "PA") or "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture


def _encode(picture: Image.Image) -> bytes:
    """A plain PNG: nothing in it but pixels. Looking for runs alone is the fastest way that still packs photos."""
    picture.info.clear()  # the writer would copy profiles from here
    out = BytesIO()
    picture.save(out, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()
