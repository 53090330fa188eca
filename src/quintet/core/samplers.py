"""The samplers that callers may name, under the names that they have in AUTOMATIC1111's web UI. Plain data.

Which scheduler runs for which name follows the table in diffusers' documentation ("Schedulers", A1111/k-diffusion).
DPM++ 2S a and DPM++ SDE, which diffusers lacks or has only with an unkept package, are in
`engines/image/two_stage.py`; those for flow matching that need a hand are in `engines/image/flow.py`.
Where nothing equal exists, the nearest of the same kind runs, and `Sampler.note` says which:

* DPM fast: single-step DPM-Solver++ of third order, in steps that are even in log sigma; DPM-Solver without "++" is on
  its way out of diffusers. Adds no noise.
* DPM adaptive: the same in Karras' steps. They are as many as the caller says, not adaptive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Option = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Recipe:
    """A scheduler: its class, and what it is told beside the model's own scheduler settings."""

    scheduler: str
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """One way from noise to a picture."""

    name: str
    """As AUTOMATIC1111's web UI spells it."""
    diffusion: Recipe
    """For models that predict noise or velocity: Stable Diffusion 1, 2 and XL, AnimateDiff."""
    flow: Recipe | None = None
    """For models that were trained by flow matching: Stable Diffusion 3, Flux; None = can't be used with them."""
    evaluations: int = 1
    """How often a step asks the model."""
    is_random: bool = False
    """Whether it adds noise on the way, beside the noise that it starts from."""
    aliases: tuple[str, ...] = ()
    note: str = ""
    """What really runs, where that isn't what the name says."""


def _recipe(scheduler: str, **options: Option) -> Recipe:
    return Recipe(scheduler, MappingProxyType(options))


def _sampler(
    name: str,
    scheduler: str,
    aliases: str = "",
    *,
    flow: Recipe | None = None,
    evaluations: int = 1,
    is_random: bool = False,
    note: str = "",
    spread: Literal["", "karras", "exponential"] = "",
    **options: Option,
) -> Sampler:
    if spread:
        options[f"use_{spread}_sigmas"] = True
    return Sampler(
        name=name,
        diffusion=_recipe(scheduler, **options),
        flow=flow,
        evaluations=evaluations,
        is_random=is_random,
        aliases=tuple(aliases.split()),
        note=note,
    )


_MULTI, _SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_FLOW_MULTI = "FlowMultistepScheduler"
_SDE = "sde-dpmsolver++"
_FLOW: dict[str, Option] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
_NOTE_FAST = "Single-step DPM-Solver++ of order 3, even steps in log sigma, without added noise."
_NOTE_ADAPTIVE = "Single-step DPM-Solver++ of order 3, Karras' steps; as many as it is told."

