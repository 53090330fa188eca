"""Puts a wish into words: in the ways that training uses, and in looser ones that only the evaluation uses."""

import random
from collections.abc import Callable
from enum import StrEnum

from starter.image.scenes import Look, Wish
from starter.vision.palette import SCENERY
from starter.vision.phrases import listed, plural


class Wording(StrEnum):
    """How a wish is put: as in training, or loosely, in ways that training never uses."""

    TRAINED = "trained"
    LOOSE = "loose"


SIZE_WORDS = {
    "small": ("small", "small", "tiny", "little"), "medium": ("medium", "medium-sized"),
    "large": ("large", "large", "big", "huge"),
}  # fmt: skip
_SCENERY = {
    "sky": ("in the sky", "in a blue sky", "against the sky"),
    "grass": ("on the grass", "in a green field", "over a meadow", "on green grass"),
    "sunset": ("at sunset", "in a sunset sky", "in front of a sunset"),
}
_SCENERY_NAMES = {"sky": ("sky", "blue sky"), "grass": ("grass", "meadow"), "sunset": ("sunset",)}
_RELATIONS = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath"),
}
_BESIDE = {
    "left": ("to its right", "on its right"), "right": ("to its left", "on its left"),
    "above": ("below it", "under it"), "below": ("above it", "over it"),
}  # fmt: skip
"""Where the second of a pair lies, seen from the first."""

_SIDES = {
    "left": ("left", "right"), "right": ("right", "left"), "above": ("top", "bottom"), "below": ("bottom", "top"),
}  # fmt: skip
_NUMBERS = {1: "one", 2: "two", 3: "three"}
_OPENINGS = (
    "a picture of ", "a drawing of ", "an image of ", "a photo of ", "an illustration of ", "there is ", "draw ", "paint ",
    "generate ", "show me ", "make ", "i want ", "this is ", "create an image of ", "picture: ", "poster, ", "i would like ", "a simple icon, ",
)  # fmt: skip
_TAGS = (
    "high quality", "best quality", "detailed", "highly detailed", "4k", "8k", "simple", "flat", "clean", "minimal", "masterpiece",
    "digital art", "vector art", "illustration", "realistic", "photo", "icon", "sharp", "beautiful", "cute", "cinematic", "please",
    "art", "artwork", "logo", "nice",
)  # fmt: skip


def caption(rng: random.Random, wish: Wish, wording: Wording = Wording.TRAINED) -> str:
    """One prompt for the wish."""
    forms = _MOTION_FORMS if wish.kind == "motion" else _FORMS[wording]
    text = rng.choice(forms)(rng, wish) if wish.looks else _plain(rng, wish)
    if wording is Wording.LOOSE:
        return text
    if rng.random() < 0.12:
        tags = rng.sample(_TAGS, rng.randint(1, 3))
        text = f"{', '.join(tags)}, {text}" if rng.random() < 0.3 else f"{text}, {', '.join(tags)}"
    if rng.random() < 0.04:
        text = f"{_babble(rng)} {text}" if rng.random() < 0.5 else f"{text} {_babble(rng)}"
    return f"{text}." if rng.random() < 0.1 else text


def place_words(place: str) -> tuple[str, ...]:
    """A place as prompts name it."""
    if place == "center":
        return ("in the center", "in the middle", "at the center")
    if place in ("left", "right"):
        return (f"on the {place}", f"at the {place}", f"on the {place} side")
    if place in ("top", "bottom"):
        return (f"at the {place}", f"near the {place}")
    return (f"in the {place}", f"at the {place}", f"in the {place} corner")


def _babble(rng: random.Random) -> str:
    """A word that means nothing, so that unknown words come to mean nothing."""
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 7)))


def _colour(rng: random.Random, colour: str) -> str:
    return "grey" if colour == "gray" and rng.random() < 0.4 else colour


def _named(rng: random.Random, look: Look, size: str | None = None) -> str:
    """Size, colour and shape."""
    words = [rng.choice(SIZE_WORDS[size])] if size else []
    return " ".join([*words, _colour(rng, look[0]), look[1]])


