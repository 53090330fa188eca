"""Wire bodies against pydantic models; what is wrong becomes one InvalidRequest that never repeats the input."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from quintet.core.errors import InvalidRequest


class WireModel(BaseModel):
    """Base of all wire schemas: no coercion, no NaN, unknown keys ignored unless a dialect forbids them."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )


Schema = TypeVar("Schema", bound=WireModel)

_SAFE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_WRONG_TYPE = {
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "finite_number": "must be a finite number",
    "string_unicode": "must be valid Unicode text",
}
_BROKEN_LIMIT = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "multiple_of": "must be a multiple of {multiple_of:g}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
}


def check(schema: type[Schema], body: object) -> Schema:
    """The body as a value of `schema`; raises InvalidRequest about the first thing that is wrong."""
    if not isinstance(body, dict):
        raise InvalidRequest("The request body must be a JSON object.", code="invalid_type")
    try:
        return schema.model_validate(body)
    except ValidationError as problem:
        details = problem.errors(include_url=False, include_input=False)
    raise explain(details[0])


def explain(detail: Mapping[str, Any]) -> InvalidRequest:
    """One entry of pydantic's error list as an error a caller can act on."""
    kind, context = detail["type"], detail.get("ctx", {})
    field = field_path(detail["loc"])
    name = f"`{field}`" if field else "The request body"
    param = field or None
    if kind == "missing":
        return InvalidRequest(
            f"{name} is required. Add it to the request body.", param=param, code="missing_required_parameter"
        )
    if kind == "extra_forbidden":
        return InvalidRequest(
            f"{name} is not a parameter of this route. Remove it.", param=param, code="unknown_parameter"
        )
    if kind == "value_error":
        return InvalidRequest(f"{name} {context['error']}", param=param)
    if kind in _WRONG_TYPE:
        return InvalidRequest(
            f"{name} {_WRONG_TYPE[kind]}. Send that JSON type.", param=param, code="invalid_type"
        )
    if kind in _BROKEN_LIMIT:
        rule = _BROKEN_LIMIT[kind].format(**context)
        return InvalidRequest(f"{name} {rule}. Change it and send the request again.", param=param)
    return InvalidRequest(f"{name} is not valid. Change it and send the request again.", param=param)


def field_path(location: tuple[int | str, ...]) -> str:
    """`messages[0].content` for ("messages", 0, "content"); keys that only the caller chose are not repeated."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.startswith("("):
            continue  # the tag of a union's branch, which is ours and no part of the wire
        elif _SAFE_NAME.fullmatch(step):
            path += f".{step}" if path else step
        else:
            path += "[…]"
    return path
