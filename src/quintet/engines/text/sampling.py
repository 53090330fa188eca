"""The next token of every row at once: penalties, filters, seeded draws, log-probabilities. numpy only.

Order of work per row: logit bias, repetition penalty (prompt and answer), presence and frequency penalties
(answer), grammar, temperature, top-k, top-p, typical-p, min-p, draw. Log-probabilities are the model's own: of the
logits before any of that, as in OpenAI's API. Nearly all work happens on a shortlist of the largest logits;
a row whose filters need more than that falls back to its full row, so results are exact either way.

Sources: top-p Holtzman et al. arXiv:1904.09751; typical-p Meister et al. arXiv:2202.00666; min-p Nguyen et al.
arXiv:2407.01082; repetition penalty Keskar et al. arXiv:1909.05858.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quintet.core.requests import Sampling
from quintet.engines.text.grammar import Guide
from quintet.engines.text.sequence import Answer, Penalized
from quintet.engines.text.shortlist import log_sum, shortlist

Floats = npt.NDArray[Any]

SHORT = 64
LONG = 256

MIN_TEMPERATURE = 1e-5
"""Below this a draw is greedy: the most likely token would win anyway, and 1 / temperature stays a number."""

EDGE = 1e-6
"""Masses nearer than this are equal: sums in float32 can't tell, and what is drawn must not depend on them."""

MIN_LOGPROB = -9999.0
"""What is reported for impossible tokens, because JSON has no infinity."""


@dataclass(frozen=True, slots=True)
class Want:
    """What one row is to give: for whom, how, and with how many alternatives."""

    answer: Answer
    sampling: Sampling
    logprob: bool = False
    top: int = 0


