"""Questions about shapes: what, which colour, how many, where, how big, whether."""

from collections import Counter

from starter.chat.templates import Draw, Split, Turn, article, capital, wordings
from starter.vision.palette import COLOURS
from starter.vision.phrases import NUMBERS, content, look, plural, where, wheres
from starter.vision.scenes import HELD_SHAPES, SHAPES, Scene, Thing

_COLOUR = wordings(
    "What [color|colour] is the {x}?", "Which [color|colour] is the {x}?", "What is the [color|colour] of the {x}?",
    "What[’|']s the [color|colour] of the {x}?", "Tell me the [color|colour] of the {x}.", "The {x} is which [color|colour]?",
    "What [color|colour] does the {x} have?", "Which [color|colour] does the {x} have?", "Name the [color|colour] of the {x}.",
    "In which [color|colour] is the {x} drawn?", "[Color|Colour] of the {x}?", "What [color|colour] is the {x} in [this|the] [image|picture]?",
    held=("What [color|colour] do you see on the {x}?", "Can you tell me the [color|colour] of the {x}?", "Say the [color|colour] of the {x}."),
)  # fmt: skip
_COLOURS = wordings(
    "What [color|colour] are the {x}?", "Which [color|colour] are the {x}?", "What is the [color|colour] of the {x}?",
    "What [color|colour] do the {x} have?", "Tell me the [color|colour] of the {x}.", "Name the [color|colour] of the {x}.",
    held=("What [color|colour] do you see on the {x}?", "Say the [color|colour] of the {x}."),
)  # fmt: skip
_SHAPE = wordings(
    "What shape is [this|it|shown]?", "Which shape is [this|it|shown]?", "What shape do you see?", "Which shape do you see?",
    "Name the shape.", "What shape is in [the|this] [image|picture]?", "What is the shape?", "What kind of shape is [this|it]?",
    "Which shape is in [the|this] [image|picture]?", "Which figure is [this|shown]?", "What figure do you see?", "Tell me the shape.", "Is it a circle, a square or another shape?",
    held=("Which shape can you see here?", "What is the name of this shape?", "What figure is this?"),
)  # fmt: skip
_BY_COLOUR = wordings(
    "What is {x}?", "Which shape is {x}?", "What shape is {x}?", "What is the {x} shape?", "What shape is the {x} one?",
    "Which shape has the [color|colour] {x}?", "Name the {x} shape.", "Which one of the shapes is {x}?", "What is the name of the {x} shape?", "What kind of shape is the {x} one?",
    held=("Which of the shapes is {x}?", "What is the shape that is {x}?"),
)  # fmt: skip
_COUNT = wordings(
    "How many shapes are there?", "How many shapes are in [the|this] [image|picture]?", "How many shapes do you see?",
    "Count the shapes.", "How many shapes [can you see|are shown]?", "How many objects are there?", "What is the number of shapes?",
    "How many figures do you see?", "Count the figures.", "How many figures are in [the|this] [image|picture]?",
    "How many things are in [the|this] [image|picture]?", "How many shapes?", "Count the objects in [the|this] [image|picture].",
    "How many objects [can you see|do you see|are in the image]?", "Please count the shapes.",
    held=("How many figures are there?", "Tell me how many shapes there are.", "Can you count the shapes?"),
)  # fmt: skip
_COUNT_OF = wordings(
    "How many {x} are there?", "How many {x} do you see?", "How many {x} are in [the|this] [image|picture]?", "Count the {x}.",
    "How many {x} [can you see|are shown]?", "How many {x}?", "What is the number of {x}?", "Please count the {x}.",
    held=("Tell me how many {x} there are.", "Can you count the {x}?"),
)  # fmt: skip
_WHERE = wordings(
    "Where is the {x}?", "Where is the {x} in [the|this] [image|picture]?", "Where do you see the {x}?", "Where[’|']s the {x}?",
    "In which place is the {x}?", "What is the position of the {x}?", "Where is the {x} placed?", "Tell me where the {x} is.",
    "In which part of [the|this] [image|picture] is the {x}?", "Where can I find the {x}?", "Position of the {x}?",
    held=("Where in the [image|picture] is the {x}?", "Where is the {x} located?", "Say where the {x} is."),
)  # fmt: skip
_AT_PLACE = wordings(
    "What is {x}?", "What do you see {x}?", "What is {x} of [the|this] [image|picture]?", "Which shape is {x}?",
    "What shape is {x}?", "What[’|']s {x}?", "What is there {x}?", "Tell me what is {x}.", "Which object is {x}?",
    held=("What can you see {x}?", "Which shape do you see {x}?"),
)  # fmt: skip
_PRESENT = wordings(
    "Is there {x}?", "Is there {x} in [the|this] [image|picture]?", "Do you see {x}?", "Can you see {x}?",
    "Does [the|this] [image|picture] show {x}?", "Is {x} in [the|this] [image|picture]?", "Is there {x} here?", "Does it show {x}?",
    "Does [the|this] [image|picture] contain {x}?", "Do you see {x} in [the|this] [image|picture]?",
    held=("Is there {x} anywhere?", "Can you find {x} in [the|this] [image|picture]?", "Is {x} shown?"),
)  # fmt: skip
_SIZE = wordings(
    "Is the {x} [small, medium or large|large or small|small or large|big or small]?", "How [big|large] is the {x}?",
    "What size is the {x}?", "What is the size of the {x}?", "Which size does the {x} have?", "What size does the {x} have?",
    "Tell me the size of the {x}.",
    held=("Which size is the {x}?", "Is the {x} small or big?"),
)  # fmt: skip


