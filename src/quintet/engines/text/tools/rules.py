"""Writes the grammar of tool calls in llguidance's Lark, for answers that must be calls of the right shape."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from quintet.core.requests import Tool
from quintet.engines.text.grammar import json_rule, token_rule

ANY_TEXT = r"/(.|\n)*/"


class Rules:
    """The rules of one grammar, which formats add to."""

    def __init__(
        self,
        special: Mapping[str, int],
        *,
        must_call: bool,
        answer: str = "",
        parallel: bool = True,
        any_arguments: bool = False,
    ) -> None:
        """`special` are the markers that are special tokens, with their ids.

        With `must_call` there are only calls, otherwise also text, or what the rule `answer` says. `parallel` allows
        several calls, and `any_arguments` gives up the schemas of tools that aren't strict.
        """
        self.must_call = must_call
        self.answer = answer
        self._special = special
        self._parallel = parallel
        self._any_arguments = any_arguments
        self._lines: list[str] = []

    def write(self, start: str) -> str:
        """The whole grammar; `start` is what an answer consists of."""
        return "\n".join([f"start: {start}", *self._lines])

    def add(self, name: str, body: str, options: str = "") -> str:
        """One more rule, or a terminal if its name has capital letters; returns its name."""
        name = f"{name}_{len(self._lines)}"
        self._lines.append(f"{name}{options}: {body}")
        return name

    def text(self, text: str) -> str:
        """A stretch of text as it is."""
        return json.dumps(text)

    def marker(self, marker: str) -> str:
        """A marker, as the one token that it is, or spelled out."""
        id = self._special.get(marker)
        return self.text(marker) if id is None else token_rule(id)

    def series(self, call: str, between: str) -> str:
        """One call, or several if that is allowed."""
        return f"({call} ({between} {call})*)" if self._parallel else call

    def calls(self, marker: str, body: str, *, between: str, several: bool = True) -> str:
        """What an answer consists of if a marker comes before each call, or with `several` unset before all of them."""
        body = self.add("body", body)
        mark = self.marker(marker)
        if self.must_call or self.answer:
            call = self.add("call", f"{mark} {body}")
            calls = self.series(call, between) if several else call
            return calls if self.must_call else f"{calls} | {self.add('answer', self.answer)}"
        text = self.add("TEXT", ANY_TEXT)
        # A marker that is spelled out ends the text as soon as it is complete.
        head = f"{text} {mark}" if marker in self._special else self.add("head", f"{text} {mark}", "[lazy]")
        return f"({head} {body}){'*' if self._parallel else '?'} {text}"

    def arguments(self, tool: Tool) -> str:
        """The arguments of one tool."""
        any_arguments = self._any_arguments and not tool.strict
        schema = {"type": "object"} if any_arguments else as_schema(tool)
        return self.add("arguments", json_rule(json.dumps(schema)))

    def objects(self, tools: Sequence[Tool], key: str) -> str:
        """A call object of any of these tools, with its arguments under `key`."""
        calls = [
            f'{self.text(json.dumps({"name": tool.name})[:-1] + f", {json.dumps(key)}: ")} {self.arguments(tool)} "}}"'
            for tool in tools
        ]
        return self.add("object", " | ".join(calls))


def as_schema(tool: Tool) -> dict[str, object]:
    """The schema of a tool's arguments, which are always an object."""
    schema = json.loads(tool.parameters)
    empty = {"properties": {}, "additionalProperties": False}
    return {"type": "object", **(schema or empty)}
