"""Prompts with tools, as transformers writes them: what a template is told of tools, calls and answers to calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from quintet.core.content import Message, ToolCall
from quintet.core.requests import Tool
from quintet.engines.text.template import ChatTemplate
from quintet.engines.text.tools import CallReader
from quintet.engines.text.tools.toolbox import describe, find_format
from tests.conftest import TinyModel
from tests.support.tools import ASKED, NOW, ON, SWITCH, TALK, TEMPLATES, TOOLS


def as_sent(message: Message, format: Any) -> dict[str, Any]:
    """A message as one would hand it to transformers."""
    sent: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        sent["tool_calls"] = [
            {
                "id": format.call_id(call.id),
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        sent |= {"tool_call_id": format.call_id(message.tool_call_id), "name": message.name}
    return sent


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tools", [(), TOOLS])
@pytest.mark.parametrize("talk", [ASKED, TALK])
def test_prompts_are_transformers(
    tiny: TinyModel, name: str, tools: tuple[Tool, ...], talk: tuple[Message, ...]
) -> None:
    source = TEMPLATES[name]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny.directory)
    format = find_format("", source)
    assert format is not None
    assert name.split(",")[0] == format.NAME
    told = [describe(tool) for tool in tools]
    expected = tokenizer.apply_chat_template(
        [as_sent(message, format) for message in talk],
        tools=told or None,
        chat_template=source,
        tokenize=False,
        add_generation_prompt=True,
    )
    template = ChatTemplate(source, bos="<|endoftext|>", eos="<|im_end|>")
    assert template.knows_tools
    assert template.render(talk, tools=told, call_id=format.call_id) == expected
    assert ("Turn a lamp" in expected) == bool(tools)
    assert ("red" in expected.replace("Turn a lamp", "")) == (bool(tools) or talk is TALK)


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_a_template_writes_is_read_back(name: str) -> None:
    format = find_format("", TEMPLATES[name])
    assert format is not None
    template = ChatTemplate(TEMPLATES[name], eos="<END>")
    before, after = (
        template.render(talk, tools=[describe(SWITCH)], call_id=format.call_id) for talk in (ASKED, TALK[:2])
    )
    before = before.removesuffix("<|im_start|>assistant\n")
    answer = after.removeprefix(before).removeprefix("<|im_start|>assistant").removeprefix("\n")
    answer = answer.split("<END>" if "mistral" in name else "<|im_end|>")[0]
    reader = CallReader(format.read, {"switch"}, new_id=lambda: "x")
    steps = [*map(reader.feed, answer), reader.finish()]
    parts = [part for _, more in steps for part in more]
    assert "".join(text for text, _ in steps) == ""
    assert (parts[0].name, "".join(part.arguments for part in parts)) == ("switch", ON)


def test_mistrals_ids_have_nine_letters_or_digits() -> None:
    format = find_format("mistral", "")
    assert format is not None
    assert format.call_id("abcDEF123") == "abcDEF123"
    for id in ("call_1", "abcDEF-23", "é" * 9, "x" * 200):
        short = format.call_id(id)
        assert len(short) == 9
        assert short.isalnum()
        assert short == format.call_id(id) != format.call_id(id + "1")


def test_templates_for_tools_beside_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("usual")
    usual = ChatTemplate.of_directory(tmp_path, {})
    assert not usual.knows_tools
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text(
        "{{ tools | default([], true) | length }} tools"
    )
    listed = [
        {"name": "default", "template": "usual"},
        {"name": "tool_use", "template": "{{ tools | default([], true) | length }} tools"},
    ]
    (tmp_path / "empty").mkdir()
    for template in (
        ChatTemplate.of_directory(tmp_path, {}),
        ChatTemplate.of_directory(tmp_path / "empty", {"chat_template": listed}),
    ):
        assert template.knows_tools
        assert template.render(ASKED) == "usual"
        assert template.render(ASKED, tools=[describe(NOW)]) == "1 tools"
        assert template.render(TALK) == "0 tools"
    assert ChatTemplate.of_directory(tmp_path, {}, override="mine").render(ASKED) == "mine"


def test_arguments_that_are_no_json_stay_text() -> None:
    source = "{% for m in messages %}{{ m.tool_calls[0].function.arguments is string }}{% endfor %}"
    for arguments, is_text in (
        ("{oh", True),
        ("[1]", True),
        ('{"a": "\\ud800"}', True),
        ("[" * 100_000, True),
        ("", False),
        ("{}", False),
    ):
        message = Message("assistant", ("",), tool_calls=(ToolCall("1", "f", arguments),))
        assert ChatTemplate(source).render((message,)) == str(is_text)
