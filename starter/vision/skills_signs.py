"""Questions about letters, digits and charts of three bars."""

from starter.chat.templates import Draw, Turn, capital, wordings
from starter.vision.phrases import listed, sign
from starter.vision.scenes import Scene

_SIGN = wordings(
    "Which {x} is [this|it|shown]?", "What {x} is [this|it|shown]?", "Read the {x}.", "What {x} do you see?", "Which {x} do you see?",
    "What {x} is in [the|this] [image|picture]?", "Which {x} is in [the|this] [image|picture]?", "What is the {x}?",
    "Tell me the {x}.", "Name the {x}.", "Which {x} does the [image|picture] show?", "What does it say?", "What is written here?",
    "Read the text.", "What is written in [the|this] [image|picture]?", "What does the text say?", "Which [letter or number|character] is this?",
    held=("What {x} can you see?", "Which {x} is written here?", "Please read the {x}.", "What {x} is on the [image|picture]?"),
)  # fmt: skip
_SIGN_COLOUR = wordings(
    "What [color|colour] is the {x}?", "Which [color|colour] is the {x}?", "What is the [color|colour] of the {x}?",
    "What [color|colour] does the {x} have?", "Tell me the [color|colour] of the {x}.", "Name the [color|colour] of the {x}.",
    "In which [color|colour] is the {x} written?", "What[’|']s the [color|colour] of the {x}?", "[Color|Colour] of the {x}?",
    held=("What [color|colour] do you see on the {x}?", "Can you tell me the [color|colour] of the {x}?", "Say the [color|colour] of the {x}."),
)  # fmt: skip
_SIGN_KIND = wordings(
    "Is [this|it] a letter or a number?", "Is [this|it] a letter or a digit?", "Is [this|it] a number or a letter?", "Letter or number?",
    "Does [the|this] [image|picture] show a letter or a number?", "Do you see a letter or a number?", "Is there a letter or a number?",
    held=("Is that a letter or a number?", "Would you call this a letter or a number?"),
)  # fmt: skip
_RANK = wordings(
    "Which bar is [the |]{x}?", "What is the {x} bar?", "Which is the {x} bar?", "Name the {x} bar.", "Which one is the {x}?",
    "Which bar is [the |]{x} in [the|this] [chart|image|picture]?", "Tell me the {x} bar.", "Which one of the bars is [the |]{x}?", "Say the {x} bar.", "What bar is [the |]{x}?",
    held=("Which of the bars is the {x}?", "Can you tell me which bar is the {x}?", "Say which bar is the {x}."),
)  # fmt: skip
_EXTREMES = {
    "tallest": ("tallest", "highest", "largest", "biggest"),
    "shortest": ("shortest", "lowest", "smallest"),
}
_BAR_COLOUR = wordings(
    "What [color|colour] is bar {x}?", "Which [color|colour] is bar {x}?", "What is the [color|colour] of bar {x}?",
    "What [color|colour] does bar {x} have?", "Tell me the [color|colour] of bar {x}.", "Name the [color|colour] of bar {x}.",
    "What[’|']s the [color|colour] of bar {x}?", "What [color|colour] is the bar {x}?",
    held=("What [color|colour] do you see on bar {x}?", "Can you tell me the [color|colour] of bar {x}?"),
)  # fmt: skip
_BAR_BY_COLOUR = wordings(
    "Which bar is {x}?", "What bar is {x}?", "What is the name of the {x} bar?", "What is the {x} bar called?", "Name the {x} bar.",
    "Which one of the bars is {x}?", "Tell me the name of the {x} bar.",
    held=("Which of the bars is {x}?", "Tell me which bar is {x}."),
)  # fmt: skip
_BARS = wordings(
    "Name the bars.", "What are the names of the bars?", "What are the bars called?", "Which bars are there?", "List the bars.",
    "Which bars do you see?", "How are the bars named?", "Read the names of the bars.",
    held=("Which names do the bars have?", "Tell me the names of the bars."),
)  # fmt: skip
_BAR_COUNT = wordings(
    "How many bars are there?", "How many bars do you see?", "Count the bars.", "How many bars does the chart have?",
    "How many bars are in [the|this] [chart|image|picture]?", "How many bars?", "How many bars can you see?", "What is the number of bars?",
    held=("Tell me how many bars there are.", "Can you count the bars?"),
)  # fmt: skip


def ask_letter(draw: Draw, scene: Scene) -> Turn | None:
    """Which letter it is."""
    return _sign(draw, scene, "letter")


def ask_digit(draw: Draw, scene: Scene) -> Turn | None:
    """Which digit it is."""
    return _sign(draw, scene, "number")


def _sign(draw: Draw, scene: Scene, kind: str) -> Turn | None:
    thing = scene.things[0]
    if sign(thing) != kind:
        return None
    called = draw.rng.choice((kind, kind, "digit")) if kind == "number" else kind
    return Turn(draw.say(_SIGN, x=called), f"It is the {kind} {thing.name}.", f"{thing.name}.")


def ask_sign_colour(draw: Draw, scene: Scene) -> Turn | None:
    """The colour of a letter or digit."""
    thing = scene.things[0]
    called = sign(thing)
    answer = f"The {called} is {thing.colour}."
    return Turn(draw.say(_SIGN_COLOUR, x=called), answer, f"{capital(thing.colour)}.")


def ask_sign_kind(draw: Draw, scene: Scene) -> Turn | None:
    """Whether it is a letter or a digit."""
    kind = sign(scene.things[0])
    return Turn(draw.say(_SIGN_KIND), f"It is a {kind}.", f"A {kind}.")


def ask_rank(draw: Draw, scene: Scene) -> Turn | None:
    """The tallest or the shortest bar."""
    rank = draw.rng.choice(("tallest", "shortest"))
    name = scene.bars[scene.ranks.index(rank)].name
    asked = draw.rng.choice((rank, rank, *_EXTREMES[rank]))
    return Turn(draw.say(_RANK, x=asked), f"Bar {name} is the {rank}.", f"Bar {name}.")


def ask_bar_colour(draw: Draw, scene: Scene) -> Turn | None:
    """A bar's colour by its name, or its name by its colour."""
    bar = draw.rng.choice(scene.bars)
    if len({other.colour for other in scene.bars}) == 3 and draw.chance(0.4):
        return Turn(
            draw.say(_BAR_BY_COLOUR, x=bar.colour), f"Bar {bar.name} is {bar.colour}.", f"Bar {bar.name}."
        )
    answer = f"Bar {bar.name} is {bar.colour}."
    return Turn(draw.say(_BAR_COLOUR, x=bar.name), answer, f"{capital(bar.colour)}.")


def ask_bars(draw: Draw, scene: Scene) -> Turn | None:
    """How many bars there are and what they are called."""
    if draw.chance(0.35):
        return Turn(draw.say(_BAR_COUNT), "There are three bars.", "Three.")
    names = listed([bar.name for bar in scene.bars])
    return Turn(draw.say(_BARS), f"The bars are {names}.", f"{names}.")
