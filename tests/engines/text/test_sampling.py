"""Draws follow the distribution that a slow, plain implementation computes, whatever shares the batch."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from quintet.core.requests import Sampling
from quintet.engines.text.sampling import EDGE, Drawn, Sampler, Want, seeded
from quintet.engines.text.sequence import Answer, Penalized, Sequence
from quintet.engines.text.shortlist import shortlist

Floats = npt.NDArray[Any]
GRID = 500
KINDS = ("peaked", "flat", "level", "tied", "coarse", "extreme", "masked")


class Fixed:
    """A stream that gives one number again and again."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self) -> float:
        return self.number


def want(sampling: Sampling, stream: Any, prompt: list[int], answered: list[int], **more: Any) -> Want:
    answer = Answer(Sequence(owner="", tokens=[], prompt_length=0), None, random=stream)
    if (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) != (1, 0, 0):
        answer.penalized = Penalized(prompt, 1)
        for token in answered:
            answer.penalized.add(token)
    return Want(answer, sampling, **more)


def expected(
    logits: Floats, sampling: Sampling, prompt: list[int] = (), answered: list[int] = ()
) -> list[float]:
    """The probability of every token, in plain Python; modified logits in float32 as the engine has them."""
    changed = np.array(logits, np.float32)
    for token, bias in sampling.logit_bias:
        changed[token] += np.float32(bias)
    for token in {*prompt, *answered}:
        penalty = np.float32(sampling.repetition_penalty)
        if (penalty, sampling.presence_penalty, sampling.frequency_penalty) == (1, 0, 0):
            break
        changed[token] = changed[token] / penalty if changed[token] > 0 else changed[token] * penalty
        count = answered.count(token) if answered else 0
        changed[token] -= np.float32(sampling.frequency_penalty) * np.float32(count)
        changed[token] -= np.float32(sampling.presence_penalty) * np.float32(count > 0)
    values = [float(value) for value in changed]
    ranked = sorted(range(len(values)), key=lambda token: (-values[token], token))
    shares = [0.0] * len(values)
    if sampling.temperature == 0 or sampling.top_k == 1:
        shares[ranked[0]] = 1.0
        return shares
    for rank, token in enumerate(ranked):
        if not sampling.top_k or rank < sampling.top_k:
            shares[token] = math.exp((values[token] - values[ranked[0]]) / sampling.temperature)
    shares = normal(shares)
    before = 0.0
    for token in ranked:
        share = shares[token]
        if sampling.top_p < 1 and before >= max(sampling.top_p - EDGE, EDGE):
            shares[token] = 0.0
        before += share
    if sampling.typical_p < 1:
        shares = typical(normal(shares), ranked, sampling.typical_p)
    least = sampling.min_p * max(shares)
    return normal([share if share >= least else 0.0 for share in shares])


def typical(shares: list[float], ranked: list[int], mass: float) -> list[float]:
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    listed = [token for token in ranked if shares[token] > 0]
    listed.sort(key=lambda token: abs(-math.log(shares[token]) - entropy))
    kept = [0.0] * len(shares)
    before = 0.0
    for token in listed:
        if before < mass:
            kept[token] = shares[token]
        before += shares[token]
    return kept


def normal(shares: list[float]) -> list[float]:
    total = math.fsum(shares)
    return [share / total for share in shares]


