"""Jinja without teeth: no Python objects, and nothing that fills the memory or runs long inside one operation.

Jinja's own sandbox keeps templates away from Python's insides. It does not bound what they compute, and an operation
written in C can't be interrupted, so whatever could be asked for a result far larger than its input is bounded here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import nodes as syntax
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SIZE = 16 * 1024 * 1024
"""Longest text or list that a template may build on its way, in characters or items."""
MAX_BITS = 256
"""Size of the numbers that a template may multiply."""
MAX_INDENT = 100

FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby"),
    *("int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr"),
    *("reverse", "safe", "select", "selectattr", "sort", "title", "trim", "unique", "upper"),
)
"""Jinja's filters whose result is about as large as their input; some others are written anew below."""
PADDING = frozenset({"center", "expandtabs", "ljust", "rjust", "translate", "zfill"})
"""Methods of strings whose result can be of any size, and that no chat template needs."""


class _Generator(CodeGenerator):
    """Jinja's compiler; it lets the sandbox look at binary operators, but `~` is not one of them."""

    def visit_Concat(self, node: syntax.Concat, frame: Frame) -> None:
        """Compile `a ~ b` to a call of the environment's `concatenate`."""
        self.write("environment.concatenate((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Generation(Extension):
    """`{% generation %}`, with which transformers' templates mark what a model is trained to say: simply its inside."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> syntax.Node:
        """The inside, with variables of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return syntax.Scope(body, lineno=line)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment that chat templates are compiled and rendered in."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})
    code_generator_class = _Generator

    def __init__(self) -> None:
        """Whitespace as chat templates expect it, loop controls, and few filters."""
        extensions = [loopcontrols, _Generation]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_printable)
        self.globals.pop("lipsum")
        self.filters = {name: self.filters[name] for name in FILTERS}
        self.filters.update(indent=_indent, join=_join, replace=_replace, string=_text, tojson=_to_json)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse operations whose result could be huge."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError("powers and % formatting are not allowed in chat templates")
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    _check(len(one) * other <= MAX_SIZE)
            if isinstance(left, int) and isinstance(right, int):
                _check(left.bit_length() + right.bit_length() <= MAX_BITS)
        if operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            _check(len(left) + len(right) <= MAX_SIZE)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __called: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function or method; methods of strings that pad or multiply are refused or bounded."""
        owner, name = getattr(__called, "__self__", None), getattr(__called, "__name__", "")
        if isinstance(owner, str):
            _check(name not in PADDING)
            if name == "replace":
                return _replace(owner, *args, **kwargs)
            if name == "join":
                return _join(args[0], owner)
        return super().call(__context, __called, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Any:
        """Refuse str.format and str.format_map, which pad to any width."""
        wrapped = super().wrap_str_format(value)
        _check(wrapped is None)
        return wrapped

    def concatenate(self, parts: Sequence[object]) -> str:
        """Jinja's `~`."""
        return _join(parts)


def _check(allowed: bool) -> None:
    if not allowed:
        raise SecurityError("the chat template builds too large a value, or asks for something that could")


def _printable(value: Any) -> Any:
    """What an output expression writes; checked, because a short list can print very long."""
    if isinstance(value, list | tuple | dict):
        _check(_weigh(value) <= MAX_SIZE)
    return value


def _text(value: object) -> str:
    """Jinja's `string`, bounded."""
    return str(_printable(value))


def _weigh(value: object) -> int:
    """About how many characters a value prints, up to a little over MAX_SIZE."""
    weight = 0
    rest = [value]
    while rest and weight <= MAX_SIZE:
        one = rest.pop()
        weight += 1
        if isinstance(one, str):
            weight += len(one)
        elif isinstance(one, dict):
            rest.extend(one)
            rest.extend(one.values())
        elif isinstance(one, list | tuple):
            rest.extend(one)
    return weight


def _replace(text: object, old: object, new: object, count: int = -1) -> str:
    """Jinja's `replace` and Python's, bounded."""
    subject, before, after = str(text), str(old), str(new)
    hits = subject.count(before)
    times = hits if count < 0 else min(count, hits)
    _check(len(subject) + times * max(0, len(after) - len(before)) <= MAX_SIZE)
    return subject.replace(before, after, times)


def _join(values: Iterable[object], d: object = "", attribute: str | int | None = None) -> str:
    """Jinja's `join`, bounded; `attribute` is a key of the items."""
    separator = str(d)
    texts: list[str] = []
    size = 0
    for value in values:
        text = _text(value[attribute] if attribute is not None and isinstance(value, dict) else value)
        size += len(text) + len(separator)
        _check(size <= MAX_SIZE)
        texts.append(text)
    return separator.join(texts)


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Jinja's `indent`, bounded."""
    pad = width[:MAX_INDENT] if isinstance(width, str) else " " * min(width, MAX_INDENT)
    lines = str(s).split("\n")
    shown = [
        pad + line if (line or blank) and (first or number) else line for number, line in enumerate(lines)
    ]
    _check(sum(map(len, shown)) <= MAX_SIZE)
    return "\n".join(shown)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as chat templates expect it: not HTML-escaped, Unicode kept."""
    if isinstance(value, Undefined):
        return "null"
    width = None if indent is None else min(indent, MAX_INDENT)
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=width, separators=separators, sort_keys=sort_keys
    )
    return _join(encoder.iterencode(value))
