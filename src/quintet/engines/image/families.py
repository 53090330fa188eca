"""Which family a folder in diffusers' layout belongs to, what it can do, and its pipelines. Nothing is downloaded.

A folder says by `_class_name` in model_index.json what it is; sizes are in the configurations of its parts.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from quintet.core.errors import LoadFailed

_LIBRARIES = ("diffusers", "transformers")
_NOT_LOADED = ("safety_checker", "feature_extractor", "image_encoder")
"""Judges of pictures and readers of picture prompts."""
_FLAGS = ("force_zeros_for_empty_prompt", "requires_aesthetics_score", "requires_safety_checker")
"""What pipelines are told beside their parts."""
_FLUX_SIDE = 1024
"""Flux's configuration names none."""
_DISTILLED_STEPS = 4
"""Of Flux [schnell]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all models of a family have in common."""

    name: str
    draw: str
    """Class in diffusers that draws from words alone."""
    redraw: str
    """… from words and a picture."""
    inpaint: str
    """… and a mask."""
    backbone: str = "unet"
    """The part that takes the steps."""
    has_second_prompt: bool = False
    takes_negative: bool = True
    is_flow: bool = False
    """Trained by flow matching, else by diffusion."""
    steps: int = 25
    guidance: float = 7.5


STABLE_DIFFUSION = Kind(
    name="Stable Diffusion",
    draw="StableDiffusionPipeline",
    redraw="StableDiffusionImg2ImgPipeline",
    inpaint="StableDiffusionInpaintPipeline",
)
SDXL = Kind(
    name="Stable Diffusion XL",
    draw="StableDiffusionXLPipeline",
    redraw="StableDiffusionXLImg2ImgPipeline",
    inpaint="StableDiffusionXLInpaintPipeline",
    has_second_prompt=True,
    guidance=7.0,
)
SD3 = Kind(
    name="Stable Diffusion 3",
    draw="StableDiffusion3Pipeline",
    redraw="StableDiffusion3Img2ImgPipeline",
    inpaint="StableDiffusion3InpaintPipeline",
    backbone="transformer",
    has_second_prompt=True,
    is_flow=True,
    steps=28,
    guidance=7.0,
)
FLUX = Kind(
    name="Flux",
    draw="FluxPipeline",
    redraw="FluxImg2ImgPipeline",
    inpaint="FluxInpaintPipeline",
    backbone="transformer",
    has_second_prompt=True,
    takes_negative=False,
    is_flow=True,
    steps=28,
    guidance=3.5,
)
KINDS: Mapping[str, Kind] = {
    **{
        name: kind
        for kind in (STABLE_DIFFUSION, SDXL, SD3, FLUX)
        for name in (kind.draw, kind.redraw, kind.inpaint)
    },
    "LatentConsistencyModelPipeline": STABLE_DIFFUSION,
}
"""By `_class_name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One folder's model: its kind, and what its configuration says."""

    kind: Kind
    latent_factor: int
    """Pixels of a picture per pixel of its latents, along a side."""
    multiple: int
    """Sides that the model can draw are whole multiples of this."""
    native_side: int
    """Side in pixels that it was trained at."""
    steps: int
    """Without a word of the caller or the catalog."""
    guidance: float
    can_draw: bool = True
    """False = it needs a picture to go over, as SDXL's refiner does."""
    needs_mask: bool = False
    """It was trained to fill in masks only."""
    variant: str | None = None
    """What stands in the names of its files before .safetensors."""
    skipped: tuple[str, ...] = field(default=(), compare=False)
    """Parts of the folder that are not loaded."""


