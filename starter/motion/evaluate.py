"""Measures starter-motion: clips from prompts whose combinations training never showed, followed by code."""

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from quintet.core.models import Model
from quintet.core.samplers import find_sampler
from quintet.engines.image.animation import Animator
from quintet.engines.image.animation import Clip as Order
from quintet.engines.image.prompts import Words
from quintet.engines.image.settings import Settings
from quintet.media.gif import encode_gif
from starter.image.scenes import SIDE
from starter.motion.clips import Clip, draw_clip
from starter.motion.paths import MOTIONS
from starter.motion.tracks import follow, moves_as

SEED = 20_26


def evaluation_set(each: int) -> list[tuple[Clip, str]]:
    """Clips and their prompts, the same every time: `each` of every motion, none of which training may show."""
    rng = random.Random(SEED)
    clips = [draw_clip(rng, motion, held_out=True) for _ in range(each) for motion in MOTIONS]
    return [(clip, clip.caption(rng)) for clip in clips]


def load(adapter: Path, base: Path) -> Animator:
    """Quintet's own engine with these weights."""
    options: dict[str, str | int | float | bool] = {"base": str(base), "denoiser": "torch", "device": "cpu"}
    model = Model(name="starter-motion", task="animation", engine="image", path=str(adapter), options=options)
    return Animator(model, Settings.of(model))


def paint(animator: Animator, prompt: str, number: int, options: argparse.Namespace) -> np.ndarray:
    """The frames of one prompt."""
    order = Order(
        words=Words(prompt=prompt), frames=options.frames, width=SIDE, height=SIDE, steps=options.steps,
        guidance=options.guidance, seed=SEED + number, sampler=find_sampler(options.sampler),
    )  # fmt: skip
    return animator.animate(order, lambda done, total, preview: None)


def write_sheet(rows: Sequence[np.ndarray], path: Path) -> None:
    """One clip per line."""
    lines = [np.concatenate(list(np.pad(row, ((0, 0), (0, 2), (0, 2), (0, 0)))), axis=1) for row in rows]
    Image.fromarray(np.concatenate(lines)).save(path)


def main() -> None:
    """Paints the evaluation set and prints how often the motion is right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--sampler", default="Euler")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=Path, help="folder for the clips and a sheet of them")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    animator = load(options.adapter, options.base)
    right: dict[str, list[bool]] = defaultdict(list)
    rows = []
    for number, (clip, prompt) in enumerate(evaluation_set(options.each)):
        frames = paint(animator, prompt, number, options)
        right[clip.motion].append(moves_as(follow(clip, frames), clip.motion, len(frames)))
        rows.append(frames)
        print(f"{'right' if right[clip.motion][-1] else 'WRONG'}  {clip.motion:9} {prompt}", flush=True)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            (options.pictures / f"{number:03d}.gif").write_bytes(encode_gif(frames, 8.0, comment=prompt))
    if options.pictures:
        write_sheet(rows[:28], options.pictures / "sheet.png")
    for motion, found in right.items():
        print(f"{motion:9} {sum(found)}/{len(found)}")
    total = [one for found in right.values() for one in found]
    print(f"all {100 * float(np.mean(total)):.1f} % of {len(total)}")


if __name__ == "__main__":
    main()
