"""Measures a model on pictures and wordings held out of training, and writes the table."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from starter.chat.evaluate import Score, Table, as_markdown
from starter.chat.templates import Split
from starter.vision.answers import Answerer, checkpoint_answerer, engine_answerer
from starter.vision.dialogues import EVALUATED
from starter.vision.drawing import draw_picture
from starter.vision.held_out import HELD_OUT, QUESTIONS, evaluation_set


def measure(answer: Answerer, count: int, skills: Iterable[str] = EVALUATED) -> Table:
    """Asks every skill's questions of both splits."""
    table: Table = {}
    for skill in skills:
        table[skill] = {split: _measured(answer, skill, split, count) for split in HELD_OUT}
    return table


def _measured(answer: Answerer, skill: str, split: Split, count: int) -> Score:
    dialogues = evaluation_set(skill, split)[:count]
    said = answer(
        [(dialogue.prompt, [draw_picture(scene) for scene in dialogue.scenes]) for dialogue in dialogues]
    )
    score = Score()
    for dialogue, text in zip(dialogues, said, strict=True):
        score.asked += 1
        if dialogue.last.accepts(text):
            score.right += 1
        else:
            score.wrong.append((dialogue.prompt[-1][1], dialogue.last.answer, text))
    return score


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
    print(as_markdown(table).replace("new slots", "new combinations"))
    if options.out:
        report = {
            skill: {split: {"percent": s.percent, "wrong": s.wrong} for split, s in scores.items()}
            for skill, scores in table.items()
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