_ALL = (
    _sampler("Euler a", "EulerAncestralDiscreteScheduler", "euler_ancestral", is_random=True),
    _sampler(
        "Euler",
        "EulerDiscreteScheduler",
        "FlowMatchEulerDiscreteScheduler",
        flow=_recipe("FlowMatchEulerDiscreteScheduler"),
    ),
    _sampler("LMS", "LMSDiscreteScheduler"),
    _sampler(
        "Heun",
        "HeunDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
        flow=_recipe("FlowHeunScheduler"),
        evaluations=2,
    ),
    _sampler("DPM2", "Dpm2Scheduler", "KDPM2DiscreteScheduler", evaluations=2),
    _sampler(
        "DPM2 a",
        "Dpm2AncestralScheduler",
        "dpm_2_ancestral KDPM2AncestralDiscreteScheduler",
        evaluations=2,
        is_random=True,
    ),
    _sampler("DPM++ 2S a", "TwoStageAncestralScheduler", "dpmpp_2s_ancestral", evaluations=2, is_random=True),
    _sampler("DPM++ 2M", _MULTI, "DPMSolverMultistepScheduler", flow=_recipe(_FLOW_MULTI, **_FLOW)),
    _sampler("DPM++ SDE", "TwoStageSdeScheduler", "DPMSolverSDEScheduler", evaluations=2, is_random=True),
    _sampler(
        "DPM++ 2M SDE",
        _MULTI,
        flow=_recipe(_FLOW_MULTI, algorithm_type=_SDE, **_FLOW),
        is_random=True,
        algorithm_type=_SDE,
    ),
    _sampler("DPM++ 2M SDE Heun", _MULTI, is_random=True, algorithm_type=_SDE, solver_type="heun"),
    _sampler("DPM++ 3M SDE", _MULTI, is_random=True, algorithm_type=_SDE, solver_order=3),
    _sampler("DPM fast", _SINGLE, solver_order=3, note=_NOTE_FAST, spread="exponential"),
    _sampler("DPM adaptive", _SINGLE, "dpm_ad", solver_order=3, note=_NOTE_ADAPTIVE, spread="karras"),
    _sampler("LMS Karras", "LMSDiscreteScheduler", "lms_ka", spread="karras"),
    _sampler("DPM2 Karras", "Dpm2Scheduler", "dpm_2_ka", evaluations=2, spread="karras"),
    _sampler(
        "DPM2 a Karras",
        "Dpm2AncestralScheduler",
        "dpm_2_a_ka",
        evaluations=2,
        is_random=True,
        spread="karras",
    ),
    _sampler(
        "DPM++ 2S a Karras",
        "TwoStageAncestralScheduler",
        "dpmpp_2s_a_ka",
        evaluations=2,
        is_random=True,
        spread="karras",
    ),
    _sampler("DPM++ 2M Karras", _MULTI, "dpmpp_2m_ka", spread="karras"),
    _sampler(
        "DPM++ SDE Karras",
        "TwoStageSdeScheduler",
        "dpmpp_sde_ka",
        evaluations=2,
        is_random=True,
        spread="karras",
    ),
    _sampler(
        "DPM++ 2M SDE Karras", _MULTI, "dpmpp_2m_sde_ka", is_random=True, algorithm_type=_SDE, spread="karras"
    ),
    _sampler("DPM++ 2M SDE Exponential", _MULTI, is_random=True, algorithm_type=_SDE, spread="exponential"),
    _sampler(
        "DPM++ 2M SDE Heun Karras",
        _MULTI,
        is_random=True,
        algorithm_type=_SDE,
        solver_type="heun",
        spread="karras",
    ),
    _sampler(
        "DPM++ 2M SDE Heun Exponential",
        _MULTI,
        is_random=True,
        algorithm_type=_SDE,
        solver_type="heun",
        spread="exponential",
    ),
    _sampler(
        "DPM++ 3M SDE Karras", _MULTI, is_random=True, algorithm_type=_SDE, solver_order=3, spread="karras"
    ),
    _sampler(
        "DPM++ 3M SDE Exponential",
        _MULTI,
        is_random=True,
        algorithm_type=_SDE,
        solver_order=3,
        spread="exponential",
    ),
    _sampler("DDIM", "DDIMScheduler"),
    _sampler("DDPM", "DDPMScheduler", is_random=True),
    _sampler("PLMS", "PNDMScheduler", "pndm", skip_prk_steps=True),
    _sampler(
        "UniPC",
        "UniPCMultistepScheduler",
        "UniPCMultistepScheduler uni_pc_bh2",
        flow=_recipe("FlowUniPCScheduler", **_FLOW),
    ),
    _sampler("DEIS", "DEISMultistepScheduler", "DEISMultistepScheduler"),
    _sampler("LCM", "LCMScheduler", is_random=True),
)

SAMPLERS: Mapping[str, Sampler] = MappingProxyType({sampler.name: sampler for sampler in _ALL})
"""Every sampler that works, by its name, in the order of the web UI."""


def _key(name: str) -> str:
    """What is the same in all spellings: "DPM++ 2M SDE Karras" and "k_dpmpp_2m_sde_karras" are "dpmpp2msdekarras"."""
    words = re.sub(r"[\s_\-]+", " ", name.strip().casefold().replace("++", "pp")).split()
    words = words[1:] if words[:1] == ["k"] else words
    return "".join(words).removesuffix("scheduler").removesuffix("discrete")


def _spellings() -> dict[str, Sampler]:
    return {_key(name): sampler for sampler in _ALL for name in (sampler.name, *sampler.aliases)}


_SPELLINGS = _spellings()


def find_sampler(name: str) -> Sampler | None:
    """The sampler that a caller means: its name in any case, k-diffusion's spelling, or diffusers' class; or None."""
    return _SPELLINGS.get(_key(name))


def flow_samplers() -> tuple[str, ...]:
    """The names of those that models trained by flow matching can use."""
    return tuple(sampler.name for sampler in _ALL if sampler.flow is not None)
