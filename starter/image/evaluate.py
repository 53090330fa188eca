"""Measures a folder on combinations and wordings held out of training: everything in the prompt must be in the picture."""

import argparse
import random
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from starter.image.captions import Wording, caption
from starter.image.checker import score
from starter.image.noise import SCHEDULE
from starter.image.scenes import SIDE, Wish, Wishes, draw_wish

EVALUATION_SEED = 20_265
QUESTIONS = 100
"""Prompts of each row."""

ROWS: dict[str, tuple[tuple[str, ...], Wording]] = {
    "one shape": (("single",), Wording.TRAINED),
    "two shapes": (("pair",), Wording.TRAINED),
    "two shapes, each with its place": (("places",), Wording.TRAINED),
    "three shapes": (("three",), Wording.TRAINED),
    "counts": (("count",), Wording.TRAINED),
    "one shape, loose wordings": (("single",), Wording.LOOSE),
    "two shapes, loose wordings": (("pair",), Wording.LOOSE),
}
"""Kinds of wishes and how they are worded; colours, shapes and backgrounds are combined as training never does."""

_BATCH = 25


@dataclass(frozen=True)
class Setting:
    """How pictures are drawn."""

    steps: int = 20
    guidance: float = 1.5
    rescale: float = 0.0
    sampler: str = "Euler"

    def __str__(self) -> str:
        rescale = f", rescale {self.rescale:g}" if self.rescale else ""
        return f"{self.sampler}, {self.steps} steps, guidance {self.guidance:g}{rescale}"


@cache
def evaluation_set(row: str, count: int = QUESTIONS) -> tuple[tuple[Wish, str], ...]:
    """The fixed wishes and prompts of one row."""
    kinds, wording = ROWS[row]
    rng = random.Random(f"{EVALUATION_SEED}/{row}")
    asked: list[Any] = []
    while len(asked) < count:
        wish = draw_wish(rng, Wishes.HELD, kinds[len(asked) % len(kinds)])
        prompt = caption(rng, wish, wording)
        # A prompt that leaves the colour open cannot be checked.
        if all(colour in prompt.lower().replace("grey", "gray") for colour, _ in wish.looks):
            asked.append((wish, prompt))
    return tuple(asked)


def load_pipeline(folder: Path, device: str = "cpu") -> StableDiffusionPipeline:
    """The folder's pipeline, quiet, in single precision."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def scheduler_for(sampler: str) -> Any:
    """The diffusers scheduler of a few well-known samplers."""
    import diffusers

    name, settings = {
        "Euler": ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}),
        "Euler a": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "linspace"}),
        "DPM++ 2M": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
        "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        "LMS": ("LMSDiscreteScheduler", {}),
        "DDIM": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
        "UniPC": ("UniPCMultistepScheduler", {}),
    }[sampler]
    return getattr(diffusers, name)(**SCHEDULE, **settings)  # type: ignore[arg-type]


@torch.inference_mode()  # type: ignore[untyped-decorator]
def draw(pipeline: StableDiffusionPipeline, prompts: list[str], setting: Setting) -> list[Image.Image]:
    """One picture for each prompt; the k-th has seed k."""
    pipeline.scheduler = scheduler_for(setting.sampler)
    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), _BATCH):
        some = prompts[start : start + _BATCH]
        seeds = [torch.Generator("cpu").manual_seed(start + number) for number in range(len(some))]
        pictures += pipeline(
            some, num_inference_steps=setting.steps, guidance_scale=setting.guidance, generator=seeds,
            guidance_rescale=setting.rescale,
        ).images  # fmt: skip
    return pictures


Aspects = dict[str, float]


def measure(
    pipeline: StableDiffusionPipeline, row: str, setting: Setting, count: int, sheet: Path | None = None
) -> Aspects:
    """The share of prompts, in per cent, of which each aspect is right."""
    asked = evaluation_set(row)[:count]
    pictures = draw(pipeline, [prompt for _, prompt in asked], setting)
    found: dict[str, list[bool]] = defaultdict(list)
    scores = [score(wish, picture) for (wish, _), picture in zip(asked, pictures, strict=True)]
    for single in scores:
        for aspect, right in single.items():
            found[aspect].append(right)
    if sheet:
        rights = [single["all"] for single in scores]
        _sheet([prompt for _, prompt in asked], pictures, rights).save(sheet)
    return {aspect: 100 * sum(rights) / len(rights) for aspect, rights in found.items()}


def _sheet(
    prompts: list[str], pictures: list[Image.Image], rights: list[bool], columns: int = 10
) -> Image.Image:
    """All pictures with their prompts, those that are wrong in red."""
    cell, below = 2 * SIDE, 46
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (columns * (cell + 4), rows * (cell + below)), "white")
    pen = ImageDraw.Draw(whole)
    for number, (prompt, picture, right) in enumerate(zip(prompts, pictures, rights, strict=True)):
        x, y = number % columns * (cell + 4), number // columns * (cell + below)
        whole.paste(picture.resize((cell, cell), Image.Resampling.NEAREST), (x, y))
        for line in range(4):
            text = prompt[line * 21 : line * 21 + 21]
            pen.text((x, y + cell + 11 * line), text, fill=(0, 110, 0) if right else (210, 0, 0))
    return whole


def as_markdown(table: dict[str, dict[str, Aspects]]) -> str:
    """Rows by settings, the share with everything right."""
    settings = list(next(iter(table.values())))
    lines = ["| prompts | " + " | ".join(settings) + " |", "|---" * (len(settings) + 1) + "|"]
    for row, by_setting in table.items():
        lines.append(
            f"| {row} | " + " | ".join(f"{by_setting[setting]['all']:.0f} %" for setting in settings) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=QUESTIONS, help="prompts of each row")
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--steps", type=int, nargs="*", default=[20])
    parser.add_argument("--guidance", type=float, nargs="*", default=[1.5])
    parser.add_argument("--rescale", type=float, default=0.0)
    parser.add_argument("--samplers", nargs="*", default=["Euler"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheets", type=Path, help="write pictures of every row into this folder")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipeline = load_pipeline(options.folder)
    settings = [
        Setting(steps, guidance, options.rescale, sampler)
        for sampler in options.samplers for steps in options.steps for guidance in options.guidance
    ]  # fmt: skip
    table: dict[str, dict[str, Aspects]] = {}
    for row in options.rows:
        table[row] = {}
        for number, setting in enumerate(settings):
            sheet = (
                options.sheets / f"{row.replace(' ', '-').replace(',', '')}.{number}.png"
                if options.sheets
                else None
            )
            table[row][str(setting)] = measure(pipeline, row, setting, options.count, sheet)
            print(row, "·", setting, {k: round(v) for k, v in table[row][str(setting)].items()}, flush=True)
    print(as_markdown(table))


if __name__ == "__main__":
    main()
