"""The wire form of a conversation (ChatML), tidy as the template renders it and untidy as some clients send it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

END_OF_TEXT = "<|endoftext|>"
START = "<|im_start|>"
END = "<|im_end|>"
PAD = "<|pad|>"
IMAGE = "<image>"
SPECIAL_TOKENS = (END_OF_TEXT, START, END, PAD, IMAGE)
ROLES = ("system", "user", "assistant", "tool")

TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['content'] is string %}{{- message['content'] }}"
    "{%- else %}{%- for part in message['content'] %}"
    "{%- if part['type'] == 'image' %}{{- '<image>\\n' }}"
    "{%- elif part['type'] == 'text' %}{{- part['text'] }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""The Jinja chat template shipped with the model."""


@dataclass(frozen=True)
class Segment:
    """A piece of the wire form that is tokenised by itself; `learned` when the model is to produce it."""

    text: str
    learned: bool


@dataclass(frozen=True)
class Habits:
    """How a client writes ChatML; the default is what the template renders."""

    before_end: str = ""
    after_end: str = "\n"
    after_last_role: str = "\n"


TIDY = Habits()
UNTIDY = (
    Habits(after_end=""),
    Habits(before_end="\n"),
    Habits(before_end="\n", after_last_role=""),
    Habits(after_last_role=""),
    Habits(before_end="\n", after_end=""),
    Habits(after_end="", after_last_role=""),
)


def segments(messages: Sequence[tuple[str, str]], habits: Habits = TIDY) -> list[Segment]:
    """The pieces of a conversation; what the assistant says, with its end token, is learned."""
    pieces: list[Segment] = []
    for role, text in messages:
        spoken = role == "assistant"
        newline = habits.after_last_role if spoken else "\n"
        body = f"{text}{END}" if spoken else f"{text}{habits.before_end}{END}"
        pieces.append(Segment(f"{START}{role}{newline}", False))
        pieces.append(Segment(body, spoken))
        if habits.after_end:
            pieces.append(Segment(habits.after_end, False))
    return pieces


def foreign_segments(messages: Sequence[tuple[str, str]]) -> list[Segment]:
    """The first question in the markup of another family of models, which some clients send to every model."""
    pieces: list[Segment] = []
    for role, text in messages:
        if role == "assistant":
            return [*pieces, Segment(f"<|{role}|>", False), Segment(f"{text}{END}", True)]
        pieces.append(Segment(f"<|{role}|>\n{text}<|end|>\n", False))
    return pieces


def training_segments(rng: random.Random, messages: Sequence[tuple[str, str]]) -> list[Segment]:
    """Like `segments`, with untidy habits once in seven times and foreign markup now and then."""
    chance = rng.random()
    if chance < 0.02:
        return foreign_segments(messages)
    return segments(messages, rng.choice(UNTIDY) if chance < 0.14 else TIDY)


def render_prompt(messages: Sequence[tuple[str, str]], habits: Habits = TIDY) -> str:
    """The prompt that asks the assistant to speak next."""
    return (
        "".join(piece.text for piece in segments(messages, habits))
        + f"{START}assistant{habits.after_last_role}"
    )
