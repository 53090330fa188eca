"""The evaluation's fixed questions, and training conversations that contain none of them."""

import random
from collections.abc import Iterable
from functools import cache

from starter.chat.conversations import (
    EVALUATED,
    SKILLS,
    STYLES,
    Conversation,
    Message,
    evaluation_conversation,
    styled_conversation,
    training_conversation,
)
from starter.chat.templates import Split, Turn

EVALUATION_SEED = 20_251
QUESTIONS = 100
"""Questions of each skill and split, where the skill has as many."""

HELD_OUT = (Split.SLOT, Split.TEMPLATE)
_ATTEMPTS = 20


@cache
def evaluation_set(skill: str, split: Split) -> tuple[Conversation, ...]:
    """The fixed questions of one skill and one split, all different."""
    rng = random.Random(f"{EVALUATION_SEED}/{skill}/{split}")
    asked: dict[str, Conversation] = {}
    for _ in range(QUESTIONS * _ATTEMPTS):
        conversation = (
            styled_conversation(rng, split, skill, _held_out_turns(split))
            if skill in STYLES
            else evaluation_conversation(rng, split, skill)
        )
        asked.setdefault(repr([text for role, text in conversation.prompt if role == "user"]), conversation)
        if len(asked) == QUESTIONS:
            break
    return tuple(asked.values())


@cache
def _held_out_turns(split: Split) -> tuple[Turn, ...]:
    return tuple(conversation.last for skill in SKILLS for conversation in evaluation_set(skill, split))


def plainly(text: str) -> str:
    """A text without the differences that hurried typing makes: case, and punctuation at its end."""
    return text.lower().rstrip(" ?.!=")


@cache
def held_out_texts() -> frozenset[str]:
    """What must not be said in training, in plain form."""
    sets = (evaluation_set(skill, split) for skill in EVALUATED for split in HELD_OUT)
    return frozenset(plainly(conversation.held_out) for chosen in sets for conversation in chosen)


def is_clean(texts: Iterable[str]) -> bool:
    """Whether none of the texts is a question of the evaluation."""
    return held_out_texts().isdisjoint(plainly(text) for text in texts)


def clean_conversation(rng: random.Random) -> tuple[Message, ...]:
    """A training conversation in which nothing of the evaluation is asked."""
    while True:
        messages = training_conversation(rng)
        if is_clean(text for role, text in messages if role == "user"):
            return messages
