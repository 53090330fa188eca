"""Chat templates: a model's own Jinja text, rendered in a sandbox with limits on time, size and reach.

Templates come from model directories, never from requests (vLLM PYSEC-2026-4344). They see messages and a few
harmless helpers, no Python objects; a template that loops for ever or writes without end is stopped.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from jinja2 import TemplateError
from jinja2.meta import find_undeclared_variables

from quintet.core.content import Image, Message
from quintet.core.errors import InvalidRequest, LoadFailed
from quintet.engines.text.sandbox import Sandbox
from quintet.engines.text.vocabulary import read_json, token_text

MAX_SECONDS = 2.0
MAX_CHARACTERS = 1024 * 1024

PLAIN = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, for models that bring no template of their own."""


class ChatTemplate:
    """One compiled template."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "", tool_source: str = "") -> None:
        """`bos` and `eos` are the special tokens' texts that templates may write; raises LoadFailed.

        `tool_source` is used instead of `source` where there are tools or calls; most models have one for both.
        """
        environment = Sandbox()
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
        self._special = {"bos_token": bos, "eos_token": eos}
        self._markup = ""
        """What stands for a picture where the template takes no parts."""
        self._wants_parts = False
        self.tool_source = tool_source or source
        """The text that says how this model is shown tools."""
        try:
            self._template = environment.from_string(source)
            self._tool_template = environment.from_string(tool_source) if tool_source else self._template
            self.knows_tools = "tools" in find_undeclared_variables(environment.parse(self.tool_source))
        except TemplateError as error:
            raise LoadFailed(
                "the model's chat template is not valid Jinja; see chat_template.jinja."
            ) from error

    @classmethod
    def of_directory(
        cls, directory: Path, tokenizer_config: dict[str, Any], *, override: str = ""
    ) -> ChatTemplate:
        """The template a model directory brings: chat_template.jinja, or the one in a JSON file.

        `override` is used instead of what the directory has.
        """
        special = {name: token_text(tokenizer_config, f"{name}_token") for name in ("bos", "eos")}
        if override:
            return cls(override, **special)
        path = directory / "chat_template.jinja"
        source = path.read_text("utf-8") if path.is_file() else _in_json(directory, tokenizer_config)
        extra = directory / "additional_chat_templates" / "tool_use.jinja"
        tool_source = extra.read_text("utf-8") if extra.is_file() else ""
        if isinstance(source, list):
            named = {entry.get("name"): entry.get("template") for entry in source}
            source, tool_source = named.get("default"), named.get("tool_use") or ""
        return cls(PLAIN if source is None else source, tool_source=tool_source, **special)

    def learn_pictures(self, markup: str) -> None:
        """Find out how the template wants pictures, which it shows as `markup`; before the first `render`.

        Some templates take a list of parts, some take nothing else, and those made for text take no parts at all.
        """
        picture = Message("user", (Image(), _PROBE))
        words = Message("user", (_PROBE,))
        self._markup, self._wants_parts = "", True
        shown = self._try(picture)
        if shown.count(markup) == 1 and _PROBE in shown:
            self._wants_parts = False
            self._wants_parts = _PROBE not in self._try(words)
        else:
            self._markup, self._wants_parts = markup + "\n", False

    def _try(self, message: Message) -> str:
        try:
            return self.render([message])
        except InvalidRequest:
            return ""

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] = (),
        call_id: Callable[[str], str] = str,
    ) -> str:
        """The prompt text of a conversation; raises InvalidRequest if the template refuses it or takes too long.

        `tools` are in OpenAI's form; `call_id` makes ids of calls such as the template takes.
        """
        shown = [self._as_dict(message, call_id) for message in messages]
        with_tools = tools or any(message.tool_calls for message in messages)
        chosen = self._tool_template if with_tools else self._template
        values = {
            "messages": shown,
            "tools": list(tools) or None,
            "add_generation_prompt": True,
            **self._special,
        }
        deadline = time.monotonic() + MAX_SECONDS
        written: list[str] = []
        size = 0
        tracer = sys.gettrace()
        sys.settrace(_stop_at(deadline))
        try:
            for piece in chosen.generate(values):
                written.append(piece)
                size += len(piece)
                if size > MAX_CHARACTERS:
                    raise InvalidRequest(
                        "`messages` make a prompt of over 1 MiB; send less text.",
                        param="messages",
                        code="context_length_exceeded",
                    )
        except _OutOfTime as error:
            raise InvalidRequest(
                f"the model's chat template needs over {MAX_SECONDS:g} s for `messages`; send fewer.",
                param="messages",
            ) from error
        except _Refused as error:
            raise InvalidRequest(
                f"the model's chat template refuses `messages`: {error}", param="messages"
            ) from error
        except _FAULTS as error:
            raise InvalidRequest(
                "the model's chat template can't render `messages`; check the order of roles.",
                param="messages",
            ) from error
        finally:
            sys.settrace(tracer)
        return "".join(written)

    def _as_dict(self, message: Message, call_id: Callable[[str], str]) -> dict[str, Any]:
        """A message as templates expect it, without keys that don't apply: some only ask whether a key is there."""
        shown: dict[str, Any] = {"role": message.role, "content": self._as_content(message)}
        if message.tool_calls:
            shown["tool_calls"] = [
                {
                    "id": call_id(call.id),
                    "type": "function",
                    "function": {"name": call.name, "arguments": _as_arguments(call.arguments)},
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id:
            shown["tool_call_id"] = call_id(message.tool_call_id)
        if message.name:
            shown["name"] = message.name
        return shown

    def _as_content(self, message: Message) -> str | list[dict[str, str]]:
        """Text alone as a string, mixed parts as the list that vision templates iterate over."""
        if self._markup:
            return "".join(self._markup if isinstance(part, Image) else part for part in message.parts)
        if not self._wants_parts and not any(isinstance(part, Image) for part in message.parts):
            return message.text
        return [
            {"type": "image"} if isinstance(part, Image) else {"type": "text", "text": part}
            for part in message.parts
        ]


_PROBE = "zq7"
"""A text that no template writes of its own accord, nor changes."""


def _in_json(directory: Path, tokenizer_config: dict[str, Any]) -> Any:
    """What older releases have beside the weights. A processor's template knows pictures, the tokenizer's may not."""
    processors = (read_json(directory / name) for name in ("chat_template.json", "processor_config.json"))
    found = (config.get("chat_template") for config in (*processors, tokenizer_config))
    return next((template for template in found if template is not None), None)


_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)
"""What a template that doesn't suit the messages can raise."""


class _OutOfTime(BaseException):
    """Not an Exception, so that no template construct can catch it."""


class _Refused(Exception):
    """The template called raise_exception."""


def _stop_at(deadline: float) -> Any:
    """A trace function for this thread that interrupts the template's own code at the deadline.

    Jinja can't be interrupted between two outputs; tracing lines costs little on so short a run.
    """

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if time.monotonic() > deadline:
            raise _OutOfTime
        return trace

    return trace


def _refuse(message: object) -> str:
    raise _Refused(str(message)[:200])


def _as_arguments(text: str) -> Any:
    """A call's arguments as an object; the text itself if a model wrote none."""
    try:
        value = json.loads(text or "{}")
        json.dumps(value, ensure_ascii=False).encode()  # escapes can say half a surrogate pair, prompts can't
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text