def _with_article(rng: random.Random, name: str) -> str:
    if rng.random() < 0.12:
        return f"one {name}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _behind(rng: random.Random, wish: Wish) -> str:
    """The background as a phrase with a leading blank, or nothing."""
    background = wish.background
    if background is None:
        return ""
    if background in SCENERY:
        return " " + rng.choice(_SCENERY[background])
    colour = _colour(rng, background)
    article = "an" if colour[0] in "aeiou" else "a"
    forms = (
        f"on {article} {colour} background", f"on {article} {colour} background", f"on {colour}",
        f"with {article} {colour} background", f"against {article} {colour} background", f"in front of {article} {colour} wall",
    )  # fmt: skip
    return " " + rng.choice(forms)


def _background_name(rng: random.Random, wish: Wish) -> str | None:
    background = wish.background
    if background is None:
        return None
    if background in SCENERY:
        return rng.choice(_SCENERY_NAMES[background])
    return f"{_colour(rng, background)} {rng.choice(('background', 'background', 'backdrop'))}"


def _counted(rng: random.Random, wish: Wish) -> str:
    count = len(wish.looks)
    number = str(count) if rng.random() < 0.2 else _NUMBERS[count]
    colour, shape = wish.looks[0]
    return f"{number} {_colour(rng, colour)} {plural(shape)}"


def _pair(rng: random.Random, wish: Wish, first: str, second: str) -> str:
    relation = wish.relation
    if relation is None:
        return rng.choice(
            (
                f"{first} and {second}",
                f"{first} and {second}",
                f"{first} next to {second}",
                f"{first} beside {second}",
            )
        )
    chance = rng.random()
    if chance < 0.25:
        return f"{first} with {second} {rng.choice(_BESIDE[relation])}"
    if chance < 0.45:
        here, there = (rng.choice(place_words(side)) for side in _SIDES[relation])
        return f"{first} {here} and {second} {there}"
    return f"{first} {rng.choice(_RELATIONS[relation])} {second}"


def _things(rng: random.Random, wish: Wish, articles: bool = True) -> str:
    """What is to be drawn, with its places and relations, without the background."""
    if wish.kind == "count":
        return _counted(rng, wish)
    names = [_named(rng, look, wish.size) for look in wish.looks]
    if articles:
        names = [_with_article(rng, name) for name in names]
    places = [rng.choice(place_words(place)) for place in wish.places]
    if wish.kind == "pair":
        return _pair(rng, wish, *names)
    if wish.kind == "places":
        return f"{names[0]} {places[0]} and {names[1]} {places[1]}"
    if wish.kind == "three":
        order = (
            "from top to bottom"
            if wish.relation == "below"
            else rng.choice(("", "", "from left to right", "in a row"))
        )
        return f"{listed(names)} {order}".strip()
    return " ".join([names[0], *places, *([wish.motion] if wish.motion else [])])


def _sentence(rng: random.Random, wish: Wish) -> str:
    return _things(rng, wish) + _behind(rng, wish)


def _opened(rng: random.Random, wish: Wish) -> str:
    return rng.choice(_OPENINGS) + _sentence(rng, wish)


def _bare(rng: random.Random, wish: Wish) -> str:
    """Without articles: `blue star yellow background`."""
    things, behind = _things(rng, wish, articles=False), _background_name(rng, wish)
    if behind is None:
        return things
    return rng.choice((f"{things} {behind}", f"{things}, {behind}", f"{things} on {behind}"))


def _background_first(rng: random.Random, wish: Wish) -> str:
    things, behind = _things(rng, wish), _background_name(rng, wish)
    if behind is None:
        return things
    return rng.choice((f"{behind}, {things}", f"a {behind} with {things}", f"{behind} and {things}"))


def _on_something(rng: random.Random, wish: Wish) -> str:
    """The background is something that has the colour: `a red canvas with a blue star`."""
    if wish.background is None or wish.background in SCENERY:
        return _background_first(rng, wish)
    colour = _colour(rng, wish.background)
    ground = (
        f"{colour} {rng.choice(('canvas', 'paper', 'wall', 'page', 'card', 'screen', 'picture', 'poster'))}"
    )
    things = _things(rng, wish)
    forms = (
        f"{ground} with {things}",
        f"a {ground}, {things}",
        f"{ground}, on it {things}",
        f"{things} on a {ground}",
    )
    return rng.choice((*forms, f"{things}, {colour} behind", f"{things}, with {colour} behind it"))


