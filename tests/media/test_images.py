"""One picture made anew: which are taken, what comes out, and what is left behind (reliability B-41 … B-45, B-50)."""

import random
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO

import pytest
from PIL import Image, features

from quintet.media.containers import read_container, sniff
from quintet.media.images import fitted, normalise
from quintet.media.rules import MAX_FILE_BYTES, Refused, Rule, check_size
from tests.media.pictures import (
    ARROW,
    chunk,
    chunk_names,
    corner_colours,
    corners,
    decode,
    encode,
    exif,
    jpeg_header,
    noise,
    plain,
    png,
    png_header,
    webp_header,
)

KINDS = ("JPEG", "PNG", "WEBP")


def made(data: bytes, max_side: int = 512) -> Image.Image:
    """The picture as engines get it."""
    result = normalise(data, max_side=max_side)
    assert chunk_names(result)[0] == b"IHDR"
    assert set(chunk_names(result)) == {b"IHDR", b"IDAT", b"IEND"}
    picture = decode(result)
    assert picture.mode == "RGB"
    return picture


def rule_of(data: bytes) -> Rule | None:
    try:
        normalise(data, max_side=64)
    except Refused as refused:
        return refused.rule
    return None


def is_near(pixel, colour, tolerance=6) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))


# ------------------------------------------------------------------------------------------------- what is taken


def foreign_files() -> Iterator[tuple[str, bytes]]:
    """Every other format that an imaging library may know; all of them came named .jpg."""
    for kind in ("TIFF", "ICO", "GIF", "BMP", "TGA", "PDF", "EPS", "PCX", "PPM", "SGI"):
        yield kind, encode(plain(), kind)
    for kind, feature in (("JPEG2000", "jpg_2000"), ("AVIF", "avif")):
        if features.check(feature):
            yield kind, encode(plain(), kind)
    yield "FITS", b"SIMPLE  =                    T / file conforms to FITS standard".ljust(2880)
    yield "PSD", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 16, 16, 8, 3) + bytes(12)
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "McIdas", b"\0\0\0\0\0\0\0\4" + bytes(256)
    yield "JPEG2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64)
    yield "AVIF", b"\0\0\0\x20ftypavif" + bytes(64)
    yield "HEIC", b"\0\0\0\x20ftypheic" + bytes(64)
    yield "JXL", b"\xff\x0a" + bytes(64)
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nwhile true\n"
    yield "WAVE", b"RIFF\x24\0\0\0WAVEfmt " + bytes(32)
    yield "MNG", b"\x8aMNG\r\n\x1a\n" + bytes(64)
    yield "HTML", b"<!doctype html><img src=x onerror=alert(1)>"
    yield "zip", b"PK\3\4" + bytes(64)
    yield "nothing", b""
    yield "one byte", b"\xff"


@pytest.mark.parametrize("data", [pytest.param(data, id=kind) for kind, data in foreign_files()])
def test_other_formats_are_unsupported(data: bytes) -> None:
    assert rule_of(data) is Rule.UNSUPPORTED


@pytest.mark.parametrize("kind", KINDS)
def test_the_three_formats_are_taken(kind: str) -> None:
    data = encode(corners(), kind, quality=95)
    assert sniff(data) == kind
    picture = made(data)
    assert picture.size == (64, 32)
    assert all(is_near(*pair, 24) for pair in zip(corner_colours(picture), ARROW, strict=True))


