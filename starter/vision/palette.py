"""The colours and backgrounds of the drawn world: every name stands for a few typical shades, and for what lies near them."""

import random

RGB = tuple[int, int, int]

SHADES: dict[str, tuple[RGB, ...]] = {
    "red": ((220, 30, 30), (255, 0, 0), (230, 50, 40)),
    "orange": ((245, 140, 20), (255, 165, 0), (250, 125, 10)),
    "yellow": ((250, 225, 40), (255, 255, 0), (255, 235, 80)),
    "green": ((30, 160, 60), (0, 128, 0), (0, 255, 0), (60, 190, 70)),
    "blue": ((30, 70, 215), (0, 0, 255), (50, 110, 240), (10, 20, 180)),
    "purple": ((130, 40, 170), (128, 0, 128), (150, 60, 200)),
    "pink": ((250, 130, 190), (255, 192, 203), (255, 105, 180)),
    "brown": ((120, 70, 30), (139, 69, 19), (160, 45, 40)),
    "black": ((15, 15, 15), (0, 0, 0), (30, 30, 30)),
    "white": ((250, 250, 250), (255, 255, 255), (240, 240, 240)),
    "gray": ((128, 128, 128), (150, 150, 150), (110, 110, 110)),
}
COLOURS = tuple(SHADES)
SCENERY: dict[str, tuple[tuple[float, RGB], ...]] = {
    "sky": ((0.0, (80, 150, 240)), (1.0, (205, 230, 255))),
    "grass": (
        (0.0, (120, 185, 250)), (0.599, (205, 230, 255)), (0.6, (90, 190, 70)), (1.0, (40, 130, 40)),
    ),
    "sunset": ((0.0, (90, 50, 140)), (1.0, (255, 150, 70))),
}  # fmt: skip
"""Backgrounds with a gradient: stops from top to bottom."""

BACKGROUNDS = (*COLOURS, *SCENERY)
_UNSEEN_ON = {"sky": ("blue", "gray"), "grass": ("green", "blue"), "sunset": ("orange", "purple", "brown")}
_JITTER = 10
_LEAST_DISTANCE = 95.0


def shade(rng: random.Random, colour: str) -> RGB:
    """A shade that goes by the colour's name."""
    red, green, blue = rng.choice(SHADES[colour])
    return (_jittered(rng, red), _jittered(rng, green), _jittered(rng, blue))


def stands_out(colour: str, rgb: RGB, background: str, background_rgb: RGB) -> bool:
    """Whether a thing of this colour can be told from the background."""
    if background in SCENERY:
        return colour not in _UNSEEN_ON[background]
    if colour == background:
        return False
    distance = sum((own - other) ** 2 for own, other in zip(rgb, background_rgb, strict=True)) ** 0.5
    return bool(distance >= _LEAST_DISTANCE)


def _jittered(rng: random.Random, value: int) -> int:
    return max(0, min(255, value + rng.randint(-_JITTER, _JITTER)))
