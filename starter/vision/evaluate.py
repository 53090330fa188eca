"""Measures a model on pictures and wordings held out of training, and writes the table."""

from collections.abc import Iterable

from starter.chat.evaluate import Score, Table, run, scored
from starter.chat.templates import Split
from starter.vision.answers import Answerer, checkpoint_answerer, engine_answerer
from starter.vision.dialogues import EVALUATED
from starter.vision.drawing import draw_picture
from starter.vision.held_out import HELD_OUT, QUESTIONS, evaluation_set


def measure(answer: Answerer, count: int, skills: Iterable[str] = EVALUATED) -> Table:
    """Asks every skill's questions of both splits."""
    return {skill: {split: _measured(answer, skill, split, count) for split in HELD_OUT} for skill in skills}


def _measured(answer: Answerer, skill: str, split: Split, count: int) -> Score:
    dialogues = evaluation_set(skill, split)[:count]
    said = answer(
        [(dialogue.prompt, [draw_picture(scene) for scene in dialogue.scenes]) for dialogue in dialogues]
    )
    return scored(dialogues, said)


def main() -> None:
    """Prints the table and the first wrong answers."""
    answerers = {"checkpoint": checkpoint_answerer, "engine": engine_answerer}
    run(__doc__, answerers, measure, skills=EVALUATED, questions=QUESTIONS, slots="new combinations")


if __name__ == "__main__":
    main()