def _tagged(rng: random.Random, wish: Wish) -> str:
    """Keywords in any order: `star, blue, small, top left`."""
    if wish.kind != "single":
        return _bare(rng, wish)
    colour, shape = wish.looks[0]
    words = [f"{colour} {shape}"] if rng.random() < 0.6 else [colour, shape]
    words += [rng.choice(SIZE_WORDS[wish.size])] if wish.size else []
    words += [rng.choice((wish.places[0], rng.choice(place_words(wish.places[0]))))] if wish.places else []
    behind = _background_name(rng, wish)
    rng.shuffle(words)
    words += [behind] if behind else []
    return ", ".join(words)


def _relative(rng: random.Random, wish: Wish) -> str:
    """`a star that is blue`."""
    if wish.kind != "single":
        return _sentence(rng, wish)
    colour, shape = wish.looks[0]
    size = f"{rng.choice(SIZE_WORDS[wish.size])} " if wish.size else ""
    article = rng.choice(("a", "the"))
    colour = _colour(rng, colour)
    said = rng.choice(
        (
            f"{article} {size}{shape} that is {colour}",
            f"{article} {size}{shape} in {colour}",
            f"{size}{shape} colored {colour}",
        )
    )
    return " ".join([said, *(rng.choice(place_words(place)) for place in wish.places)]) + _behind(rng, wish)


def _colourless(rng: random.Random, wish: Wish) -> str:
    """The colour is left open."""
    if wish.kind != "single" or rng.random() < 0.5:
        return _sentence(rng, wish)
    size = f"{rng.choice(SIZE_WORDS[wish.size])} " if wish.size else ""
    return " ".join(
        [f"a {size}{wish.looks[0][1]}", *(rng.choice(place_words(p)) for p in wish.places)]
    ) + _behind(rng, wish)


def _plain(rng: random.Random, wish: Wish) -> str:
    name = _background_name(rng, wish) or ""
    return rng.choice(
        (name, f"a {name}", f"a plain {name}", f"an empty {name}", f"only {name}", f"{name}, nothing else")
    )


def _loose_asked(rng: random.Random, wish: Wish) -> str:
    """A polite request in two sentences."""
    behind = _background_name(rng, wish)
    tail = f" The background should be {_colour_or_scenery(wish)}." if behind else ""
    return f"Could you please draw {_things(rng, wish)} for me?{tail}"


def _loose_backdrop(rng: random.Random, wish: Wish) -> str:
    behind = _background_name(rng, wish)
    return f"minimalist poster, {_things(rng, wish)}" + (f", set against {behind}" if behind else "")


def _loose_noun_first(rng: random.Random, wish: Wish) -> str:
    """`Star (blue), background yellow`."""
    if wish.kind != "single":
        return _loose_asked(rng, wish)
    colour, shape = wish.looks[0]
    words = [f"{shape} ({colour})", *([wish.size] if wish.size else []), *wish.places]
    words += [f"background {_colour_or_scenery(wish)}"] if wish.background else []
    return ", ".join(words).capitalize()


def _loose_canvas(rng: random.Random, wish: Wish) -> str:
    behind = _colour_or_scenery(wish) if wish.background else "plain"
    return (
        f"{behind} wallpaper showing {_things(rng, wish)}"
        if wish.background
        else f"just {_things(rng, wish)}, nothing more"
    )


def _loose_story(rng: random.Random, wish: Wish) -> str:
    behind = _background_name(rng, wish)
    return f"i would love to see {_things(rng, wish)}" + (
        f", and behind it {behind}" if behind else ", thanks a lot"
    )


def _colour_or_scenery(wish: Wish) -> str:
    return str(wish.background)


Form = Callable[[random.Random, Wish], str]
_FORMS: dict[Wording, tuple[Form, ...]] = {
    Wording.TRAINED: (
        _sentence, _sentence, _sentence, _sentence, _opened, _opened, _bare, _bare, _background_first, _on_something, _tagged,
        _relative, _colourless,
    ),
    Wording.LOOSE: (_loose_asked, _loose_backdrop, _loose_noun_first, _loose_canvas, _loose_story),
}  # fmt: skip
_MOTION_FORMS: tuple[Form, ...] = (_sentence, _sentence, _opened, _bare, _background_first)
