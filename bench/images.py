"""Pictures: our engine against diffusers' own pipeline on torch, each in a process of its own, taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.contestant import Contestant
from bench.image_shapes import CACHE, SIDE, sd15
from bench.table import Table
from bench.text_engine import take_turns
from quintet.core.events import Finished
from quintet.core.models import Model
from quintet.core.requests import ImageRequest

STEPS = 5
PROMPT, GUIDANCE, SEED = "a red circle", 7.5, 1
PART = "bench.images"


@dataclass
class Watch:
    """When a denoiser was called, and when it answered."""

    begins: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def over(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, watched."""

        def watched(*arguments: Any, **named: Any) -> Any:
            self.begins.append(time.perf_counter())
            made = call(*arguments, **named)
            self.ends.append(time.perf_counter())
            return made

        return watched

    def take(self, run: Callable[[], object]) -> dict[str, Any]:
        """Seconds of each step, from call to call, and of what was done between calls; of the whole run, too."""
        self.begins.clear()
        self.ends.clear()
        begin = time.perf_counter()
        run()
        whole = time.perf_counter() - begin
        if len(self.begins) < STEPS:
            raise RuntimeError(f"the watched denoiser was called {len(self.begins)} times in {STEPS} steps")
        later = self.begins[1:]
        return {
            "steps": [after - before for before, after in zip(self.begins, later, strict=False)],
            "between": [after - end for end, after in zip(self.ends, later, strict=False)],
            "whole": whole,
        }


def open_contestant(name: str) -> Callable[..., Any]:
    """For "diffusers": () → what `Watch.take` returns. For "ours": "engine" or "bare" → the same."""
    if name == "diffusers":
        return _open_diffusers()
    return _open_ours()


def _open_diffusers() -> Callable[[], dict[str, Any]]:
    """The pipeline as diffusers loads it, in bfloat16."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        sd15(), dtype=torch.bfloat16, use_safetensors=True, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    watch = Watch()
    pipeline.unet.forward = watch.over(pipeline.unet.forward)
    return lambda: watch.take(partial(_draw, pipeline, "pil"))


def _open_ours() -> Callable[[str], dict[str, Any]]:
    """Our engine with its default settings, and the same pipeline with the same denoiser, called directly."""
    from quintet.engines.image.engine import open_engine
    from quintet.engines.image.pictures import PictureDesk

    options: dict[str, str | int | float | bool] = {"cache": str(CACHE)}
    engine = open_engine(Model(name="bench", task="image", engine="image", path=str(sd15()), options=options))
    assert isinstance(engine.desk, PictureDesk)
    pipeline = engine.desk._painter.brush.pipeline
    watch = Watch()
    if hasattr(pipeline.unet, "runner"):
        pipeline.unet.runner = watch.over(pipeline.unet.runner)
    else:  # torch was measured to be faster
        pipeline.unet.forward = watch.over(pipeline.unet.forward)

    def through_engine() -> None:
        request = ImageRequest(
            model="bench",
            prompts=(PROMPT,),
            width=SIDE,
            height=SIDE,
            steps=STEPS,
            guidance=GUIDANCE,
            seed=SEED,
        )
        engine.submit(0, engine.prepare(request))
        finished = False
        while engine.busy():
            for _, output in engine.step():
                if isinstance(output, Exception):
                    raise output
                finished = finished or isinstance(output, Finished)
        if not finished:
            raise RuntimeError("no picture was drawn")

    ways: dict[str, Callable[[], object]] = {
        "engine": through_engine,
        "bare": partial(_draw, pipeline, "latent"),
    }
    return lambda way: watch.take(ways[way])


def _draw(pipeline: Any, output_type: str) -> object:
    """One picture by the pipeline itself."""
    import torch

    return pipeline(
        PROMPT,
        width=SIDE,
        height=SIDE,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(SEED),
        output_type=output_type,
    )


def steps(rounds: int) -> Table:
    """Seconds per step, and what of them is not the denoiser's."""
    table = Table(
        "images",
        f"Stable Diffusion 1.5's shape, {SIDE} pixels, guidance (two pictures per call), {STEPS} steps (s, median of "
        "steps; ratio = median of the rounds' ratios)",
        ("what", "measured", "asked"),
    )
    ours, theirs = Contestant("ours", PART), Contestant("diffusers", PART)
    found: list[list[Any]] = take_turns(
        rounds, partial(ours.run, "engine"), theirs.run, partial(ours.run, "bare")
    )
    ours.close()
    theirs.close()
    engine, diffusers, bare = found
    ratios = [_median([a], "steps") / _median([b], "steps") for a, b in zip(engine, diffusers, strict=True)]
    extra = _median(engine, "between") - _median(bare, "between")
    table.add("a step of diffusers' pipeline, torch bfloat16", _median(diffusers, "steps"), "–")
    table.add("a step of ours", _median(engine, "steps"), "–")
    table.add("– as a share", statistics.median(ratios), "≤ 0.65")
    table.add("between two calls of the denoiser, ours (ms)", _median(engine, "between") * 1000, "–")
    table.add("– bare pipeline with the same denoiser (ms)", _median(bare, "between") * 1000, "–")
    table.add("– the difference as a share of a step", f"{extra / _median(bare, 'steps'):.2%}", "≤ 2 %")
    table.add(
        "a whole picture of diffusers' pipeline", statistics.median(one["whole"] for one in diffusers), "–"
    )
    table.add("a whole picture of ours, as a PNG", statistics.median(one["whole"] for one in engine), "–")
    return table


def main(rounds: int = 3) -> list[Table]:
    """Steps, then chats beside a picture."""
    from bench.image_chats import chats

    sd15()
    return [steps(rounds), chats()]


def _median(rounds: list[dict[str, Any]], name: str) -> float:
    return float(statistics.median(seconds for one in rounds for seconds in one[name]))
