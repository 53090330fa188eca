"""A pool of training pictures on disk, drawn once and seen several times; scenes are drawn again from their seeds."""

import argparse
import os
import random
from pathlib import Path

import numpy as np

from starter.vision.drawing import INPUT_SIDE, model_input
from starter.vision.labels import patch_labels
from starter.vision.scenes import Scene, draw_scene

SHARD = 2048
"""Pictures in one file."""

VALIDATION = 9999
"""The file that is kept from training."""


def shard_scenes(shard: int) -> list[Scene]:
    """The scenes of one file, always the same."""
    return [draw_scene(random.Random(f"picture/{shard}/{number}")) for number in range(SHARD)]


def write_shard(folder: Path, shard: int) -> None:
    """Draws one file of pictures and one of labels, if it is not there."""
    target = folder / f"{shard:04d}.pictures.npy"
    if target.exists():
        return
    pixels = np.empty((SHARD, INPUT_SIDE, INPUT_SIDE, 3), np.uint8)
    scenes = shard_scenes(shard)
    for number, scene in enumerate(scenes):
        pixels[number] = np.asarray(model_input(scene))
    np.save(folder / f"{shard:04d}.labels.npy", np.stack([patch_labels(scene) for scene in scenes]))
    partial = target.with_suffix(".partial.npy")
    np.save(partial, pixels)
    os.replace(partial, target)


def shards(folder: Path) -> list[int]:
    """The files to learn from that are complete."""
    found = sorted(int(file.name[:4]) for file in folder.glob("[0-9][0-9][0-9][0-9].pictures.npy"))
    return [shard for shard in found if shard != VALIDATION]


def load_pictures(folder: Path, shard: int) -> np.ndarray:
    """Pixels [pictures, height, width, 3] of one file, mapped."""
    pixels: np.ndarray = np.load(folder / f"{shard:04d}.pictures.npy", mmap_mode="r")
    return pixels


def load_labels(folder: Path, shard: int) -> np.ndarray:
    """Labels [pictures, heads, patches] of one file."""
    labels: np.ndarray = np.load(folder / f"{shard:04d}.labels.npy")
    return labels


def main() -> None:
    """Draws files of pictures; several of these may run side by side on different numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--step", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for shard in range(options.first, options.first + options.count * options.step, options.step):
        write_shard(options.folder, shard)


if __name__ == "__main__":
    main()
