"""Makes the scheduler of a request from the sampler's name and from what the model was trained with.

The model's own settings say how noise was added, what it predicts and whether its last time is pure noise; the sampler
says how to walk. Every scheduler here draws its noise from the generator that its `step` gets, never from torch's own.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import diffusers
import torch

from quintet.core.errors import InvalidRequest
from quintet.core.samplers import Recipe, Sampler, flow_samplers
from quintet.engines.image import flow, two_stage

_TRAINED = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
    "steps_offset",
    "set_alpha_to_one",
    "final_sigmas_type",
    "original_inference_steps",
    "timestep_scaling",
)
"""What a scheduler takes over from the model's settings."""
_SHIFTS = (
    "num_train_timesteps",
    "shift",
    "use_dynamic_shifting",
    "base_shift",
    "max_shift",
    "base_image_seq_len",
    "max_image_seq_len",
    "shift_terminal",
    "time_shift_type",
)
"""The same for flow matching; pipelines read some of these back from the scheduler."""
_LEADING = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LCMScheduler")
"""Schedulers that walk from the start of even intervals; the others walk from the last time to the first."""
_SMALLEST_ALPHA = 2.0**-24
"""In the place of zero, as diffusers' own schedulers have it."""
_FIRST_PLACE = 0.98
"""Of a zero-SNR model's times: next to no signal is left there, and sigmas are further apart than their rounding."""


def uses_flow(config: Mapping[str, Any]) -> bool:
    """Whether a model with these scheduler settings was trained by flow matching."""
    if "FlowMatch" in str(config.get("_class_name", "")) or config.get("use_flow_sigmas"):
        return True
    return config.get("prediction_type") == "flow_prediction"


def make_scheduler(sampler: Sampler, config: Mapping[str, Any], steps: int | None = None) -> Any:
    """A new scheduler for a model whose own scheduler has these settings, set up for a walk of so many steps."""
    if not uses_flow(config):
        return _make_diffusion(sampler, config, steps)
    if sampler.flow is None:
        raise InvalidRequest(
            f"This model can't use the sampler {sampler.name}, because it was trained by flow matching; "
            f"choose one of {', '.join(flow_samplers())}.",
            param="sampler",
        )
    return _make_flow(sampler.flow, config)


def _make_diffusion(sampler: Sampler, config: Mapping[str, Any], steps: int | None) -> Any:
    kind = _class_of(sampler.diffusion)
    known = inspect.signature(kind.__init__).parameters
    options = {name: config[name] for name in _TRAINED if name in config and name in known}
    zero_snr = bool(config.get("rescale_betas_zero_snr"))
    if zero_snr and "rescale_betas_zero_snr" not in known:
        options["trained_betas"] = _betas_to_zero_snr(config)
    if "clip_sample" in known:
        options["clip_sample"] = False  # latents have no bounds
    if "lower_order_final" in known:
        options["lower_order_final"] = True  # any number of steps
    if "timestep_spacing" in known:
        options["timestep_spacing"] = _spacing(kind, config, zero_snr, steps)
    if "original_inference_steps" in known and steps is not None:
        options["original_inference_steps"] = max(options.get("original_inference_steps") or 50, steps)
    options |= sampler.diffusion.options
    scheduler = kind(**options)
    if zero_snr and (options.get("use_karras_sigmas") or options.get("use_exponential_sigmas")):
        scheduler.register_to_config(sigma_max=_largest_sigma(config))
    return scheduler


def _spacing(kind: type[Any], config: Mapping[str, Any], zero_snr: bool, steps: int | None) -> str:
    """Few-step and zero-SNR models say that they start at the very last time; a single step must start there, too."""
    if config.get("timestep_spacing") == "trailing" or zero_snr or steps == 1:
        return "trailing"
    return "leading" if kind.__name__ in _LEADING else "linspace"


def _make_flow(recipe: Recipe, config: Mapping[str, Any]) -> Any:
    kind = _class_of(recipe)
    known = inspect.signature(kind.__init__).parameters
    shifts = {name: config[name] for name in _SHIFTS if config.get(name) is not None}
    options = {name: value for name, value in shifts.items() if name in known}
    if "flow_shift" in known:
        options["flow_shift"] = config.get("shift", 1.0)
    scheduler = kind(**{**options, **recipe.options})
    scheduler.register_to_config(**shifts)
    return scheduler


def _class_of(recipe: Recipe) -> type[Any]:
    for place in (two_stage, flow, diffusers):
        if (kind := getattr(place, recipe.scheduler, None)) is not None:
            return kind  # type: ignore[no-any-return]
    raise AssertionError(f"no scheduler is called {recipe.scheduler}")


def _largest_sigma(config: Mapping[str, Any]) -> float:
    """Where steps that are spread over sigmas begin in a zero-SNR model, whose last sigma is endless in truth."""
    bars = torch.cumprod(1 - torch.tensor(_betas_to_zero_snr(config), dtype=torch.float64), 0)
    bar = float(bars[round(_FIRST_PLACE * (len(bars) - 1))])
    return math.sqrt((1 - bar) / bar)


def _betas_to_zero_snr(config: Mapping[str, Any]) -> list[float]:
    """The model's betas after the rescaling that leaves no signal at the last time (arXiv:2305.08891, algorithm 1)."""
    given = {name: config[name] for name in _TRAINED[:5] if config.get(name) is not None}
    trained: Any = _class_of(Recipe("DDIMScheduler"))(**given)
    roots = trained.alphas_cumprod.double().sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    bars = roots**2
    bars[-1] = _SMALLEST_ALPHA
    alphas = torch.cat([bars[:1], bars[1:] / bars[:-1]])
    return [float(beta) for beta in 1 - alphas]
