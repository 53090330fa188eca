"""How one model runs on this machine, read from its catalog options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from quintet.core.errors import LoadFailed
from quintet.core.models import Model
from quintet.core.options import read_options
from quintet.engines.text.memory import CacheWish


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of the text engine; a model's catalog table sets them under `options`."""

    device: str = "CPU"
    """OpenVINO device name: CPU, GPU, GPU.1, …"""
    kv_cache_mb: int = -1
    """Memory for keys and values, at least one whole context; -1 = what the context, `max_sequences` and the free
    memory suggest (memory.py). Pages that are never used cost nothing."""
    max_batch_tokens: int = 512
    """Tokens the model reads in one step: more = better throughput, longer waits between tokens."""
    max_sequences: int = 128
    """Sequences that run at once; more of them wait."""
    precision: str = ""
    """f32, bf16 or f16; empty = OpenVINO's choice for the device."""
    kv_precision: str = ""
    """u8, f16, bf16 or f32; empty = OpenVINO's choice."""
    quantization_group: int = 64
    """Values that share a scale when activations are quantised for int8 weights on a CPU; 0 = off, -1 = OpenVINO's
    choice, which is 32. Twice that is 5–18 % faster and as accurate (docs/performance.md)."""
    threads: int = 0
    """Inference threads; 0 = one per core."""
    adapters: str = ""
    """Folder of PEFT LoRA directories that requests may name; empty = none. Room for them slows every step a little."""
    picture_cache_mb: int = 256
    """Memory for the embeddings of pictures seen last, for models that see."""
    properties: dict[str, str | int] = field(default_factory=dict)

    @property
    def encoder_properties(self) -> dict[str, str | int]:
        """Those of `properties` that concern a vision encoder too."""
        return {name: value for name, value in self.properties.items() if name != "KV_CACHE_PRECISION"}

    def cache(self, context_length: int) -> CacheWish:
        """The KV cache that a model with this context wants."""
        return CacheWish(
            context_length=context_length,
            max_sequences=self.max_sequences,
            megabytes=self.kv_cache_mb if self.kv_cache_mb >= 0 else None,
        )

    @classmethod
    def of(cls, model: Model) -> Settings:
        """Read a model's options; raises LoadFailed that names an unknown one."""
        options = read_options(model, cls(), "text")
        plain = cls(**options)
        if plain.max_batch_tokens < 1 or plain.max_sequences < 1:
            raise LoadFailed(
                f"`max_batch_tokens` and `max_sequences` of model `{model.name}` must be at least 1."
            )
        properties: dict[str, str | int] = {}
        if plain.precision:
            properties["INFERENCE_PRECISION_HINT"] = plain.precision
        if plain.kv_precision:
            properties["KV_CACHE_PRECISION"] = plain.kv_precision
        if plain.quantization_group >= 0 and plain.device.startswith("CPU"):
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = plain.quantization_group
        if plain.threads:
            properties["INFERENCE_NUM_THREADS"] = plain.threads
        return cls(**options, properties=properties)


def context_of(model: Model, config: dict[str, Any]) -> int:
    """Tokens of a whole sequence: what the catalog says, but no more than the weights have positions for.

    `max_position_embeddings` counts what llama3 and longrope scaling add; YaRN's factor comes on top of it.
    """
    described = config.get("text_config") or config
    positions = described.get("max_position_embeddings")
    if type(positions) is not int or positions < 1:
        return model.context_length
    scaling = described.get("rope_scaling") or described.get("rope_parameters") or {}
    if scaling.get("rope_type", scaling.get("type")) == "yarn":
        trained = scaling.get("original_max_position_embeddings") or positions
        positions = max(positions, int(trained * scaling.get("factor", 1.0)))
    return min(model.context_length, positions)
