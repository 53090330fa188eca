"""Options of a model, as its catalog table has them, checked against the settings class of the engine."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from quintet.core.errors import LoadFailed
from quintet.core.models import Model


def read_options(model: Model, settings: Any, engine: str) -> dict[str, Any]:
    """The options of `model` that may replace values of `settings`, a dataclass instance with all defaults.

    Its field `properties` is the engine's own. Raises LoadFailed that names an unknown option or a wrong type.
    """
    known = {field.name for field in fields(settings)} - {"properties"}
    unknown = sorted(set(model.options) - known)
    if unknown:
        raise LoadFailed(
            f"unknown option `{unknown[0]}` of model `{model.name}`; "
            f"the {engine} engine knows {', '.join(sorted(known))}."
        )
    for name, value in model.options.items():
        kind = type(getattr(settings, name))
        if type(value) is not kind:
            raise LoadFailed(f"option `{name}` of model `{model.name}` must be of type {kind.__name__}.")
    return dict(model.options)
