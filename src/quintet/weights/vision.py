"""What a vision-language model must bring so that this version runs it: a known architecture, and all its parts.

Decided from its config.json and the names of its files, so before anything large is brought or read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from quintet.weights.configs import read_facts

LANGUAGE_MODEL = "openvino_language_model"
COMMON_PARTS = (LANGUAGE_MODEL, "openvino_text_embeddings_model", "openvino_vision_embeddings_model")
"""What a model of any architecture has."""
PARTS: dict[str, tuple[str, ...]] = {
    "llava": COMMON_PARTS,
    "llava_next": COMMON_PARTS,
    "idefics3": COMMON_PARTS,
    "smolvlm": COMMON_PARTS,
    "qwen2_5_vl": (*COMMON_PARTS, "openvino_vision_embeddings_merger_model"),
}
"""model_type of an architecture that the engine runs → stems of the .xml and .bin files that it is made of."""
SHOWN = "LLaVA, LLaVA-NeXT, Idefics3, SmolVLM and Qwen2.5-VL"
_TOWERS = frozenset({"clip_vision_model", "siglip_vision_model"})
"""Vision encoders below LLaVA; there are others, such as Pixtral's, whose pictures are cut in ways of their own."""
_PROCESSORS = frozenset({"preprocessor_config.json", "processor_config.json"})
_MAX_PINPOINTS, _MAX_PINPOINT = 256, 8192
_MAX_WIDTH = 65_536


def why_not(config: object, names: Collection[str], format: str) -> str:
    """Why a vision-language model of these files can't be run here, as a sentence; empty if it can.

    `names` are those of the model's folder, `format` is one of core.models.SourceFormat.
    """
    facts = read_facts(config)
    kind = facts.model_type
    if kind not in PARTS or not isinstance(config, dict):
        return no_engine(kind or facts.architecture)
    reason = _wrong_tower(kind, config) or _wrong_tiles(kind, config)
    if reason:
        return reason
    if not _PROCESSORS & set(names):
        return (
            "there is no preprocessor_config.json or processor_config.json, which says how pictures are resized; "
            "look for a repository that has one."
        )
    return _missing_part(kind, config, names) if format == "openvino" else ""


def no_engine(kind: str) -> str:
    """That vision-language models of this architecture don't run here, as a sentence."""
    named = f"the architecture {kind[:60]}" if kind.replace("_", "").isalnum() else "an unknown architecture"
    return f"it has {named}, and of the models that see pictures this version of Quintet runs {SHOWN} only."


def _wrong_tower(kind: str, config: dict[str, Any]) -> str:
    described = config.get("vision_config")
    tower = str(described.get("model_type", "clip_vision_model")) if isinstance(described, dict) else ""
    if kind.startswith("llava") and tower not in _TOWERS:
        return (
            "its vision encoder is none that LLaVA models are run with here: those are CLIP's and SigLIP's."
        )
    return ""


def _wrong_tiles(kind: str, config: dict[str, Any]) -> str:
    """LLaVA-NeXT cuts pictures by a list of heights and widths that config.json has."""
    points = config.get("image_grid_pinpoints")
    if kind != "llava_next" or points is None:
        return ""
    if (
        not isinstance(points, list)
        or not 0 < len(points) <= _MAX_PINPOINTS
        or not all(isinstance(point, list) and len(point) == 2 for point in points)
        or not all(type(side) is int and 0 < side <= _MAX_PINPOINT for point in points for side in point)
    ):
        return (
            "image_grid_pinpoints in its config.json must be pairs of height and width in pixels, at most "
            f"{_MAX_PINPOINTS} of them and no side above {_MAX_PINPOINT}; take the model from another source."
        )
    return ""


def _missing_part(kind: str, config: dict[str, Any], names: Collection[str]) -> str:
    for part in PARTS[kind]:
        for name in (f"{part}.xml", f"{part}.bin"):
            if name not in names:
                return f"{name} is missing; look for a repository that has all parts of the model."
    newline = config.get("image_newline")
    if kind == "llava_next" and not (
        isinstance(newline, list)
        and 0 < len(newline) <= _MAX_WIDTH
        and all(type(number) in (int, float) for number in newline)
    ):
        return "its config.json has no image_newline, the vector that ends a row of tiles; convert the model anew."
    return ""
