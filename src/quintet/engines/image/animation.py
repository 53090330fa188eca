"""Clips by AnimateDiff: a motion adapter (arXiv:2307.04725) over the parts of a Stable Diffusion 1.5 model.

The model's folder holds the adapter alone; the option `base` is the folder of the model whose pictures move. Everything
but `fit` is called on the painting thread. Clips longer than the adapter can follow are made of windows that overlap
(FreeNoise, arXiv:2310.15169).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter
from PIL import Image

from quintet.core.errors import LoadFailed, Unsupported
from quintet.core.events import Media
from quintet.core.models import Model
from quintet.core.requests import AnimationRequest, Lora
from quintet.core.samplers import Sampler
from quintet.engines.image.brush import Brush
from quintet.engines.image.denoiser import CACHE, Denoiser, accelerate
from quintet.engines.image.families import STABLE_DIFFUSION
from quintet.engines.image.loras import Loras
from quintet.engines.image.prompts import Words
from quintet.engines.image.record import encode_png
from quintet.engines.image.settings import Settings
from quintet.media import gif, mp4, webp
from quintet.media.palette import Frames

DEFAULT_FRAMES = 16
DEFAULT_FRAMES_PER_SECOND = 8.0
"""AnimateDiff learned from clips of 16 frames at this pace."""
MOST_FRAMES = 128
_WINDOW, _STRIDE = 16, 4
"""Frames that the adapter follows at once in a long clip, and from one window to the next."""
_LONGEST_NATIVE = 1.5
_WORTH_ENLARGING = 0.95

OnStep = Callable[[float, float, Callable[[], bytes]], None]
"""Told after each step: steps done, steps in all, and how to get a preview; an exception of it ends the clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """All that is to be known of one clip before it is painted. Sizes are what was asked for."""

    words: Words
    frames: int
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    sampler: Sampler | None = None
    loras: Sequence[Lora] = ()