@pytest.mark.parametrize(
    ("size", "rule"),
    [
        ((0, 0), Rule.TOO_SMALL),
        ((0, 16), Rule.TOO_SMALL),
        ((1, 1), Rule.TOO_SMALL),
        ((1, 10_000), Rule.TOO_SMALL),
        ((10_000, 1), Rule.TOO_SMALL),
        ((7, 8), Rule.TOO_SMALL),
        ((8, 8), None),
        ((8, 800), None),
        ((8, 801), Rule.TOO_NARROW),
        ((4096, 4096), None),
        ((4096, 4097), Rule.TOO_MANY_PIXELS),
        ((30_000, 30_000), Rule.TOO_MANY_PIXELS),
        ((65_535, 65_535), Rule.TOO_MANY_PIXELS),
    ],
)
def test_sizes_are_read_from_the_header(size: tuple[int, int], rule: Rule | None) -> None:
    headers = [png_header(*size), jpeg_header(*size)]
    if size[0] and size[1]:  # this container stores sizes less one
        headers.append(webp_header(*size))
    for data in headers:
        container = read_container(data)
        assert (container.width, container.height) == size
        if rule is None:
            check_size(*size)
        else:
            assert rule_of(data) is rule


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(8, 8), (8, 800), (800, 8), (9, 11)])
def test_the_smallest_pictures(kind: str, size: tuple[int, int]) -> None:
    assert made(encode(plain(size=size), kind), max_side=1024).size == size


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_without_extensions_says_its_size(lossless: bool) -> None:
    container = read_container(encode(plain(size=(300, 200)), "WEBP", lossless=lossless))
    assert (container.width, container.height) == (300, 200)


def test_a_file_may_be_20_mib_and_no_more() -> None:
    data = png(pixels=None)
    filled = data + bytes(MAX_FILE_BYTES - len(data))
    assert rule_of(filled) is None
    assert rule_of(filled + b"\0") is Rule.FILE_TOO_LARGE


def test_a_header_that_contradicts_its_pixels() -> None:
    assert rule_of(webp_header(64, 64)) is Rule.DAMAGED
    twice = encode(plain(), "JPEG")
    at = twice.index(b"\xff\xc0")
    assert rule_of(twice[:at] + twice[at : at + 19] + twice[at:]) is Rule.DAMAGED


# ------------------------------------------------------------------------------------------------- what comes out


def wheel(mode: str) -> Image.Image:
    return corners().convert(mode)


def test_cmyk() -> None:
    picture = made(encode(wheel("CMYK"), "JPEG", quality=95))
    assert all(is_near(*pair, 24) for pair in zip(corner_colours(picture), ARROW, strict=True))


