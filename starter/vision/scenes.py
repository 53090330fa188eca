"""What a picture shows: shapes, one letter or digit, or a chart of three bars; everything that questions and labels need."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from starter.vision.palette import COLOURS, RGB, SCENERY, shade, stands_out

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "diamond", "rectangle")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
BAR_NAMES = "ABCDEFXYZ"
FONTS = 7
KINDS = ("shapes", "glyph", "chart")
KIND_WEIGHTS = (52, 28, 20)
SIZES = ("small", "medium", "large")
PLACES = (
    "top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right",
)  # fmt: skip
RANKS = ("tallest", "middle", "shortest")

HELD_SHAPES = frozenset(
    {
        ("purple", "star"), ("orange", "square"), ("pink", "triangle"), ("green", "heart"), ("gray", "circle"),
        ("yellow", "cross"), ("brown", "diamond"), ("black", "rectangle"), ("white", "star"), ("red", "diamond"),
        ("blue", "rectangle"),
    }
)  # fmt: skip
"""Colours and shapes that training never shows together."""


class Pictures(StrEnum):
    """Which pictures may be drawn: those to learn from, those with a combination held out, or any."""

    TRAIN = "train"
    HELD = "held"


@dataclass(frozen=True)
class Thing:
    """A shape, a letter or a digit: its name, colour, centre (in widths and heights) and radius (in shorter sides)."""

    name: str
    colour: str
    rgb: RGB
    x: float
    y: float
    radius: float
    tall: bool = False
    font: int = 0
    angle: float = 0.0

    @property
    def size(self) -> str | None:
        """Small, medium or large; nothing where people would disagree."""
        if self.radius <= 0.155:
            return "small"
        if 0.175 <= self.radius <= 0.235:
            return "medium"
        return "large" if self.radius >= 0.28 else None

    @property
    def place(self) -> str | None:
        """Where its centre lies among nine places; nothing near their borders."""
        column, row = _third(self.x), _third(self.y)
        return None if column is None or row is None else PLACES[row * 3 + column]


@dataclass(frozen=True)
class Bar:
    """One bar of a chart: name, colour and height (in heights of the picture)."""

    name: str
    colour: str
    rgb: RGB
    height: float


@dataclass(frozen=True)
class Scene:
    """A picture's content in reading order, its background, and its native size in pixels."""

    kind: str
    background: str
    background_rgb: RGB
    width: int
    height: int
    things: tuple[Thing, ...] = ()
    bars: tuple[Bar, ...] = ()
    style: int = 0
    """Seeds what does not matter: smoothing, compression, noise, the chart's axes."""

    @property
    def ranks(self) -> tuple[str, ...]:
        """Each bar's rank by height."""
        order = sorted(self.bars, key=lambda bar: -bar.height)
        return tuple(RANKS[order.index(bar)] for bar in self.bars)

    @property
    def held_out(self) -> bool:
        """Whether training must not show it."""
        if self.kind == "shapes":
            return any((thing.colour, thing.name) in HELD_SHAPES for thing in self.things)
        if self.kind == "glyph":
            thing = self.things[0]
            return _one_in_ten(thing.name, thing.colour, thing.font)
        names = "".join(bar.name for bar in self.bars)
        return names != "ABC" and _one_in_ten(names, self.ranks)


def draw_scene(rng: random.Random, pictures: Pictures = Pictures.TRAIN, kind: str | None = None) -> Scene:
    """A random scene on the wanted side of the split."""
    kind = kind or rng.choices(KINDS, KIND_WEIGHTS)[0]
    # With more shapes a held-out one among them is likelier: their number is drawn first, so it is the same in both.
    count = _count(rng) if kind == "shapes" and pictures is Pictures.HELD else None
    while True:
        scene = _shapes(rng, count) if kind == "shapes" else {"glyph": _glyph, "chart": _chart}[kind](rng)
        if scene.held_out == (pictures is Pictures.HELD):
            return scene


