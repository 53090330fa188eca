"""Endless training batches: conversations written, tokenised, and grouped by length."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from starter.chat.chatml import END_OF_TEXT, PAD, Segment, training_segments
from starter.chat.held_out import clean_conversation
from starter.chat.plain import plain_text
from starter.chat.skills_text import VOCABULARY

ASIDE_WEIGHT = 0.2
"""How much a token counts that the model need not produce: names recur in questions too, so they teach copying."""

_POOL = 512
_LONGEST = 640
_PLAIN_SHARE = 0.03
_ROUND_LENGTH_TO = 32


@dataclass(frozen=True)
class Example:
    """Token ids of one text and how much each counts in the loss."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Batch:
    """Padded ids and their weights in the loss, both [texts, length], and how many tokens are no padding."""

    ids: torch.Tensor
    weights: torch.Tensor
    tokens: int


def examples(rng: random.Random, tokeniser: Tokenizer, count: int, repeated_share: float) -> list[Example]:
    """Writes and tokenises `count` texts."""
    texts = [_repeated_words(rng) if rng.random() < repeated_share else _written(rng) for _ in range(count)]
    encoded = iter(
        tokeniser.encode_batch_fast(
            [piece.text for text in texts for piece in text], add_special_tokens=False
        )
    )
    made = []
    for text in texts:
        ids: list[int] = []
        weights: list[float] = []
        for piece in text:
            tokens = next(encoded).ids
            ids += tokens
            weights += [1.0 if piece.learned else ASIDE_WEIGHT] * len(tokens)
        made.append(Example(ids[:_LONGEST], weights[:_LONGEST]))
    return made


def batches(
    rng: random.Random, tokeniser: Tokenizer, tokens_per_batch: int, repeated_share: float
) -> Iterator[Batch]:
    """Batches of about `tokens_per_batch` tokens, padding included, for ever.

    Texts wait in buckets of like length until one is full, so only few shapes occur: every new shape costs the
    matrix library a compilation.
    """
    pad = tokeniser.token_to_id(PAD)
    waiting: dict[int, list[Example]] = defaultdict(list)
    while True:
        for example in examples(rng, tokeniser, _POOL, repeated_share):
            length = _rounded(len(example.ids))
            bucket = waiting[length]
            bucket.append(example)
            if len(bucket) >= max(1, tokens_per_batch // length):
                yield _padded(bucket, length, pad)
                bucket.clear()


def _written(rng: random.Random) -> list[Segment]:
    if rng.random() < _PLAIN_SHARE:
        return [Segment(f"{plain_text(rng)}{END_OF_TEXT}", True)]
    return training_segments(rng, clean_conversation(rng))


def _repeated_words(rng: random.Random) -> list[Segment]:
    """Random words said several times over: nothing teaches copying sooner, and copying is half of this world."""
    change = rng.choice((str, str, str.capitalize, str.upper))
    words = [change(word) for word in rng.choices(VOCABULARY, k=rng.randint(4, 20))]
    once = rng.choice((" ", " ", ", ", "\n", '", "')).join(words)
    between = rng.choice(("\n", " ", ". "))
    return [
        Segment(once + between, False),
        Segment(between.join([once] * rng.randint(1, 3)) + END_OF_TEXT, True),
    ]


def _rounded(length: int) -> int:
    return -(-length // _ROUND_LENGTH_TO) * _ROUND_LENGTH_TO


def _padded(group: list[Example], length: int, pad: int) -> Batch:
    ids = torch.full((len(group), length), pad)
    weights = torch.zeros(len(group), length)
    for row, example in enumerate(group):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        weights[row, : len(example.weights)] = torch.tensor(example.weights)
    return Batch(ids, weights, sum(len(example.ids) for example in group))
