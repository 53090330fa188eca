"""Bytes of a model's JSON file to values, within bounds: size, depth, no key twice, no NaN or infinity."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from quintet.weights.refusal import GateRefused

MAX_DEPTH = 64
MAX_VALUES = 8_000_000
"""Values in one file, as far as its punctuation shows: each takes tens of bytes in memory, however short it is."""

_NEXT_STEP = "Download the model again, or take it from another source."


def parse_json(file: str, data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value of a JSON file; raises GateRefused."""
    if data.count(b"{") + data.count(b"[") + data.count(b",") > MAX_VALUES:
        raise GateRefused(file, f"There are more than {MAX_VALUES:,} values in it.", _NEXT_STEP)
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except _Broken as problem:
        raise GateRefused(file, str(problem), _NEXT_STEP) from None
    except RecursionError:
        raise _too_deep(file, max_depth) from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise GateRefused(file, "This is not valid JSON in UTF-8.", _NEXT_STEP) from None
    except ValueError:
        # CPython refuses to convert numbers of more than 4,300 digits.
        raise GateRefused(file, "A number in it has too many digits.", _NEXT_STEP) from None
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(max_depth):
        if not level:
            return value
        level = [child for child in _children(level) if type(child) is dict or type(child) is list]
    if level:
        raise _too_deep(file, max_depth)
    return value


class _Broken(Exception):
    """A rule of JSON was broken; the decoder doesn't know the file's name."""


def _too_deep(file: str, max_depth: int) -> GateRefused:
    return GateRefused(file, f"It is nested deeper than {max_depth} levels.", _NEXT_STEP)


def _children(containers: Iterable[Any]) -> Iterable[Any]:
    for container in containers:
        yield from container.values() if type(container) is dict else container


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Broken("An object in it has the same key twice.")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _Broken("A number in it is too large to represent.")
    return value


def _constant(_name: str) -> NoReturn:
    raise _Broken("There is NaN or Infinity in it, which JSON does not know.")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_constant)
