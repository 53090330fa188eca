"""The texts of a form as if they had been sent as JSON, so that one schema checks both."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from quintet.core.errors import InvalidRequest
from quintet.dialects.base import Form
from quintet.dialects.validation import field_path

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def form_body(form: Form, *, lists: Collection[str] = (), numbers: Collection[str] = ()) -> dict[str, Any]:
    """What a JSON body with the same fields would say; `numbers` are whole. Raises InvalidRequest.

    Lists may be sent as `name` or as `name[]`, as often as they have entries. What was left empty was not sent: pages
    with forms send every field.
    """
    body: dict[str, Any] = {}
    for sent_name, values in form.texts.items():
        name = sent_name.removesuffix("[]")
        given = [value for value in values if value]
        if name in lists:
            body.setdefault(name, []).extend(given)
        elif len(given) > 1 or name in body:
            field = field_path((name,))  # a name that only the caller chose is not repeated
            raise InvalidRequest(f"`{field}` may stand only once in the form.", param=field)
        elif given:
            body[name] = _number(given[0], name) if name in numbers else given[0]
    return body


def _number(text: str, name: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text.strip()):
        raise InvalidRequest(
            f"`{name}` must be a whole number. Send it in digits.", param=name, code="invalid_type"
        )
    return int(text)
