"""On which line of a TOML text a key stands. The standard parser doesn't say, so the text is searched for it.

Exact for texts written one key per line, with inline tables, arrays of tables or dotted keys; for anything
stranger it names the line of the table, never a wrong table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LONG_STRING = re.compile(r'"""(?s:.*?)"""|' + r"'''(?s:.*?)'''")
_HEADER = re.compile(r"^[ \t]*(\[.+\])[ \t]*(?:#.*)?$", re.MULTILINE)
_SYNTAX_ERROR = re.compile(r"\(at line (\d+), column \d+\)")


@dataclass(frozen=True, slots=True)
class _Part:
    """The lines of one table: its header's keys, which one of an array of tables it is, and where it stands."""

    keys: tuple[str, ...]
    number: int | None
    start: int
    body: str
    body_start: int


def line_of(text: str, keys: Sequence[str | int]) -> int:
    """The line, counted from 1, of the key that this path leads to; numbers in the path count the tables of an array.

    If the key isn't there, the line of its table.
    """
    text = _LONG_STRING.sub(lambda found: '""' + "\n" * found[0].count("\n"), text)
    names = tuple(key for key in keys if isinstance(key, str))
    number = next((key for key in keys if isinstance(key, int)), 0)
    fallback = 0
    for part in _parts(text):
        if part.keys != names[: len(part.keys)] or part.number not in (None, number):
            continue
        rest = names[len(part.keys) :]
        if part.keys and not fallback:
            fallback = part.start
        if not rest:
            return _count(text, part.start)
        offset = _find(part.body, rest, number if part.number is None else 0)
        if offset is not None:
            return _count(text, part.body_start + offset)
    return _count(text, fallback)


def syntax_line(error: tomllib.TOMLDecodeError, text: str) -> int:
    """The line of a syntax error: the one the parser names, or the last."""
    found = _SYNTAX_ERROR.search(str(error))
    return int(found[1]) if found else max(1, text.count("\n") + (not text.endswith("\n")))


def _parts(text: str) -> Iterator[_Part]:
    """The top level, and every table with a header of its own."""
    found = [
        (header.start(1), header.end(), keys)
        for header in _HEADER.finditer(text)
        if (keys := _keys(header[1]))
    ]
    ends = [start for start, _, _ in found] + [len(text)]
    yield _Part((), None, 0, text[: ends[0]], 0)
    seen: dict[tuple[str, ...], int] = {}
    for (start, body_start, keys), end in zip(found, ends[1:], strict=True):
        seen[keys] = seen.get(keys, -1) + 1
        number = seen[keys] if text.startswith("[[", start) else None
        yield _Part(keys, number, start, text[body_start:end], body_start)


def _keys(header: str) -> tuple[str, ...]:
    """The keys of a header line; () if it is none, but the middle of an array."""
    keys: list[str] = []
    try:
        table: object = tomllib.loads(header)
    except tomllib.TOMLDecodeError:
        return ()
    while isinstance(table, dict | list) and table:
        if isinstance(table, list):
            table = table[0]
            continue
        key, table = next(iter(table.items()))
        keys.append(key)
    return tuple(keys)


def _find(body: str, names: tuple[str, ...], number: int) -> int | None:
    """Where a line begins with the first name, and the others follow; the last one in the n-th inline table of it."""
    first = re.search(rf"^[ \t]*{_written(names[0])}[ \t]*(?P<sign>[=.])", body, re.MULTILINE)
    if first is None:
        return None
    place = first.end()
    if first["sign"] == "=":
        for _ in range(number + 1):
            place = body.find("{", place) + 1 or place
    for name in names[1:]:
        inner = re.compile(rf"(?<![\w\"'-]){_written(name)}[ \t]*[=.]").search(body, place)
        if inner is None:
            return first.start()
        place = inner.start()
    return place if len(names) > 1 else first.start()


def _written(name: str) -> str:
    """The ways a key can be written, as a pattern."""
    return rf"(?:\"{re.escape(name)}\"|'{re.escape(name)}'|{re.escape(name)}(?![\w-]))"


def _count(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
