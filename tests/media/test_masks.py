"""Masks made anew: one channel, white = repaint, out of whatever kind of file says where."""

from __future__ import annotations

import asyncio

import pytest
from PIL import Image

from quintet.media.images import normalise
from quintet.media.rules import Refused, Rule
from tests.media.decoding import FIELD, pool
from tests.media.pictures import decode, encode, exif

SIZE = (64, 32)


def halves(mode: str, left: object, right: object) -> Image.Image:
    """A picture of two colours."""
    picture = Image.new(mode, SIZE, left)
    picture.paste(right, (SIZE[0] // 2, 0, *SIZE))
    return picture


def mask_of(picture: Image.Image, kind: str = "PNG", max_side: int = 64, **options: object) -> Image.Image:
    made = decode(normalise(encode(picture, kind, **options), max_side=max_side, is_mask=True))
    assert made.mode == "L"
    assert made.info == {}
    return made


def sides(mask: Image.Image) -> tuple[int, int]:
    """The values far from the edge between the halves."""
    width, height = mask.size
    return mask.getpixel((2, height // 2)), mask.getpixel((width - 3, height // 2))


@pytest.mark.parametrize(
    ("mode", "left", "right", "expected"),
    [
        ("1", 1, 0, (255, 0)),
        ("L", 255, 0, (255, 0)),
        ("L", 200, 17, (200, 17)),
        ("RGB", (255, 255, 255), (0, 0, 0), (255, 0)),
        ("RGB", (255, 0, 0), (0, 0, 0), (76, 0)),
        # An opaque alpha channel says nothing: what counts is how bright it is.
        ("RGBA", (255, 255, 255, 255), (0, 0, 0, 255), (255, 0)),
        ("LA", (255, 255), (0, 255), (255, 0)),
        # As OpenAI's clients send it: what is transparent is painted anew, whatever colour it has.
        ("RGBA", (255, 255, 255, 255), (255, 255, 255, 0), (0, 255)),
        ("RGBA", (0, 0, 0, 0), (90, 90, 90, 255), (255, 0)),
        ("RGBA", (9, 9, 9, 55), (9, 9, 9, 255), (200, 0)),
        ("LA", (255, 0), (255, 255), (255, 0)),
    ],
)
def test_where_it_is_white(mode: str, left: object, right: object, expected: tuple[int, int]) -> None:
    assert sides(mask_of(halves(mode, left, right))) == expected


def test_a_palette_with_a_transparent_colour() -> None:
    picture = halves("P", 0, 1)
    picture.putpalette([255, 255, 255, 255, 255, 255])
    assert sides(mask_of(picture, transparency=1)) == (0, 255)


def test_sixteen_bits() -> None:
    row = b"\xff\xff" * (SIZE[0] // 2) + b"\x00\x10" * (SIZE[0] // 2)
    assert sides(mask_of(Image.frombytes("I;16", SIZE, row * SIZE[1]))) == (255, 16)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_other_files(kind: str) -> None:
    left, right = sides(mask_of(halves("RGB", (255, 255, 255), (0, 0, 0)), kind))
    assert left > 250
    assert right < 5


def test_it_is_turned_as_its_picture_would_be() -> None:
    made = mask_of(halves("RGB", (255, 255, 255), (0, 0, 0)), "JPEG", exif=exif(6))
    assert made.size == (32, 64)
    assert made.getpixel((16, 3)) > 250
    assert made.getpixel((16, 60)) < 5


def test_scaling_adds_no_rings() -> None:
    """Every value lies between those that were sent, and all but the edge is exact."""
    made = mask_of(halves("L", 180, 60), max_side=30)
    assert made.size == (30, 15)
    counts = {value: count for count, value in made.getcolors()}
    assert set(counts) - {60, 180} <= {120}
    assert counts[60] == counts[180]


def test_the_same_rules_as_for_pictures() -> None:
    with pytest.raises(Refused) as refused:
        normalise(encode(Image.new("L", (4, 40)), "PNG"), max_side=64, is_mask=True)
    assert refused.value.rule is Rule.TOO_SMALL
    with pytest.raises(Refused) as refused:
        normalise(encode(Image.new("L", (64, 64)), "GIF"), max_side=64, is_mask=True)
    assert refused.value.rule is Rule.UNSUPPORTED


def test_the_process_is_told_which_is_which() -> None:
    data = encode(halves("RGBA", (200, 10, 10, 0), (200, 10, 10, 255)), "PNG")

    async def go() -> list[bytes]:
        async with pool(children=1) as decoder:
            return [
                await decoder.normalise(data, max_side=64, field=FIELD, is_mask=is_mask)
                for is_mask in (False, True, False)
            ]

    first, mask, second = asyncio.run(go())
    assert first == second
    assert decode(first).mode == "RGB"
    assert sides(decode(mask)) == (255, 0)