def rows(kind: str, vocabulary_size: int, source: np.random.Generator) -> Floats:
    """One row of logits [V]."""
    row = source.normal(size=vocabulary_size).astype(np.float32)
    match kind:
        case "peaked":
            row *= 4
        case "flat":
            row *= 0.1
        case "level":
            row[:] = 1.5
        case "tied":  # as a model that computes in bfloat16
            row = ((row * 4).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        case "coarse":
            row = np.round(row * 1.5)
        case "extreme":
            row = row * 3 + np.where(source.random(vocabulary_size) < 0.1, np.float32(1e4), np.float32(-1e4))
        case "masked":
            row[source.random(vocabulary_size) < 0.7] = -np.inf
            row[0] = 1.0
    return row.astype(np.float32)


def random_sampling(source: random.Random, vocabulary_size: int) -> Sampling:
    def maybe(neutral: float, *others: float) -> float:
        return source.choice((neutral, *others)) if source.random() < 0.5 else neutral

    return Sampling(
        temperature=source.choice((0.001, 0.3, 0.7, 1.0, 1.0, 1.3, 100.0)),
        top_k=int(maybe(0, 1, 2, 5, 50, 64, 65, 100, 257, 99999)),
        top_p=maybe(1.0, 0.01, 0.5, 0.9, 0.999),
        typical_p=maybe(1.0, 0.2, 0.95),
        min_p=maybe(0.0, 0.02, 0.3, 1.0),
        repetition_penalty=maybe(1.0, 0.8, 1.3),
        presence_penalty=maybe(0.0, -1.0, 1.5),
        frequency_penalty=maybe(0.0, 0.4),
        logit_bias=((source.randrange(vocabulary_size), maybe(0.0, -100, 3, 100)),) * source.randint(0, 1),
    )


def spread(
    sampler: Sampler, row: Floats, sampling: Sampling, prompt: list[int], answered: list[int]
) -> Floats:
    """How often each token comes if the uniform numbers are spread evenly."""
    wants = [want(sampling, Fixed((step + 0.5) / GRID), prompt, answered) for step in range(GRID)]
    drawn = sampler.choose(np.tile(row, (GRID, 1)), wants)
    return np.bincount([one.id for one in drawn], minlength=len(row)) / GRID


@pytest.mark.parametrize("kind", KINDS)
def test_every_draw_is_exact(kind: str) -> None:
    source, numbers = random.Random(kind), np.random.default_rng(5)
    for size in (17, 64, 65, 200, 700):
        for _ in range(3):
            row = rows(kind, size, numbers)
            sampling = random_sampling(source, size)
            prompt, answered = [source.randrange(size) for _ in range(9)], [source.randrange(size)] * 3
            found = spread(Sampler(), row, sampling, prompt, answered)
            assert found == pytest.approx(
                np.array(expected(row, sampling, prompt, answered)), abs=1.02 / GRID
            ), sampling


SINGLE = [
    Sampling(),
    Sampling(top_k=5),
    Sampling(top_k=100),
    Sampling(top_k=300),
    Sampling(top_p=0.8),
    Sampling(top_p=1e-9),
    Sampling(typical_p=0.6),
    Sampling(min_p=0.1),
    Sampling(temperature=0.001),
    Sampling(temperature=100),
    Sampling(temperature=1e-30),
    Sampling(repetition_penalty=1.5),
    Sampling(presence_penalty=2),
    Sampling(frequency_penalty=0.7),
    Sampling(logit_bias=((3, 4.0), (4, -100.0))),
    Sampling(temperature=0.8, top_k=50, top_p=0.9, repetition_penalty=1.1),
]


@pytest.mark.parametrize("sampling", SINGLE, ids=repr)
def test_each_parameter_is_exact(sampling: Sampling) -> None:
    row = rows("peaked", 600, np.random.default_rng(1)) / 2
    prompt, answered = [1, 2, 3, 4, 4], [4, 5, 5, 6, int(row.argmax())]
    found = spread(Sampler(), row, sampling, prompt, answered)
    sampling = replace(sampling, temperature=0) if sampling.temperature < 1e-5 else sampling
    assert found == pytest.approx(np.array(expected(row, sampling, prompt, answered)), abs=1.02 / GRID)


def test_many_seeds_give_the_distribution() -> None:
    row = rows("peaked", 300, np.random.default_rng(2)) / 3
    sampling = Sampling(temperature=0.9, top_p=0.95)
    shares = expected(row, sampling)
    count = 8000
    counts: Counter[int] = Counter()
    for begin in range(0, count, 2000):
        wants = [want(sampling, seeded(begin + seed, 0), [], []) for seed in range(2000)]
        drawn = Sampler().choose(np.tile(row, (2000, 1)), wants)
        counts.update(one.id for one in drawn)
    assert all(shares[token] > 0 for token in counts)
    kept = [token for token, share in enumerate(shares) if share > 0]
    squares = sum((counts[token] - count * shares[token]) ** 2 / (count * shares[token]) for token in kept)
    freedom = len(kept) - 1
    # Five standard deviations of chi-square, so chance fails this once in a million changes of numpy.
    assert squares < freedom + 5 * math.sqrt(2 * freedom)


def mixed_wants(
    count: int, size: int, source: random.Random, seed: int
) -> list[tuple[Floats, Sampling, int]]:
    numbers = np.random.default_rng(seed)
    return [
        (rows(KINDS[index % len(KINDS)], size, numbers), random_sampling(source, size), seed * 1000 + index)
        for index in range(count)
    ]


def draw_all(sampler: Sampler, asked: list[tuple[Floats, Sampling, int]], **more: Any) -> list[Drawn]:
    wants = [want(sampling, seeded(seed, 0), [1, 2, 3], [3, 4], **more) for _, sampling, seed in asked]
    return sampler.choose(np.stack([row for row, _, _ in asked]), wants)


@pytest.mark.parametrize("size", [200, 900])
def test_a_row_does_not_depend_on_its_neighbours(size: int) -> None:
    asked = mixed_wants(49, size, random.Random(8), 3)
    crowd = [one.id for one in draw_all(Sampler(), asked)]
    alone = [draw_all(Sampler(), [one])[0].id for one in asked]
    assert alone == crowd
    # A neighbour with a large top_k makes all shortlists long, a greedy one asks for the argmax.
    for other in (Sampling(top_k=100), Sampling(temperature=0), Sampling(top_k=3)):
        pair = [
            draw_all(Sampler(), [(rows("flat", size, np.random.default_rng(0)), other, 0), one])[1].id
            for one in asked
        ]
        assert pair == crowd


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [40, 64, 1000, 5003, 49152])
def test_a_shortlist_is_the_head_of_the_sorted_row(kind: str, size: int) -> None:
    source = np.random.default_rng(size)
    logits = np.stack([rows(kind, size, source) for _ in range(3)])
    for wanted in (1, 64, 256):
        values, found = shortlist(logits, wanted)
        expected_ids = np.argsort(-logits, axis=1, kind="stable")[:, :wanted]
        assert (found == expected_ids).all()
        assert (values == np.take_along_axis(logits, expected_ids, axis=1)).all()


