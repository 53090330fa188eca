"""Looks at a picture without any learning: which background, and which shapes of which colour lie where."""

import itertools
from collections import deque
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from starter.image.scenes import RADII, ROW_RADII, SHAPES, SIDE, Wish, colour_rgb, make_scene
from starter.vision.drawing import draw_picture
from starter.vision.palette import BACKGROUNDS, COLOURS
from starter.vision.scenes import SIZES, Thing

Mask = np.ndarray

_BORDER = 2
_BACKGROUND_OFF = 26.0
"""The largest median difference a channel's border may have from a background that goes by its name."""
_FOREGROUND = 58
"""What all three channels of a pixel together must differ from the background."""
_CORE, _LEAST = 6, 30
"""Pixels that a blot needs inside, and in all, to be a thing."""
_LIKENESS = 0.7
_NEAR = 0.13
"""How far a thing may lie from where it should, in widths."""
_APART = 0.2


@dataclass(frozen=True)
class Blot:
    """A thing that was seen; the shape is `?` if it resembles none."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Sight:
    """Everything that was seen; the background is `?` if it resembles none."""

    background: str
    blots: tuple[Blot, ...]


def look(picture: Image.Image) -> Sight:
    """What is in a picture."""
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture.convert("RGB")).astype(np.int32)
    background, behind = _background(pixels)
    raised = np.abs(pixels - behind).sum(-1) > _FOREGROUND
    shades = np.array([colour_rgb(colour) for colour in COLOURS])
    named = ((pixels[:, :, None] - shades) ** 2).sum(-1).argmin(-1)
    pieces = [piece for colour in range(len(COLOURS)) for piece in _pieces(raised & (named == colour))]
    taken = np.zeros((SIDE, SIDE), bool)
    for piece in pieces:
        taken |= piece
    blots = []
    for piece in pieces:
        whole = piece | (_dilated(piece) & raised & ~taken)
        if whole.sum() >= _LEAST:
            blots.append(_blot(whole, piece, pixels, shades))
    return Sight(background, tuple(blots))


def score(wish: Wish, picture: Image.Image) -> dict[str, bool]:
    """What of the wish is in the picture, aspect by aspect; `all` is everything."""
    sight = look(picture)
    wanted = sorted(wish.looks)
    found = {
        "background": sight.background == wish.scene.background,
        "count": len(sight.blots) == len(wanted),
        "colour": sorted(colour for colour, _ in wanted) == sorted(blot.colour for blot in sight.blots),
        "shape": sorted(shape for _, shape in wanted) == sorted(blot.shape for blot in sight.blots),
        "binding": wanted == sorted((blot.colour, blot.shape) for blot in sight.blots),
        "place": _well_placed(wish, sight),
    }
    if wish.size:
        found["size"] = [_size(blot.radius) for blot in sight.blots] == [wish.size]
    found["all"] = all(found.values())
    return found


def _well_placed(wish: Wish, sight: Sight) -> bool:
    by_colour = {blot.colour: blot for blot in sight.blots}
    blots = [by_colour.get(colour) for colour, _ in wish.looks]
    seen = [blot for blot in blots if blot is not None]
    if len(seen) < len(blots) or len(sight.blots) != len(blots):
        return False
    if wish.kind == "count":
        spots = sorted(blot.x for blot in sight.blots)
        return all(abs(spot - thing.x) < _NEAR for spot, thing in zip(spots, wish.scene.things, strict=True))
    if wish.kind in ("single", "places"):
        pairs = zip(seen, wish.scene.things, strict=True)
        return all(abs(blot.x - thing.x) < _NEAR and abs(blot.y - thing.y) < _NEAR for blot, thing in pairs)
    down = [blot.y for blot in seen]
    across = [blot.x for blot in seen]
    if wish.kind == "three":
        line = down if wish.relation == "below" else across
        return all(later - earlier > _APART for earlier, later in itertools.pairwise(line))
    if wish.relation is None:
        return True
    axis = across if wish.relation in ("left", "right") else down
    way = axis[1] - axis[0]
    return way > _APART if wish.relation in ("left", "above") else way < -_APART


def _size(radius: float) -> str:
    return min(SIZES, key=lambda size: abs(RADII[size] - radius))


def _background(pixels: np.ndarray) -> tuple[str, np.ndarray]:
    off = {name: float(np.median(np.abs(_edge(pixels) - _edge(plain)))) for name, plain in _plains().items()}
    spread = {name: float(np.abs(_edge(pixels) - _edge(plain)).mean()) for name, plain in _plains().items()}
    name = min(off, key=lambda name: off[name] + spread[name])
    return (name if off[name] <= _BACKGROUND_OFF else "?"), _plains()[name]


def _edge(pixels: np.ndarray) -> np.ndarray:
    inner = np.zeros(pixels.shape[:2], bool)
    inner[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
    edge: np.ndarray = pixels[~inner]
    return edge


@cache
def _plains() -> dict[str, np.ndarray]:
    return {name: np.asarray(draw_picture(make_scene(name, ()))).astype(np.int32) for name in BACKGROUNDS}


def _shifted(mask: Mask) -> list[Mask]:
    padded = np.pad(mask, 1)
    return [padded[1:-1, 1:-1], padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]


def _dilated(mask: Mask) -> Mask:
    return np.logical_or.reduce(_shifted(mask))  # type: ignore[no-any-return]


def _eroded(mask: Mask) -> Mask:
    return ~_dilated(~mask)


def _pieces(mask: Mask) -> list[Mask]:
    """Connected parts of one colour that are more than a rim."""
    found = []
    for core in _connected(_eroded(mask)):
        if core.sum() >= _CORE:
            for _ in range(3):
                core = _dilated(core) & mask
            found.append(core)
    return found


def _connected(mask: Mask) -> list[Mask]:
    left, parts = mask.copy(), []
    for row, column in zip(*np.nonzero(mask), strict=True):
        if not left[row, column]:
            continue
        part, queue = np.zeros_like(mask), deque([(row, column)])
        left[row, column] = False
        while queue:
            y, x = queue.popleft()
            part[y, x] = True
            for below, beside in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if 0 <= below < mask.shape[0] and 0 <= beside < mask.shape[1] and left[below, beside]:
                    left[below, beside] = False
                    queue.append((below, beside))
        parts.append(part)
    return parts


def _blot(whole: Mask, piece: Mask, pixels: np.ndarray, shades: np.ndarray) -> Blot:
    middle = np.median(pixels[_eroded(piece) if _eroded(piece).any() else piece], axis=0)
    colour = COLOURS[int(((shades - middle) ** 2).sum(1).argmin())]
    normal = _normalised(whole)
    likeness = {shape: max(_overlap(normal, pattern) for pattern in _patterns(shape)) for shape in SHAPES}
    shape = max(likeness, key=lambda shape: likeness[shape])
    rows, columns = np.nonzero(whole)
    x, y = (columns.min() + columns.max() + 1) / 2 / SIDE, (rows.min() + rows.max() + 1) / 2 / SIDE
    radius = (whole.sum() / _area(shape)) ** 0.5 / SIDE
    return Blot(shape if likeness[shape] >= _LIKENESS else "?", colour, float(x), float(y), float(radius))


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def _normalised(mask: Mask) -> np.ndarray:
    """The mask's bounding square at 32x32."""
    rows, columns = np.nonzero(mask)
    cut = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    side = max(cut.shape)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - cut.shape[0]) // 2, (side - cut.shape[1]) // 2
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return np.asarray(Image.fromarray(square * 255).resize((32, 32), Image.Resampling.BILINEAR)) / 255.0


def _drawn(shape: str, radius: float, aside: float = 0.0) -> Mask:
    thing = Thing(shape, "black", (0, 0, 0), 0.5 + aside, 0.5 + aside, radius)
    return np.asarray(draw_picture(make_scene("white", (thing,))).convert("L")) < 190


@cache
def _patterns(shape: str) -> tuple[np.ndarray, ...]:
    return tuple(
        _normalised(_drawn(shape, radius, aside))
        for radius in (*RADII.values(), *ROW_RADII.values())
        for aside in (0.0, 0.5 / SIDE)
    )


@cache
def _area(shape: str) -> float:
    """Pixels that a shape of radius one pixel would have."""
    return float(_drawn(shape, 0.3).sum() / (0.3 * SIDE) ** 2)
