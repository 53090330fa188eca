"""The engine says what transformers says on the same float32 weights, however the work is cut up."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from quintet.core.requests import Detail, Limits, Sampling, TextRequest
from tests.conftest import TinyModel
from tests.engines.text.conftest import Open

GREEDY = Sampling(temperature=0)
LENGTHS = (1, 5, 31, 32, 33, 64, 90, 127)


def prompts(count: int = len(LENGTHS)) -> list[tuple[int, ...]]:
    source = random.Random(4)
    return [tuple(source.randrange(3, 250) for _ in range(LENGTHS[i % len(LENGTHS)])) for i in range(count)]


def assert_greedy(reference: Any, ids: tuple[int, ...], answer: list[int], count: int) -> None:
    """Every token is transformers' own choice after those before it, so by induction the answer is its answer."""
    assert len(answer) == count
    with torch.inference_mode():
        logits = reference(torch.tensor([[*ids, *answer]])).logits[0]
    assert answer == logits[len(ids) - 1 : -1].argmax(-1).tolist()


def ask(ids: tuple[int, ...], count: int = 40, **more: Any) -> TextRequest:
    return TextRequest(
        model="tiny",
        prompt_ids=ids,
        sampling=more.pop("sampling", GREEDY),
        limits=Limits(max_new_tokens=count, ignore_eos=True),
        **more,
    )


def ids_of(outcome: Any) -> list[int]:
    return [token.id for token in outcome.choices[0].tokens]


@pytest.mark.parametrize("max_batch_tokens", [512, 48, 7])
def test_ragged_batches_and_chunked_prefill(tiny: TinyModel, drive: Open, max_batch_tokens: int) -> None:
    driver = drive(max_batch_tokens=max_batch_tokens)
    outcomes = driver.run(*(ask(ids) for ids in prompts()))
    for ids, outcome in zip(prompts(), outcomes, strict=True):
        assert_greedy(tiny.reference, ids, ids_of(outcome), 40)


def test_reused_prefix(tiny: TinyModel, drive: Open) -> None:
    driver = drive()
    shared = prompts()[6]
    first, second = (*shared, 7, 8), (*shared, 9)
    driver.run(ask(first, owner="a"))
    read = driver.engine.scheduler.prefilled_tokens
    outcome = driver.run(ask(second, owner="a"))[0]
    assert outcome.finished.usage.cached_tokens == 64
    assert driver.engine.scheduler.prefilled_tokens - read == len(second) - 64
    assert_greedy(tiny.reference, second, ids_of(outcome), 40)


def test_prefix_of_another_owner_is_not_reused(drive: Open) -> None:
    driver = drive()
    ids = prompts()[6]
    driver.run(ask(ids, owner="a"))
    assert driver.run(ask(ids, owner="b"))[0].finished.usage.cached_tokens == 0


def test_preemption(tiny: TinyModel, drive: Open) -> None:
    # 36 blocks of 32 tokens; the eight answers need more than that together.
    driver = drive(kv_cache_mb=0)
    asked = [(*ids, *ids, *ids)[:150] for ids in prompts()]
    outcomes = driver.run(*(ask(ids, 100) for ids in asked))
    assert driver.engine.scheduler.preemptions > 0
    for ids, outcome in zip(asked, outcomes, strict=True):
        assert_greedy(tiny.reference, ids, ids_of(outcome), 100)


def test_logprobs_of_answer_and_prompt(tiny: TinyModel, drive: Open) -> None:
    ids = prompts()[4]
    detail = Detail(logprobs=True, top_logprobs=50, prefill=True)
    outcome = drive(max_batch_tokens=16).run(ask(ids, 20, detail=detail))[0]
    whole = torch.tensor([[*ids, *ids_of(outcome)]])
    with torch.inference_mode():
        expected = tiny.reference(whole).logits[0].log_softmax(-1)
    assert outcome.prefill[0].logprob is None
    for position, read in enumerate(outcome.prefill[1:], start=1):
        assert read.id == ids[position]
        assert read.logprob == pytest.approx(float(expected[position - 1, read.id]), abs=1e-3)
    for offset, token in enumerate(outcome.choices[0].tokens):
        row = expected[len(ids) + offset - 1]
        assert token.logprob == pytest.approx(float(row[token.id]), abs=1e-3)
        assert [one.logprob for one in token.top] == pytest.approx(row.topk(50).values.tolist(), abs=1e-3)
        assert token.top[0].id == int(row.argmax())


def test_repetition_penalty_is_transformers(tiny: TinyModel, drive: Open) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    ids = prompts()[4]
    penalty = RepetitionPenaltyLogitsProcessor(1.3)
    sampling = Sampling(temperature=0, repetition_penalty=1.3)
    answer = ids_of(drive().run(ask(ids, 30, sampling=sampling))[0])
    whole = torch.tensor([[*ids, *answer]])
    with torch.inference_mode():
        logits = tiny.reference(whole).logits[0]
    for offset, token in enumerate(answer):
        end = len(ids) + offset
        assert token == int(penalty(whole[:, :end], logits[end - 1 : end]).argmax())


def test_a_seeded_answer_is_the_same_alone_and_among_others(drive: Open) -> None:
    sampling = Sampling(temperature=1.2, top_k=40, top_p=0.95, seed=11)
    asked = ask(prompts()[3], sampling=sampling)
    alone = drive().run(asked)[0]
    others = [ask(ids, sampling=Sampling(temperature=1.0)) for ids in prompts(32)]
    among = drive(max_batch_tokens=64).run(*others[:16], asked, *others[16:])[16]
    assert ids_of(among) == ids_of(alone)
    assert among.finished.seed == 11
