"""Vision-language models: one small module per family, and what they share."""

from __future__ import annotations

from importlib import import_module

from quintet.engines.text.vision.family import Family, Parts

FAMILIES: dict[str, str] = {
    "llava": "llava:Llava",
    "llava_next": "llava_next:LlavaNext",
    "idefics3": "idefics3:Idefics3",
    "smolvlm": "idefics3:Idefics3",
    "qwen2_5_vl": "qwen25_vl:Qwen25Vl",
}
"""A config.json's model_type → module beside this one and its class."""


def open_family(parts: Parts) -> Family | None:
    """The family that config.json names, loaded; None if it is none of a vision-language model. Raises LoadFailed."""
    place = FAMILIES.get(str(parts.config.get("model_type")))
    if place is None:
        return None
    module, name = place.split(":")
    family: Family = getattr(import_module(f"{__name__}.{module}"), name)(parts)
    return family
