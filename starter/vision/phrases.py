"""How the pictures' content is put into words: what answers are made of."""

from collections import Counter
from collections.abc import Sequence

from starter.chat.templates import article, capital
from starter.vision.scenes import LETTERS, Scene, Thing

NUMBERS = ("no", "one", "two", "three", "four")
ORDINALS = ("first", "second", "third")
_PLACES = {
    "center": ("in the center", "in the middle", "at the center"),
    "left": ("on the left", "at the left"),
    "right": ("on the right", "at the right"),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
}
_BEFORE = {"sky": "in the sky", "grass": "on the grass", "sunset": "at sunset"}
_BACKGROUND = {"sky": "a blue sky", "grass": "green grass and a blue sky", "sunset": "a sunset"}


def plural(name: str) -> str:
    """More than one of a shape."""
    return f"{name}es" if name.endswith("s") else f"{name}s"


def counted(count: int, name: str) -> str:
    """A number of shapes in words; one alone has an article."""
    return article(name) if count == 1 else f"{NUMBERS[count]} {plural(name)}"


def listed(parts: Sequence[str]) -> str:
    """Parts joined by commas and a last `and`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def where(place: str) -> str:
    """A place as answers name it, always with the same preposition: what follows can then be copied."""
    return f"at the {place}"


def wheres(place: str) -> tuple[str, ...]:
    """A place as people name it in questions."""
    return _PLACES.get(place, (f"in the {place}", f"at the {place}", f"in the {place} corner"))


def before(scene: Scene) -> str:
    """The background as the end of a description."""
    return _BEFORE.get(scene.background, f"on {article(scene.background)} background")


def background(scene: Scene) -> str:
    """The background in a sentence about it."""
    return f"The background is {_BACKGROUND.get(scene.background, scene.background)}."


def background_brief(scene: Scene) -> str:
    """The background alone."""
    return f"{capital(_BACKGROUND.get(scene.background, scene.background))}."


def look(thing: Thing) -> str:
    """Colour and name."""
    return f"{thing.colour} {thing.name}"


def sign(thing: Thing) -> str:
    """Whether it is a letter or a number."""
    return "letter" if thing.name in LETTERS else "number"


def content(scene: Scene) -> str:
    """What the picture shows, without its background, in lower case."""
    if scene.kind == "chart":
        return f"a bar chart with the bars {listed([bar.name for bar in scene.bars])}"
    if scene.kind == "glyph":
        return f"the {sign(scene.things[0])} {scene.things[0].name} in {scene.things[0].colour}"
    groups = Counter(look(thing) for thing in scene.things)
    return listed([counted(count, name) for name, count in groups.items()])


def short_description(scene: Scene) -> str:
    """One sentence."""
    if scene.kind == "chart":
        tallest = scene.bars[scene.ranks.index("tallest")].name
        return f"{capital(content(scene))}. Bar {tallest} is the tallest."
    return f"{capital(content(scene))} {before(scene)}."


def long_description(scene: Scene) -> str | None:
    """Everything there is; nothing if a shape lies between two places."""
    if scene.kind == "chart":
        colours = listed([f"{bar.name} is {bar.colour}" for bar in scene.bars])
        tallest, shortest = (scene.bars[scene.ranks.index(rank)].name for rank in ("tallest", "shortest"))
        return (
            f"The image shows a bar chart with three bars: {colours}. Bar {tallest} is the tallest and bar {shortest} "
            "is the shortest."
        )
    if scene.kind == "glyph":
        thing = scene.things[0]
        return f"The image shows the {sign(thing)} {thing.name}. It is {thing.colour}. {background(scene)}"
    parts = []
    for thing in scene.things:
        if thing.place is None:
            return None
        parts.append(f"{article(look(thing))} {where(thing.place)}")
    count = "one shape" if len(parts) == 1 else f"{NUMBERS[len(parts)]} shapes"
    return f"The image shows {count}: {listed(parts)}. {background(scene)}"