def _one_in_ten(*key: object) -> bool:
    digest = hashlib.md5(repr(key).encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % 10 == 0


def _third(value: float) -> int | None:
    if value < 0.39:
        return 0
    if 0.43 <= value <= 0.57:
        return 1
    return 2 if value > 0.61 else None


def _native_size(rng: random.Random, widest: float) -> tuple[int, int]:
    side = rng.choice((64, 64, 96, 128, 160, 200, 256, 320, 384))
    if rng.random() < 0.6:
        return side, side
    longer = round(side * rng.uniform(1.0, widest))
    return (longer, side) if rng.random() < 0.6 else (side, longer)


def _background(rng: random.Random) -> tuple[str, RGB]:
    chance = rng.random()
    if chance < 0.35:
        name = "white"
    elif chance < 0.8:
        name = rng.choice(COLOURS)
    else:
        name = rng.choice(tuple(SCENERY))
    return name, (0, 0, 0) if name in SCENERY else shade(rng, name)


def _count(rng: random.Random) -> int:
    return rng.choices((1, 2, 3, 4), (36, 32, 22, 10))[0]


def _shapes(rng: random.Random, count: int | None) -> Scene:
    wide = rng.random() < 0.1
    width, height = _native_size(rng, 1.78 if wide else 1.34)
    background, background_rgb = _background(rng)
    count = count or _count(rng)
    while True:
        looks = _looks(rng, count)
        rgbs = {colour: shade(rng, colour) for colour, _ in looks}
        if wide and any(shape in ("square", "rectangle") for _, shape in looks):
            continue
        if all(stands_out(colour, rgb, background, background_rgb) for colour, rgb in rgbs.items()):
            break
        if rng.random() < 0.1:
            background, background_rgb = _background(rng)
    spots = _spots(rng, count)
    things = tuple(
        Thing(shape, colour, rgbs[colour], *_inside(x, y, radius), radius, tall=rng.random() < 0.2)
        for (colour, shape), (x, y, radius) in zip(looks, spots, strict=True)
    )
    return Scene("shapes", background, background_rgb, width, height, things, style=rng.getrandbits(30))


def _looks(rng: random.Random, count: int) -> list[tuple[str, str]]:
    chance = rng.random()
    colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
    if chance < 0.22:
        return [(colour, shape)] * count
    if chance < 0.32:
        return [(rng.choice(COLOURS), shape) for _ in range(count)]
    if chance < 0.42:
        return [(colour, rng.choice(SHAPES)) for _ in range(count)]
    return [(rng.choice(COLOURS), rng.choice(SHAPES)) for _ in range(count)]


def _inside(x: float, y: float, radius: float) -> tuple[float, float]:
    margin = radius * 1.1 + 0.02
    return min(max(x, margin), 1 - margin), min(max(y, margin), 1 - margin)


def _spots(rng: random.Random, count: int) -> Sequence[tuple[float, float, float]]:
    """Centres and radii in reading order."""

    def near(value: float, by: float) -> float:
        return value + rng.uniform(-by, by)

    chance = rng.random()
    if count == 1:
        radius = rng.choice(
            (
                rng.uniform(0.1, 0.155),
                rng.uniform(0.175, 0.235),
                rng.uniform(0.28, 0.36),
                rng.uniform(0.1, 0.4),
            )
        )
        side = (0.25, 0.5, 0.75)
        x, y = (0.5, 0.5) if chance < 0.35 else (rng.choice(side), rng.choice(side))
        return [(near(x, 0.05), near(y, 0.05), radius)]
    if count == 2 and chance < 0.75:
        first, second = near(0.26, 0.035), near(0.74, 0.035)
        across = near(0.5, 0.05)
        radii = rng.uniform(0.17, 0.21), rng.uniform(0.17, 0.21)
        if rng.random() < 0.35:
            radii = rng.uniform(0.1, 0.21), rng.uniform(0.1, 0.21)
        if chance < 0.5:
            return [(first, across, radii[0]), (second, near(across, 0.02), radii[1])]
        return [(across, first, radii[0]), (near(across, 0.02), second, radii[1])]
    radius = rng.uniform(0.09, 0.125)
    if count == 3 and chance < 0.45:
        middle = near(0.5, 0.04)
        row = [(near(spot, 0.03), near(middle, 0.02), near(radius, 0.01)) for spot in (0.18, 0.5, 0.82)]
        return row if chance < 0.3 else [(y, x, r) for x, y, r in row]
    if count == 4 and chance < 0.45:
        radius = rng.uniform(0.1, 0.19)
        return [(near(x, 0.03), near(y, 0.03), radius) for y in (0.27, 0.73) for x in (0.27, 0.73)]
    cells = sorted(rng.sample(range(9), count))
    side = (0.2, 0.5, 0.8)
    return [(near(side[cell % 3], 0.025), near(side[cell // 3], 0.025), near(radius, 0.01)) for cell in cells]


def _glyph(rng: random.Random) -> Scene:
    width, height = _native_size(rng, 1.5)
    while True:
        background, background_rgb = _background(rng)
        colour = rng.choice(COLOURS)
        rgb = shade(rng, colour)
        if stands_out(colour, rgb, background, background_rgb):
            break
    thing = Thing(
        rng.choice(LETTERS) if rng.random() < 0.68 else rng.choice(DIGITS),
        colour,
        rgb,
        0.5 + rng.uniform(-0.09, 0.09),
        0.5 + rng.uniform(-0.07, 0.07),
        rng.uniform(0.24, 0.45),
        font=rng.randrange(FONTS),
        angle=rng.uniform(-8, 8) if rng.random() < 0.3 else 0.0,
    )
    return Scene("glyph", background, background_rgb, width, height, (thing,), style=rng.getrandbits(30))


def _chart(rng: random.Random) -> Scene:
    width, height = _native_size(rng, 1.78)
    width, height = max(width, 96), max(height, 96)
    background = "gray" if rng.random() < 0.08 else "white"
    background_rgb = (215, 215, 215) if background == "gray" else shade(rng, "white")
    names = list("ABC") if rng.random() < 0.35 else rng.sample(BAR_NAMES, 3)
    if rng.random() < 0.4:
        names.sort()
    usable = [colour for colour in COLOURS if colour not in ("white", "gray")]
    colours = [rng.choice(usable)] * 3 if rng.random() < 0.25 else rng.sample(usable, 3)
    while True:
        heights = [rng.uniform(0.1, 0.72) for _ in range(3)]
        low, middle, high = sorted(heights)
        if middle - low >= 0.07 and high - middle >= 0.07:
            break
    rgbs = {colour: shade(rng, colour) for colour in colours}
    bars = tuple(
        Bar(name, colour, rgbs[colour], tall)
        for name, colour, tall in zip(names, colours, heights, strict=True)
    )
    return Scene("chart", background, background_rgb, width, height, bars=bars, style=rng.getrandbits(30))
