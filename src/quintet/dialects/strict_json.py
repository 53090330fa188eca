"""Bytes to JSON values, more strictly than the standard library; raises InvalidRequest and nothing else.

Refused beyond plain syntax errors: a byte-order mark, encodings other than UTF-8, duplicate keys, NaN and
infinities (also 1e999), negative zero, lone surrogates, NUL characters, numbers of absurd length, objects with
more than 1,024 keys, nesting deeper than 32, and more than half a million values. No message repeats what was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from quintet.core.errors import InvalidRequest

MAX_DEPTH = 32
MAX_KEYS = 1024
MAX_MARKS = 2**19
"""Commas and opening brackets. The parser of the standard library holds the interpreter while it makes values, and a
body of nothing but empty arrays would stop the event loop for seconds and take thirty times its size of memory."""

_SUSPECT_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""Escapes that may stand for NUL or half a surrogate pair; only then are all strings looked at."""


def parse_json(body: bytes) -> object:
    """The value that `body` says; raises InvalidRequest."""
    text = _decode(body)
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_MARKS:
        raise _refuse(f"The request body has more than {MAX_MARKS:,} commas and brackets. Send less at once.")
    del body  # who passed its only reference has the memory back
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as problem:
        raise _refuse(
            f"The request body is not valid JSON (near line {problem.lineno}, column {problem.colno}). "
            "Correct the syntax and send it again."
        ) from None
    except ValueError:
        # CPython refuses to convert numbers of more than 4,300 digits.
        raise _refuse("The request body has a number with too many digits. Send ordinary numbers.") from None
    _check_depth(value)
    if _SUSPECT_ESCAPE.search(text):
        _check_strings(value)
    return value


def _decode(body: bytes) -> str:
    if body.startswith(b"\xef\xbb\xbf"):
        raise _refuse("The request body starts with a byte-order mark. Send plain UTF-8 without it.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _refuse("The request body is not valid UTF-8. Encode the JSON as UTF-8.") from None
    if not text or text.isspace():
        raise _refuse("The request body is empty. Send a JSON object.")
    return text


def _refuse(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_json")


def _too_deep() -> InvalidRequest:
    return _refuse(f"The request body is nested deeper than {MAX_DEPTH} levels. Flatten it.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise _refuse(f"An object in the request body has more than {MAX_KEYS} keys. Send fewer.")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _refuse("An object in the request body has the same key twice. Send each key once.")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _refuse("The request body has a number too large to represent. Send finite numbers.")
    if value == 0 and text.startswith("-"):
        raise _refuse("The request body has a negative zero. Send 0 instead.")
    return value


def _constant(_name: str) -> NoReturn:
    raise _refuse("The request body has NaN or Infinity, which JSON does not know. Send finite numbers.")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_constant)


def _children(containers: Iterable[Any]) -> Iterable[Any]:
    for container in containers:
        yield from container.values() if type(container) is dict else container


def _check_depth(value: object) -> None:
    """Level by level instead of recursively, so that nesting cannot exhaust the stack."""
    level = [value] if type(value) in (dict, list) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [child for child in _children(level) if type(child) is dict or type(child) is list]
    if level:
        raise _too_deep()


def _check_strings(value: object) -> None:
    level: list[Any] = [value]
    while level:
        strings = [item for item in level if type(item) is str]
        containers = [item for item in level if type(item) is dict or type(item) is list]
        strings.extend(key for item in containers if type(item) is dict for key in item)
        for string in strings:
            if "\0" in string:
                raise _refuse("The request body has a NUL character in a string. Remove it.")
            try:
                string.encode("utf-8")
            except UnicodeEncodeError:
                raise _refuse(
                    "The request body has half a surrogate pair in a string. Send whole characters."
                ) from None
        level = list(_children(containers))
