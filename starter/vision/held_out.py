"""The evaluation's fixed questions about pictures that training never shows, or in words that it never uses."""

import random
from functools import cache

from starter.chat.templates import Split
from starter.vision.dialogues import Dialogue, evaluation_dialogue

EVALUATION_SEED = 20_264
QUESTIONS = 60
"""Questions of each skill and split."""

HELD_OUT = (Split.SLOT, Split.TEMPLATE)
"""New combinations, new wordings."""


@cache
def evaluation_set(skill: str, split: Split) -> tuple[Dialogue, ...]:
    """The fixed questions of one skill and one split."""
    rng = random.Random(f"{EVALUATION_SEED}/{skill}/{split}")
    return tuple(evaluation_dialogue(rng, split, skill) for _ in range(QUESTIONS))
