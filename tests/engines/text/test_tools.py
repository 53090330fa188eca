"""Tool calls are found in every format, however the answer is cut into tokens, and nothing that is none gets lost."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.core.events import ToolCallPart, add_part
from quintet.engines.text.tools import CallReader, hermes, llama3, mistral
from quintet.engines.text.tools.reader import MAX_HELD

NAMES = ("get_time", "add", "a.b-c")
FORMATS = {"hermes": hermes, "llama3": llama3, "mistral": mistral}
Found = tuple[str, list[tuple[str, str]]]
"""The text, and name and arguments of every call."""


def reader(format: Any, special: bool = False, **more: Any) -> CallReader:
    ids = itertools.count()
    given = {"special": format.MARKERS if special else (), **more}
    return CallReader(format.read, NAMES, new_id=lambda: f"call_{next(ids)}", **given)


def read(format: Any, pieces: list[str], special: bool = False, **more: Any) -> Found:
    """Feed an answer in these pieces; a piece that is a marker counts as a special token if `special` says so."""
    calls: list[Any] = []
    text = ""
    one = reader(format, special, **more)
    steps = [one.feed(piece, is_marker=special and piece in format.MARKERS) for piece in pieces]
    for shown, parts in [*steps, one.finish()]:
        text += shown
        for part in parts:
            assert (part.index == len(calls)) == bool(part.id and part.name)
            add_part(calls, part)
    assert [call.id for call in calls] == [f"call_{index}" for index in range(len(calls))]
    assert one.begun == len(calls)
    assert one.finish() == ("", [])
    return text, [(call.name, call.arguments) for call in calls]


TIME = (
    '{"city": "Köln, \\"{[<tool_call></tool_call>[ARGS]", "at": [1, {"x": null}], "ok": true, "n": -1.5e+3}'
)
ADD = '{"a": 1, "b": 2}'
CALLS: list[tuple[str, str, Found]] = [
    # ---------------------------------------------------------------------------------------------------- hermes
    (
        "hermes",
        f'<tool_call>\n{{"name": "get_time", "arguments": {TIME}}}\n</tool_call>',
        ("", [("get_time", TIME)]),
    ),
    (
        "hermes",
        f'Let me look.\n\n<tool_call>\n{{"name": "add", "arguments": {ADD}}}\n</tool_call>\n'
        f'<tool_call>{{"arguments":{TIME},"name":"get_time"}}</tool_call>',
        ("Let me look.", [("add", ADD), ("get_time", TIME)]),
    ),
    (
        "hermes",
        f'<tool_call>[{{"name": "add", "arguments": {ADD}}}, {{"name": "add", "arguments": {{}}}}]</tool_call>\n',
        ("", [("add", ADD), ("add", "{}")]),
    ),
    ("hermes", '<tool_call>{"name": "add"}</tool_call>', ("", [("add", "{}")])),
    ("hermes", '<tool_call>{"name": "add", "arguments": null}</tool_call>', ("", [("add", "{}")])),
    (
        "hermes",
        '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>',
        ("", [("add", '{"a": 1}')]),
    ),
    ("hermes", '<tool_call>{"name": "add", "arguments": {"a": 1}\n</tool_call>', ("", [("add", '{"a": 1}')])),
    ("hermes", '<tool_call>{"name": "add", "arguments": {"a": 1', ("", [("add", '{"a": 1')])),
    (
        "hermes",
        '<tool_call>{"name": "add", "arguments": {"a": True}} dear',
        (" dear", [("add", '{"a": True}')]),
    ),
    ("hermes", '<tool_call>{"name": "add", "arguments": {"a": #}} dear', ("#}} dear", [("add", '{"a": ')])),
    (
        "hermes",
        f'<tool_call>{{"name": "add", "arguments": {ADD}}}</tool_call> Done. ',
        (" Done. ", [("add", ADD)]),
    ),
    ("hermes", f'<tool_call>no</tool_call><tool_call>{{"name": "add", "arguments": {ADD}}}', None),
    # ---------------------------------------------------------------------------------------------------- llama 3
    ("llama3", f'{{"name": "get_time", "parameters": {TIME}}}', ("", [("get_time", TIME)])),
    ("llama3", f'\n<|python_tag|>{{"name": "add", "parameters": {ADD}}}', ("", [("add", ADD)])),
    ("llama3", f'{{"type": "function", "name": "add", "parameters": {ADD}}}', ("", [("add", ADD)])),
    ("llama3", f'{{"name": "add", "arguments": {ADD}, "id": "7"}}', ("", [("add", ADD)])),
    (
        "llama3",
        f'{{"name": "add", "parameters": {ADD}}}; {{"name": "get_time", "parameters": {TIME}}}\n',
        ("", [("add", ADD), ("get_time", TIME)]),
    ),
    ("llama3", f'{{"name": "add", "parameters": {ADD}}}; and so on', ("; and so on", [("add", ADD)])),
    ("llama3", f'I add. <|python_tag|>{{"name": "add", "parameters": {ADD}}}', ("I add.", [("add", ADD)])),
    # ---------------------------------------------------------------------------------------------------- mistral
    ("mistral", f'[TOOL_CALLS] [{{"name": "get_time", "arguments": {TIME}}}]', ("", [("get_time", TIME)])),
    (
        "mistral",
        f'[TOOL_CALLS][{{"name": "add", "arguments": {ADD}, "id": "abcdefghi"}}, {{"name":"add","arguments":{{}}}}]',
        ("", [("add", ADD), ("add", "{}")]),
    ),
    (
        "mistral",
        f"I will. [TOOL_CALLS]add[ARGS]{ADD}[TOOL_CALLS]a.b-c[ARGS] {TIME}",
        ("I will.", [("add", ADD), ("a.b-c", TIME)]),
    ),
    ("mistral", f"[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{ADD}", ("", [("add", ADD)])),
    ("mistral", f"[TOOL_CALLS]add{ADD}", ("", [("add", ADD)])),
]
TEXTS = [
    "Just words, < and { and [ in them. \n",
    "  two spaces, two lines\n\n",
    "",
    "<tool_",
    "<tool_<tool_call",
    "<tool_call>",
    "<tool_call>oh, I see</tool_call>",
    "<tool_call>\n[]\n</tool_call>",
    '<tool_call>{"name": "unknown", "arguments": {"a": 1}}</tool_call>',
    '<tool_call>{"name": "add", "wrong": {"a": 1}}</tool_call>',
    '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": 5}</tool_call>',
    '<tool_call>{"name": "add", "arguments": "no JSON"}</tool_call>',
    '<tool_call>{"name": "add", "arguments": "{\\"\\ud800\\": 1}"}</tool_call>',
    '<tool_call>{"name": "add", "argum',
    '{"name": "Bob", "age": 7}',
    '{"name": "Bob"}',
    '{"answer": {"name": "add", "parameters": {}}}',
    '{"name": "add", "parameters": [1]}',
    '[{"name": "Bob"}]',
    'Here: {"name": "add", "age": {}}',
    "<|python_tag|>import time; print(time.time())",
    "<|python_tag|>search.call(query='x')",
    "[TOOL_CALLS]",
    "[TOOL_CALLS] none",
    "[TOOL_CALLS]unknown[ARGS]{}",
    "[TOOL_CALLS]add[ARGS][1]",
    "[TOOL_CALLS]add[ARGS",
    "[TOOL_CALLS]add[CALL_ID]x",
    "[TOOL_CALLS] [1, 2]",
    '[TOOL_CALLS] [{"name": "unknown", "arguments": {}}]',
    "[TOOL_[TOOL_CALLS",
]


@pytest.mark.parametrize(("name", "answer", "expected"), CALLS)
def test_calls_are_found(name: str, answer: str, expected: Found | None) -> None:
    if expected is None:
        expected = ("<tool_call>no</tool_call>", [("add", ADD)])
    assert read(FORMATS[name], [answer]) == expected
    assert read(FORMATS[name], list(answer)) == expected


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("answer", TEXTS)
def test_what_is_no_call_is_text_unchanged(name: str, answer: str) -> None:
    assert read(FORMATS[name], [answer]) == (answer, [])
    assert read(FORMATS[name], list(answer)) == (answer, [])


FRAGMENTS = st.sampled_from(
    [
        *(
            "<tool_call>",
            "</tool_call>",
            "[TOOL_CALLS]",
            "[ARGS]",
            "[CALL_ID]",
            "<|python_tag|>",
            "add",
            "get_time",
        ),
        *(
            '{"name": "add", "arguments": ',
            '{"name": "add", "parameters": ',
            '"arguments": ',
            '"name": "add"',
            ADD,
        ),
        *("{", "}", "[", "]", '"', ",", ":", ";", "\\", " ", "\n", "x", "<", "1", "null", "é"),
        *(answer for _, answer, _ in CALLS),
    ]
)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("parallel", [True, False])
@settings(max_examples=150, deadline=None)
@given(fragments=st.lists(FRAGMENTS, max_size=12), data=st.data())
def test_cuts_make_no_difference(
    name: str, parallel: bool, fragments: list[str], data: st.DataObject
) -> None:
    answer = "".join(fragments)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=8)))
    pieces = [answer[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(answer)])]
    whole = read(FORMATS[name], [answer], parallel=parallel)
    assert read(FORMATS[name], pieces, parallel=parallel) == whole
    assert read(FORMATS[name], list(answer), parallel=parallel) == whole
    text, calls = whole
    assert parallel or len(calls) <= 1
    assert all(called in NAMES for called, _ in calls)
    if not calls:
        assert text == answer
    # Text and arguments stand in the answer one after the other, in order, whatever else is left out.
    rest = iter(answer)
    assert all(char in rest for char in text if not char.isspace())


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=100, deadline=None)
@given(fragments=st.lists(FRAGMENTS, max_size=12))
def test_special_tokens_count_only_as_tokens(name: str, fragments: list[str]) -> None:
    """Spelled out they are text; as tokens they mark calls, and are shown only to those who want to see them."""
    format = FORMATS[name]
    spelled, calls = read(format, list("".join(fragments)), special=True)
    if name != "llama3":
        assert (spelled, calls) == ("".join(fragments), [])
    shown, calls = read(format, fragments, special=True, shows_special=True)
    hidden, same_calls = read(format, fragments, special=True)
    assert calls == same_calls
    if not calls:
        assert shown == "".join(fragments)
        assert hidden == "".join(one for one in fragments if one not in format.MARKERS)


def test_arguments_come_as_they_are_written() -> None:
    one = reader(hermes)
    assert one.feed('Hm. <tool_call>\n{"name": "add", "argu') == ("Hm.", [])
    assert one.feed('ments": {"a"') == (
        "",
        [ToolCallPart(0, 0, id="call_0", name="add"), ToolCallPart(0, 0, arguments='{"a"')],
    )
    assert one.feed(": 1") == ("", [ToolCallPart(0, 0, arguments=": 1")])
    assert one.feed("}}") == ("", [ToolCallPart(0, 0, arguments="}")])
    assert one.feed("\n</tool_") == ("", [])
    assert one.feed('call>\n<tool_call>{"name": "add", "arguments": {}}</tool_call>') == (
        "",
        [ToolCallPart(0, 1, id="call_1", name="add"), ToolCallPart(0, 1, arguments="{}")],
    )
    assert one.finish() == ("", [])


def test_text_is_not_held_back_longer_than_it_must() -> None:
    one = reader(hermes)
    shown = [one.feed(piece)[0] for piece in ("I ", "say ", "<to", "ols> ", "and ", "<tool_call", "s>", "\n")]
    assert shown == ["I", " say", "", " <tools>", " and", "", " <tool_calls>", ""]
    assert one.finish()[0] == "\n"


def test_one_call_is_enough_without_parallel_calls() -> None:
    one = reader(mistral, parallel=False)
    answer = f'[TOOL_CALLS][{{"name": "add", "arguments": {ADD}'
    assert [one.feed(char) for char in answer[:-1]]
    assert not one.complete
    one.feed(answer[-1])
    assert one.complete
    assert one.feed(', {"name": "add", "arguments": {}}] and more') == ("", [])
    assert one.finish() == ("", [])


def test_no_endless_holding_back() -> None:
    """A quarter of a million symbols that could be a call to the last one; linear, and shown after all."""
    for answer in ('<tool_call>{"' * 20_000, '<tool_call>{"name": "' + "x" * 250_000, "<tool_call>" * 25_000):
        text, calls = read(hermes, [answer])
        assert (text, calls) == (answer, [])
    one = reader(hermes)
    assert not one.feed('<tool_call>{"' + "x" * (MAX_HELD - 20))[0]
    assert one.feed("x" * 40)[0]