class Animator:
    """A loaded motion adapter with the model that it moves."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Load both; raises LoadFailed or what diffusers raises."""
        if not settings.base or not Path(settings.base).is_dir():
            raise LoadFailed(
                f"{model.name} is motion alone, and the model whose pictures it moves is not here: pull that, and "
                f"name it as `base` under the `options` of {model.name}."
            )
        self.brush = Brush(Path(settings.base), settings)
        if self.brush.family.kind is not STABLE_DIFFUSION:
            raise LoadFailed(f"The base of {model.name} must be a model of the Stable Diffusion 1.5 family.")
        adapter = _load_adapter(Path(model.path), self.brush)
        self.native_side = settings.native_side or self.brush.family.native_side
        self._longest: int = adapter.config.motion_max_seq_length
        self._enlarges = settings.enlarge
        base = self.brush.pipeline
        self._pipeline: Any = AnimateDiffPipeline(
            vae=base.vae,
            text_encoder=base.text_encoder,
            tokenizer=base.tokenizer,
            unet=base.unet,
            motion_adapter=adapter,
            scheduler=base.scheduler,
        )
        self._pipeline.set_progress_bar_config(disable=True)
        self._pipeline.unet.to(self.brush.device).eval()
        self.brush.pipeline = self._pipeline  # the still UNet was copied; nobody needs it any more
        self._loras = Loras(self._pipeline, model.loras)
        self._denoiser: Denoiser | None = None
        if self.brush.device == "cpu":
            folder = Path(model.path)
            cache = Path(settings.cache) if settings.cache else folder / CACHE
            self._denoiser = accelerate(self._pipeline, folder, cache, settings)

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """The size at which a clip of this size is painted. Thread-safe.

        Above the native side about the native number of pixels, if the model's entry says so: enlarged afterwards.
        """
        multiple, scale = self.brush.family.multiple, 1.0
        longest = max(width, height)
        if self._enlarges and longest > self.native_side:
            scale = min(
                self.native_side / math.sqrt(width * height), _LONGEST_NATIVE * self.native_side / longest
            )
        if scale > _WORTH_ENLARGING:
            return math.ceil(width / multiple) * multiple, math.ceil(height / multiple) * multiple
        return _nearest(width * scale, multiple), _nearest(height * scale, multiple)

    def pixel_steps(self, clip: Clip) -> int:
        """What a clip costs. Thread-safe."""
        width, height = self.fit(clip.width, clip.height)
        return clip.frames * width * height * clip.steps

    def animate(self, clip: Clip, on_step: OnStep) -> Frames:
        """Paint a clip; raises what `on_step` raises, after which the next clip is as good as any."""
        width, height = self.fit(clip.width, clip.height)
        self._pipeline.scheduler = self.brush.make_scheduler(clip.sampler)

        def at_step(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            share = (index + 1) / max(pipeline.num_timesteps, index + 1)
            latents = tensors["latents"]
            on_step(
                share * clip.steps, clip.steps, lambda: self.brush.preview(_middle(latents), width, height)
            )
            return {}

        torch.manual_seed(clip.seed)  # for whatever draws noise on its own
        with self._changed(clip), self._windows(clip.frames), self._adapted(clip.loras):
            made = self._pipeline(
                prompt=clip.words.prompt,
                negative_prompt=clip.words.negative or None,
                num_frames=clip.frames,
                width=width,
                height=height,
                num_inference_steps=clip.steps,
                guidance_scale=clip.guidance,
                generator=torch.Generator().manual_seed(clip.seed),
                callback_on_step_end=at_step,
                output_type="np",
            ).frames[0]
        frames = np.rint(made * 255).astype(np.uint8)
        return _sized(frames, clip.width, clip.height, is_small=width < clip.width or height < clip.height)

    @contextlib.contextmanager
    def _changed(self, clip: Clip) -> Iterator[None]:
        """Torch steps in for a converted denoiser, in the block, if the denoiser is changed for this clip."""
        is_changed = clip.frames > self._longest or any(lora.weight for lora in clip.loras)
        with contextlib.ExitStack() as stack:
            if is_changed and self._denoiser is not None:
                stack.enter_context(self._denoiser.suspended())
            yield

    @contextlib.contextmanager
    def _windows(self, frames: int) -> Iterator[None]:
        """Windows that overlap, in the block, if there are more frames than the adapter has places for."""
        if frames <= self._longest:
            yield
            return
        window = min(_WINDOW, self._longest)
        self._pipeline.enable_free_noise(
            context_length=window, context_stride=max(1, min(_STRIDE, window // 2))
        )
        try:
            yield
        finally:
            self._pipeline.disable_free_noise()

    @contextlib.contextmanager
    def _adapted(self, loras: Sequence[Lora]) -> Iterator[None]:
        if any(lora.weight for lora in loras):
            with self._loras.applied(loras):
                yield
        else:
            yield


def encode_clip(frames: Frames, request: AnimationRequest, text: str = "") -> list[Media]:
    """The files that the request wants; `text` says in them how they were made, unless the request is against it."""
    written = text if request.with_metadata else ""
    rate = request.frames_per_second or DEFAULT_FRAMES_PER_SECOND
    match request.format:
        case "gif":
            return [Media(gif.MIME, gif.encode_gif(frames, rate, comment=written), text)]
        case "webp":
            return [Media(webp.MIME, webp.encode_webp(frames, rate, comment=written), text)]
        case "mp4":
            return [Media(mp4.MIME, mp4.encode_mp4(frames, rate, comment=written), text)]
        case "frames":
            pictures = [encode_png(Image.fromarray(frame), written) for frame in frames]
            return [Media("image/png", picture, text) for picture in pictures]


def check_format(request: AnimationRequest) -> None:
    """Raise Unsupported before any work is done if the file could not be written here."""
    if request.format == "mp4" and not mp4.is_possible():
        raise Unsupported(mp4.HINT, param="format")


def _load_adapter(folder: Path, brush: Brush) -> Any:
    """The adapter of a folder; raises LoadFailed if it was made for another kind of model."""
    adapter = MotionAdapter.from_pretrained(
        folder, dtype=brush.dtype, use_safetensors=True, local_files_only=True
    )
    wanted, found = (
        tuple(config["block_out_channels"]) for config in (adapter.config, brush.backbone.config)
    )
    if wanted != found:
        raise LoadFailed(
            f"The motion adapter was made for a UNet of widths {wanted}, and its base has {found}; name another `base`."
        )
    return adapter


def _middle(latents: torch.Tensor) -> torch.Tensor:
    """The frame in the middle of a clip [1, channels, frames, height, width], as a picture's latents."""
    return latents[:, :, latents.shape[2] // 2]


def _nearest(side: float, multiple: int) -> int:
    return max(1, round(side / multiple)) * multiple


def _sized(frames: Frames, width: int, height: int, *, is_small: bool) -> Frames:
    """Frames of the size asked for: enlarged if they are small, else without what stands over."""
    if frames.shape[1:3] == (height, width):
        return frames
    if is_small:
        pictures = [
            Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS) for frame in frames
        ]
        return np.stack([np.asarray(picture) for picture in pictures])
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return np.ascontiguousarray(frames[:, top : top + height, left : left + width])