@dataclass(frozen=True, slots=True)
class Drawn:
    """One chosen token; `top` are (id, logprob) of the likeliest tokens."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Table:
    """The parameters of a list of rows as arrays [R]; made once for as long as the same rows run together."""

    def __init__(self, wants: list[Want], vocabulary_size: int) -> None:
        """Collect the parameters of `wants`."""
        samplings = [want.sampling for want in wants]
        self.answers = [want.answer for want in wants]
        temperature = np.array([one.temperature for one in samplings])
        self.top_k = np.array([one.top_k if one.top_k < vocabulary_size else 0 for one in samplings])
        self.greedy = (temperature < MIN_TEMPERATURE) | (self.top_k == 1)
        self.scale = 1.0 / np.where(self.greedy, 1.0, temperature)
        self.top_p = np.array([max(one.top_p, 2 * EDGE) if one.top_p < 1 else 2.0 for one in samplings])
        self.typical_p = np.array([one.typical_p for one in samplings])
        self.min_p = np.array([one.min_p for one in samplings])
        self.unfiltered = (self.top_k == 0) & (self.top_p >= 1) & (self.typical_p >= 1) & (self.min_p == 0)
        self.logprob = np.array([want.logprob or want.top > 0 for want in wants])
        self.draws = bool((~self.greedy).any())
        self.reports = bool(self.logprob.any())
        size = LONG if bool(((self.top_k > SHORT) & ~self.greedy).any()) else SHORT
        self.size = min(size, vocabulary_size)
        self.listed = np.where(self.top_k > 0, self.top_k, vocabulary_size)
        self.open_ended = self.unfiltered & (vocabulary_size > SHORT)
        self.whole = (self.listed <= self.size) & ~self.open_ended
        self.all_whole = bool(self.whole.all())
        self.any_open = bool(self.open_ended.any())
        self.any_min_p = bool((self.min_p > 0).any())
        self.typical_rows = np.flatnonzero((self.typical_p < 1) & self.whole).tolist()
        self.guided: list[tuple[int, Guide]] = [
            (row, answer.guide) for row, answer in enumerate(self.answers) if answer.guide is not None
        ]
        self._note_penalties(samplings)
        self._note_bias(samplings)

    def _note_penalties(self, samplings: list[Sampling]) -> None:
        self.seen: list[tuple[int, Sampling, Penalized]] = [
            (row, one, answer.penalized)
            for row, (one, answer) in enumerate(zip(samplings, self.answers, strict=True))
            if answer.penalized is not None
        ]

    def _note_bias(self, samplings: list[Sampling]) -> None:
        biased = [(row, id, value) for row, one in enumerate(samplings) for id, value in one.logit_bias]
        self.bias_rows = np.array([row for row, _, _ in biased], np.int64)
        self.bias_ids = np.array([id for _, id, _ in biased], np.int64)
        self.bias_values = np.array([value for _, _, value in biased], np.float32)

    @property
    def modifies(self) -> bool:
        """Whether any logit is changed before the draw."""
        return bool(self.seen or self.bias_rows.size)


class Sampler:
    """Chooses tokens."""

    def __init__(self) -> None:
        """Nothing is known before the first rows."""
        self._wants: list[Want] = []
        self._table = Table([], 1)

    def choose(self, logits: Floats, wants: list[Want]) -> list[Drawn]:
        """One token for every row of `logits` [R, V], which is changed in place."""
        if wants != self._wants:
            self._wants, self._table = list(wants), Table(wants, logits.shape[1])
        table = self._table
        report = None
        if table.reports:
            report = Report(
                logits, np.flatnonzero(table.logprob).tolist(), keep=table.modifies or bool(table.guided)
            )
        if table.modifies:
            _modify(logits, table)
        few = _forbid(logits, table.guided) if table.guided else None
        ids = self._draw(logits, table, few) if table.draws else logits.argmax(axis=1)
        if report is None:
            return [Drawn(id) for id in ids.tolist()]
        return [
            Drawn(id, report.logprob(row, id), report.top(row, want.top)) if table.logprob[row] else Drawn(id)
            for row, (id, want) in enumerate(zip(ids.tolist(), wants, strict=True))
        ]

    def _draw(self, logits: Floats, table: Table, few: dict[int, Floats] | None) -> Floats:
        values, ids = shortlist(logits, table.size, few)
        scaled = np.zeros(len(logits))
        for row in np.flatnonzero(~table.whole & ~table.greedy):
            scaled[row] = log_sum(logits[row], values[row, 0], table.scale[row])
        uniform = np.array(
            [answer.random.random() if answer.random is not None else 0.0 for answer in table.answers]
        )
        slots, short = draw(values, scaled, table, uniform)
        chosen: Floats = np.where(table.greedy, ids[:, 0], ids[np.arange(len(ids)), slots])
        for row in np.flatnonzero(short & ~table.greedy):
            chosen[row] = draw_full(logits[row], table, int(row), float(uniform[row]))
        return chosen


class Report:
    """The model's own log-probabilities of some rows of logits [R, V], whatever happens to the rows later."""

    def __init__(self, logits: Floats, rows: list[int], *, keep: bool) -> None:
        """`keep` copies the rows, because they will be changed."""
        self._lines = {row: logits[row].copy() if keep else logits[row] for row in rows}
        self._norm = {row: _normalizer(line) for row, line in self._lines.items()}

    def logprob(self, row: int, id: int) -> float:
        """Natural-log probability of one token in one row."""
        return _bounded(float(self._lines[row][id]) - self._norm[row])

    def top(self, row: int, count: int) -> tuple[tuple[int, float], ...]:
        """The `count` likeliest tokens of one row, as (id, logprob)."""
        if not count:
            return ()
        values, ids = shortlist(self._lines[row][None], count)
        logprobs = (values[0].astype(np.float64) - self._norm[row]).tolist()
        return tuple((id, _bounded(logprob)) for id, logprob in zip(ids[0].tolist(), logprobs, strict=True))


def draw(values: Floats, scaled: Floats, table: Table, uniform: Floats) -> tuple[Floats, Floats]:
    """Draw from shortlists: values [R, K] largest first, scaled sums [R], uniform numbers [R].

    Returns the chosen slots [R] and which rows [R] need their full row to be drawn right. What is drawn does not
    depend on K. Rows without filters draw from a canonical order that needs no sorting of the whole vocabulary:
    the tokens above the SHORT-th logit by probability, then all others by id.
    """
    size = values.shape[1]
    whole, open_ended = table.whole, table.open_ended
    within = np.arange(size) < table.listed[:, None]
    weights = np.exp((values - values[:, :1]).astype(np.float64) * table.scale[:, None]) * within
    if table.any_open:
        weights[open_ended] *= values[open_ended] > values[open_ended, SHORT - 1, None]
    total = weights.sum(axis=1)
    if not table.all_whole:
        total = np.where(whole, total, np.exp(scaled))
    share = weights / total[:, None]
    cumulated = share.cumsum(axis=1)
    short = np.zeros(len(values), np.bool_) if table.all_whole else _falls_short(share, cumulated, table)
    kept = share * (cumulated - share < table.top_p[:, None] - EDGE)
    for row in table.typical_rows:
        kept[row] = _keep_typical(kept[row], float(table.typical_p[row]))
    if table.any_min_p:
        kept *= kept >= table.min_p[:, None] * kept.max(axis=1, keepdims=True)
    running = kept.cumsum(axis=1)
    target = uniform * np.where(open_ended, 1.0, running[:, -1])
    last = size - 1 - (kept[:, ::-1] > 0).argmax(axis=1)
    slots = np.minimum((running <= target[:, None]).sum(axis=1), last)
    if table.any_open:
        short |= open_ended & (target >= running[:, -1])
    return slots, short


