"""What one model does with tools: whether its template shows them, how it writes calls, how these are read."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from quintet.core.content import Message
from quintet.core.errors import InvalidRequest, LoadFailed, Unsupported
from quintet.core.requests import Grammar, TextRequest, Tool, ToolUse
from quintet.engines.text.grammar import Blueprint, Grammars, grammar_rule
from quintet.engines.text.template import ChatTemplate
from quintet.engines.text.tools import hermes, llama3, mistral
from quintet.engines.text.tools.reader import CallReader, Steps
from quintet.engines.text.tools.rules import Rules
from quintet.engines.text.vocabulary import Vocabulary


class Format(Protocol):
    """What every format's module has."""

    NAME: str
    MARKERS: tuple[str, ...]

    def writes(self, template: str) -> bool: ...  # noqa: D102
    def read(self, reader: CallReader) -> Steps[None]: ...  # noqa: D102
    def call_id(self, id: str) -> str: ...  # noqa: D102
    def grammar(self, rules: Rules, tools: Sequence[Tool], template: str) -> str: ...  # noqa: D102


FORMATS: tuple[Format, ...] = (mistral, hermes, llama3)


class Toolbox:
    """The tool side of one model."""

    def __init__(
        self, template: ChatTemplate, vocabulary: Vocabulary, *, model: str, named: str = ""
    ) -> None:
        """`named` is the format that the catalog says; otherwise the template tells. Raises LoadFailed."""
        self._template = template
        self._model = model
        self._format = find_format(named, template.tool_source)
        markers = {} if self._format is None else token_ids(vocabulary, self._format.MARKERS)
        self._special: Mapping[str, int] = markers
        self._markers = {id: marker for marker, id in markers.items()}

    def render(self, messages: Sequence[Message], use: ToolUse | None = None) -> str:
        """The prompt of a conversation, with the tools that may be called; raises InvalidRequest."""
        tools = offered(use)
        spoken_of = bool(tools) or any(message.tool_calls for message in messages)
        if spoken_of and not self._template.knows_tools:
            raise Unsupported(
                f"the chat template of model `{self._model}` has no tools; leave them out, or choose a model made for "
                "them, such as Qwen3, Llama 3.1 or Mistral 7B Instruct v0.3.",
                param="tools" if tools else "messages",
            )
        if tools:
            self._known()
        call_id = str if self._format is None else self._format.call_id
        return self._template.render(messages, tools=[describe(tool) for tool in tools], call_id=call_id)

    def reader(self, request: TextRequest, choice: int) -> CallReader | None:
        """What finds the calls in one answer; None if there are no tools to be called."""
        tools = offered(request.tool_use)
        if not tools or request.tool_use is None:
            return None
        return CallReader(
            self._known().read,
            frozenset(tool.name for tool in tools),
            new_id=lambda: "call_" + secrets.token_hex(12),
            special=self._special,
            shows_special=not request.skip_special_tokens,
            parallel=request.tool_use.parallel,
            choice=choice,
        )

    def marker(self, id: int) -> str:
        """The format's marker that this special token is, if any."""
        return self._markers.get(id, "")

    def blueprint(self, request: TextRequest, grammars: Grammars) -> Blueprint | None:
        """What the answer must look like, if tools have a say in that; raises InvalidRequest."""
        use, answer = request.tool_use, request.grammar
        tools = offered(use)
        if use is None or not tools:
            return None
        if use.choice == "auto" and answer is None and not any(tool.strict for tool in tools):
            return None
        if answer is not None:
            grammars.compile(answer)  # so that its own faults are not put down to the tools
        try:
            return grammars.compile_lark(self.grammar(use, answer), "tools")
        except InvalidRequest:
            if all(tool.strict for tool in tools):
                raise
        # Nobody asked for these schemas to be enforced, and not every schema can be.
        return grammars.compile_lark(self.grammar(use, answer, any_arguments=True), "tools")

    def grammar(self, use: ToolUse, answer: Grammar | None = None, *, any_arguments: bool = False) -> str:
        """The text of the grammar; `any_arguments` gives up the schemas of tools that aren't strict.

        Where the model may choose, an answer without calls looks as `answer` says, or is any text.
        """
        rules = Rules(
            self._special,
            must_call=use.choice == "required",
            answer=grammar_rule(answer) if answer is not None else "",
            parallel=use.parallel,
            any_arguments=any_arguments,
        )
        return rules.write(self._known().grammar(rules, use.tools, self._template.tool_source))

    def _known(self) -> Format:
        if self._format is None:
            raise Unsupported(
                f"model `{self._model}` writes tool calls in a way that this server can't read; leave `tools` out, or "
                "have its operator set `tool_format` in the catalog.",
                param="tools",
            )
        return self._format


def find_format(named: str, template: str) -> Format | None:
    """The format of this name, or the one that fits the template."""
    if not named:
        return next((format for format in FORMATS if format.writes(template)), None)
    for format in FORMATS:
        if named == format.NAME:
            return format
    names = ", ".join(sorted(format.NAME for format in FORMATS))
    raise LoadFailed(f"the catalog's `tool_format` of this model must be one of {names}.")


def offered(use: ToolUse | None) -> tuple[Tool, ...]:
    """The tools that may be called."""
    return () if use is None or use.choice == "none" else use.tools


def describe(tool: Tool) -> dict[str, Any]:
    """A tool as chat templates take it."""
    parameters = json.loads(tool.parameters) or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def token_ids(vocabulary: Vocabulary, markers: Sequence[str]) -> dict[str, int]:
    """Those markers that are special tokens of this model, with their ids."""
    found = ((marker, vocabulary.tokenizer.token_to_id(marker)) for marker in markers)
    return {marker: id for marker, id in found if id is not None and id in vocabulary.special}
