"""Answers under a grammar: what they look like, how they end, and what a hostile grammar can't do."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from quintet.core.requests import Detail, Grammar, Sampling
from quintet.engines.text.grammar import Grammars, token_rule
from tests.engines.text.asking import ask, ids, ids_of, only
from tests.engines.text.conftest import Driver, Open

EOS = 2
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["red", "blue"]},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "age", "kind", "flags"],
    "additionalProperties": False,
}
ENDS: dict[str, Any] = {"limits": {"ignore_eos": False}}
WILD = Sampling(temperature=1.5, seed=7)


def schema(value: Any) -> Grammar:
    return Grammar(kind="json_schema", text=json.dumps(value))


def regex(text: str) -> Grammar:
    return Grammar(kind="regex", text=text)


def check_person(text: str) -> None:
    person = json.loads(text)
    assert list(person) == ["name", "age", "kind", "flags"]
    assert len(person["name"]) <= 8
    assert isinstance(person["age"], int)
    assert 0 <= person["age"] <= 150
    assert person["kind"] in ("red", "blue")
    assert len(person["flags"]) <= 3
    assert all(isinstance(flag, bool) for flag in person["flags"])


# ------------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        *[Sampling(temperature=2.0, seed=seed) for seed in range(6)],
        Sampling(temperature=1.0, top_k=3, top_p=0.5, min_p=0.1, seed=1),
        Sampling(temperature=1.0, typical_p=0.5, top_k=50, seed=1),
        Sampling(temperature=1.0, repetition_penalty=1.5, presence_penalty=2, frequency_penalty=2, seed=1),
    ],
)
def test_a_schema_is_kept(shared: Driver, sampling: Sampling) -> None:
    choice = only(shared, ask(count=400, grammar=schema(SCHEMA), sampling=sampling, **ENDS))
    check_person(choice.text)
    assert choice.reason == "eos"


def test_any_object(shared: Driver) -> None:
    for seed in range(8):
        sampling = Sampling(temperature=2.0, seed=seed)
        choice = only(shared, ask(count=300, grammar=Grammar(kind="json_object"), sampling=sampling, **ENDS))
        assert choice.text.startswith("{")
        if choice.reason == "eos":
            assert isinstance(json.loads(choice.text), dict)


@pytest.mark.parametrize(
    "pattern",
    [
        "(red|blue) (circle|of the world)",
        r"\d{3}-\d{4}",
        "^a{2,5}$",
        "a/b",
        r"[^\x00-\x7f]{2}",
        "(?i)hello",
        "(a|ab)c?",
    ],
)
def test_an_expression_is_matched(shared: Driver, pattern: str) -> None:
    request = ask(count=40, grammar=regex(pattern), sampling=WILD, n=4, best_of=4, **ENDS)
    (outcome,) = shared.run(request)
    for choice in outcome.choices:
        assert re.fullmatch(pattern, choice.text), choice.text
        assert choice.reason == "eos"


def test_choices_differ_and_seeds_repeat_them(shared: Driver) -> None:
    request = ask(count=200, grammar=schema(SCHEMA), sampling=WILD, n=3, best_of=3, **ENDS)
    first, again = shared.run(request, request)
    texts = [choice.text for choice in first.choices]
    assert len(set(texts)) == 3
    assert texts == [choice.text for choice in again.choices]


def test_best_of_ranks_whole_answers(shared: Driver) -> None:
    (outcome,) = shared.run(ask(count=200, grammar=schema(SCHEMA), sampling=WILD, n=1, best_of=3, **ENDS))
    (choice,) = outcome.choices
    check_person(choice.text)


# ------------------------------------------------------------------------------------------------- how it ends


def test_the_model_can_end_only_what_is_complete(shared: Driver) -> None:
    eager = Sampling(temperature=0, logit_bias=((EOS, 100.0),))
    choice = only(shared, ask(grammar=regex("a{3,6}"), sampling=eager, **ENDS))
    assert (choice.text, choice.reason, ids_of(choice)[-1]) == ("aaa", "eos", EOS)


def test_a_complete_answer_ends_by_itself(shared: Driver) -> None:
    never = Sampling(temperature=0, logit_bias=((EOS, -100.0),))
    for more in (ENDS, {}):
        choice = only(shared, ask(grammar=regex("a{3,6}"), sampling=never, **more))
        assert (choice.text, choice.reason) == ("aaaaaa", "eos")


def test_a_cut_answer_says_so(shared: Driver) -> None:
    choice = only(shared, ask(count=5, grammar=regex("b{100}"), **ENDS))
    assert (choice.text, choice.reason) == ("bbbbb", "length")


def test_a_stop_string_still_stops(shared: Driver) -> None:
    choice = only(
        shared, ask(count=20, grammar=regex("ab{5}c"), limits={"ignore_eos": False, "stop": ("bb",)})
    )
    assert (choice.text, choice.reason) == ("a", "stop")


# ------------------------------------------------------------------------------------------ and all the rest


def test_no_bias_brings_a_forbidden_token_back(shared: Driver) -> None:
    biases = tuple((id, 100.0) for id in range(3, 250) if id % 2)
    for sampling in (Sampling(temperature=0, logit_bias=biases), Sampling(seed=3, logit_bias=biases)):
        choice = only(shared, ask(count=30, grammar=regex("[xyz]{5}|one"), sampling=sampling, **ENDS))
        assert re.fullmatch("[xyz]{5}|one", choice.text)


def test_log_probabilities_are_the_models_own(shared: Driver) -> None:
    detail = Detail(logprobs=True, top_logprobs=5)
    free = only(shared, ask(ids(20), count=1, detail=detail))
    bound = only(shared, ask(ids(20), count=1, detail=detail, grammar=regex("[xyz]"), **ENDS))
    assert bound.tokens[0].top == free.tokens[0].top
    assert bound.tokens[0].id != free.tokens[0].id
    assert bound.tokens[0].logprob is not None
    assert free.tokens[0].logprob is not None
    assert bound.tokens[0].logprob < free.tokens[0].logprob


def test_the_same_draws_as_with_every_other_token_banned(shared: Driver) -> None:
    digits = [shared.engine._vocabulary.encode(d, add_special_tokens=False)[0] for d in "0123456789"]
    banned = tuple((id, -100.0) for id in range(shared.engine.executor.vocabulary_size) if id not in digits)
    for more in ({}, {"top_p": 0.7}, {"top_k": 5}):
        by_bias = only(shared, ask(count=12, sampling=Sampling(seed=5, logit_bias=banned, **more)))
        by_grammar = only(
            shared, ask(count=12, sampling=Sampling(seed=5, **more), grammar=regex("[0-9]{12,}"))
        )
        assert by_grammar.text == by_bias.text


def test_neighbours_are_left_alone(shared: Driver) -> None:
    free = ask(ids(30), count=20, sampling=Sampling(seed=4))
    alone = only(shared, free)
    bound = ask(ids(30, 2), count=60, grammar=schema(SCHEMA), sampling=WILD, **ENDS)
    together, _ = shared.run(free, bound)
    assert ids_of(together.choices[0]) == ids_of(alone)


def test_preempted_answers_go_on_where_they_were(drive: Open) -> None:
    requests = [
        ask(
            ids(150, seed),
            count=300,
            grammar=schema(SCHEMA),
            sampling=Sampling(temperature=2.0, seed=seed),
            **ENDS,
        )
        for seed in range(8)
    ]
    roomy = drive(kv_cache_mb=32)
    expected = [outcome.choices[0].text for outcome in roomy.run(*requests)]
    tight = drive(kv_cache_mb=0)
    found = [outcome.choices[0].text for outcome in tight.run(*requests)]
    assert roomy.engine.scheduler.preemptions == 0
    assert tight.engine.scheduler.preemptions > 0
    assert found == expected


# --------------------------------------------------------------------------------------- which tokens may come


@pytest.fixture(scope="module")
def grammars(shared: Driver) -> Grammars:
    return shared.engine._grammars


def test_specials_and_padding_never_fit(shared: Driver, grammars: Grammars) -> None:
    size = shared.engine._vocabulary.size
    guide = grammars.compile(regex("(.|\n)*")).start(size + 50)
    assert len(guide.forbidden) == size + 50
    assert guide.forbidden[size:].all()
    assert np.flatnonzero(~guide.forbidden)[0] == EOS  # the text may be empty
    assert guide.forbidden[[0, 1]].all()
    narrow = grammars.compile(regex("(.|\n)*")).start(100)
    assert len(narrow.forbidden) == 100


def test_guides_of_one_blueprint_are_independent(shared: Driver, grammars: Grammars) -> None:
    a, b = shared.engine._vocabulary.encode("ab", add_special_tokens=False)
    blueprint = grammars.compile(regex("aa|ab"))
    one, other = blueprint.start(293), blueprint.start(293)
    one.take(a)
    assert not one.forbidden[b]
    assert other.forbidden[b]
    other.take(a)
    other.take(b)
    assert other.ended
    assert not one.ended


def test_special_tokens_can_be_asked_for_in_lark(shared: Driver, grammars: Grammars) -> None:
    guide = grammars.compile_lark(f'start: {token_rule(1)} "a" {token_rule(0)}', "tools").start(293)
    for id in (1, shared.engine._vocabulary.encode("a", add_special_tokens=False)[0], 0):
        assert guide.few is not None
        assert guide.few.tolist() == [id]
        guide.take(id)
    assert guide.ended
