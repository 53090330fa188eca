"""Clips of one moving shape: the scenes of their frames, captions, and a pool of them on disk as latents."""

import argparse
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from starter.image.autoencoder import encode
from starter.image.captions import caption
from starter.image.scenes import DEFAULT_BACKGROUND, SHAPES, SIDE, Wish, colour_rgb, make_scene, visible
from starter.motion.paths import MOTIONS, RESIZING, Motion, Way, is_held_out, phrase, random_path
from starter.vision.drawing import draw_picture
from starter.vision.palette import BACKGROUNDS, COLOURS
from starter.vision.scenes import Scene, Thing

LENGTHS = (8, 12, 16)
"""How many frames a clip may have."""
LENGTH_WEIGHTS = (6, 1, 1)
SHARD = 128
"""Clips in one file."""
CAPTIONS = 3
"""Ways in which each clip is described."""
_GIVEN_BACKGROUND, _GIVEN_SIZE = 0.6, 0.15


@dataclass(frozen=True)
class Clip:
    """One shape on its way."""

    colour: str
    shape: str
    background: str | None
    """None = the caption does not say, so it is white."""
    size: str | None
    way: Way

    @property
    def motion(self) -> Motion:
        """How it moves."""
        return self.way.motion

    def scene(self, time: float) -> Scene:
        """What is to be seen at a time from 0 to 1."""
        x, y, radius = self.way.at(time)
        thing = Thing(self.shape, self.colour, colour_rgb(self.colour), x, y, radius)
        return make_scene(self.background or DEFAULT_BACKGROUND, (thing,))

    def caption(self, rng: random.Random) -> str:
        """One prompt for it."""
        return caption(rng, self._wish(phrase(rng, self.motion)))

    @property
    def held_out(self) -> bool:
        """Whether training must not show it: colour, shape and motion, or colour, shape and background."""
        return is_held_out(self.colour, self.shape, self.motion) or self._wish(self.motion).held_out

    def _wish(self, words: str) -> Wish:
        look = (self.colour, self.shape)
        return Wish("motion", (look,), self.background, self.scene(0.5), size=self.size, motion=words)


def draw_clip(rng: random.Random, motion: Motion | None = None, *, held_out: bool = False) -> Clip:
    """A random clip on the wanted side of the split."""
    motion = motion or rng.choice(MOTIONS)
    while True:
        background = rng.choice(BACKGROUNDS) if rng.random() < _GIVEN_BACKGROUND else None
        colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
        size = None
        if motion not in RESIZING and rng.random() < _GIVEN_SIZE:
            size = rng.choice(("small", "large"))
        if not visible(colour, background or DEFAULT_BACKGROUND):
            continue
        clip = Clip(colour, shape, background, size, random_path(rng, motion, size or "medium"))  # type: ignore[arg-type]
        if clip.held_out == held_out:
            return clip


def draw_frames(clip: Clip, count: int) -> np.ndarray:
    """Pixels [frames, height, width, 3]."""
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for number in range(count):
        pixels[number] = np.asarray(draw_picture(clip.scene(number / (count - 1))))
    return pixels


def write_shard(folder: Path, shard: int, vae: AutoencoderKL) -> None:
    """Draws and encodes one file of clips, all of one length, if it is not there."""
    target = folder / f"{shard:04d}.npy"
    if target.exists():
        return
    rng = random.Random(f"clips/{shard}")
    count = rng.choices(LENGTHS, LENGTH_WEIGHTS)[0]
    latents, words = [], []
    for _ in range(SHARD):
        clip = draw_clip(rng)
        latents.append(encode(vae, draw_frames(clip, count)).half().numpy())
        words.append([clip.caption(rng) for _ in range(CAPTIONS)])
    target.with_suffix(".json").write_text(json.dumps(words), encoding="utf-8")
    np.save(target.with_suffix(".partial.npy"), np.stack(latents))
    os.replace(target.with_suffix(".partial.npy"), target)


def load_pool(folder: Path) -> list[tuple[np.ndarray, list[list[str]]]]:
    """Latents [clips, frames, 4, 16, 16] and captions of every complete file."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9].npy"))
    return [(np.load(file), json.loads(file.with_suffix(".json").read_text("utf-8"))) for file in files]


def main() -> None:
    """Draws files of clips, encoded by the autoencoder of starter-image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path, required=True, help="the folder of starter-image")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    vae = AutoencoderKL.from_pretrained(options.base / "vae").eval()
    for shard in range(options.first, options.first + options.count):
        write_shard(options.folder, shard, vae)


if __name__ == "__main__":
    main()