def _falls_short(share: Floats, cumulated: Floats, table: Table) -> Floats:
    """Which rows [R] have filters that need to see more than their shortlist."""
    falls: Floats = ~table.whole & (
        (table.top_k > 0)
        | ((table.top_p < 1) & (cumulated[:, -1] < table.top_p))
        | (table.typical_p < 1)
        | ((table.min_p > 0) & (share[:, -1] >= table.min_p * share[:, 0]))
    )
    return falls


def draw_full(logits: Floats, table: Table, row: int, uniform: float) -> int:
    """Draw one row [V] exactly, over the whole vocabulary, in the same order as `draw`."""
    if table.unfiltered[row] and len(logits) > SHORT:
        cut = np.partition(logits, -SHORT)[-SHORT]
        head = np.flatnonzero(logits > cut)
        tail = np.flatnonzero(~(logits > cut))
        order = np.concatenate([head[np.argsort(-logits[head], kind="stable")], tail])
        top = logits.max()
    else:
        order = np.argsort(-logits, kind="stable")
        top = logits[order[0]]
    weights = np.exp((logits[order] - top).astype(np.float64) * table.scale[row])
    if table.top_k[row] > 0:
        weights[table.top_k[row] :] = 0
    share = weights / weights.sum()
    share[share.cumsum() - share >= table.top_p[row] - EDGE] = 0
    if table.typical_p[row] < 1:
        share = _keep_typical(share, float(table.typical_p[row]))
    share[share < table.min_p[row] * share.max()] = 0
    running = share.cumsum()
    slot = int((running <= uniform * running[-1]).sum())
    last = int(np.flatnonzero(share)[-1])
    return int(order[min(slot, last)])


def _normalizer(line: Floats) -> float:
    """log(sum(exp(line))) of one row [V]."""
    top = float(line.max())
    return top + log_sum(line, top, 1.0)


def _bounded(logprob: float) -> float:
    return max(MIN_LOGPROB, min(0.0, logprob))


def _keep_typical(share: Floats, mass: float) -> Floats:
    """Keep the tokens whose surprise is nearest to the expected one, until they hold `mass`; the rest become 0."""
    share = share / share.sum()
    with np.errstate(divide="ignore"):
        surprise = -np.log(share)
    expected = float((share * np.where(share > 0, surprise, 0.0)).sum())
    order = np.argsort(np.where(share > 0, np.abs(surprise - expected), np.inf), kind="stable")
    before = share[order].cumsum() - share[order]
    kept = np.zeros_like(share)
    kept[order[before < mass]] = share[order[before < mass]]
    return kept


def _forbid(logits: Floats, guided: list[tuple[int, Guide]]) -> dict[int, Floats]:
    """Make impossible, in place, what the rows' grammars forbid; returns the tokens that are left where those are few.

    It comes last, so that neither a bias nor a penalty can bring a forbidden token back.
    """
    few: dict[int, Floats] = {}
    for row, guide in guided:
        line = logits[row]
        if guide.few is None:
            np.copyto(line, -np.inf, where=guide.forbidden)
        else:
            few[row] = guide.few
            kept = line[guide.few]
            line.fill(-np.inf)
            line[guide.few] = kept
    return few


def _modify(logits: Floats, table: Table) -> None:
    """Apply bias and penalties in place, touching only the tokens they concern."""
    if table.bias_rows.size:
        logits[table.bias_rows, table.bias_ids] += table.bias_values
    # Row by row: a penalised row has few distinct tokens, and joining the rows costs more than it saves.
    for row, one, seen in table.seen:
        line, ids = logits[row], seen.ids[: seen.count]
        values = line[ids]
        factor = np.float32(one.repetition_penalty)
        if factor != 1:
            values = np.where(values > 0, values / factor, values * factor)
        if one.frequency_penalty or one.presence_penalty:
            generated = seen.generated[: seen.count]
            values -= np.float32(one.frequency_penalty) * generated
            values -= np.float32(one.presence_penalty) * (generated > 0)
        line[ids] = values


def seeded(seed: int, choice: int) -> np.random.Generator:
    """The stream of uniform numbers of one choice; counter-based, so it depends on nothing else."""
    return np.random.Generator(np.random.Philox(key=np.array([seed & (2**64 - 1), choice], np.uint64)))
