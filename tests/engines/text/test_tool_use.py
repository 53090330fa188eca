"""Tools on the real engine: prompts as transformers writes them, and calls that come because a grammar makes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quintet.core.content import ToolCall
from quintet.core.errors import InvalidRequest, LoadFailed, Unsupported
from quintet.core.events import Choice, Token, ToolCallPart
from quintet.core.requests import Grammar, Limits, Sampling, TextRequest, Tool, ToolUse
from quintet.engines.text.engine import TextEngine, open_engine
from tests.conftest import TinyModel
from tests.engines.text.asking import model_of
from tests.engines.text.conftest import Driver
from tests.support.tools import ASKED, MISTRAL, NEW_MISTRAL, QWEN, SWITCH, TALK, TEMPLATES, TOOLS

BEGUN = {
    TEMPLATES["hermes"]: ("So: <tool_call>", "\n"),
    TEMPLATES["llama3"]: ("{", '"'),
    TEMPLATES["mistral"]: ("So: [TOOL_CALLS]", " ["),
    TEMPLATES["mistral, newer"]: ("So: [TOOL_CALLS]", "sn"),
}
"""The beginning of a call, and what can follow."""
FREE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def ask(use: ToolUse | None, count: int = 200, **more: Any) -> TextRequest:
    limits = more.pop("limits", Limits(max_new_tokens=count))
    return TextRequest(
        model="tiny",
        messages=more.pop("messages", ASKED),
        limits=limits,
        sampling=more.pop("sampling", Sampling(seed=7)),
        tool_use=use,
        **more,
    )


def must(*tools: Tool, parallel: bool = False) -> ToolUse:
    return ToolUse(tools=tools or TOOLS, choice="required", parallel=parallel)


def check_call(call: ToolCall) -> None:
    arguments = json.loads(call.arguments)
    assert call.id.startswith("call_")
    assert len(call.id) > 20
    if call.name == "now":
        assert arguments == {}
    else:
        assert call.name == "switch"
        assert arguments["lamp"] in ("red", "blue")
        assert isinstance(arguments["on"], bool)
        assert len(arguments) == 2


@pytest.fixture(scope="module")
def marked(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """The tiny model whose tokens for two words are special tokens: [TOOL_CALLS] and [ARGS]."""
    directory = tmp_path_factory.mktemp("marked") / "ir"
    shutil.copytree(tiny.directory, directory)
    described = json.loads((directory / "tokenizer.json").read_text())
    vocabulary = described["model"]["vocab"]
    for word, marker in (("circle", "[TOOL_CALLS]"), ("three", "[ARGS]")):
        id = vocabulary[marker] = vocabulary.pop(word)
        described["added_tokens"].append(described["added_tokens"][0] | {"id": id, "content": marker})
    merges = [merge if isinstance(merge, list) else merge.split() for merge in described["model"]["merges"]]
    described["model"]["merges"] = [merge for merge in merges if "".join(merge) in vocabulary]
    (directory / "tokenizer.json").write_text(json.dumps(described))
    return TinyModel(tiny.reference, directory)


def drive(tiny: TinyModel, **more: Any) -> Iterator[Driver]:
    engine: TextEngine = open_engine(replace(model_of(tiny), **{"context_length": 2048, **more}))
    yield Driver(engine)
    assert engine.scheduler.pool.available == engine.scheduler.pool.total
    engine.close()


@pytest.fixture(scope="module", params=TEMPLATES)
def driver(request: pytest.FixtureRequest, tiny: TinyModel) -> Iterator[Driver]:
    """The tiny model with the chat template of each format."""
    yield from drive(tiny, chat_template=TEMPLATES[request.param])


@pytest.fixture(scope="module", params=["mistral", "mistral, newer"])
def marked_driver(request: pytest.FixtureRequest, marked: TinyModel) -> Iterator[Driver]:
    yield from drive(marked, chat_template=TEMPLATES[request.param])


# --------------------------------------------------------------------------------------------------- calls that must


@pytest.mark.parametrize("seed", range(3))
def test_a_call_that_must_come_comes(driver: Driver, seed: int) -> None:
    (outcome,) = driver.run(ask(must(), sampling=Sampling(seed=seed), n=2, best_of=2))
    for choice in outcome.choices:
        (call,) = choice.tool_calls
        check_call(call)
        assert choice.reason == "tool_calls"
        assert choice.text == ""
        assert len(choice.tokens) > 10
    counted = sum(len(choice.tokens) for choice in outcome.choices)
    assert outcome.finished.usage.completion_tokens == counted


def test_markers_that_are_special_tokens(marked_driver: Driver) -> None:
    for skip in (True, False):
        (outcome,) = marked_driver.run(ask(must(), skip_special_tokens=skip))
        (choice,) = outcome.choices
        (call,) = choice.tool_calls
        check_call(call)
        assert choice.text == ""
        assert choice.tokens[0].special
    template = marked_driver.engine._toolbox._template.tool_source
    assert sum(token.special for token in choice.tokens) == (2 if "[ARGS]" in template else 1)


def test_several_calls(driver: Driver) -> None:
    (outcome,) = driver.run(ask(must(parallel=True), 400))
    (choice,) = outcome.choices
    assert choice.tool_calls
    for call in choice.tool_calls[:-1]:
        check_call(call)
    if choice.reason == "tool_calls":
        check_call(choice.tool_calls[-1])


def test_events_are_in_order(driver: Driver) -> None:
    id = driver.submit(ask(must(SWITCH)))
    driver.finish()
    events = driver.events[id]
    parts = [event for event in events if isinstance(event, ToolCallPart)]
    assert parts[0].id
    assert parts[0].name == "switch"
    assert not any(part.id or part.name for part in parts[1:])
    assert len(parts) > 5, "arguments come as they are written"
    assert isinstance(events[0], Token)


def test_the_best_of_some(driver: Driver) -> None:
    (outcome,) = driver.run(ask(must(), n=1, best_of=2))
    (choice,) = outcome.choices
    (call,) = choice.tool_calls
    check_call(call)


def test_cut_short_it_is_no_call_to_be_made(driver: Driver) -> None:
    (outcome,) = driver.run(ask(must(SWITCH), 4))
    assert outcome.choices[0].reason == "length"
    assert len(outcome.choices[0].tokens) == 4


# ----------------------------------------------------------------------------------------------- calls that may come


def only(driver: Driver, request: TextRequest) -> Choice:
    (choice,) = driver.run(request)[0].choices
    return choice


def test_without_calls_an_answer_is_the_same_text(driver: Driver) -> None:
    limits = Limits(max_new_tokens=40, ignore_eos=True)
    for seed in range(4):
        choice = only(driver, ask(ToolUse(tools=TOOLS), sampling=Sampling(seed=seed), limits=limits))
        ids = [token.id for token in choice.tokens]
        shown = driver.engine._vocabulary.tokenizer.decode(ids, skip_special_tokens=True)
        assert choice.tool_calls == []
        assert choice.reason == "length"
        assert len(ids) == 40
        assert choice.text.rstrip("\ufffd") == shown.rstrip("\ufffd")


def test_strict_tools_bind_only_the_calls(driver: Driver) -> None:
    """Text is free until a call begins; then nothing but this call can follow."""
    strict = tuple(replace(tool, strict=True) for tool in TOOLS)
    free = only(driver, ask(ToolUse(tools=strict), 30))
    assert free.tool_calls == []
    assert free.text
    toolbox = driver.engine._toolbox
    blueprint = toolbox.blueprint(ask(ToolUse(tools=strict)), driver.engine._grammars)
    assert blueprint is not None
    assert toolbox.blueprint(ask(ToolUse(tools=TOOLS)), driver.engine._grammars) is None
    begun, next_bytes = BEGUN[toolbox._template.tool_source]
    vocabulary = driver.engine._vocabulary
    guide = blueprint.start(vocabulary.size)
    for id in vocabulary.encode(begun, add_special_tokens=False):
        guide.take(id)
    assert {vocabulary.raw(int(id))[:1].decode() for id in np.flatnonzero(~guide.forbidden)} == set(
        next_bytes
    )


def test_an_answer_of_a_given_shape_beside_tools(driver: Driver) -> None:
    shape = Grammar(kind="json_schema", text='{"type": "boolean"}')
    request = ask(ToolUse(tools=TOOLS, parallel=False), grammar=shape)
    if driver.engine._toolbox._template.tool_source == TEMPLATES["llama3"]:
        with pytest.raises(Unsupported, match="response_format"):
            driver.engine.prepare(request)
        return
    for seed in range(4):
        choice = only(driver, replace(request, sampling=Sampling(seed=seed)))
        if choice.tool_calls:
            check_call(choice.tool_calls[0])
        else:
            assert isinstance(json.loads(choice.text), bool)


def test_a_schema_that_cannot_be_enforced(driver: Driver) -> None:
    """Only who asked for strictness is refused; others get arguments that are an object."""
    wild = replace(SWITCH, parameters='{"type": "object", "properties": {"a": {"$ref": "http://x/y"}}}')
    driver.engine.prepare(ask(must(wild)))
    with pytest.raises(InvalidRequest, match="tools") as refused:
        driver.engine.prepare(ask(must(replace(wild, strict=True))))
    assert refused.value.param == "tools"


def test_tools_that_must_not_be_called_are_not_shown(driver: Driver) -> None:
    with_none = driver.engine.prepare(ask(ToolUse(tools=TOOLS, choice="none")))
    assert with_none.ids == driver.engine.prepare(ask(None)).ids
    assert len(driver.engine.prepare(ask(ToolUse(tools=TOOLS))).ids) > len(with_none.ids) + 50


# -------------------------------------------------------------------------------------------------------- refusals


def test_a_template_without_tools_is_refused(tiny: TinyModel) -> None:
    (driver,) = drive_once(tiny, chat_template=FREE)
    prepare = driver.engine.prepare
    with pytest.raises(Unsupported, match="template of model `tiny` has no tools") as refused:
        prepare(ask(ToolUse(tools=TOOLS)))
    assert refused.value.param == "tools"
    with pytest.raises(Unsupported, match="has no tools") as refused:
        prepare(ask(None, messages=TALK))
    assert refused.value.param == "messages"
    assert prepare(ask(ToolUse(tools=TOOLS, choice="none"))).ids == prepare(ask(None)).ids


def test_an_unknown_way_of_writing_calls_is_refused(tiny: TinyModel) -> None:
    (driver,) = drive_once(tiny, chat_template=FREE + "{{ tools }}<tool_call><function=")
    with pytest.raises(Unsupported, match="tool_format"):
        driver.engine.prepare(ask(ToolUse(tools=TOOLS)))
    (named,) = drive_once(tiny, chat_template=FREE + "{{ tools }}", tool_format="hermes")
    named.engine.prepare(ask(ToolUse(tools=TOOLS)))


def test_a_format_that_does_not_exist_is_a_load_failure(tiny: TinyModel) -> None:
    with pytest.raises(LoadFailed, match="hermes, llama3, mistral"):
        open_engine(replace(model_of(tiny), tool_format="gpt"))


def drive_once(tiny: TinyModel, **more: Any) -> list[Driver]:
    """A driver whose engine is closed before it is used: enough for what `prepare` says."""
    return list(drive(tiny, **more))


@pytest.mark.parametrize("source", [QWEN, MISTRAL, NEW_MISTRAL])
def test_schemas_with_definitions_of_their_own(source: str, tiny: TinyModel) -> None:
    schema = {
        "$defs": {"Lamp": {"enum": ["red", "blue"]}},
        "properties": {"lamp": {"$ref": "#/$defs/Lamp"}, "on": {"type": "boolean"}},
        "required": ["lamp", "on"],
        "additionalProperties": False,
    }
    for driver in drive(tiny, chat_template=source):
        (call,) = only(driver, ask(must(replace(SWITCH, parameters=json.dumps(schema))))).tool_calls
        check_call(call)
