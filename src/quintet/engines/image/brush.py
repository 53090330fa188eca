"""One loaded pipeline and one pass of it: a picture out of words, or out of words, a picture and a mask.

Everything is called on the painting thread: diffusers' pipelines hold state while they run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from PIL import Image
from PIL.Image import Image as Picture

from quintet.core.samplers import Sampler
from quintet.engines.image.families import (
    STABLE_DIFFUSION,
    Family,
    load_pipeline,
    read_family,
    sibling,
    takes,
)
from quintet.engines.image.previews import LatentMap
from quintet.engines.image.prompts import Reader, Words
from quintet.engines.image.schedulers import make_scheduler
from quintet.engines.image.settings import Settings

Way = Literal["draw", "redraw", "inpaint"]
AtStep = Callable[[float, Callable[[], bytes]], None]
"""Told after each step which part of the pass is done and how to get a preview; an exception of it ends the pass."""
_TILED_PIXELS = 1536 * 1536
"""Larger pictures are decoded in tiles: at once they would take tens of gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """One pass over a picture; sides are multiples of what the family takes."""

    way: Way
    width: int
    height: int
    steps: int
    """Of the whole schedule."""
    taken: int
    """Steps that are taken; the first ones are left out when a picture is gone over."""
    guidance: float
    seed: int
    sampler: Sampler | None = None
    """None = the model's own."""

    @property
    def pixel_steps(self) -> int:
        """What it costs."""
        return self.width * self.height * self.taken


class Brush:
    """A pipeline that was loaded from a folder."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Load it; raises LoadFailed or what diffusers raises."""
        self.folder = folder
        self.family: Family = read_family(folder)
        self.device = pick_device(settings)
        self.dtype = _dtype(settings, self.family, self.device)
        self.pipeline: Any = load_pipeline(folder, self.family, self.dtype)
        self.reader = Reader(self.pipeline, self.family)
        self._rescale = settings.guidance_rescale
        self._scheduler: Any = self.pipeline.scheduler
        self._map: LatentMap | None = None
        if self.device != "cpu":
            self.pipeline.to(self.device)
            self.backbone.to(memory_format=torch.channels_last)
            self.pipeline.vae.to(memory_format=torch.channels_last)

    @property
    def device_name(self) -> str:
        """Where it paints, for people."""
        return device_name(self.device)

    @property
    def backbone(self) -> Any:
        """The UNet or transformer."""
        return getattr(self.pipeline, self.family.kind.backbone)

    @property
    def own_sampler(self) -> str:
        """What the model runs with when nobody names a sampler."""
        name: str = type(self._scheduler).__name__
        return name.removesuffix("Scheduler").removesuffix("Discrete")

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The settings of the model's own scheduler."""
        config: Mapping[str, Any] = self._scheduler.config
        return config

    def run(
        self,
        stroke: Stroke,
        words: Words,
        at_step: AtStep,
        *,
        source: Picture | None = None,
        mask: Picture | None = None,
    ) -> Picture:
        """Make one pass; `source` and `mask` have any size."""
        size = (stroke.width, stroke.height)
        self.pipeline.scheduler = self.make_scheduler(stroke.sampler, stroke.steps)
        pipeline = sibling(self.pipeline, getattr(self.family.kind, stroke.way))
        arguments = self._arguments(pipeline, stroke, words)
        arguments["callback_on_step_end"] = self._callback(stroke, at_step)
        if source is not None:
            arguments["image"] = source.resize(size, Image.Resampling.LANCZOS)
            arguments["strength"] = self._strength(stroke)
        if mask is not None:
            arguments["mask_image"] = mask.resize(size, Image.Resampling.BILINEAR)
        torch.manual_seed(stroke.seed)  # for whatever draws noise on its own
        with self._tiles(stroke):
            made: Picture = pipeline(**arguments).images[0]
        return made

    def make_scheduler(self, sampler: Sampler | None, steps: int | None = None) -> Any:
        """A new scheduler of this model; raises InvalidRequest if the family can't use the sampler."""
        if sampler is None:
            return type(self._scheduler).from_config(self._scheduler.config)
        return make_scheduler(sampler, self._scheduler.config, steps)

    def preview(self, latents: torch.Tensor, width: int, height: int) -> bytes:
        """A small JPEG of the state of a pass."""
        if self._map is None:
            self._map = LatentMap(self.pipeline.vae, self.family.latent_factor)
        if hasattr(self.pipeline, "_unpack_latents"):
            latents = self.pipeline._unpack_latents(latents, height, width, self.family.latent_factor)
        return self._map.picture(latents)

    def _arguments(self, pipeline: Any, stroke: Stroke, words: Words) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "num_inference_steps": stroke.steps,
            "guidance_scale": stroke.guidance,
            "generator": torch.Generator().manual_seed(stroke.seed),
            **self.reader.sequence(words),
            **self._texts(words),
        }
        if takes(pipeline, "height"):
            arguments |= {"width": stroke.width, "height": stroke.height}
        if self._rescale and takes(pipeline, "guidance_rescale"):
            arguments["guidance_rescale"] = self._rescale
        return arguments

    def _texts(self, words: Words) -> dict[str, Any]:
        """Prompts as the pipeline takes them: as texts, or as vectors where they are long."""
        if not self.family.can_draw:
            words = words.of_second_encoder()
        if vectors := self.reader.embeddings(self.pipeline, words):
            return vectors
        texts = {"prompt": words.prompt}
        if words.second:
            texts["prompt_2"] = words.second
        if words.negative or words.second_negative:
            texts["negative_prompt"] = words.negative
        if words.second_negative:
            texts["negative_prompt_2"] = words.second_negative
        return texts

    def _strength(self, stroke: Stroke) -> float:
        """The share that makes the pipeline take exactly the steps of the stroke, however it rounds."""
        if stroke.taken == stroke.steps:
            return 1.0
        nudge = -1e-6 if self.family.kind.is_flow else 1e-6
        return (stroke.taken + nudge) / stroke.steps

    def _callback(self, stroke: Stroke, at_step: AtStep) -> Callable[..., dict[str, Any]]:
        def call(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            latents = tensors["latents"]
            share = (index + 1) / max(pipeline.num_timesteps, index + 1)
            at_step(share, lambda: self.preview(latents, stroke.width, stroke.height))
            return {}

        return call

    @contextlib.contextmanager
    def _tiles(self, stroke: Stroke) -> Iterator[None]:
        """Decode large pictures tile by tile."""
        is_large = stroke.width * stroke.height > _TILED_PIXELS
        if is_large:
            self.pipeline.vae.enable_tiling()
        try:
            yield
        finally:
            if is_large:
                self.pipeline.vae.disable_tiling()


def version() -> str:
    """Of the library that draws."""
    return f"diffusers {diffusers.__version__}"


def pick_device(settings: Settings) -> str:
    """Torch's name of what the settings and the machine allow."""
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


def device_name(device: str) -> str:
    """For people."""
    return "CPU" if device == "cpu" else str(torch.cuda.get_device_name())


def _dtype(settings: Settings, family: Family, device: str) -> torch.dtype:
    named = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
    if settings.precision:
        return named[settings.precision]
    if device == "cpu":
        return torch.float32
    return torch.float16 if family.kind is STABLE_DIFFUSION else torch.bfloat16
