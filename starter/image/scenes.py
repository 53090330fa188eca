"""What a prompt can ask for: one to three shapes on a background, as scenes of the world that starter-vision names."""

import hashlib
import random
from dataclasses import dataclass
from enum import StrEnum

from starter.motion.paths import MOTIONS, is_held_out, phrase, random_path, still_time
from starter.vision.palette import BACKGROUNDS, COLOURS, RGB, SCENERY, SHADES, stands_out
from starter.vision.scenes import PLACES, SIZES, Scene, Thing

SIDE = 64
"""Width and height of every picture in pixels."""

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
RELATIONS = ("left", "right", "above", "below")
KINDS = ("single", "pair", "places", "three", "count", "motion", "plain")
KIND_WEIGHTS = (38, 26, 7, 12, 11, 5, 1)
RADII = {"small": 0.148, "medium": 0.205, "large": 0.32}
ROW_RADII = {2: 0.185, 3: 0.128}
ROW_SPOTS = {2: (0.265, 0.735), 3: (0.17, 0.5, 0.83)}
DEFAULT_BACKGROUND = "white"
"""What lies behind the shapes when the prompt does not say."""

_THIRDS = (0.25, 0.5, 0.75)
_SIZE_WEIGHTS = (45, 27, 28)
_PALE_ON = {"sky": ("white",), "grass": ("white",)}
_SMOOTH_STYLE = 1
_JITTER = 0.015

Look = tuple[str, str]
"""A colour and a shape."""


class Wishes(StrEnum):
    """Which wishes may be drawn: those to learn from, or those with a combination held out."""

    TRAIN = "train"
    HELD = "held"


@dataclass(frozen=True)
class Wish:
    """What a prompt says, and one scene that fulfils it; `None` is what the prompt leaves open."""

    kind: str
    looks: tuple[Look, ...]
    background: str | None
    scene: Scene
    places: tuple[str, ...] = ()
    size: str | None = None
    relation: str | None = None
    """How the first of a pair lies to the second; for three, `below` is a column and anything else a row."""
    motion: str | None = None
    """Words for how the shape moves, of which a still picture shows one moment: starter-motion builds on them."""

    @property
    def held_out(self) -> bool:
        """Whether training must not show it: a tenth of all combinations of what is drawn and what lies behind."""
        if self.kind == "plain":
            return False
        key: tuple[object, ...] = self.looks
        if len(set(self.looks)) == 1:
            key = (*self.looks[0], self.scene.background)
        digest = hashlib.md5(repr(key).encode(), usedforsecurity=False).hexdigest()
        return int(digest, 16) % 10 == 0


def draw_wish(rng: random.Random, wishes: Wishes = Wishes.TRAIN, kind: str | None = None) -> Wish:
    """A random wish on the wanted side of the split."""
    kind = kind or rng.choices(KINDS, KIND_WEIGHTS)[0]
    if wishes is Wishes.HELD and kind == "plain":
        raise ValueError("no plain background is held out")
    while True:
        wish = _KINDS[kind](rng)
        if wish.held_out == (wishes is Wishes.HELD):
            return wish


def colour_rgb(colour: str) -> RGB:
    """The one shade that this model draws of a colour."""
    return SHADES[colour][0]


def visible(colour: str, background: str) -> bool:
    """Whether a shape of this colour is ever put on the background."""
    behind = (0, 0, 0) if background in SCENERY else colour_rgb(background)
    return stands_out(colour, colour_rgb(colour), background, behind) and colour not in _PALE_ON.get(
        background, ()
    )


def make_scene(background: str, things: tuple[Thing, ...]) -> Scene:
    """Things on a background, to be drawn with smooth edges at this model's size."""
    behind = (0, 0, 0) if background in SCENERY else colour_rgb(background)
    return Scene("shapes", background, behind, SIDE, SIDE, things, style=_SMOOTH_STYLE)


def _ground(rng: random.Random) -> str | None:
    return rng.choice(BACKGROUNDS) if rng.random() < 0.68 else None


def _looks(rng: random.Random, count: int, background: str | None) -> tuple[Look, ...]:
    """Shapes of different colours."""
    usable = [colour for colour in COLOURS if visible(colour, background or DEFAULT_BACKGROUND)]
    return tuple((colour, rng.choice(SHAPES)) for colour in rng.sample(usable, count))


