"""The projector's first weights: a dictionary from what the tower's heads know to the words of the language model.

A hidden unit stands for one class of one head and writes the embedding of that class's word, so the language model
reads pictures as words lying on top of each other, which it can learn to pick from far sooner than from noise.
"""

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer

from starter.vision.labels import HEADS, NAMES
from starter.vision.palette import BACKGROUNDS, COLOURS
from starter.vision.scenes import BAR_NAMES, DIGITS, KINDS, PLACES, RANKS, SIZES

_ORDER = ("first", "second", "third", "fourth")
_COUNT = ("zero", "one", "two", "three", "four")
_KINDS = ("shapes", "letter", "chart")
WORDS: dict[str, tuple[str, ...]] = {
    "name": (" background", *(name if name in DIGITS else f" {name}" for name in NAMES)),
    "colour": ("", *(f" {colour}" for colour in COLOURS)),
    "place": ("", *(f" {place}" for place in PLACES)),
    "size": ("", *(f" {size}" for size in SIZES)),
    "order": ("", *(f" {order}" for order in _ORDER)),
    "rank": ("", *(f" {rank}" for rank in RANKS)),
    "bar": ("", *(f" {name}" for name in BAR_NAMES)),
    "count": tuple(f" {count}" for count in _COUNT),
    "background": tuple(f" {background}" for background in BACKGROUNDS),
    "kind": tuple(f" {kind}" for kind in _KINDS),
}
"""The word of every class. Empty patches say `background` and its colour; where something is, only that is told."""

_STRENGTH = {"count": 0.5, "kind": 0.3, "order": 0.5}
"""How loud heads speak that tell the same on many patches."""
_FULL = 2.0
"""What the hidden unit of the class that a head is sure of puts out: far enough up for GELU to tell it from the others."""


_MARGIN = 0.3
"""How far between what usually comes second and what comes first a unit opens."""


@torch.no_grad()  # type: ignore[untyped-decorator]
def separate_words(embeddings: torch.Tensor, tokeniser: Tokenizer) -> None:
    """Turns the embeddings of places and sizes away from each other, in place.

    starter-chat hardly ever says them, so they lie almost on one line: top and bottom could neither be told apart when
    read nor when said.
    """
    common, length = embeddings.mean(0).clone(), embeddings.norm(dim=1).mean()
    for head in ("place", "size"):
        words = [
            word for word in WORDS[head] if len(tokeniser.encode(word, add_special_tokens=False).ids) == 1
        ]
        apart = _told_apart(words, embeddings - common, tokeniser)
        for word, direction in zip(words, apart, strict=True):
            embeddings[tokeniser.encode(word, add_special_tokens=False).ids[0]] = common + length * direction


@torch.no_grad()  # type: ignore[untyped-decorator]
def write_dictionary(
    projector: Any, heads: torch.nn.Linear, embeddings: torch.Tensor, tokeniser: Tokenizer, seen: torch.Tensor
) -> None:
    """Sets the projector's weights from the trained heads and the language model's embeddings.

    `seen` are some features [patches, width]: a unit opens where its class beats what usually comes second.
    """
    assert list(WORDS) == list(HEADS)
    assert all(len(words) == count for words, count in zip(WORDS.values(), HEADS.values(), strict=True))
    assert len(KINDS) == len(_KINDS)
    common, start = embeddings.mean(0), 0
    empty_weight, empty_bias = _emptiness(heads, seen)
    for head, words in WORDS.items():
        rows = slice(start, start + len(words))
        weight = heads.weight[rows] - heads.weight[rows].mean(0)
        bias = heads.bias[rows] - heads.bias[rows].mean()
        logits = seen @ weight.T + bias
        if not words[0] or head == "name":  # what counts is where something is
            logits = logits[logits.argmax(-1) > 0]
        best, second = logits.topk(2, dim=-1).values.median(0).values.tolist()
        shut = second + _MARGIN * (best - second)
        scale = _FULL / (best - shut)
        projector.linear_1.weight[rows] = scale * weight
        projector.linear_1.bias[rows] = scale * (bias - shut)
        if head == "background":  # opens only where it is right and the patch is empty
            projector.linear_1.weight[rows] += _FULL * empty_weight
            projector.linear_1.bias[rows] += _FULL * (empty_bias - 1.0)
        length = embeddings.norm(dim=1).mean() * _STRENGTH.get(head, 1.0) / _FULL
        projector.linear_2.weight[:, rows] = length * _told_apart(words, embeddings - common, tokeniser).T
        start += len(words)
    projector.linear_2.weight[:, start:] *= 0.1
    projector.linear_2.bias.zero_()


def _emptiness(heads: torch.nn.Linear, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A linear measure that is about 1 on empty patches and about 0 where something is, or less."""
    names = slice(0, HEADS["name"])
    weight = heads.weight[0] - heads.weight[names].mean(0)
    bias = heads.bias[0] - heads.bias[names].mean()
    score = seen @ weight + bias
    empty = (seen @ heads.weight[names].T + heads.bias[names]).argmax(-1) == 0
    high, low = score[empty].median(), score[~empty].median()
    return weight / (high - low), (bias - low) / (high - low)


def _told_apart(words: Sequence[str], embeddings: torch.Tensor, tokeniser: Tokenizer) -> torch.Tensor:
    """Unit vectors [words, width] nearest to the words' embeddings that are at right angles to each other.

    Words that starter-chat seldom saw, such as top and bottom, lie so close together that nobody could tell them apart.
    """
    meant = torch.zeros(len(words), embeddings.shape[1])
    said = [row for row, word in enumerate(words) if word]
    for row in said:
        meaning = embeddings[tokeniser.encode(words[row], add_special_tokens=False).ids].mean(0)
        meant[row] = torch.nn.functional.normalize(meaning, dim=0)
    left, _, right = torch.linalg.svd(meant[said].float(), full_matrices=False)
    meant[said] = left @ right
    return meant.to(embeddings)
