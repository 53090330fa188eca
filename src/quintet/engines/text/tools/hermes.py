"""Calls as Hermes, Qwen 2.5 and Qwen 3 write them: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`."""

from __future__ import annotations

from collections.abc import Sequence

from quintet.core.requests import Tool
from quintet.engines.text.tools.reader import CallReader, Malformed, Steps
from quintet.engines.text.tools.rules import Rules

NAME = "hermes"
OPEN, CLOSE = "<tool_call>", "</tool_call>"
MARKERS: tuple[str, ...] = (OPEN, CLOSE)


def writes(template: str) -> bool:
    """Whether a model with this chat template writes its calls so. Qwen-Coder has the same tags around XML."""
    return OPEN in template and "<function=" not in template


def read(reader: CallReader) -> Steps[None]:
    """The script of an answer."""
    while (yield from reader.skip_to(OPEN)):
        begun = reader.begun
        try:
            yield from reader.read_calls()
        except Malformed:
            reader.release()
        if reader.begun > begun:
            yield from reader.skip(CLOSE)


def call_id(id: str) -> str:
    """The id of an earlier call as templates take it."""
    return id


def grammar(rules: Rules, tools: Sequence[Tool], template: str) -> str:
    """What an answer consists of."""
    body = f'"\\n" {rules.objects(tools, "arguments")} "\\n" {rules.marker(CLOSE)}'
    return rules.calls(OPEN, body, between='"\\n"')
