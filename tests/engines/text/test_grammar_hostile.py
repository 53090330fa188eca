"""Grammars made to hurt: refused in bounded time, or bounded token by token, and nobody else notices."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from quintet.core.errors import InvalidRequest, Overloaded, QuintetError
from quintet.core.requests import Grammar
from quintet.engines.text import grammar as room
from quintet.engines.text.grammar import Grammars
from quintet.engines.text.prompts import Prompt
from tests.engines.text.asking import ask, ids, ids_of, only
from tests.engines.text.conftest import Driver, Open
from tests.engines.text.test_grammar import ENDS, SCHEMA, WILD, check_person, regex, schema


@pytest.fixture(scope="module")
def grammars(shared: Driver) -> Grammars:
    return shared.engine._grammars


def nest(depth: int) -> Any:
    value: Any = {"type": "string"}
    for _ in range(depth):
        value = {"type": "array", "items": value}
    return value


HOSTILE_SCHEMAS: dict[str, Any] = {
    "B-30 recursive $ref": {"$ref": "#"},
    "B-30 mutual $ref": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "B-30 recursive list": {"type": "object", "properties": {"next": {"$ref": "#"}}},
    "B-30 recursive allOf": {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}] * 2}}, "$ref": "#/$defs/a"},
    "B-30 remote $ref": {"$ref": "http://127.0.0.1:9/schema.json"},
    "B-30 dangling $ref": {"$ref": "#/$defs/none"},
    "B-30 depth": nest(200),
    "B-30 enum": {"enum": [f"value {i}" for i in range(4_000)]},
    "B-30 enum of objects": {"enum": [{"a": i} for i in range(4_000)]},
    "B-30 maxItems": {"type": "array", "items": nest(3), "maxItems": 10**9},
    "B-30 minItems": {"type": "array", "items": {"type": "string"}, "minItems": 10**9},
    "B-30 maxLength": {"type": "string", "maxLength": 10**9},
    "B-30 empty": {},
    "B-30 contradiction": {"type": "integer", "minimum": 5, "maximum": 4},
    "B-32 nothing": {"not": {}},
    "B-32 wrong type": {"type": "strin"},
    "B-32 backend hint": {
        "type": "object",
        "x-guidance": {"lenient": True, "whitespace_pattern": "(.*){1,1000}"},
    },
    "intersections": {"allOf": [{"type": "string", "pattern": f"a{i}"} for i in range(800)]},
    "intersections that look like tokens": {
        "allOf": [{"type": "string", "pattern": f"<[{i}]>"} for i in range(800)]
    },
    "divisors": {"allOf": [{"multipleOf": n, "type": "integer"} for n in (2, 3, 5, 7, 11, 13, 17, 19, 23)]},
    "memory": {"allOf": [{"type": "string", "pattern": f"^(a|b)*a(a|b){{{n}}}$"} for n in range(10, 30)]},
    "large divisor": {"type": "integer", "multipleOf": 10**9 + 7},
    "large number": {"type": "integer", "maximum": 10**300},
    "unions": {"allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(24)]},
    "many properties": {"properties": {f"p{i}": {"type": "string"} for i in range(1000)}},
}
DEEPEST = '{"items":' * 1000 + "{}" + "}" * 1000
HOSTILE_EXPRESSIONS = {
    "B-29 (a+)+b": "(a+)+b",
    "B-29 (.*){1,1000}": "(.*){1,1000}",
    "B-29 classes": r"(\p{L}|\p{N}){1,500}(\p{L}a){1,500}",
    "B-29 no such class": r"\p{Nonsense}",
    "B-29 nested counts": "((((a{1,30}){1,30}){1,30}){1,30})",
    "B-29 large count": "a{4294967295}",
    "B-29 states": "(a|b)*a(a|b){25}",
    "B-29 case": "(?i)" + r"\w" * 1900,
    "B-29 brackets": "(" * 2000 + "a" + ")" * 2000,
    "B-29 stars": ".*" * 2000,
    "B-32 unclosed": "[",
    "B-32 look-ahead": "(?=a)b",
    "B-32 reference": r"(a)\1",
    "B-32 another language": "a/\nstart: start",
}
HOSTILE = [
    *[pytest.param(schema(value), id=name) for name, value in HOSTILE_SCHEMAS.items()],
    pytest.param(Grammar(kind="json_schema", text=DEEPEST), id="B-30 depth 1000"),
    *[pytest.param(regex(text), id=name) for name, text in HOSTILE_EXPRESSIONS.items()],
]


@pytest.fixture
def alive(shared: Driver) -> Iterator[Driver]:
    """Still answers when the test is over."""
    yield shared
    check_person(only(shared, ask(count=400, grammar=schema(SCHEMA), sampling=WILD, **ENDS)).text)


def prepare(driver: Driver, grammar: Grammar) -> str:
    """What is wrong with a grammar, by the engine; it may not take long to say so."""
    begin = time.monotonic()
    message = ""
    try:
        driver.engine.prepare(ask(grammar=grammar))
    except InvalidRequest as error:
        message = error.message
    assert time.monotonic() - begin < 2 * SLACK
    assert not message or message.startswith("`response_format`")
    return message


SLACK = 2.0
"""Other tests may share the processors."""


@pytest.mark.alone
@pytest.mark.parametrize("grammar", HOSTILE)
def test_hostile_grammars_are_refused_or_harmless(alive: Driver, grammar: Grammar) -> None:
    if prepare(alive, grammar):
        return
    begin = time.thread_time()
    id = alive.submit(ask(count=40, grammar=grammar, sampling=WILD, **ENDS))
    while alive.engine.busy():
        for _, output in alive.engine.step():
            assert not isinstance(output, QuintetError) or isinstance(output, InvalidRequest)
    assert time.thread_time() - begin < 2
    assert alive.events[id] == []


@pytest.mark.parametrize(
    ("grammar", "word"),
    [
        (schema({"type": "string", "contains": 1, "not": {}}), "keywords that can't be enforced: "),
        (schema({"type": "string", "format": "s3cr3t"}), "`format`"),
        (schema({"type": "string", "pattern": "s3cr3t["}), "unclosed character class"),
        (regex("s3cr3t(?=a)"), "look-ahead"),
        (schema({"$ref": "#/$defs/s3cr3t"}), "`$ref`"),
        (schema({"type": "s3cr3t"}), "`type`"),
        (schema({"type": "integer", "minimum": "s3cr3t"}), "`minimum` must be a number"),
        (schema({"properties": "s3cr3t"}), "`properties` must be an object"),
        (schema({"minimum": 10**400}), "too large"),
        (schema({"$schema": "s3cr3t"}), "`$ref`"),
        (schema({"properties": {"a": {}}, "minProperties": 1, "type": "object"}), "`minProperties`"),
        (regex("a{0}"), "empty text"),
        (schema({"type": "array", "minItems": 2, "maxItems": 1}), "contradict"),
        (schema(nest(300)), "too deep"),
        (schema(HOSTILE_SCHEMAS["intersections"]), "too long or too much memory"),
    ],
)
def test_refusals_explain_and_repeat_nothing(alive: Driver, grammar: Grammar, word: str) -> None:
    message = prepare(alive, grammar)
    assert word in message
    assert "s3cr3t" not in message


def test_tokens_of_others_flow_while_a_grammar_is_compiled(shared: Driver) -> None:
    steps: list[float] = []
    slow = [
        HOSTILE_SCHEMAS["intersections"],
        HOSTILE_SCHEMAS["memory"],
        HOSTILE_SCHEMAS["B-30 enum of objects"],
    ]
    thread = threading.Thread(
        target=lambda: [prepare(shared, schema({**one, "title": "new"})) for one in slow]
    )
    id = shared.submit(ask(count=400))
    thread.start()
    while thread.is_alive():
        if not shared.engine.busy():
            id = shared.submit(ask(count=400))
        begin = time.monotonic()
        shared.step()
        steps.append(time.monotonic() - begin)
    thread.join()
    shared.engine.cancel(id)
    assert max(steps) < 0.2 * SLACK
    assert len(steps) > 100


def test_one_that_becomes_too_complex_ends_alone(alive: Driver) -> None:
    blueprint = alive.engine._grammars.compile_lark('start: start start start | "a" | "b"', "grammar")
    hostile = alive.engine.prepare(ask(count=400, n=2, best_of=2, sampling=WILD))
    assert isinstance(hostile, Prompt)
    alive.engine.submit(-1, replace(hostile, blueprint=blueprint))
    id = alive.submit(ask(ids(30), count=100))
    errors: list[Any] = []
    while alive.engine.busy():
        for number, output in alive.engine.step():
            if number == -1:
                errors += [output] if isinstance(output, Exception) else []
            else:
                assert not isinstance(output, QuintetError)
                alive.events[id].append(output)
    (error,) = errors
    assert isinstance(error, InvalidRequest)
    assert error.param == "grammar"
    assert ids_of(alive.outcome(id).choices[0]) == ids_of(only(alive, ask(ids(30), count=100)))


def test_one_slow_grammar_keeps_nobody_long(shared: Driver) -> None:
    slow = schema({**HOSTILE_SCHEMAS["divisors"], "title": "slow"})
    thread = threading.Thread(target=prepare, args=(shared, slow))
    shared.engine._grammars.compile(regex("warm"))
    thread.start()
    while shared.engine._grammars._trial._busy_since is None:
        assert thread.is_alive()
    begin = time.monotonic()
    with pytest.raises(Overloaded) as refused:
        shared.engine._grammars.compile(regex("new"))
    assert refused.value.retry_after
    assert time.monotonic() - begin < 1
    assert shared.engine._grammars.compile(regex("warm"))
    thread.join()
    shared.engine._grammars.compile(regex("new"))


def test_what_was_refused_is_not_tried_again(shared: Driver) -> None:
    slow = schema({**HOSTILE_SCHEMAS["divisors"], "title": "again"})
    messages = [prepare(shared, slow)]
    begin = time.monotonic()
    messages += [prepare(shared, slow) for _ in range(10)]
    assert time.monotonic() - begin < 0.5
    assert len(set(messages)) == 1


def test_a_refusal_that_is_kept_keeps_nothing_of_its_request(grammars: Grammars) -> None:
    def refused() -> weakref.ref[threading.Event]:
        request = threading.Event()  # whatever the caller holds, such as a long prompt
        with pytest.raises(InvalidRequest):
            grammars.compile(regex("(?=kept)"))
        return weakref.ref(request)

    request = refused()
    gc.collect()
    assert request() is None
    assert any(isinstance(found, InvalidRequest) for found, _ in grammars._cache.values())


def test_the_cache_is_bounded_by_number_and_by_size(
    shared: Driver, grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert grammars.compile(regex("cached")) is grammars.compile(regex("cached"))
    for number in range(room.MAX_CACHED + 20):
        grammars.compile(regex(f"x{number}"))
    assert len(grammars._cache) == room.MAX_CACHED
    monkeypatch.setattr(room, "MAX_CACHED_CHARACTERS", 50_000)
    for number in range(8):
        grammars.compile(schema({"const": f"{number}" * 10_000}))
    assert len(grammars._cache) == 4
    assert grammars._cached_characters == sum(len(text) for _, text in grammars._cache)


def test_a_lost_child_is_replaced(alive: Driver, grammars: Grammars) -> None:
    grammars.compile(regex("before"))
    child = grammars._trial._child
    assert child is not None
    child.kill()
    child.wait()
    with pytest.raises(InvalidRequest):
        grammars.compile(regex("meanwhile"))
    grammars.compile(regex("afterwards"))


def test_leaving_waits_until_the_vocabulary_is_laid_out(grammars: Grammars) -> None:
    # A daemon thread inside native code crashes an interpreter that ends, as one does whose model can't be loaded.
    assert not grammars._layout.daemon


def test_closing_ends_the_child(drive: Open) -> None:
    driver = drive()
    only(driver, ask(grammar=regex("a{3}")))
    child = driver.engine._grammars._trial._child
    assert child is not None
    driver.engine.close()
    assert child.poll() is not None
    driver.engine.close()