def _thing(rng: random.Random, look: Look, x: float, y: float, radius: float) -> Thing:
    radius *= rng.uniform(0.96, 1.04)
    margin = radius * 1.1 + 0.02
    x, y = (min(max(value + rng.uniform(-_JITTER, _JITTER), margin), 1 - margin) for value in (x, y))
    return Thing(look[1], look[0], colour_rgb(look[0]), x, y, radius)


def _spot(place: str) -> tuple[float, float]:
    number = PLACES.index(place)
    return _THIRDS[number % 3], _THIRDS[number // 3]


def _single(rng: random.Random) -> Wish:
    background = _ground(rng)
    looks = _looks(rng, 1, background)
    size = rng.choices(SIZES, _SIZE_WEIGHTS)[0] if rng.random() < 0.55 else None
    places = (rng.choice(PLACES),) if rng.random() < 0.5 else ()
    x, y = _spot(places[0] if places else "center")
    thing = _thing(rng, looks[0], x, y, RADII[size or "medium"])
    scene = make_scene(background or DEFAULT_BACKGROUND, (thing,))
    return Wish("single", looks, background, scene, places, size)


def _row(rng: random.Random, looks: tuple[Look, ...], background: str | None, column: bool) -> Scene:
    """Things side by side, or one below the other."""
    spots, radius = ROW_SPOTS[len(looks)], ROW_RADII[len(looks)]
    things = tuple(
        _thing(rng, look, *((0.5, spot) if column else (spot, 0.5)), radius)
        for look, spot in zip(looks, spots, strict=True)
    )
    return make_scene(background or DEFAULT_BACKGROUND, things)


def _pair(rng: random.Random) -> Wish:
    background = _ground(rng)
    looks = _looks(rng, 2, background)
    relation = rng.choice(RELATIONS) if rng.random() < 0.6 else None
    drawn = looks[::-1] if relation in ("right", "below") else looks
    scene = _row(rng, drawn, background, relation in ("above", "below"))
    return Wish("pair", looks, background, scene, relation=relation)


def _places(rng: random.Random) -> Wish:
    background = _ground(rng)
    looks = _looks(rng, 2, background)
    while True:
        places = tuple(rng.sample(PLACES, 2))
        spots = [_spot(place) for place in places]
        if max(abs(spots[0][axis] - spots[1][axis]) for axis in (0, 1)) >= 0.45:
            break
    things = tuple(_thing(rng, look, *spot, ROW_RADII[2]) for look, spot in zip(looks, spots, strict=True))
    return Wish("places", looks, background, make_scene(background or DEFAULT_BACKGROUND, things), places)


def _three(rng: random.Random) -> Wish:
    background = _ground(rng)
    looks = _looks(rng, 3, background)
    column = rng.random() < 0.2
    scene = _row(rng, looks, background, column)
    return Wish("three", looks, background, scene, relation="below" if column else None)


def _count(rng: random.Random) -> Wish:
    background = _ground(rng)
    looks = _looks(rng, 1, background) * rng.choice((2, 3))
    return Wish("count", looks, background, _row(rng, looks, background, False))


def _motion(rng: random.Random) -> Wish:
    background = _ground(rng)
    motion = rng.choice(MOTIONS)
    while True:
        looks = _looks(rng, 1, background)
        if not is_held_out(*looks[0], motion):
            break
    size = rng.choice(SIZES) if rng.random() < 0.2 else None
    x, y, radius = random_path(rng, motion, size or "medium").at(still_time(rng, motion))  # type: ignore[arg-type]
    thing = Thing(looks[0][1], looks[0][0], colour_rgb(looks[0][0]), x, y, radius)
    scene = make_scene(background or DEFAULT_BACKGROUND, (thing,))
    return Wish("motion", looks, background, scene, size=size, motion=phrase(rng, motion))


def _plain(rng: random.Random) -> Wish:
    background = rng.choice(BACKGROUNDS)
    return Wish("plain", (), background, make_scene(background, ()))


_KINDS = {
    "single": _single, "pair": _pair, "places": _places, "three": _three, "count": _count, "motion": _motion,
    "plain": _plain,
}  # fmt: skip
