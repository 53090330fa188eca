"""What an answer must look like, from the forms that callers write it in; only checks that need no model.

Whether a schema or an expression can be enforced, the engine says when it compiles it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from quintet.core.errors import InvalidRequest, Unsupported
from quintet.core.requests import Grammar
from quintet.dialects.strict_json import parse_json

MAX_SCHEMA_CHARACTERS = 65_536
MAX_REGEX_CHARACTERS = 4_096
FORMS = ("json", "json_object", "json_schema", "regex")
_DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are data and no schemas."""


def to_grammar(form: str, value: object, param: str, *, inner: str = "value") -> Grammar:
    """The grammar of a form with its value, which stands in the body at `param`.`inner`; raises InvalidRequest."""
    field = f"{param}.{inner}"
    match form:
        case "json_object" if value is None:
            return Grammar(kind="json_object", param=param)
        case "json" | "json_object":
            return _schema(value, param, field)
        case "json_schema":
            named = isinstance(value, dict) and isinstance(value.get("schema"), dict)
            return _schema(value["schema"] if named else value, param, field)  # type: ignore[index]
        case "regex":
            return _regex(value, param, field)
    raise Unsupported(f"`{param}.type` must be one of {', '.join(FORMS)}. Choose one.", param=f"{param}.type")


def _schema(value: object, param: str, field: str) -> Grammar:
    if isinstance(value, str):
        if len(value) > MAX_SCHEMA_CHARACTERS:
            raise _too_long(field, MAX_SCHEMA_CHARACTERS)
        try:
            value = parse_json(value.encode())
        except (InvalidRequest, UnicodeEncodeError):
            raise InvalidRequest(
                f"`{field}` must be a JSON schema: an object, or one as strict JSON text, at most 32 levels deep. "
                "Correct it.",
                param=field,
            ) from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"`{field}` must be a JSON schema, which is an object. Send one.", param=field)
    if not value:
        raise InvalidRequest(
            f"`{field}` must not be empty. Describe the answer, or ask for a json_object.", param=field
        )
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise _too_long(field, MAX_SCHEMA_CHARACTERS)
    if _refers_outside(value):
        raise InvalidRequest(
            f"`{field}` has a `$ref` that points outside itself. Copy what it means into `$defs`.",
            param=field,
        )
    return Grammar(kind="json_schema", text=text, param=param)


def _regex(value: object, param: str, field: str) -> Grammar:
    if not isinstance(value, str):
        raise InvalidRequest(f"`{field}` must be a regular expression as a string.", param=field)
    if not value:
        raise InvalidRequest(f"`{field}` must not be empty. Write what the answer must match.", param=field)
    if len(value) > MAX_REGEX_CHARACTERS:
        raise _too_long(field, MAX_REGEX_CHARACTERS)
    if len(re.search(r"\\*\Z", value)[0]) % 2:  # type: ignore[index]
        raise InvalidRequest(
            f"`{field}` ends with a single backslash, which escapes nothing. Correct it.", param=field
        )
    return Grammar(kind="regex", text=value, param=param)


def _too_long(field: str, most: int) -> InvalidRequest:
    return InvalidRequest(f"`{field}` may have at most {most:,} characters. Shorten it.", param=field)


def _refers_outside(schema: dict[str, Any]) -> bool:
    """Whether a reference leaves this schema. Nothing is ever fetched in any case; this only says so early."""
    level: list[Any] = [schema]
    while level:
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, list):
                deeper += item
            elif isinstance(item, dict):
                if any(
                    isinstance(item.get(word), str) and not item[word].startswith("#")
                    for word in ("$ref", "$dynamicRef")
                ):
                    return True
                deeper += [child for key, child in item.items() if key not in _DATA]
        level = deeper
    return False
