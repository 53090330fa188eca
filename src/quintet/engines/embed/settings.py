"""How one encoder runs on this machine, read from its catalog options."""

from __future__ import annotations

from dataclasses import dataclass, field

from quintet.core.errors import LoadFailed
from quintet.core.models import Model
from quintet.core.options import read_options
from quintet.engines.embed.pooling import POOLINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of the embedding engine; a model's catalog table sets them under `options`."""

    device: str = "CPU"
    """OpenVINO device name: CPU, GPU, GPU.1, …"""
    max_batch_tokens: int = 512
    """Tokens the model reads in one step, padding included; a longer input is read alone."""
    pooling: str = ""
    """mean, cls, last or max; empty = what the files beside the weights say, else mean."""
    precision: str = ""
    """f32, bf16 or f16; empty = OpenVINO's choice for the device."""
    threads: int = 0
    """Inference threads; 0 = one per core."""
    properties: dict[str, str | int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model) -> Settings:
        """Read a model's options; raises LoadFailed that names the wrong one."""
        options = read_options(model, cls(), "embedding")
        plain = cls(**options)
        if plain.max_batch_tokens < 1:
            raise LoadFailed(f"`max_batch_tokens` of model `{model.name}` must be at least 1.")
        if plain.threads < 0:
            raise LoadFailed(f"`threads` of model `{model.name}` must be at least 0.")
        if plain.pooling and plain.pooling not in POOLINGS:
            raise LoadFailed(f"`pooling` of model `{model.name}` must be one of {', '.join(POOLINGS)}.")
        properties: dict[str, str | int] = {}
        if plain.precision:
            properties["INFERENCE_PRECISION_HINT"] = plain.precision
        if plain.threads:
            properties["INFERENCE_NUM_THREADS"] = plain.threads
        return cls(**options, properties=properties)
