"""LoRAs of a request: laid over the denoiser and the text encoders for one picture, and off again without a trace.

The base weights are never changed: peft adds each LoRA's product beside a layer's own, and adds nothing once it is off.
So a picture without LoRAs is the same to the byte before and after. Everything is called on the painting thread.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from quintet.core.errors import EngineFailed, InvalidRequest
from quintet.core.requests import Lora

_KEPT = 8
"""LoRAs that stay loaded for the next request; more than one request may have."""
_LOADERS = ("diffusers.loaders.peft", "diffusers.loaders.lora_base", "diffusers.loaders.lora_pipeline")
"""Loggers that speak of every part of a model that a LoRA leaves alone."""


class Loras:
    """The LoRAs that one pipeline may use."""

    def __init__(self, pipeline: Any, files: Mapping[str, str], kept: int = _KEPT) -> None:
        """`files`: a safetensors file by name, in the way of kohya's trainer (A1111) or of diffusers and peft."""
        self._pipeline = pipeline
        self._files = dict(files)
        self._kept = kept
        self._adapters = {name: f"quintet{number:04}" for number, name in enumerate(sorted(files))}
        self._loaded: dict[str, None] = {}
        """Names, the one that was used last at the end."""

    @contextlib.contextmanager
    def applied(self, chosen: Sequence[Lora]) -> Iterator[None]:
        """In the block these apply; raises InvalidRequest for one that this model can't take, and EngineFailed."""
        weights = _sum_weights(chosen)
        if not weights:
            yield
            return
        try:
            for name in weights:
                self._load(name, keep=weights)
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([self._adapters[name] for name in weights], list(weights.values()))
            yield
        finally:
            if self._loaded:
                self._pipeline.disable_lora()

    def _load(self, name: str, keep: Mapping[str, float]) -> None:
        if name in self._loaded:
            self._loaded[name] = self._loaded.pop(name)
            return
        if name not in self._files:
            raise InvalidRequest("`loras` names one that this model does not have.", param="loras")
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise InvalidRequest("This model takes no LoRAs.", param="loras")
        unused = [other for other in self._loaded if other not in keep]
        for other in unused[: max(0, len(self._loaded) + 1 - self._kept)]:
            self._forget(other)
        path = Path(self._files[name])
        _check_readable(name, path)
        self._loaded[name] = None
        try:
            with _quiet():
                self._pipeline.load_lora_weights(
                    str(path.parent),
                    weight_name=path.name,
                    adapter_name=self._adapters[name],
                    local_files_only=True,
                    use_safetensors=True,
                )
            fits = self._adapters[name] in self._present()
        except Exception as error:  # foreign: whatever a file's shapes and names make the loaders raise
            self._forget(name)
            raise _unfit(name) from error
        if not fits:
            self._forget(name)
            raise _unfit(name)

    def _forget(self, name: str) -> None:
        """Take one out of the model, also one that was loaded by half."""
        del self._loaded[name]
        if self._adapters[name] in self._present():
            self._pipeline.delete_adapters(self._adapters[name])

    def _present(self) -> set[str]:
        """The adapters that any part of the pipeline has."""
        return {adapter for adapters in self._pipeline.get_list_adapters().values() for adapter in adapters}


def _sum_weights(chosen: Sequence[Lora]) -> dict[str, float]:
    """What applies, in the order of names, because sums of rounded numbers depend on theirs."""
    weights: dict[str, float] = {}
    for lora in chosen:
        weights[lora.name] = weights.get(lora.name, 0.0) + lora.weight
    return {name: weights[name] for name in sorted(weights) if weights[name]}


def _check_readable(name: str, path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except (OSError, SafetensorError) as error:
        raise EngineFailed(
            f"The file of the LoRA {name} can't be read as safetensors; the operator has to replace it.",
            param="loras",
        ) from error


def _unfit(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"The LoRA {name} does not fit this model: it was made for another family, or is no plain LoRA.",
        param="loras",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Parts that a LoRA leaves alone are no news; what does not fit at all is raised."""
    loggers = [logging.getLogger(name) for name in _LOADERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
