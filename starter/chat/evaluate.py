"""Measures a model on questions held out of training, by slot and by template, and writes the table."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from starter.chat.answers import Answerer, checkpoint_answerer, engine_answerer
from starter.chat.conversations import EVALUATED
from starter.chat.held_out import HELD_OUT, QUESTIONS, evaluation_set
from starter.chat.templates import Split, Turn

Answering = TypeVar("Answering")
"""What answers questions, of whatever kind they are."""


@dataclass
class Score:
    """How many questions of one skill were answered right, and the first wrong answers."""

    asked: int = 0
    right: int = 0
    wrong: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """The share of right answers, in per cent."""
        return 100 * self.right / self.asked if self.asked else 0.0


Table = dict[str, dict[Split, Score]]


class Question(Protocol):
    """A conversation that ends in the assistant's answer."""

    @property
    def prompt(self) -> Sequence[tuple[str, str]]:
        """The messages before that answer."""

    @property
    def last(self) -> Turn:
        """Judges answers."""


def measure(answer: Answerer, count: int, skills: Iterable[str] = EVALUATED) -> Table:
    """Asks every skill's questions of both splits."""
    return {skill: {split: _measured(answer, skill, split, count) for split in HELD_OUT} for skill in skills}


def _measured(answer: Answerer, skill: str, split: Split, count: int) -> Score:
    conversations = evaluation_set(skill, split)[:count]
    return scored(conversations, answer([conversation.prompt for conversation in conversations]))


def scored(questions: Sequence[Question], answers: Sequence[str]) -> Score:
    """The answers to these questions, judged."""
    score = Score()
    for question, answer in zip(questions, answers, strict=True):
        score.asked += 1
        if question.last.accepts(answer):
            score.right += 1
        else:
            score.wrong.append((question.prompt[-1][1], question.last.answer, answer))
    return score


def macro(table: Table, split: Split) -> float:
    """The mean over skills of the share of right answers, in per cent."""
    return sum(scores[split].percent for scores in table.values()) / len(table)


def as_markdown(table: Table, slots: str = "new slots") -> str:
    """The table as it is published; `slots` is the heading of the first split."""
    lines = [f"| skill | {slots} | new wordings | questions |", "|---|---|---|---|"]
    for skill, scores in table.items():
        asked = " + ".join(str(scores[split].asked) for split in HELD_OUT)
        cells = " | ".join(f"{scores[split].percent:.0f} %" for split in HELD_OUT)
        lines.append(f"| {skill} | {cells} | {asked} |")
    means = " | ".join(f"**{macro(table, split):.1f} %**" for split in HELD_OUT)
    total = sum(scores[split].asked for scores in table.values() for split in HELD_OUT)
    return "\n".join([*lines, f"| **macro** | {means} | {total} |"])


def run(
    description: str | None,
    answerers: Mapping[str, Callable[[Path], Answering]],
    measure: Callable[[Answering, int, Iterable[str]], Table],
    *,
    skills: Iterable[str],
    questions: int,
    slots: str = "new slots",
) -> None:
    """The command line of a measurement: prints the table and the first wrong answers."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backend", choices=answerers, default="engine")
    parser.add_argument("--count", type=int, default=questions, help="questions for each skill and split")
    parser.add_argument("--skills", nargs="*", default=skills)
    parser.add_argument(
        "--wrong", type=int, default=3, help="wrong answers to print for each skill and split"
    )
    parser.add_argument("--out", type=Path, help="write the wrong answers and percentages here, as JSON")
    options = parser.parse_args()
    table = measure(answerers[options.backend](options.folder), options.count, options.skills)
    for skill, scores in table.items():
        for split, score in scores.items():
            for question, wanted, said in score.wrong[: options.wrong]:
                print(f"{skill}/{split}: {question!r}\n    wanted {wanted!r}\n    got    {said!r}")
    print(as_markdown(table, slots))
    if options.out:
        report = {
            skill: {split: {"percent": s.percent, "wrong": s.wrong} for split, s in scores.items()}
            for skill, scores in table.items()
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Prints the table and the first wrong answers."""
    answerers = {"checkpoint": checkpoint_answerer, "engine": engine_answerer}
    run(__doc__, answerers, measure, skills=EVALUATED, questions=QUESTIONS)


if __name__ == "__main__":
    main()