@pytest.mark.parametrize("mode", ["1", "L"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey(mode: str, kind: str) -> None:
    grey = wheel(mode)
    picture = made(encode(grey.convert("L") if kind == "JPEG" else grey, kind, quality=100))
    expected = corner_colours(grey.convert("RGB"))
    assert all(is_near(*pair) for pair in zip(corner_colours(picture), expected, strict=True))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_ways_to_store_a_jpeg(progressive: bool, subsampling: int) -> None:
    data = encode(corners(), "JPEG", quality=95, progressive=progressive, subsampling=subsampling)
    assert all(is_near(*pair, 24) for pair in zip(corner_colours(made(data)), ARROW, strict=True))


@pytest.mark.parametrize("value", [0, 255, 256, 32_768, 65_535])
def test_sixteen_bits_are_scaled_not_clipped(value: int) -> None:
    grey = struct.pack(">H", value)
    for colour, pixel in ((0, grey), (2, grey * 3), (4, grey + b"\xff\xff"), (6, grey * 3 + b"\xff\xff")):
        data = png(depth=16, colour=colour, pixels=(b"\0" + pixel * 16) * 16)
        assert made(data).getpixel((5, 5)) == (value >> 8,) * 3


def test_the_transparent_is_white() -> None:
    half = corners().convert("RGBA")
    half.putalpha(128)
    for kind in ("PNG", "WEBP"):
        picture = made(encode(half, kind, lossless=True))
        expected = [tuple(round(part * 128 / 255 + 127) for part in colour) for colour in ARROW]
        assert all(is_near(*pair, 2) for pair in zip(corner_colours(picture), expected, strict=True))
    grey = Image.new("LA", (16, 16), (0, 0))
    assert made(encode(grey, "PNG")).getpixel((3, 3)) == (255, 255, 255)


def test_transparent_colours_of_palettes_and_of_whole_pictures() -> None:
    flat = wheel("P")
    first = flat.getpixel((0, 0))
    assert made(encode(flat, "PNG", transparency=first)).getpixel((2, 2)) == (255, 255, 255)
    assert made(encode(flat, "PNG", transparency=first)).getpixel((60, 2)) == ARROW[1]
    graded = bytes(0 if index == first else 255 for index in range(256))
    assert made(encode(flat, "PNG", transparency=graded)).getpixel((2, 2)) == (255, 255, 255)
    assert made(encode(corners(), "PNG", transparency=ARROW[0])).getpixel((2, 2)) == (255, 255, 255)
    assert made(encode(plain(77, mode="L"), "PNG", transparency=77)).getpixel((2, 2)) == (255, 255, 255)
    assert made(png(chunk(b"tRNS", b"\x12\x34" * 3), depth=16, pixels=(b"\0" + b"\x12\x34" * 48) * 16))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_the_camera_was_held(orientation: int, order: str) -> None:
    block = exif(orientation, order)
    stored = corners()
    expected = Image.open(BytesIO(encode(stored, "PNG", exif=block)))
    upright = {
        1: [0, 1, 2, 3],
        2: [1, 0, 3, 2],
        3: [2, 3, 0, 1],
        4: [3, 2, 1, 0],
        5: [0, 3, 2, 1],
        6: [3, 0, 1, 2],
        7: [2, 1, 0, 3],
        8: [1, 2, 3, 0],
    }[orientation]
    assert expected.getexif()[0x0112] == orientation
    for kind in KINDS:
        picture = made(encode(stored, kind, exif=block, quality=95, lossless=True))
        assert picture.size == ((64, 32) if orientation < 5 else (32, 64))
        wanted = [ARROW[index] for index in upright]
        assert all(is_near(*pair, 24) for pair in zip(corner_colours(picture), wanted, strict=True)), kind


def test_turned_and_scaled() -> None:
    data = encode(corners((640, 320)), "JPEG", exif=exif(6), quality=95)
    picture = made(data, max_side=64)
    assert picture.size == (32, 64)
    assert is_near(picture.getpixel((4, 4)), ARROW[3], 24)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        exif(0),
        exif(9),
        exif(65_535),
        exif(3)[:-9],
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
    ],
)
def test_a_broken_exif_block_turns_nothing(block: bytes) -> None:
    data = encode(corners(), "PNG")
    data = data[:33] + chunk(b"eXIf", block) + data[33:]
    assert corner_colours(made(data)) == ARROW


def test_nothing_but_pixels_is_left() -> None:
    secret = b"SECRET-52.5200N-13.4050E"
    profile = b"not a colour profile " + secret
    block = exif(1, extra=secret)
    for kind in KINDS:
        data = encode(
            corners(), kind, exif=block, icc_profile=profile, xmp=secret, comment=secret, quality=95
        )
        assert data.count(secret) >= 2 or kind == "PNG"
        result = normalise(data, max_side=512)
        assert secret not in result
        assert not decode(result).info
    text = png(chunk(b"tEXt", b"Comment\0" + secret), chunk(b"iCCP", b"p\0\0" + zlib.compress(profile)))
    assert chunk_names(normalise(text, max_side=512)) == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("payload", [b"PK\3\4evil.zip", b"<script>alert(1)</script>", b"\x7fELF\2\1\1"])
def test_what_hides_behind_a_picture_is_gone(payload: bytes) -> None:
    clean = {kind: encode(corners(), kind) for kind in KINDS}
    for kind, data in clean.items():
        result = normalise(data + payload * 1000, max_side=512)
        assert payload not in result
        assert result == normalise(data, max_side=512), kind
    inside = png(chunk(b"paYl", payload), chunk(b"IDAT"))
    assert payload not in normalise(inside, max_side=512)
    data = clean["JPEG"]
    segment = b"\xff\xe7" + struct.pack(">H", len(payload) + 2) + payload
    assert payload not in normalise(data[:2] + segment + data[2:], max_side=512)


