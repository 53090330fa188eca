"""Questions about two or three pictures at once."""

from collections.abc import Sequence

from starter.chat.templates import Draw, Split, Turn, article, capital, wordings
from starter.vision.phrases import NUMBERS, ORDINALS, content, look
from starter.vision.scenes import HELD_SHAPES, SHAPES, Scene, Thing

Scenes = Sequence[Scene]

_HOW_MANY = wordings(
    "How many images are there?", "How many pictures are there?", "How many [images|pictures] do you see?", "Count the [images|pictures].",
    "How many [images|pictures] did I send?", "How many [images|pictures]?", "How many [images|pictures] can you see?",
    held=("Tell me how many [images|pictures] there are.", "How many [images|pictures] have I sent you?"),
)  # fmt: skip
_ONE = wordings(
    "What is in the {x} [image|picture]?", "What[’|']s in the {x} [image|picture]?", "Describe the {x} [image|picture].",
    "What do you see in the {x} [image|picture]?", "What does the {x} [image|picture] show?", "What is shown in the {x} [image|picture]?",
    "Tell me what is in the {x} one.", "What is the {x} [image|picture]?", "And the {x} [image|picture]?",
    held=("What can be seen in the {x} [image|picture]?", "What is the {x} [image|picture] of?"),
)  # fmt: skip
_EACH = wordings(
    "What is in each [image|picture]?", "Describe the [images|pictures].", "What is in these [images|pictures]?", "What do you see?",
    "Describe both [images|pictures].", "What do the [images|pictures] show?", "Compare the [two |][images|pictures].", "What is in the [images|pictures]?",
    "What is the difference between the [two |][images|pictures]?", "Compare these [images|pictures].", "What are the differences between these [images|pictures]?",
    "What’s in these images?", "What do you see in these [images|pictures]?", "What is different?", "How do the [images|pictures] differ?", "Describe what you see.",
    held=("Tell me what is in each of the [images|pictures].", "What can be seen in these [images|pictures]?", "Describe all [images|pictures]."),
)  # fmt: skip
_WHICH = wordings(
    "Which [image|picture] has the {x}?", "Which [image|picture] shows {a}?", "Which [image|picture] shows the {x}?", "In which [image|picture] is the {x}?",
    "Where is the {x}?", "Which [image|picture] contains {a}?", "Which one has the {x}?", "On which [image|picture] is the {x}?", "In which [image|picture] do you see {a}?",
    "Which [image|picture] has {a} in it?", "Which of the [images|pictures] has the {x}?",
    held=("In which of the [images|pictures] is the {x}?", "On which [image|picture] do you see the {x}?"),
)  # fmt: skip
_SAME_SHAPE = wordings(
    "Are the shapes the same?", "Is it the same shape in both [images|pictures]?", "Do both [images|pictures] show the same shape?", "Same shape?",
    "Is the shape the same?", "Are both shapes the same?", "Do the [images|pictures] have the same shape?", "Is the shape in both [images|pictures] the same?",
    held=("Are these the same shapes?", "Do the two [images|pictures] show the same shape?"),
)  # fmt: skip
_SAME_COLOUR = wordings(
    "Are the [colors|colours] the same?", "Is it the same [color|colour] in both [images|pictures]?", "Do both shapes have the same [color|colour]?",
    "Same [color|colour]?", "Are the shapes the same [color|colour]?", "Is the [color|colour] the same?", "Do the shapes have the same [color|colour]?",
    "Are both shapes the same [color|colour]?",
    held=("Have the shapes the same [color|colour]?", "Do the two shapes have the same [color|colour]?"),
)  # fmt: skip


def ask_how_many(draw: Draw, scenes: Scenes) -> Turn | None:
    """How many pictures there are."""
    count = NUMBERS[len(scenes)]
    said = f"There are {count} images." if len(scenes) > 1 else "There is one image."
    return Turn(draw.say(_HOW_MANY), said, f"{capital(count)}.")


def ask_one(draw: Draw, scenes: Scenes) -> Turn | None:
    """What one of the pictures shows."""
    number = draw.rng.randrange(len(scenes))
    ordinal = ORDINALS[number]
    if number == len(scenes) - 1 and draw.chance(0.15):
        ordinal = "last"
    said = f"{capital(content(scenes[number]))}."
    return Turn(draw.say(_ONE, x=ordinal), f"The {ordinal} image shows {content(scenes[number])}.", said)


def ask_each(draw: Draw, scenes: Scenes) -> Turn | None:
    """What all of the pictures show."""
    said = _each(scenes)
    return Turn(draw.say(_EACH), said, said)


def ask_which(draw: Draw, scenes: Scenes) -> Turn | None:
    """Which of the pictures has a thing that only one of them has: the answer is what each shows."""
    number = draw.rng.randrange(len(scenes))
    others = [scene for place, scene in enumerate(scenes) if place != number]
    wanted = _tell(draw, scenes[number])
    if any(_has(scene, wanted) for scene in others):
        return None
    said = _each(scenes)
    return Turn(draw.say(_WHICH, x=wanted, a=article(wanted)), said, said)


def ask_same(draw: Draw, scenes: Scenes) -> Turn | None:
    """Whether two pictures with one shape each show the same shape or colour: both are named, the verdict is left open."""
    things = _singles(scenes)
    if things is None or len(things) != 2:
        return None
    first, second = things
    if draw.chance(0.5):
        told = f"One is {article(first.name)} and one is {article(second.name)}."
        question = draw.say(_SAME_SHAPE)
    else:
        told = f"One is {first.colour} and one is {second.colour}."
        question = draw.say(_SAME_COLOUR)
    return Turn(question, told, told)


def _each(scenes: Scenes) -> str:
    shown = (
        f"The {ordinal} image shows {content(scene)}."
        for ordinal, scene in zip(ORDINALS, scenes, strict=False)
    )
    return " ".join(shown)


def _tell(draw: Draw, scene: Scene) -> str:
    if scene.kind == "chart":
        return "chart"
    if scene.kind == "glyph":
        thing = scene.things[0]
        return f"{'number' if thing.name.isdigit() else 'letter'} {thing.name}"
    held = [thing for thing in scene.things if (thing.colour, thing.name) in HELD_SHAPES]
    thing = draw.rng.choice(held if held and draw.split is Split.SLOT else list(scene.things))
    return look(thing) if draw.chance(0.5) else thing.name


def _has(scene: Scene, wanted: str) -> bool:
    words = wanted.split()
    if words[0] in ("chart", "number", "letter"):
        return (
            scene.kind == "chart" if words[0] == "chart" else any(t.name == words[-1] for t in scene.things)
        )
    return any(t.name == words[-1] and (len(words) == 1 or t.colour == words[0]) for t in scene.things)


def _singles(scenes: Scenes) -> list[Thing] | None:
    if any(scene.kind != "shapes" or len(scene.things) != 1 for scene in scenes):
        return None
    return [scene.things[0] for scene in scenes if scene.things[0].name in SHAPES]
