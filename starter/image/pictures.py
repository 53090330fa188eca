"""A pool of training pictures on disk, drawn once and seen many times; wishes are drawn again from their seeds."""

import argparse
import math
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from starter.image.scenes import SIDE, Wish, draw_wish
from starter.vision.drawing import draw_picture

SHARD = 4096
"""Pictures in one file."""

CROPS_FROM = 9000
"""Files with this number or a higher one hold pieces of larger pictures, for refining what was enlarged."""

_SCALES = (2, 3, 4, 6)
_SMOOTH = 2


def shard_wishes(shard: int) -> list[Wish]:
    """The wishes of one file, always the same."""
    return [draw_wish(random.Random(f"wish/{shard}/{number}")) for number in range(SHARD)]


def draw_crop(wish: Wish, rng: random.Random) -> Image.Image:
    """A piece of the scene drawn several times as large, with the border of something in it."""
    scale = rng.choice(_SCALES)
    side = SIDE * scale
    larger = replace(wish.scene, width=side * _SMOOTH, height=side * _SMOOTH)
    whole = draw_picture(larger).reduce(_SMOOTH)
    x, y = rng.random(), rng.random()
    if wish.scene.things:
        thing = rng.choice(wish.scene.things)
        turn, reach = rng.uniform(0, 2 * math.pi), thing.radius * rng.uniform(0.5, 1.1)
        x, y = thing.x + reach * math.cos(turn), thing.y + reach * math.sin(turn)
    left, top = (max(0, min(side - SIDE, round(value * side - SIDE / 2))) for value in (x, y))
    return whole.crop((left, top, left + SIDE, top + SIDE))


def draw_wishes(wishes: list[Wish]) -> np.ndarray:
    """Pixels [pictures, height, width, 3]."""
    pixels = np.empty((len(wishes), SIDE, SIDE, 3), np.uint8)
    for number, wish in enumerate(wishes):
        pixels[number] = np.asarray(draw_picture(wish.scene))
    return pixels


def write_shard(folder: Path, shard: int) -> None:
    """Draws one file of pictures, if it is not there."""
    target = folder / f"{shard:04d}.pictures.npy"
    if target.exists():
        return
    partial = target.with_suffix(".partial.npy")
    wishes = shard_wishes(shard)
    if shard >= CROPS_FROM:
        rng = random.Random(f"crops/{shard}")
        np.save(partial, np.stack([np.asarray(draw_crop(wish, rng)) for wish in wishes]))
    else:
        np.save(partial, draw_wishes(wishes))
    os.replace(partial, target)


def shards(folder: Path, kind: str) -> list[int]:
    """The complete files of a kind (`pictures` or `latents`)."""
    return sorted(int(file.name[:4]) for file in folder.glob(f"[0-9][0-9][0-9][0-9].{kind}.npy"))


def load_shard(folder: Path, shard: int, kind: str) -> np.ndarray:
    """One file of a kind, mapped."""
    values: np.ndarray = np.load(folder / f"{shard:04d}.{kind}.npy", mmap_mode="r")
    return values


def main() -> None:
    """Draws files of pictures; several of these may run side by side on different numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--step", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for shard in range(options.first, options.first + options.count * options.step, options.step):
        write_shard(options.folder, shard)


if __name__ == "__main__":
    main()