@pytest.mark.parametrize("size", [17, 700])
def test_reported_logprobs_are_the_models_own(size: int) -> None:
    asked = mixed_wants(28, size, random.Random(4), 9)
    drawn = draw_all(Sampler(), asked, logprob=True, top=50)
    for (row, _, _), one in zip(asked, drawn, strict=True):
        plain = row.astype(np.float64) - row.max()
        with np.errstate(divide="ignore"):
            logprobs = plain - np.log(np.exp(plain).sum())
        assert one.logprob == pytest.approx(max(-9999, float(logprobs[one.id])), abs=2e-3)
        ranked = np.lexsort((np.arange(size), -row))[: min(50, size)]
        tops = [max(-9999.0, float(logprobs[token])) for token in ranked]
        assert [logprob for _, logprob in one.top] == pytest.approx(tops, abs=2e-3)
        assert one.top[0][0] == ranked[0]
        if len(set(row.tolist())) == size:
            assert [token for token, _ in one.top] == ranked.tolist()
        assert all(logprob <= 0 and math.isfinite(logprob) for _, logprob in one.top)


def test_only_rows_that_ask_get_logprobs() -> None:
    row = rows("peaked", 100, np.random.default_rng(0))
    wants = [
        want(Sampling(), Fixed(0.5), [], [], logprob=logprob, top=top)
        for logprob, top in ((False, 0), (True, 0), (False, 3))
    ]
    drawn = Sampler().choose(np.tile(row, (3, 1)), wants)
    assert drawn[0].logprob is None
    assert drawn[1].logprob is not None
    assert [len(one.top) for one in drawn] == [0, 0, 3]


def test_greedy_takes_the_first_of_equals() -> None:
    row = np.array([1, 5, 2, 5, 5], np.float32)
    for sampling in (Sampling(temperature=0), Sampling(top_k=1), Sampling(temperature=1e-300)):
        assert Sampler().choose(row[None].copy(), [want(sampling, Fixed(0.99), [], [])])[0].id == 1


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_uniform_range(uniform: float) -> None:
    for kind in ("peaked", "flat", "level", "extreme", "masked"):
        row = rows(kind, 300, np.random.default_rng(6))
        for sampling in SINGLE:
            asked = want(sampling, Fixed(uniform), [1], [2])
            token = Sampler().choose(row[None].copy(), [asked])[0].id
            if sampling.temperature >= 0.001:
                assert expected(row, sampling, [1], [2])[token] > 0


def test_seeds_of_any_size_and_choices_differ() -> None:
    streams = [seeded(seed, choice) for seed in (0, 1, 2**63, 2**64 - 1, -2) for choice in (0, 1)]
    firsts = [stream.random() for stream in streams]
    assert len(set(firsts)) == len(firsts)
    assert seeded(7, 1).random() == seeded(7, 1).random()


def test_penalized_grows_beyond_its_capacity() -> None:
    seen = Penalized([5, 5, 6], 1)
    for token in [7, 8, 9, 5, 9]:
        seen.add(token)
    counts = dict(zip(seen.ids[: seen.count].tolist(), seen.generated[: seen.count].tolist(), strict=True))
    assert counts == {5: 1, 6: 0, 7: 1, 8: 1, 9: 2}
