"""The UNet or transformer of a pipeline on OpenVINO: converted once, kept on disk, used where it is faster.

Memory: OpenVINO holds the weights in the precision it computes in (2 bytes each with bf16, else 4). Torch's are let go
of unless they are needed for LoRAs. Converting needs 2 bytes per weight for a while, and 4 more if torch has 16 bits.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput

from quintet.core.machine import free_memory_bytes, gigabytes
from quintet.engines.image.denoiser_cache import Cache, identity
from quintet.engines.image.denoiser_inputs import Inputs, find_inputs
from quintet.engines.image.denoiser_ir import Runner, best_precision, convert
from quintet.engines.image.settings import Settings

CACHE = "openvino"
"""Folder beside the weights, if the settings name no other."""
_PARTS = ("unet", "transformer")
_SPARE_BYTES = 500_000_000
_ROUNDS, _MEASURE_SECONDS = 3, 10.0
"""How often a step is measured at most, and after how long no more."""


class Denoiser:
    """Stands in a pipeline in the module's place: what pipelines read of it is the module's, calls are OpenVINO's."""

    device = torch.device("cpu")

    def __init__(self, pipeline: Any, part: str, module: Any, inputs: Inputs, runner: Runner) -> None:
        """`part` is the module's name in the pipeline; nothing is replaced yet."""
        self.module = module
        self.runner = runner
        self.has_torch = True
        """Whether the module still has its weights."""
        self._pipeline = pipeline
        self._part = part
        self._inputs = inputs
        self._suspended = 0

    def __call__(self, *arguments: Any, return_dict: bool = True, **named: Any) -> Any:
        """Like the module's."""
        tensors = None if self._suspended else self._inputs.flatten(arguments, named)
        if tensors is None:
            if not self.has_torch:
                raise RuntimeError(
                    "the denoiser is asked for what only its torch module can do, and that is gone"
                )
            return self.module(*arguments, return_dict=return_dict, **named)
        sample = arguments[0] if arguments else named[next(iter(self._inputs.widths))]
        given = {name: tensor.numpy() for name, tensor in zip(self._inputs.widths, tensors, strict=True)}
        # A copy, because samplers of several steps keep it. It is as small as the latents.
        made = torch.from_numpy(self.runner(given).copy()).to(sample.dtype)
        return Transformer2DModelOutput(sample=made) if return_dict else (made,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """In the block torch's module stands in its place again, as LoRAs need it."""
        if not self.has_torch:
            raise RuntimeError("the denoiser's torch module was let go of; load the model with `keep_torch`")
        before = getattr(self._pipeline, self._part)
        self._suspended += 1
        setattr(self._pipeline, self._part, self.module)
        try:
            yield
        finally:
            self._suspended -= 1
            setattr(self._pipeline, self._part, before)

    def release_torch(self) -> None:
        """Let go of the module's weights; its shapes and its configuration stay."""
        self.module.to("meta")
        self.has_torch = False


def accelerate(
    pipeline: Any, folder: Path, cache: Path, settings: Settings, *, keep_torch: bool = True
) -> Denoiser | None:
    """Have OpenVINO denoise for this pipeline if the settings or a measurement say so; blocks while it converts.

    Returns what now stands in the module's place, or None if torch goes on; whatever fails here is logged, never
    raised. `cache` is the folder for all converted denoisers; without `keep_torch`, `suspended` can't be used.
    """
    if settings.denoiser == "torch":
        return None
    try:
        denoiser = _open(pipeline, folder.name, cache, settings)
    except Exception as error:  # foreign: any model must load without us
        _say(folder.name, f"torch denoises, because OpenVINO could not ({type(error).__name__}: {error})")
        return None
    finally:
        gc.collect()
    if denoiser is not None:
        setattr(pipeline, denoiser._part, denoiser)
        if not keep_torch:
            denoiser.release_torch()
    return denoiser


def _open(pipeline: Any, name: str, root: Path, settings: Settings) -> Denoiser | None:
    part = next(part for part in _PARTS if getattr(pipeline, part, None) is not None)
    module = getattr(pipeline, part).eval()
    inputs = find_inputs(pipeline, module)
    if inputs is None:
        _say(name, f"torch denoises, because a {type(module).__name__} like this one is not converted")
        return None
    cache = Cache(root, identity(module))
    precision = settings.denoiser_precision or best_precision()
    key = f"{precision} {module.dtype} {settings.threads or torch.get_num_threads()}"
    seconds = cache.measured(key)
    if settings.denoiser == "auto" and seconds is not None and not _is_openvino_faster(seconds):
        return None
    runner = _open_runner(cache, name, module, inputs, precision, settings.threads)
    denoiser = Denoiser(pipeline, part, module, inputs, runner)
    if settings.denoiser == "auto" and seconds is None:
        seconds = _measure(denoiser, inputs)
        cache.remember(key, seconds)
        told = ", ".join(f"{seconds[which]:.3g} s with {which}" for which in seconds)
        _say(name, f"one step at native size takes {told}")
    return denoiser if seconds is None or _is_openvino_faster(seconds) else None


def _open_runner(
    cache: Cache, name: str, module: Any, inputs: Inputs, precision: str, threads: int
) -> Runner:
    """The converted denoiser, from the cache if it is fine there."""
    if cache.is_whole():
        try:
            return Runner(cache.folder, precision=precision, threads=threads)
        except RuntimeError as error:
            _say(name, f"the converted denoiser can't be read and is made anew ({error})")
    _check_memory(module)
    begin = time.monotonic()
    _say(name, "converting the denoiser for OpenVINO; this is done once and may take minutes")
    cache.fill(lambda fresh: _convert(module, inputs, fresh))
    gc.collect()
    _say(name, f"the denoiser was converted in {time.monotonic() - begin:.0f} s")
    return Runner(cache.folder, precision=precision, threads=threads)


def _convert(module: Any, inputs: Inputs, folder: Path) -> None:
    """Convert a module of any precision; one of 16 bits is a float32 one meanwhile, which loses nothing."""
    dtype = module.dtype
    if dtype == torch.float32:
        convert(module, inputs, folder)
        return
    try:
        convert(module.to(torch.float32), inputs, folder)
    finally:
        module.to(dtype)


def _check_memory(module: Any) -> None:
    count = sum(parameter.numel() for parameter in module.parameters())
    needed = count * (2 if module.dtype == torch.float32 else 4) + _SPARE_BYTES
    if needed > (free := free_memory_bytes()):
        raise MemoryError(f"converting needs about {gigabytes(needed)}, and {gigabytes(free)} are free")


def _measure(denoiser: Denoiser, inputs: Inputs) -> dict[str, float]:
    """Seconds of one step at the model's native size, the best of some."""
    example = inputs.example(inputs.native)
    module = denoiser.module
    at_home = {name: tensor.to(module.dtype) for name, tensor in example.items()}
    steps: dict[str, Callable[[], Any]] = {
        "torch": lambda: module(**inputs.nest(at_home), return_dict=False),
        "OpenVINO": lambda: denoiser(**inputs.nest(example), return_dict=False),
    }
    seconds = dict.fromkeys(steps, float("inf"))
    begun = time.monotonic()
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            for which, step in steps.items():
                begin = time.perf_counter()
                step()
                seconds[which] = min(seconds[which], time.perf_counter() - begin)
            if time.monotonic() - begun > _MEASURE_SECONDS:
                break
    return seconds


def _is_openvino_faster(seconds: dict[str, float]) -> bool:
    return seconds.get("OpenVINO", 0.0) <= seconds.get("torch", 0.0)


def _say(name: str, what: str) -> None:
    """A line for the server's log."""
    sys.stderr.write(f"model {name}: {what}\n")
    sys.stderr.flush()
