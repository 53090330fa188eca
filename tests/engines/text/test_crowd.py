"""Requests side by side: prompts read once, blocks freed at once, everybody served, answers the same throughout."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from quintet.core.events import Finished, Prefill, Stopped, Token
from quintet.core.requests import Detail, Sampling, TextRequest, TokenizeRequest
from quintet.engines.text.scheduler import Batch
from tests.engines.text.asking import ask, ids, ids_of, only
from tests.engines.text.conftest import Open

DETAIL = Detail(logprobs=True, top_logprobs=5, prefill=True)


@pytest.mark.parametrize(("n", "best_of"), [(3, 3), (2, 4)])
def test_choices_share_their_prompt(drive: Open, n: int, best_of: int) -> None:
    driver = drive()
    detail = Detail(logprobs=True)
    request = ask(
        ids(100), 10, n=n, best_of=best_of, sampling=Sampling(temperature=1.5, seed=2), detail=detail
    )
    outcome = driver.run(request)[0]
    # Full blocks of 32 are shared; what remains of the prompt is each one's own.
    assert driver.engine.scheduler.prefilled_tokens == 100 + (best_of - 1) * (100 - 96)
    assert len(outcome.choices) == n
    assert len({tuple(ids_of(choice)) for choice in outcome.choices}) == n
    assert outcome.finished.usage.completion_tokens == best_of * 10
    means = [choice.mean_logprob for choice in outcome.choices]
    if best_of > n:
        assert means == sorted(means, reverse=True)
        every = driver.run(dataclasses.replace(request, n=best_of))[0]
        assert means == sorted((choice.mean_logprob for choice in every.choices), reverse=True)[:n]
        assert all(
            token.choice == index for index, choice in enumerate(outcome.choices) for token in choice.tokens
        )


def test_a_system_prompt_of_64_requests_is_read_once(drive: Open) -> None:
    driver = drive(kv_cache_mb=32)
    system = ids(256)
    outcomes = driver.run(*(ask((*system, *ids(10, seed)), 4, owner="a") for seed in range(64)))
    assert driver.engine.scheduler.prefilled_tokens == 256 + 64 * 10
    assert [outcome.finished.usage.cached_tokens for outcome in outcomes] == [0] + [256] * 63
    other = driver.run(ask((*system, *ids(10)), 4, owner="b"))[0]
    assert other.finished.usage.cached_tokens == 0


def test_the_reader_of_a_shared_prompt_may_go(drive: Open) -> None:
    driver = drive(max_batch_tokens=64)
    system = ids(256)
    requests = [ask((*system, *ids(10, seed)), 4, owner="a") for seed in range(4)]
    numbers = [driver.submit(request) for request in requests]
    driver.step()
    driver.engine.cancel(numbers[0])
    driver.finish()
    assert driver.engine.scheduler.prefilled_tokens == 256 + 3 * 10
    alone = drive()
    for number, request in zip(numbers[1:], requests[1:], strict=True):
        assert ids_of(driver.outcome(number).choices[0]) == ids_of(only(alone, request))


@pytest.mark.parametrize("steps", [0, 1, 3, 9])
def test_cancel_frees_blocks_before_the_next_step(drive: Open, steps: int) -> None:
    driver = drive(max_batch_tokens=16)
    number = driver.submit(ask(ids(100), 50, n=3, best_of=3, sampling=Sampling(seed=1)))
    other = driver.submit(ask(ids(20), 50, owner="b"))
    for _ in range(steps):
        driver.step()
    driver.engine.cancel(number)
    pool = driver.engine.scheduler.pool
    assert {sequence.owner for sequence in driver.engine.scheduler.running} <= {"b"}
    assert pool.total - pool.available <= 2
    before = len(driver.events[number])
    driver.finish()
    assert len(driver.events[number]) == before
    assert len(ids_of(driver.outcome(other).choices[0])) == 50
    assert pool.available == pool.total
    assert not driver.engine._owner_of
    assert not driver.engine._jobs


def test_a_cancelled_answer_that_was_ready_is_silent(drive: Open) -> None:
    driver = drive()
    number = driver.submit(TokenizeRequest(model="tiny", prompt="hello"))
    kept = driver.submit(TokenizeRequest(model="tiny", prompt="hello"))
    driver.engine.cancel(number)
    driver.finish()
    assert driver.events[number] == []
    assert len(driver.events[kept]) == 2


def test_two_owners_share_a_tiny_budget(drive: Open) -> None:
    driver = drive(max_batch_tokens=8, max_sequences=4)
    flood = [driver.submit(ask(ids(60, seed), 10, owner="flood")) for seed in range(12)]
    driver.step()
    single = driver.submit(ask(ids(60, 99), 10, owner="single"))
    driver.finish()
    order = [number for number in driver.ended if number in (*flood, single)]
    assert order.index(single) <= 1


PENALIZED = Sampling(temperature=0.9, top_k=30, repetition_penalty=1.2, frequency_penalty=0.3, seed=6)


def test_penalties_and_seeds_survive_preemption(drive: Open) -> None:
    asked = [
        ask(ids(150, seed), 100, sampling=dataclasses.replace(PENALIZED, seed=seed)) for seed in range(8)
    ]
    roomy, tight = drive(kv_cache_mb=32), drive(kv_cache_mb=0)
    expected = [ids_of(outcome.choices[0]) for outcome in roomy.run(*asked)]
    found = [ids_of(outcome.choices[0]) for outcome in tight.run(*asked)]
    assert roomy.engine.scheduler.preemptions == 0
    assert tight.engine.scheduler.preemptions > 0
    assert found == expected


@pytest.mark.parametrize("steps", [1, 3, 6, 9])
def test_prompt_logprobs_survive_preemption(drive: Open, steps: int) -> None:
    request = ask(ids(100), 9, detail=DETAIL, n=2, best_of=2)
    expected = drive().run(request)[0]
    driver = drive(max_batch_tokens=16)
    number = driver.submit(request)
    for _ in range(steps):
        driver.step()
    for sequence in list(driver.engine.scheduler.running):
        driver.engine.scheduler._preempt(sequence, Batch())
    driver.finish()
    outcome = driver.outcome(number)
    assert [ids_of(choice) for choice in outcome.choices] == [ids_of(choice) for choice in expected.choices]
    assert [token.id for token in outcome.prefill] == list(ids(100))
    assert [token.logprob for token in outcome.prefill[1:]] == pytest.approx(
        [token.logprob for token in expected.prefill[1:]], abs=1e-3
    )
    assert [type(event) for event in driver.events[number]].count(Prefill) == 1


def test_prompt_rows_one_at_a_time_don_t_confuse_others(drive: Open) -> None:
    first, second = ask(ids(20), 30), ask(ids(10, 4), 9, detail=DETAIL)
    expected = [drive().run(request)[0] for request in (first, second)]
    # One sequence decodes, so each step has room for one token of the other's prompt.
    driver = drive(max_batch_tokens=2)
    numbers = [driver.submit(first)]
    while not driver.events[numbers[0]]:
        driver.step()
    numbers.append(driver.submit(second))
    driver.finish()
    for number, outcome in zip(numbers, expected, strict=True):
        assert ids_of(driver.outcome(number).choices[0]) == ids_of(outcome.choices[0])
    assert [token.logprob for token in driver.outcome(numbers[1]).prefill[1:]] == pytest.approx(
        [token.logprob for token in expected[1].prefill[1:]], abs=1e-3
    )


def random_request(source: random.Random) -> TextRequest | TokenizeRequest:
    if source.random() < 0.1:
        return TokenizeRequest(model="tiny", prompt="hello world" * source.randint(1, 9))
    n = source.choice((1, 1, 1, 2, 3))
    best_of = n + source.choice((0, 0, 2))
    prompt = (
        *ids(source.choice((0, 32, 150)), source.randint(1, 2)),
        *ids(source.randint(1, 60), source.random()),
    )
    return ask(
        prompt,
        source.randint(1, 40),
        n=n,
        best_of=best_of,
        owner=source.choice("abc"),
        sampling=Sampling(
            temperature=source.choice((0, 0.7, 1, 2)),
            top_k=source.choice((0, 0, 5, 100)),
            top_p=source.choice((1, 0.9)),
            typical_p=source.choice((1, 1, 0.8)),
            min_p=source.choice((0, 0, 0.1)),
            repetition_penalty=source.choice((1, 1.2)),
            frequency_penalty=source.choice((0, 0.5)),
            logit_bias=source.choice(((), ((5, 3.0),))),
        ),
        limits={"ignore_eos": source.random() < 0.5, "stop": source.choice(((), ("a", "the")))},
        detail=source.choice((Detail(), Detail(), DETAIL, Detail(logprobs=True))),
    )


def test_any_history_ends_every_request_once(drive: Open) -> None:
    source = random.Random(12)
    driver = drive(kv_cache_mb=0, max_batch_tokens=64, max_sequences=12)
    requests: dict[int, Any] = {}
    cancelled: dict[int, int] = {}
    for _ in range(200):
        act = source.random()
        if act < 0.45:
            request = random_request(source)
            requests[driver.submit(request)] = request
        elif act < 0.55 and requests:
            number = source.choice(list(requests))
            driver.engine.cancel(number)
            cancelled.setdefault(number, len(driver.events[number]))
        else:
            driver.step()
    driver.finish()
    for number, request in requests.items():
        events = driver.events[number]
        kinds = [type(event) for event in events]
        if number in cancelled:
            assert len(events) == cancelled[number]
            continue
        assert kinds.count(Finished) == 1
        assert kinds[-1] is Finished
        if isinstance(request, TextRequest):
            assert sorted(one.choice for one in events if isinstance(one, Stopped)) == list(range(request.n))
            assert {one.choice for one in events if isinstance(one, Token)} == set(range(request.n))
    scheduler = driver.engine.scheduler
    assert scheduler.preemptions > 0
    assert scheduler.pool.available == scheduler.pool.total
    assert scheduler.served == {}
    assert not driver.engine._jobs
    assert not driver.engine._owner_of
