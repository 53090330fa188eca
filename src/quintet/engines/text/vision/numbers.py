"""Numbers from a model's files, checked: they are foreign input, and become sizes of arrays and lengths of loops."""

from __future__ import annotations

from typing import Any

from quintet.core.errors import LoadFailed

_MISSING = object()
_LARGEST = 1e30
"""Far more than any model's numbers, and little enough for float32."""
_NEXT_STEP = "Pull or convert the model again."


def section(described: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under `key`, {} if there is none; raises LoadFailed if it is something else."""
    found = described.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise LoadFailed(f"`{key}` in the model's files must be an object. {_NEXT_STEP}")
    return found


def whole(
    described: dict[str, Any], key: str, *, least: int = 1, most: int, default: object = _MISSING
) -> int:
    """The whole number under `key`; raises LoadFailed if it is missing without a default, or out of bounds."""
    found = described.get(key)
    if found is None and default is not _MISSING:
        found = default
    if type(found) is not int or not least <= found <= most:
        raise LoadFailed(
            f"`{key}` in the model's files must be a whole number from {least} to {most}. {_NEXT_STEP}"
        )
    return found


def numbers(
    described: dict[str, Any], key: str, *, count: int, default: tuple[float, ...] | None = None
) -> tuple[float, ...]:
    """The list of so many finite numbers under `key`; one number alone stands for all of them. Raises LoadFailed."""
    found: Any = described.get(key)
    if found is None and default is not None:
        return default
    if type(found) in (int, float):
        found = [found] * count
    is_list = isinstance(found, list) and len(found) == count
    if not is_list or not all(type(one) in (int, float) and abs(one) < _LARGEST for one in found):
        raise LoadFailed(f"`{key}` in the model's files must be a list of {count} numbers. {_NEXT_STEP}")
    return tuple(float(one) for one in found)
