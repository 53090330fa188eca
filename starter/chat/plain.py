"""Plain text without roles, so that the model can also complete a raw prompt."""

import random

from starter.chat.conversations import draw_turn
from starter.chat.held_out import is_clean
from starter.chat.skills_facts import ask_calendar, ask_fact, ask_opposite
from starter.chat.skills_text import ask_story
from starter.chat.templates import Draw, Split

_ASKED = ("Q: {q}\nA: {a}", "Question: {q}\nAnswer: {a}", "{q}\n{a}", "User: {q}\nAssistant: {a}")


def plain_text(rng: random.Random) -> str:
    """A story, a few facts, or questions with their answers."""
    draw = Draw(rng, Split.TRAIN)
    kind = rng.random()
    if kind < 0.3:
        return ask_story(draw).answer
    if kind < 0.7:
        return " ".join(
            rng.choice((ask_fact, ask_calendar, ask_opposite))(draw).answer for _ in range(rng.randint(2, 5))
        )
    layout = rng.choice(_ASKED)
    drawn = (draw_turn(draw, short=True) for _ in range(rng.randint(1, 4)))
    turns = [turn for turn in drawn if is_clean([turn.question])]
    return "\n".join(layout.format(q=turn.question, a=turn.answer) for turn in turns)
