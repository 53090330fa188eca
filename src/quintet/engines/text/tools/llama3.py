"""Calls as Llama 3.1 and 3.2 write them: `{"name": …, "parameters": {…}}` alone, or after `<|python_tag|>`."""

from __future__ import annotations

from collections.abc import Sequence

from quintet.core.errors import Unsupported
from quintet.core.requests import Tool
from quintet.engines.text.tools.reader import CallReader, Malformed, Steps
from quintet.engines.text.tools.rules import Rules

NAME = "llama3"
TAG = "<|python_tag|>"
MARKERS: tuple[str, ...] = (TAG,)
OTHER_TEXT = r"/(\s*[^{\s](.|\n)*)?/"
"""Lark's regular expression of an answer that doesn't begin like a call."""


def writes(template: str) -> bool:
    """Whether a model with this chat template writes its calls so."""
    return TAG in template or ("ipython" in template and '"parameters"' in template)


def read(reader: CallReader) -> Steps[None]:
    """The script of an answer: without the tag, a call is only looked for at the beginning."""
    yield from reader.pass_space()
    if reader.symbol == "{":
        yield from _read_series(reader)
    while (yield from reader.skip_to(TAG)):
        yield from _read_series(reader)


def _read_series(reader: CallReader) -> Steps[None]:
    """Calls with semicolons between them."""
    try:
        yield from reader.read_calls()
        while True:
            yield from reader.hold_space()
            if reader.symbol == ";":
                yield from reader.hold()
                yield from reader.hold_space()
            yield from reader.read_call()
    except Malformed:
        reader.release()


def call_id(id: str) -> str:
    """The id of an earlier call as templates take it."""
    return id


def grammar(rules: Rules, tools: Sequence[Tool], template: str) -> str:
    """What an answer consists of: calls, or text that doesn't look like one."""
    if rules.answer and not rules.must_call:
        raise Unsupported(
            "this model's tool calls are JSON as well, so `response_format` can't be combined with `tools`; leave one "
            "of them out, or set `tool_choice` to none or required.",
            param="response_format",
        )
    calls = rules.series(rules.objects(tools, "parameters"), between='"; "')
    if rules.must_call:
        return calls
    return f"{calls} | {rules.marker(TAG)} {calls} | {rules.add('OTHER', OTHER_TEXT)}"
