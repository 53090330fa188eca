"""What a model's makers recommend, for all that a caller left open: the names allowed, their ranges, and their use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from quintet.core.models import Model, Task
from quintet.core.requests import AnimationRequest, ImageRequest, Request, Sampling, TextRequest


@dataclass(frozen=True, slots=True)
class Rule:
    """The values that one default may have."""

    kind: type[int] | type[float] | type[str]
    low: float = 0
    high: float = float("inf")
    above_low: bool = False
    """Whether `low` itself is too little."""

    def broken_by(self, value: object) -> str:
        """What is wrong with the value, in words; empty if nothing is."""
        if self.kind is str:
            return "" if isinstance(value, str) and value else "must be a text"
        numbers = (int,) if self.kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, numbers):
            return f"must be {'a whole number' if self.kind is int else 'a number'}"
        if self.low < value <= self.high or (value == self.low and not self.above_low):
            return ""
        least = f"{'greater than' if self.above_low else 'at least'} {self.low:g}"
        return f"must be {least}" + (f" and at most {self.high:g}" if self.high < float("inf") else "")


_SAMPLING: Mapping[str, Rule] = {
    "temperature": Rule(float, 0, 2),
    "top_k": Rule(int),
    "top_p": Rule(float, 0, 1, above_low=True),
    "typical_p": Rule(float, 0, 1, above_low=True),
    "min_p": Rule(float, 0, 1),
    "repetition_penalty": Rule(float, 0, 5, above_low=True),
    "presence_penalty": Rule(float, -2, 2),
    "frequency_penalty": Rule(float, -2, 2),
}
_PICTURE: Mapping[str, Rule] = {
    "steps": Rule(int, 1, 1000),
    "guidance": Rule(float, 0, 100),
    "width": Rule(int, 8, 8192),
    "height": Rule(int, 8, 8192),
    "sampler": Rule(str),
}
_MOTION: Mapping[str, Rule] = {
    "frames": Rule(int, 1, 1000),
    "frames_per_second": Rule(float, 0, 240, above_low=True),
}
RULES: Mapping[Task, Mapping[str, Rule]] = {
    "text": _SAMPLING,
    "vision": _SAMPLING,
    "image": _PICTURE,
    "animation": {**_PICTURE, **_MOTION},
    "upscale": {},
    "speech": {},
    "embedding": {},
}
"""What a catalog table may set under `defaults`, by the model's task."""


def with_defaults(model: Model, request: Request) -> Request:
    """The request with the model's defaults wherever the caller said nothing."""
    if isinstance(request, TextRequest):
        return replace(request, sampling=_complete(model, request.sampling))
    if isinstance(request, ImageRequest | AnimationRequest):
        known = {field.name for field in fields(request)}
        if isinstance(request, ImageRequest) and request.source is not None:
            known -= {"width", "height"}  # a picture that is changed keeps its size
        missing = {name for name in model.defaults if name in known and getattr(request, name) is None}
        return replace(request, **_values(model, missing)) if missing else request
    return request


def _complete(model: Model, sampling: Sampling) -> Sampling:
    if sampling.given is None:
        return sampling
    # Settled from here on: what goes to the worker has no field left that says who chose what.
    return replace(sampling, given=None, **_values(model, model.defaults.keys() - sampling.given))


def _values(model: Model, names: set[str]) -> dict[str, Any]:
    rules = RULES[model.task]
    return {name: rules[name].kind(model.defaults[name]) for name in names if name in rules}
