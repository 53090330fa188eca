"""Measures a model on questions held out of training, by slot and by template, and writes the table."""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starter.chat.answers import Answerer, checkpoint_answerer, engine_answerer
from starter.chat.conversations import EVALUATED, Conversation
from starter.chat.held_out import HELD_OUT, QUESTIONS, evaluation_set
from starter.chat.templates import Split


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


def measure(answer: Answerer, count: int, skills: Iterable[str] = EVALUATED) -> Table:
    """Asks every skill's questions of both splits."""
    table: Table = {}
    for skill in skills:
        table[skill] = {}
        for split in HELD_OUT:
            conversations = evaluation_set(skill, split)[:count]
            answers = answer([conversation.prompt for conversation in conversations])
            table[skill][split] = _scored(conversations, answers)
    return table


def _scored(conversations: Sequence[Conversation], answers: list[str]) -> Score:
    score = Score()
    for conversation, answer in zip(conversations, answers, strict=True):
        score.asked += 1
        if conversation.last.accepts(answer):
            score.right += 1
        else:
            score.wrong.append((conversation.prompt[-1][1], conversation.last.answer, answer))
    return score


def macro(table: Table, split: Split) -> float:
    """The mean over skills of the share of right answers, in per cent."""
    return sum(scores[split].percent for scores in table.values()) / len(table)


def as_markdown(table: Table) -> str:
    """The table as it is published."""
    lines = ["| skill | new slots | new wordings | questions |", "|---|---|---|---|"]
    for skill, scores in table.items():
        asked = " + ".join(str(scores[split].asked) for split in HELD_OUT)
        cells = " | ".join(f"{scores[split].percent:.0f} %" for split in HELD_OUT)
        lines.append(f"| {skill} | {cells} | {asked} |")
    means = " | ".join(f"**{macro(table, split):.1f} %**" for split in HELD_OUT)
    total = sum(scores[split].asked for scores in table.values() for split in HELD_OUT)
    return "\n".join([*lines, f"| **macro** | {means} | {total} |"])


def main() -> None:
    """Prints the table and the first wrong answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backend", choices=("checkpoint", "engine"), default="engine")
    parser.add_argument("--count", type=int, default=QUESTIONS, help="questions for each skill and split")
    parser.add_argument("--skills", nargs="*", default=EVALUATED)
    parser.add_argument(
        "--wrong", type=int, default=3, help="wrong answers to print for each skill and split"
    )
    parser.add_argument("--out", type=Path, help="write the wrong answers and percentages here, as JSON")
    options = parser.parse_args()
    answer = {"checkpoint": checkpoint_answerer, "engine": engine_answerer}[options.backend](options.folder)
    table = measure(answer, options.count, options.skills)
    for skill, scores in table.items():
        for split, score in scores.items():
            for question, wanted, said in score.wrong[: options.wrong]:
                print(f"{skill}/{split}: {question!r}\n    wanted {wanted!r}\n    got    {said!r}")
    print(as_markdown(table))
    if options.out:
        report = {
            skill: {split: {"percent": s.percent, "wrong": s.wrong} for split, s in scores.items()}
            for skill, scores in table.items()
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