def test_the_same_picture_gives_the_same_bytes() -> None:
    for kind in KINDS:
        data = encode(noise((300, 200)), kind)
        first = normalise(data, max_side=128)
        assert first == normalise(data, max_side=128)
        assert first != normalise(data, max_side=127)


def test_what_comes_out_stays_as_it_is() -> None:
    once = normalise(encode(noise((90, 70)), "WEBP"), max_side=64)
    assert normalise(once, max_side=64) == once


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((64, 32), 64, (64, 32)),
        ((64, 32), 63, (63, 32)),
        ((100, 50), 4096, (100, 50)),
        ((4000, 3000), 1024, (1024, 768)),
        ((3000, 4000), 1024, (768, 1024)),
        ((800, 8), 64, (64, 8)),
    ],
)
def test_pictures_are_scaled_down_never_up(size, max_side, expected) -> None:
    assert fitted(size[0], size[1], max_side) == expected
    if max(size) < 1000:
        assert made(encode(plain(size=size), "PNG"), max_side).size == expected


def test_a_jpeg_decoded_at_a_fraction_looks_the_same() -> None:
    soft = noise((20, 15)).resize((600, 450), Image.Resampling.BICUBIC)
    data = encode(soft, "JPEG", quality=95)
    quick, exact = made(data, 75), soft.resize((75, 56), Image.Resampling.LANCZOS)
    worst = max(abs(a - b) for a, b in zip(quick.tobytes(), exact.resize(quick.size).tobytes(), strict=True))
    assert worst < 40


# ------------------------------------------------------------------------------------------------- hostile files


def test_cut_off_files_are_damaged() -> None:
    for kind in KINDS:
        data = encode(noise((40, 40)), kind, quality=90)
        whole = 0
        for length in range(0, len(data), 7):
            rule = rule_of(data[:length])
            assert rule in (Rule.DAMAGED, Rule.UNSUPPORTED, None)
            assert rule is not Rule.UNSUPPORTED or length < 16
            whole += rule is None and length < len(data) - 16
        assert whole == 0, kind


@pytest.mark.parametrize(
    "bomb",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(30_000_000), 9)),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(30_000_000), 9)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(30_000_000), 9)),
        chunk(b"zTXt", b"Comment\0\0garbage"),
        chunk(b"iCCP", b"profile\0\0garbage"),
        chunk(b"iCCP", b""),
        chunk(b"acTL", b"\xff" * 8),
        chunk(b"fcTL", b"\xff" * 3),
        chunk(b"tEXt", b"k" * 100_000),
    ],
)
def test_what_is_not_pixels_is_never_unpacked(bomb: bytes) -> None:
    assert made(png(bomb)).getpixel((5, 5)) == (16, 128, 240)


def test_a_file_of_nothing_but_chunks() -> None:
    assert rule_of(png(*[chunk(b"abCd")] * 70_000)) is Rule.DAMAGED
    jpeg = encode(plain(), "JPEG")
    assert rule_of(jpeg[:2] + b"\xff\xfe\0\2" * 70_000 + jpeg[2:]) is Rule.DAMAGED


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_first_frame_of_a_moving_picture(kind: str) -> None:
    frames = [plain((index % 256, 255 - index % 256, index // 4), (24, 24)) for index in range(400)]
    options = {"lossless": True, "method": 0} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=10, **options)
    assert getattr(Image.open(BytesIO(data)), "n_frames") == 400  # noqa: B009
    picture = made(data)
    assert picture.size == (24, 24)
    assert is_near(picture.getpixel((9, 9)), (0, 255, 0), 1)


def test_reading_broken_containers_raises_nothing_else() -> None:
    rng = random.Random(20)
    seeds = [encode(noise((16, 16)), kind, exif=exif(6)) for kind in KINDS]
    for number in range(3000):
        data = bytearray(seeds[number % 3])
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        with suppress(Refused):  # and nothing else
            assert 1 <= read_container(bytes(data[: rng.randint(1, len(data))])).orientation <= 8
