"""The texts of a form as if they had been sent as JSON, so that one schema checks both."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from quintet.core.errors import InvalidRequest
from quintet.dialects.base import Form
from quintet.dialects.validation import field_path

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})")
_FLAGS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
_ENTRY = re.compile(r"([A-Za-z0-9_]+)\[([^\[\]]+)\]")


def form_body(
    form: Form,
    *,
    lists: Collection[str] = (),
    numbers: Collection[str] = (),
    decimals: Collection[str] = (),
    flags: Collection[str] = (),
    tables: Collection[str] = (),
) -> dict[str, Any]:
    """What a JSON body with the same fields would say; `numbers` are whole. Raises InvalidRequest.

    Lists may be sent as `name` or as `name[]`, as often as they have entries; tables of decimals as `name[key]`. What
    was left empty was not sent: pages with forms send every field.
    """
    body: dict[str, Any] = {}
    readers: dict[str, Callable[[str, str], object]] = dict.fromkeys(numbers, _number)
    readers |= dict.fromkeys(decimals, _decimal) | dict.fromkeys(flags, _flag)
    for sent_name, values in form.texts.items():
        name = sent_name.removesuffix("[]")
        given = [value for value in values if value]
        entry = _ENTRY.fullmatch(sent_name)
        if entry is not None and entry[1] in tables:
            if len(given) != 1:
                raise InvalidRequest(f"`{entry[1]}` may hold each name only once.", param=entry[1])
            body.setdefault(entry[1], {})[entry[2]] = _decimal(given[0], entry[1])
        elif name in lists:
            body.setdefault(name, []).extend(given)
        elif len(given) > 1 or name in body:
            field = field_path((name,))  # a name that only the caller chose is not repeated
            raise InvalidRequest(f"`{field}` may stand only once in the form.", param=field)
        elif given:
            body[name] = readers[name](given[0], name) if name in readers else given[0]
    return body


def _decimal(text: str, name: str) -> float:
    if not _DECIMAL.fullmatch(text.strip()):
        raise InvalidRequest(
            f"`{name}` must be a number. Send it in digits.", param=name, code="invalid_type"
        )
    return float(text)


def _flag(text: str, name: str) -> bool:
    word = text.strip().lower()
    if word not in _FLAGS:
        raise InvalidRequest(f"`{name}` must be true or false.", param=name, code="invalid_type")
    return _FLAGS[word]


def _number(text: str, name: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text.strip()):
        raise InvalidRequest(
            f"`{name}` must be a whole number. Send it in digits.", param=name, code="invalid_type"
        )
    return int(text)
