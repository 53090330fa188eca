"""How questions are drawn: wordings, slots, and the split that keeps evaluation questions out of training."""

import hashlib
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_HELD_ONE_IN = 10
_MAX_REDRAWS = 2000
_SALT = 2230
"""Chosen so that the first questions people type are in training, not held out."""


class Split(StrEnum):
    """Which questions may be drawn: training, held out by slot, or held out by template."""

    TRAIN = "train"
    SLOT = "slot"
    TEMPLATE = "template"


@dataclass(frozen=True)
class Wordings:
    """Paraphrases of one question; the `held` ones never occur in training.

    `[a|b]` stands for one of its alternatives and `{name}` for a slot.
    """

    seen: tuple[str, ...]
    held: tuple[str, ...]


def wordings(*seen: str, held: Sequence[str]) -> Wordings:
    """Builds `Wordings` from seen paraphrases and the held-out ones."""
    return Wordings(tuple(seen), tuple(held))


@dataclass(frozen=True)
class Turn:
    """One question with its answer in full, its answer in brief, and how an answer is judged."""

    question: str
    answer: str
    brief: str
    check: Callable[[str], bool] | None = None
    loud: bool = True
    """Whether the answer may be asked for in capital letters."""
    exact_case: bool = False
    """Whether the letters of the question matter (text to copy), so that it must not be re-cased."""
    skill: str = ""

    def named(self, skill: str) -> "Turn":
        """The same turn with its skill's name."""
        return replace(self, skill=skill)

    def accepts(self, text: str) -> bool:
        """Whether `text` is a right answer: the structural check where there is one, else exact match."""
        if self.check is not None:
            return self.check(text)
        return text.strip() == self.answer.strip()


def is_held(*key: object) -> bool:
    """Whether a combination of slots belongs to the evaluation (one in ten, fixed by its hash)."""
    digest = hashlib.md5(repr((_SALT, *key)).encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % _HELD_ONE_IN == 0


def expand(rng: random.Random, text: str) -> str:
    """Chooses one of every bracketed group of alternatives."""
    while "[" in text:
        replaced = _ALTERNATIVES.sub(lambda found: rng.choice(found.group(1).split("|")), text, count=1)
        if replaced == text:
            break
        text = replaced
    return text


@dataclass(frozen=True)
class Draw:
    """The random source of one turn and the split it draws from."""

    rng: random.Random
    split: Split

    def pattern(self, choices: Wordings) -> str:
        """One unexpanded wording of this split."""
        return self.rng.choice(choices.held if self.split is Split.TEMPLATE else choices.seen)

    def say(self, choices: Wordings, **slots: object) -> str:
        """One wording of this split with its slots filled in."""
        return self.fill(self.pattern(choices), **slots)

    def fill(self, pattern: str, **slots: object) -> str:
        """Expands a wording and fills in its slots."""
        return expand(self.rng, pattern).format(**slots)

    def slot(self, tag: str, sample: Callable[[], T]) -> T:
        """A value of `sample` that lies on this split's side: for skills that can be computed or copied."""
        for _ in range(_MAX_REDRAWS):
            value = sample()
            if self.split is Split.TEMPLATE or is_held(tag, value) == (self.split is Split.SLOT):
                return value
        raise ValueError(f"no slot of {tag!r} lies in split {self.split}")

    def fact(self, tag: str, items: Sequence[T], choices: Wordings) -> tuple[T, str]:
        """An item and a wording never seen together: for facts, which can only be known, not computed."""
        return self.slot(tag, lambda: (self.rng.choice(items), self.pattern(choices)))

    def taught(self, tag: str, sample: Callable[[], tuple[T, Wordings]]) -> tuple[T, str]:
        """A value and a wording, for what can neither be computed nor asked in one way only, as a word's letters.

        A held-out value is taught in every other wording and evaluated in the rest.
        """
        while True:
            value, choices = sample()
            pattern, held = self.pattern(choices), is_held(tag, value)
            evaluated = held and self.split is not Split.TEMPLATE and choices.seen.index(pattern) % 2 == 1
            if self.split is Split.TEMPLATE or evaluated == (self.split is Split.SLOT):
                return value, pattern

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.rng.random() < probability


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
