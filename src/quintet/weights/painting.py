"""What a model that draws, moves or enlarges pictures must bring so that this version runs it.

Decided from one small JSON file and the names of the others, so before anything large is brought or read.
"""

from __future__ import annotations

from typing import Any

from quintet.core.models import Task
from quintet.weights.configs import read_facts

PIPELINES = frozenset(
    {
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusion3Pipeline",
        "FluxPipeline",
        "LatentConsistencyModelPipeline",
    }
)
"""Classes of diffusers that a model_index.json may name."""
SHOWN = "Stable Diffusion 1.5, 2, XL and 3, FLUX, and latent consistency models"
MOTION = "MotionAdapter"
UPSCALER = "swin2sr"
TASKS: frozenset[Task] = frozenset({"image", "animation", "upscale"})
DESCRIBED_BY: dict[Task, str] = {
    "image": "model_index.json",
    "animation": "config.json",
    "upscale": "config.json",
}
"""The file that says which class a model is of."""


def why_not(task: Task, format: str, described: object) -> str:
    """Why a model can't be run here, as a sentence; empty if it can.

    `format` is one of core.models.SourceFormat; `described` is what its file of `DESCRIBED_BY` says.
    """
    named = _class_of(described)
    match task:
        case "image" if format != "diffusers":
            return "pictures are drawn from models in the layout of diffusers, with a model_index.json."
        case "image" if named not in PIPELINES:
            return no_engine(named)
        case "animation" if named != MOTION:
            return f"its class is {_shown(named)}, and this version of Quintet moves pictures by a {MOTION} only."
        case "upscale" if read_facts(described).model_type != UPSCALER:
            return (
                f"it is no {UPSCALER} model, and this version of Quintet enlarges pictures with those only."
            )
    return ""


def no_engine(pipeline: str) -> str:
    """That models of this class don't draw here, as a sentence."""
    return f"its class is {_shown(pipeline)}, and this version of Quintet draws with whole pipelines of {SHOWN} only."


def _class_of(described: object) -> str:
    value: Any = described.get("_class_name") if isinstance(described, dict) else None
    return value if isinstance(value, str) else ""


def _shown(name: str) -> str:
    return name[:60] if name.isidentifier() else "unknown"
