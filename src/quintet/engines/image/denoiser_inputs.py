"""Which tensors a denoiser reads, by its class, so that one call of it can be made, recorded and flattened.

Dimensions: B pictures (with guidance, twice as many), F frames, H × W latents, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

_NESTED = "added_cond_kwargs"
_TRACED = (1, 3, 7, 5, 9)
"""B, F, H, W, T that a denoiser is traced with: small, odd and all different, so that none is taken for a constant."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the inputs of one call measure."""

    batch: int
    frames: int
    height: int
    width: int
    tokens: int


TRACED = Sizes(*_TRACED)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The tensors of one class of denoisers, in the order in which the converted one reads them."""

    kind: str
    """Name of the module's class."""
    widths: Mapping[str, int]
    """Channels of every tensor by its name; 0 = it has none."""
    native: Sizes
    """What the model was made for, guidance included."""
    nested: frozenset[str] = frozenset()
    """Those that pipelines put into `added_cond_kwargs`."""

    def flatten(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> list[torch.Tensor] | None:
        """The tensors of a call in their order, float32; None if the call asks for more than they can say."""
        given = dict(zip(("sample", "timestep", "encoder_hidden_states"), arguments, strict=False)) | dict(
            named
        )
        given |= given.pop(_NESTED, None) or {}
        given.pop("return_dict", None)
        found = [given.pop(name, None) for name in self.widths]
        if any(value is None for value in found) or any(map(_says_something, given.values())):
            return None
        tensors = (torch.as_tensor(value).detach().to(torch.float32).contiguous() for value in found)
        return [tensor.reshape(-1) if tensor.ndim == 0 else tensor for tensor in tensors]

    def nest(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """The keyword arguments of the module for these tensors."""
        named: dict[str, Any] = {name: value for name, value in tensors.items() if name not in self.nested}
        if self.nested:
            named[_NESTED] = {name: tensors[name] for name in self.nested}
        return named

    def example(self, sizes: Sizes) -> dict[str, torch.Tensor]:
        """Tensors of these sizes with likely values."""
        generator = torch.Generator().manual_seed(0)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator)

        made: dict[str, torch.Tensor] = {}
        batch, pixels = sizes.batch, sizes.height * sizes.width
        pictures = batch * sizes.frames if self.kind == "UNetMotionModel" else batch
        for name, width in self.widths.items():
            match name:
                case "sample" if self.kind == "UNetMotionModel":
                    made[name] = noise(batch, width, sizes.frames, sizes.height, sizes.width)
                case "hidden_states" if self.kind == "FluxTransformer2DModel":
                    made[name] = noise(batch, pixels, width)
                case "sample" | "hidden_states":
                    made[name] = noise(batch, width, sizes.height, sizes.width)
                case "encoder_hidden_states":
                    made[name] = noise(pictures, sizes.tokens, width)
                case "timestep" if self.kind.startswith("UNet"):
                    made[name] = torch.full((1,), 500.0)
                case "timestep" | "guidance":
                    made[name] = torch.full((batch,), 0.5 if self.kind == "FluxTransformer2DModel" else 500.0)
                case "time_ids":
                    made[name] = torch.full((batch, width), 512.0)
                case "txt_ids":
                    made[name] = torch.zeros(sizes.tokens, width)
                case "img_ids":
                    rows = torch.arange(pixels, dtype=torch.float32)
                    made[name] = torch.stack([rows * 0, rows // sizes.width, rows % sizes.width], dim=-1)
                case _:
                    made[name] = noise(batch, width)
        return made


def find_inputs(pipeline: Any, module: Any) -> Inputs | None:
    """What this pipeline's denoiser reads; None if it is of a kind that is not converted."""
    match type(module).__name__:
        case "UNet2DConditionModel" | "UNetMotionModel" as kind:
            return _of_unet(pipeline, module.config, kind)
        case "SD3Transformer2DModel" as kind:
            config, side = module.config, module.config.sample_size
            widths = {
                "hidden_states": config.in_channels,
                "timestep": 0,
                "encoder_hidden_states": config.joint_attention_dim,
                "pooled_projections": config.pooled_projection_dim,
            }
            return Inputs(kind, widths, Sizes(2, 1, side, side, 333))
        case "FluxTransformer2DModel" as kind:
            config, side = module.config, pipeline.default_sample_size // 2
            widths = {"hidden_states": config.in_channels, "timestep": 0}
            if config.guidance_embeds:
                widths["guidance"] = 0
            widths |= {
                "pooled_projections": config.pooled_projection_dim,
                "encoder_hidden_states": config.joint_attention_dim,
                "txt_ids": 3,
                "img_ids": 3,
            }
            return Inputs(kind, widths, Sizes(1, 1, side, side, 512))
    return None


def _of_unet(pipeline: Any, config: Any, kind: str) -> Inputs | None:
    """A UNet's, unless it reads something rare."""
    side, added = config.sample_size, config.get("addition_embed_type")
    rare = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "encoder_hid_dim")
    if added not in (None, "text_time") or any(config.get(name) for name in rare):
        return None
    widths = {
        "sample": config.in_channels,
        "timestep": 0,
        "encoder_hidden_states": config.cross_attention_dim,
    }
    if not all(isinstance(number, int) for number in (*widths.values(), side)):
        return None
    if config.get("time_cond_proj_dim"):
        widths["timestep_cond"] = config.time_cond_proj_dim
    nested: frozenset[str] = frozenset()
    if added:
        pooled = pipeline.text_encoder_2.config.projection_dim
        times = (config.projection_class_embeddings_input_dim - pooled) // config.addition_time_embed_dim
        widths |= {"text_embeds": pooled, "time_ids": times}
        nested = frozenset({"text_embeds", "time_ids"})
    frames = 4 if kind == "UNetMotionModel" else 1  # enough to see who is faster
    return Inputs(kind, widths, Sizes(2, frames, side, side, 77), nested)


def _says_something(value: Any) -> bool:
    return value is not None and not (isinstance(value, Mapping) and not value)
