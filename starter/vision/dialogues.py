"""Whole conversations about pictures: which questions a picture gets, system prompts, brevity, and pictures that come later."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starter.chat.chatml import IMAGE
from starter.chat.conversations import draw_turn, sloppy
from starter.chat.held_out import is_clean
from starter.chat.templates import Draw, Split, Turn, wordings
from starter.vision import skills_pairs, skills_scenes, skills_shapes, skills_signs
from starter.vision.scenes import Pictures, Scene, draw_scene

Message = tuple[str, str]
"""A role and its text, in which every picture is an `<image>`."""

OnOne = Callable[[Draw, Scene], Turn | None]
OnSeveral = Callable[[Draw, Sequence[Scene]], Turn | None]
Pick = Callable[[Callable[[Scene], bool] | None], Scene]
"""Draws a scene that meets a condition."""

ON_ONE: dict[str, dict[str, tuple[OnOne, float]]] = {
    "shapes": {
        "describe": (skills_scenes.ask_describe, 3.0),
        "in detail": (skills_scenes.ask_detail, 2.0),
        "colour": (skills_shapes.ask_colour, 3.0),
        "shape": (skills_shapes.ask_shape, 3.5),
        "count": (skills_shapes.ask_count, 1.0),
        "count of a kind": (skills_shapes.ask_count_of, 6.0),
        "where": (skills_shapes.ask_where, 8.0),
        "what is there": (skills_shapes.ask_at_place, 4.5),
        "yes or no": (skills_shapes.ask_present, 3.0),
        "size": (skills_shapes.ask_size, 5.0),
        "background": (skills_scenes.ask_background, 0.4),
        "beyond": (skills_scenes.ask_beyond, 0.3),
    },
    "glyph": {
        "describe": (skills_scenes.ask_describe, 2.0),
        "in detail": (skills_scenes.ask_detail, 1.0),
        "letter": (skills_signs.ask_letter, 3.0),
        "digit": (skills_signs.ask_digit, 3.5),
        "letter's colour": (skills_signs.ask_sign_colour, 0.7),
        "letter or digit": (skills_signs.ask_sign_kind, 0.6),
        "background": (skills_scenes.ask_background, 0.6),
        "beyond": (skills_scenes.ask_beyond, 0.3),
    },
    "chart": {
        "describe": (skills_scenes.ask_describe, 1.0),
        "in detail": (skills_scenes.ask_detail, 1.5),
        "tallest, shortest": (skills_signs.ask_rank, 1.5),
        "bar's colour": (skills_signs.ask_bar_colour, 5.0),
        "bars": (skills_signs.ask_bars, 0.5),
        "beyond": (skills_scenes.ask_beyond, 0.4),
    },
}
ON_SEVERAL: dict[str, tuple[OnSeveral, float]] = {
    "all images": (skills_pairs.ask_each, 3.0),
    "one of the images": (skills_pairs.ask_one, 2.5),
    "which image": (skills_pairs.ask_which, 2.0),
    "the same?": (skills_pairs.ask_same, 4.0),
    "how many images": (skills_pairs.ask_how_many, 2.0),
}
BRIEF, LATER, LATE = "concise", "next picture", "third question"
EVALUATED = (
    *dict.fromkeys(skill for skills in ON_ONE.values() for skill in skills), *ON_SEVERAL, BRIEF, LATER, LATE,
)  # fmt: skip
"""Every skill with a row in the published table."""

_SHARE = {"shapes": 1.0, "glyph": 0.2, "chart": 0.5}
"""How often training asks about a picture of each kind that it comes across; those with one shape are the easiest."""

_SYSTEM = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are a helpful assistant.", "Analyze the image.", "Analyze the image.",
    "You are a vision assistant.", "You describe images.", "Look at the picture and answer.", "You are an AI assistant that can see.",
    "Answer the questions about the image.", "You are Quintet's starter model.", "Describe images.", "You are an image analyst.",
    "Help the user.", "You are a helpful AI assistant.",
)  # fmt: skip
_CONCISE = wordings(
    "Answer concisely.", "Answer concisely.", "Be concise.", "Answer briefly.", "Keep your answers short.", "Give short answers.",
    "Please be concise.", "Answer in a few words.", "You are a helpful assistant. Answer concisely.", "Give brief answers.", "Short answers only.",
    "Analyze the image. Answer concisely.", "You give very short answers.", "Reply with just the answer.", "Be short and clear.",
    held=("Be brief.", "Your answers are short.", "Please answer concisely."),
)  # fmt: skip


@dataclass(frozen=True)
class Dialogue:
    """Messages that end in the assistant's answer, the pictures in the order of their `<image>`, and the last turn."""

    messages: tuple[Message, ...]
    scenes: tuple[Scene, ...]
    last: Turn

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last answer."""
        return self.messages[:-1]


def placed(rng: random.Random, question: str, pictures: int) -> str:
    """A question with its pictures: mostly before it, each on a line of its own, as the template writes them."""
    lines = f"{IMAGE}\n" * pictures
    chance = rng.random()
    if chance < 0.80 or not question:
        return lines + question
    if chance < 0.93:
        return f"{question}{rng.choice(('', chr(10)))}{lines}"
    if chance < 0.97:
        return f"{IMAGE * pictures}{rng.choice(('', ' ', '  '))}{question}"
    ordered = [f"{rng.choice(('Image', 'Picture'))} {number + 1}: {IMAGE}\n" for number in range(pictures)]
    return "".join(ordered) + question


def training_dialogue(rng: random.Random, pick: Pick) -> Dialogue:
    """A conversation of several turns to learn from, mostly about one picture."""
    draw = Draw(rng, Split.TRAIN)
    brief = draw.chance(0.18)
    messages: list[Message] = []
    if brief:
        messages.append(("system", draw.say(_CONCISE)))
    elif draw.chance(0.4):
        messages.append(("system", rng.choice(_SYSTEM)))
    scenes: list[Scene] = []
    turn = None
    for _ in range(2 if draw.chance(0.15) else 1):
        shown = _shown(draw, pick)
        fresh = len(shown)
        scenes += shown
        used: set[str] = set()
        for _ in range(rng.randint(2, 5)):
            turn = _one_turn(draw, shown, used)
            question = sloppy(rng, turn) if turn.question else ""
            if not fresh and not question:
                continue
            messages += [
                ("user", placed(rng, question, fresh)),
                ("assistant", turn.brief if brief else turn.answer),
            ]
            fresh = 0
        if not brief and draw.chance(0.06):
            aside = draw_turn(draw, short=True)
            if is_clean([aside.question]):
                messages += [("user", aside.question), ("assistant", aside.answer)]
    assert turn is not None
    return Dialogue(tuple(messages), tuple(scenes), turn)


def _shown(draw: Draw, pick: Pick) -> list[Scene]:
    if draw.chance(0.74):
        return [pick(lambda scene: draw.chance(_SHARE[scene.kind] * (0.4 if _single(scene) else 1.0)))]
    if draw.chance(0.55):
        first = pick(_single)
        second = pick(lambda scene: _single(scene) and _alike(draw, first, scene))
        return [first, second] if draw.chance(0.5) else [second, first]
    return [pick(None) for _ in range(2)]


def _single(scene: Scene) -> bool:
    return scene.kind == "shapes" and len(scene.things) == 1


def _alike(draw: Draw, first: Scene, second: Scene) -> bool:
    """True often when shape or colour agree, seldom when not: else `the same` would nearly always be wrong."""
    mine, other = first.things[0], second.things[0]
    return draw.chance(1.0 if mine.name == other.name or mine.colour == other.colour else 0.12)


def _one_turn(draw: Draw, shown: Sequence[Scene], used: set[str]) -> Turn:
    while True:
        if len(shown) > 1 or draw.chance(0.03):
            name = _chosen(draw, {skill: entry[1] for skill, entry in ON_SEVERAL.items()})
            turn = ON_SEVERAL[name][0](draw, shown) if len(shown) > 1 or name == "how many images" else None
        else:
            skills = ON_ONE[shown[0].kind]
            name = _chosen(draw, {skill: entry[1] for skill, entry in skills.items()})
            turn = skills[name][0](draw, shown[0])
        if turn is None or (name in used and draw.chance(0.8)):
            continue
        used.add(name)
        return turn.named(name)


def _chosen(draw: Draw, weights: dict[str, float]) -> str:
    return draw.rng.choices([*weights], [*weights.values()])[0]


def evaluation_dialogue(rng: random.Random, split: Split, skill: str) -> Dialogue:
    """A conversation whose last question is held out: by what its picture combines, or by its wording."""
    draw = Draw(rng, split)
    while True:
        found = _about_several(draw, skill) if skill in ON_SEVERAL else _about_one(draw, skill)
        if found is not None:
            return found


def _pictures(split: Split) -> Pictures:
    return Pictures.HELD if split is Split.SLOT else Pictures.TRAIN


def _about_several(draw: Draw, skill: str) -> Dialogue | None:
    rng, wanted = draw.rng, _pictures(draw.split)
    count = 1 if skill == "how many images" and draw.chance(0.5) else 2
    same_kind = skill == "the same?" or draw.chance(0.4)
    scenes = [draw_scene(rng, wanted, "shapes" if same_kind else None)]
    for _ in range(count - 1):
        scenes.append(draw_scene(rng, Pictures.TRAIN, "shapes" if same_kind else None))
    fits = all(_single(scene) for scene in scenes)
    if skill == "the same?" and not (fits and _alike(draw, scenes[0], scenes[1])):
        return None
    rng.shuffle(scenes)
    turn = ON_SEVERAL[skill][0](draw, scenes)
    return None if turn is None else _asked(draw, skill, turn, scenes, [])


def _about_one(draw: Draw, skill: str) -> Dialogue | None:
    rng = draw.rng
    special = skill in (BRIEF, LATER, LATE)
    kinds = [kind for kind, skills in ON_ONE.items() if special or skill in skills]
    scene = draw_scene(rng, _pictures(draw.split), rng.choice(kinds))
    skills = ON_ONE[scene.kind]
    asked = rng.choice([name for name in skills if name != "beyond"]) if special else skill
    turn = skills[asked][0](draw, scene)
    if turn is None or (not turn.question and special):
        return None
    before: list[Message] = []
    scenes = [scene]
    train = Draw(rng, Split.TRAIN)
    if skill == LATER:
        scenes.insert(0, draw_scene(rng))
        first = _one_turn(train, scenes[:1], set())
        before = [("user", placed_first(first.question, 1)), ("assistant", first.answer)]
    elif skill == LATE:
        used = {asked}
        for number in range(2):
            earlier = _one_turn(train, scenes, used)
            if number and not earlier.question:
                return None
            before += [
                ("user", placed_first(earlier.question, 0 if number else 1)),
                ("assistant", earlier.answer),
            ]
    return _asked(draw, skill, turn, scenes, before)


def placed_first(question: str, pictures: int) -> str:
    """A question with its pictures before it, as the template renders them."""
    return f"{IMAGE}\n" * pictures + question


def _asked(draw: Draw, skill: str, turn: Turn, scenes: Sequence[Scene], before: list[Message]) -> Dialogue:
    messages: list[Message] = []
    if skill == BRIEF:
        messages.append(("system", draw.say(_CONCISE)))
        turn = Turn(turn.question, turn.brief, turn.brief)
    elif draw.chance(0.3):
        messages.append(("system", _SYSTEM[0] if draw.chance(0.5) else "Analyze the image."))
    shown = {LATER: 1, LATE: 0}.get(skill, len(scenes))
    messages += [*before, ("user", placed_first(turn.question, shown)), ("assistant", turn.answer)]
    return Dialogue(tuple(messages), tuple(scenes), turn.named(skill))