def focus(draw: Draw, things: list[Thing]) -> Thing:
    """One of the things; when new combinations are asked for, one of those."""
    held = [thing for thing in things if (thing.colour, thing.name) in HELD_SHAPES]
    return draw.rng.choice(held if held and draw.split is Split.SLOT else things)


def _alone(scene: Scene) -> list[Thing]:
    names = Counter(thing.name for thing in scene.things)
    return [thing for thing in scene.things if names[thing.name] == 1]


def _called(draw: Draw, thing: Thing, scene: Scene) -> str:
    """The thing's name in a question: by shape, sometimes with its colour; alone in the picture just `shape`."""
    chance = draw.rng.random()
    if len(scene.things) == 1 and chance < 0.3:
        return draw.rng.choice(("shape", "object"))
    return look(thing) if chance > 0.7 else thing.name


def ask_colour(draw: Draw, scene: Scene) -> Turn | None:
    """The colour of one shape, or of several that are alike."""
    alike = {
        thing.name
        for thing in scene.things
        if {t.colour for t in scene.things if t.name == thing.name} == {thing.colour}
    }
    usable = [thing for thing in scene.things if thing.name in alike]
    if not usable:
        return None
    thing = focus(draw, usable)
    if sum(other.name == thing.name for other in scene.things) > 1:
        names = plural(thing.name)
        answer = f"The {names} are {thing.colour}."
        return Turn(draw.say(_COLOURS, x=names), answer, f"{capital(thing.colour)}.")
    called = "shape" if len(scene.things) == 1 and draw.chance(0.3) else thing.name
    return Turn(draw.say(_COLOUR, x=called), f"The {called} is {thing.colour}.", f"{capital(thing.colour)}.")


def ask_shape(draw: Draw, scene: Scene) -> Turn | None:
    """The name of the only shape, or of the only one of a colour."""
    if len(scene.things) == 1:
        name = scene.things[0].name
        return Turn(draw.say(_SHAPE), f"It is {article(name)}.", f"{capital(article(name))}.")
    colours = Counter(thing.colour for thing in scene.things)
    usable = [thing for thing in scene.things if colours[thing.colour] == 1]
    if not usable:
        return None
    thing = focus(draw, usable)
    return Turn(
        draw.say(_BY_COLOUR, x=thing.colour), f"The {thing.name} is {thing.colour}.", f"The {thing.name}."
    )


def ask_count(draw: Draw, scene: Scene) -> Turn | None:
    """How many shapes there are, of any kind."""
    count = len(scene.things)
    said = "There is one shape." if count == 1 else f"There are {NUMBERS[count]} shapes."
    return Turn(draw.say(_COUNT), said, f"{capital(NUMBERS[count])}.")


def ask_count_of(draw: Draw, scene: Scene) -> Turn | None:
    """How many shapes of a name or a colour there are."""
    chance = draw.rng.random()
    thing = focus(draw, list(scene.things))
    if chance < 0.5:
        wanted, count = plural(thing.name), sum(t.name == thing.name for t in scene.things)
    elif chance < 0.85:
        wanted, count = f"{thing.colour} shapes", sum(t.colour == thing.colour for t in scene.things)
    else:
        name = draw.rng.choice([shape for shape in SHAPES if shape not in {t.name for t in scene.things}])
        wanted, count = plural(name), 0
    one = wanted[:-2] if wanted == "crosses" else wanted[:-1]
    said = f"There is one {one}." if count == 1 else f"There are {NUMBERS[count]} {wanted}."
    return Turn(draw.say(_COUNT_OF, x=wanted), said, f"{capital(NUMBERS[count] if count else 'none')}.")


def ask_where(draw: Draw, scene: Scene) -> Turn | None:
    """The place of one shape."""
    usable = [thing for thing in _alone(scene) if thing.place]
    if not usable:
        return None
    thing = focus(draw, usable)
    called = _called(draw, thing, scene)
    place = where(str(thing.place))
    return Turn(draw.say(_WHERE, x=called), f"The {called} is {place}.", f"{capital(place)}.")


def ask_at_place(draw: Draw, scene: Scene) -> Turn | None:
    """What is at a place."""
    places = Counter(thing.place for thing in scene.things)
    if None in places:
        return None
    thing = focus(draw, [thing for thing in scene.things if places[thing.place] == 1] or list(scene.things))
    said = f"{capital(article(look(thing)))}."
    return Turn(draw.say(_AT_PLACE, x=draw.rng.choice(wheres(str(thing.place)))), said, said)


def ask_present(draw: Draw, scene: Scene) -> Turn | None:
    """Whether there is a shape, or a shape of a colour: the answer is what there is, since matching was not learned."""
    coloured, there = draw.chance(0.5), draw.chance(0.5)
    while True:
        thing = focus(draw, list(scene.things))
        name, colour = thing.name, thing.colour
        if not there:
            if draw.chance(0.6) or not coloured:
                name = draw.rng.choice(SHAPES)
            if coloured and draw.chance(0.6):
                colour = draw.rng.choice(COLOURS)
        found = any(t.name == name and (t.colour == colour or not coloured) for t in scene.things)
        if found == there:
            break
    wanted = f"{colour} {name}" if coloured else name
    said = f"I see {content(scene)}."
    return Turn(draw.say(_PRESENT, x=article(wanted)), said, said)


def ask_size(draw: Draw, scene: Scene) -> Turn | None:
    """How big the only shape is."""
    if len(scene.things) == 1 and scene.things[0].size:
        thing = scene.things[0]
        called = _called(draw, thing, scene)
        return Turn(
            draw.say(_SIZE, x=called), f"The {called} is {thing.size}.", f"{capital(str(thing.size))}."
        )
    return None
