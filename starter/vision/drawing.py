"""Draws a scene as a picture, with the accidents that pictures have: jagged or smooth edges, enlargement, JPEG, noise."""

import io
import math
import random
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from starter.vision.palette import RGB, SCENERY
from starter.vision.scenes import DIGITS, LETTERS, Scene, Thing

INPUT_SIDE = 96
"""The side of the square picture that the model sees."""

CHART_FLOOR = 0.82
CHART_COLUMNS = ((0.1, 0.32), (0.4, 0.62), (0.7, 0.92))
"""Left and right edge of each bar, in widths."""

_DEJAVU = Path("/usr/share/fonts/truetype/dejavu")
_FONT_FILES = (
    "DejaVuSans-Bold.ttf", "DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono-Bold.ttf",
    "DejaVuSansCondensed-Bold.ttf",
)  # fmt: skip
_LARGEST_CANVAS = 420


def draw_picture(scene: Scene) -> Image.Image:
    """The scene at its native size."""
    rng = random.Random(scene.style)
    side = max(scene.width, scene.height)
    smooth = max(1, min(3, _LARGEST_CANVAS // side)) if rng.random() < 0.75 else 1
    size = (scene.width * smooth, scene.height * smooth)
    image = _canvas(scene, size)
    pen = ImageDraw.Draw(image)
    for thing in scene.things:
        if thing.name in LETTERS + DIGITS:
            _draw_glyph(image, pen, thing)
        else:
            _draw_shape(pen, thing, size)
    if scene.bars:
        _draw_chart(pen, scene, size, rng)
    return image.reduce(smooth) if smooth > 1 else image


def model_input(scene: Scene) -> Image.Image:
    """The scene as the model sees it in training, accidents included."""
    rng = random.Random(scene.style + 1)
    image = draw_picture(scene)
    if rng.random() < 0.1:
        image = image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS)
    if rng.random() < 0.2:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=rng.randint(40, 92))
        image = Image.open(packed).convert("RGB")
    image = image.resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.BICUBIC)
    if rng.random() < 0.15:
        noise = np.random.default_rng(scene.style).normal(0, rng.uniform(2, 9), (INPUT_SIDE, INPUT_SIDE, 3))
        image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    return image


def _canvas(scene: Scene, size: tuple[int, int]) -> Image.Image:
    if scene.background not in SCENERY:
        return Image.new("RGB", size, scene.background_rgb)
    stops = SCENERY[scene.background]
    heights = np.linspace(0, 1, size[1])
    at = [stop for stop, _ in stops]
    column = np.stack(
        [np.interp(heights, at, [rgb[channel] for _, rgb in stops]) for channel in range(3)], -1
    )
    return Image.fromarray(column.astype(np.uint8)[:, None]).resize(size, Image.Resampling.NEAREST)


def _draw_shape(pen: ImageDraw.ImageDraw, thing: Thing, size: tuple[int, int]) -> None:
    width, height = size
    unit = thing.radius * min(size)

    def at(x: float, y: float) -> tuple[float, float]:
        return thing.x * width + x * unit, thing.y * height + y * unit

    fill = thing.rgb
    if thing.name == "circle":
        pen.ellipse([at(-1, -1), at(1, 1)], fill=fill)
    elif thing.name == "square":
        pen.rectangle([at(-0.88, -0.88), at(0.88, 0.88)], fill=fill)
    elif thing.name == "rectangle":
        across, down = (0.45, 1.0) if thing.tall else (1.0, 0.45)
        pen.rectangle([at(-across, -down), at(across, down)], fill=fill)
    elif thing.name == "cross":
        pen.rectangle([at(-1, -0.36), at(1, 0.36)], fill=fill)
        pen.rectangle([at(-0.36, -1), at(0.36, 1)], fill=fill)
    else:
        pen.polygon([at(x, y) for x, y in _outline(thing.name)], fill=fill)


@cache
def _outline(name: str) -> tuple[tuple[float, float], ...]:
    if name == "triangle":
        return ((0, -1), (1.05, 0.85), (-1.05, 0.85))
    if name == "diamond":
        return ((0, -1.05), (0.78, 0), (0, 1.05), (-0.78, 0))
    if name == "star":
        reach = [1.12 if corner % 2 == 0 else 0.45 for corner in range(10)]
        turns = [corner * math.pi / 5 for corner in range(10)]
        return tuple((r * math.sin(turn), -r * math.cos(turn)) for r, turn in zip(reach, turns, strict=True))
    turns = [2 * math.pi * corner / 40 for corner in range(40)]
    return tuple(
        (
            math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 15.5,
        )
        for t in turns
    )


@cache
def _font(number: int, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if number < len(_FONT_FILES) and (_DEJAVU / _FONT_FILES[number]).exists():
        return ImageFont.truetype(str(_DEJAVU / _FONT_FILES[number]), size)
    return ImageFont.load_default(size)


def _draw_glyph(image: Image.Image, pen: ImageDraw.ImageDraw, thing: Thing) -> None:
    """A letter whose height, not its font size, is what the scene says, centred on its ink."""
    centre = thing.x * image.width, thing.y * image.height
    size = max(8, round(2 * thing.radius * min(image.size) / 0.73 / 4) * 4)
    while True:
        font = _font(thing.font, size)
        left, top, right, bottom = font.getbbox(thing.name)
        if size == 8 or (right - left) / 2 + abs(centre[0] - image.width / 2) < 0.49 * image.width:
            break
        size = max(8, round(0.9 * size / 4) * 4 if size > 20 else 8)
    origin = centre[0] - (left + right) / 2, centre[1] - (top + bottom) / 2
    if not thing.angle:
        pen.text(origin, thing.name, font=font, fill=thing.rgb)
        return
    ink = Image.new("L", image.size)
    ImageDraw.Draw(ink).text(origin, thing.name, font=font, fill=255)
    image.paste(thing.rgb, mask=ink.rotate(thing.angle, Image.Resampling.BILINEAR, center=centre))


def _draw_chart(pen: ImageDraw.ImageDraw, scene: Scene, size: tuple[int, int], rng: random.Random) -> None:
    width, height = size
    floor = CHART_FLOOR * height
    dark: RGB = (0, 0, 0) if rng.random() < 0.7 else (70, 70, 70)
    line = max(1, round(min(size) / rng.choice((96, 96, 150))))
    if rng.random() < 0.2:
        for level in range(1, 5):
            pen.line(
                [(0.05 * width, floor * level / 5), (0.97 * width, floor * level / 5)], (200, 200, 200), line
            )
    font = _font(rng.choice((0, 0, 1, 5, 6)), max(8, round(height * rng.uniform(0.13, 0.17))))
    for bar, (left, right) in zip(scene.bars, CHART_COLUMNS, strict=True):
        pen.rectangle([(left * width, floor - bar.height * height), (right * width, floor)], fill=bar.rgb)
        box = font.getbbox(bar.name)
        x = (left + right) / 2 * width - (box[0] + box[2]) / 2
        pen.text((x, 0.91 * height - (box[1] + box[3]) / 2), bar.name, font=font, fill=dark)
    if rng.random() < 0.85:
        pen.line([(0.04 * width, floor), (0.98 * width, floor)], dark, line)
    if rng.random() < 0.6:
        pen.line([(0.05 * width, 0.04 * height), (0.05 * width, floor)], dark, line)
