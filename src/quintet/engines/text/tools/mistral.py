"""Calls as Mistral writes them: `[TOOL_CALLS] [{"name": …, "arguments": {…}}]`, later `[TOOL_CALLS]name[ARGS]{…}`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from quintet.core.requests import Tool
from quintet.engines.text.tools.reader import CallReader, Malformed, Steps
from quintet.engines.text.tools.rules import Rules

NAME = "mistral"
CALLS, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
MARKERS: tuple[str, ...] = (CALLS, ARGS, CALL_ID)
ID_LENGTH = 9


def writes(template: str) -> bool:
    """Whether a model with this chat template writes its calls so."""
    return CALLS in template


def read(reader: CallReader) -> Steps[None]:
    """The script of an answer."""
    while (yield from reader.skip_to(CALLS)):
        try:
            yield from reader.hold_space()
            if reader.symbol in ("[", "{"):
                yield from reader.read_calls()
            else:
                yield from _read_named(reader)
        except Malformed:
            reader.release()


def _read_named(reader: CallReader) -> Steps[None]:
    """A name, maybe an id, and the arguments alone."""
    name = yield from _read_word(reader)
    if (yield from _read_tag(reader)) == CALL_ID:
        yield from _read_word(reader)
        yield from _read_tag(reader)
    yield from reader.hold_space()
    if reader.symbol != "{":
        raise Malformed
    reader.begin(reader.check_name(name))
    yield from reader.stream_arguments()


def _read_word(reader: CallReader) -> Steps[str]:
    word = ""
    while len(reader.symbol) == 1 and (reader.symbol.isalnum() or reader.symbol in "_-."):
        word += reader.symbol
        yield from reader.hold()
    return word


def _read_tag(reader: CallReader) -> Steps[str]:
    """A marker, whether it is one token or spelled out; "" if there is none."""
    tag = reader.symbol
    if tag in MARKERS:
        yield from reader.hold()
    elif tag == "[":
        while not tag.endswith("]"):
            yield from reader.hold()
            tag += reader.symbol
        yield from reader.hold()
    return tag


def call_id(id: str) -> str:
    """The id of an earlier call as templates take it: nine letters and digits."""
    if len(id) == ID_LENGTH and id.isascii() and id.isalnum():
        return id
    return hashlib.sha256(id.encode()).hexdigest()[:ID_LENGTH]


def grammar(rules: Rules, tools: Sequence[Tool], template: str) -> str:
    """What an answer consists of; calls are written as the template writes them."""
    if ARGS not in template:
        objects = rules.series(rules.objects(tools, "arguments"), between='", "')
        return rules.calls(CALLS, f'" "? "[" {objects} "]"', between="", several=False)
    id = f"{rules.marker(CALL_ID)} {rules.add('ID', '/[A-Za-z0-9]{9}/')}" if CALL_ID in template else ""
    named = [f"{rules.text(tool.name)} {id} {rules.marker(ARGS)} {rules.arguments(tool)}" for tool in tools]
    return rules.calls(CALLS, rules.add("named", " | ".join(named)), between="")
