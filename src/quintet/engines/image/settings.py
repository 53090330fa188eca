"""How one image model runs on this machine, read from its catalog options."""

from __future__ import annotations

from dataclasses import dataclass

from quintet.core.errors import LoadFailed
from quintet.core.models import Model
from quintet.core.options import read_options

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("", "f32", "bf16", "f16")
DENOISERS = ("auto", "openvino", "torch")
_SHARES = ("enlarge_strength", "refiner_strength", "guidance_rescale")
_COUNTS = ("threads", "native_side", "guidance_max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of the image engine; a model's catalog table sets them under `options`."""

    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    precision: str = ""
    """Of torch: f32, bf16 or f16; empty = f32 on a CPU, half of that on a GPU."""
    denoiser: str = "auto"
    """What runs the UNet or transformer on a CPU: openvino, torch, or auto: the faster of them, measured once."""
    denoiser_precision: str = ""
    """Of OpenVINO's denoiser: f32 or bf16; empty = its choice for the machine."""
    cache: str = ""
    """Folder of all converted denoisers; empty = one beside the weights."""
    threads: int = 0
    """Threads that draw; 0 = one per core."""
    native_side: int = 0
    """Side in pixels that the model was trained at; 0 = as its configuration says."""
    max_side: int = 2048
    """Longest side in pixels that may be asked for."""
    enlarge: bool = False
    """Pictures above the native side are drawn at native size, enlarged and refined, unless the caller says no."""
    enlarge_strength: float = 0.35
    """How much of the steps the refinement of an enlarged picture takes; 0 = it is enlarged only."""
    guidance_rescale: float = 0.0
    """Against overexposure of models with zero terminal signal (arXiv:2305.08891); 0 = off."""
    guidance_max: float = 0.0
    """Stronger guidance is brought down to this; 0 = as the caller says."""
    refiner: str = ""
    """Folder of a model that can go over the result, such as SDXL's refiner."""
    refine: bool = False
    """Whether the refiner is used when a caller doesn't speak of it."""
    refiner_strength: float = 0.3
    """How much of the steps the refiner takes."""
    base: str = ""
    """Folder of the model whose pictures a motion adapter moves."""

    @classmethod
    def of(cls, model: Model) -> Settings:
        """Read a model's options; raises LoadFailed that names the wrong one."""
        found = cls(**read_options(model, cls(), "image"))
        for name, known in (("device", DEVICES), ("precision", PRECISIONS), ("denoiser", DENOISERS)):
            if getattr(found, name) not in known:
                words = ", ".join(filter(None, known))
                raise LoadFailed(f"option `{name}` of model `{model.name}` must be one of {words}.")
        for name in _SHARES:
            if not 0 <= getattr(found, name) <= 1:
                raise LoadFailed(f"option `{name}` of model `{model.name}` must be between 0 and 1.")
        for name in _COUNTS:
            if getattr(found, name) < 0:
                raise LoadFailed(f"option `{name}` of model `{model.name}` must be at least 0.")
        if found.refine and not found.refiner:
            raise LoadFailed(f"option `refine` of model `{model.name}` needs `refiner`, the folder of one.")
        return found