def read_family(folder: Path) -> Family:
    """The family of a folder; raises LoadFailed."""
    index = _read_json(folder / "model_index.json")
    name = index.get("_class_name")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(dict.fromkeys(kind.draw for kind in KINDS.values()))
        raise LoadFailed(
            f"model_index.json does not name a pipeline that the image engine knows; it knows {known}."
        )
    _check_parts(index)
    vae = _read_json(folder / "vae" / "config.json")
    backbone = _read_json(folder / kind.backbone / "config.json")
    factor = 2 ** (len(vae.get("block_out_channels", (1,) * 4)) - 1)
    side = backbone.get("sample_size")
    needs_mask = backbone.get("in_channels") == 2 * vae.get("latent_channels", 4) + 1
    is_distilled = kind is FLUX and not backbone.get("guidance_embeds", False)
    return Family(
        kind=kind,
        latent_factor=factor,
        multiple=factor * _patch(kind, backbone),
        native_side=side * factor if isinstance(side, int) else _FLUX_SIDE,
        steps=_DISTILLED_STEPS if is_distilled else kind.steps,
        guidance=0.0 if is_distilled else kind.guidance,
        can_draw=not (kind is SDXL and not _has(index, "text_encoder")),
        needs_mask=needs_mask,
        variant=_variant(folder / kind.backbone),
        skipped=tuple(part for part in _NOT_LOADED if part in index),
    )


def load_pipeline(folder: Path, family: Family, dtype: torch.dtype) -> Any:
    """The pipeline of a folder on the CPU, from safetensors alone; raises LoadFailed or what diffusers raises."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    kind = family.kind
    pipeline = getattr(diffusers, kind.draw if family.can_draw else kind.redraw).from_pretrained(
        folder,
        dtype=dtype,
        variant=family.variant,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        **dict.fromkeys(family.skipped),
        **_flags(kind, requires_safety_checker=False),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sibling(pipeline: Any, name: str) -> Any:
    """A pipeline of another class over the same parts, as they are now. It costs next to nothing."""
    kind = getattr(diffusers, name)
    if type(pipeline) is kind:
        return pipeline
    wanted = inspect.signature(kind).parameters
    flags = {flag: pipeline.config[flag] for flag in _FLAGS if flag in wanted and flag in pipeline.config}
    parts = {part: value for part, value in pipeline.components.items() if part in wanted}
    if "add_watermarker" in wanted:
        flags["add_watermarker"] = False
    made = kind(**parts, **flags)
    made.set_progress_bar_config(disable=True)
    return made


def takes(pipeline: Any, parameter: str) -> bool:
    """Whether a pipeline may be called with this parameter."""
    return parameter in inspect.signature(type(pipeline).__call__).parameters


def weight_files(folder: Path, family: Family) -> list[Path]:
    """The files with the weights of its denoiser, in the order of their names."""
    return sorted((folder / family.kind.backbone).glob("*.safetensors"))


def _flags(kind: Kind, **flags: bool) -> dict[str, bool]:
    """Those flags that the kind's pipelines know."""
    wanted = inspect.signature(getattr(diffusers, kind.draw)).parameters
    if "add_watermarker" in wanted:
        flags["add_watermarker"] = False
    return {flag: value for flag, value in flags.items() if flag in wanted}


def _patch(kind: Kind, backbone: Mapping[str, Any]) -> int:
    """Pixels of the latents, along a side, that the denoiser takes as one."""
    if kind is FLUX:
        return 2
    return int(backbone.get("patch_size", 2)) if kind.backbone == "transformer" else 1


def _check_parts(index: Mapping[str, Any]) -> None:
    """Refuse parts that are not diffusers' or transformers' own: their code would have to come from the folder."""
    for name, part in index.items():
        if name.startswith("_") or name in _NOT_LOADED or not isinstance(part, list):
            continue
        if len(part) != 2 or part[0] not in (None, *_LIBRARIES):
            raise LoadFailed(
                "model_index.json names a part that is neither diffusers' nor transformers'; such code is not run."
            )


def _has(index: Mapping[str, Any], part: str) -> bool:
    return bool((index.get(part) or [None])[0])


def _variant(folder: Path) -> str | None:
    """The variant, such as fp16, if the folder has weights of no other kind."""
    names = [file.name.removesuffix(".safetensors").split(".") for file in folder.glob("*.safetensors")]
    variants = {words[1].split("-")[0] if len(words) > 1 else None for words in names}
    return variants.pop() if len(variants) == 1 else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise LoadFailed(
            f"{path.parent.name}/{path.name} is missing; the image engine needs folders in diffusers' layout. "
            "Pull the model again."
        ) from None
    except (OSError, ValueError, RecursionError):
        raise LoadFailed(f"{path.parent.name}/{path.name} is not valid JSON; pull the model again.") from None
    if not isinstance(found, dict):
        raise LoadFailed(f"{path.parent.name}/{path.name} holds no table; pull the model again.")
    return found
