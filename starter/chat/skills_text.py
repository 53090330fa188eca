"""Text at hand: letters of words, copying, JSON, questions about a given text, and stories."""

import json
import re

from starter.chat.templates import Draw, Split, Turn, Wordings, article, capital, wordings
from starter.chat.world import (
    ADJECTIVES,
    CAPITAL_OF,
    CATEGORIES,
    COLOUR_OF,
    HEROES,
    PEOPLE,
    PET_NAMES,
    ROOMS,
    STORY_GOALS,
    STORY_LESSONS,
    STORY_PLACES,
    STORY_TROUBLES,
    THINGS,
    WORDS,
)

OBJECTS = [thing.removesuffix("s") for thing in THINGS if thing != "boxes"]
VOCABULARY = sorted(
    {
        *PEOPLE,
        *WORDS,
        *COLOUR_OF,
        *CAPITAL_OF.values(),
        *THINGS,
        *OBJECTS,
        *ROOMS,
        *PET_NAMES,
        *HEROES,
        *ADJECTIVES,
    }
    | {member for members in CATEGORIES.values() for member in members}
    | {str(number) for number in range(101)}
)

_UPPER = wordings(
    "Write {x} in capital letters.", "Uppercase {x}.", "Write the word {x} in capital letters.",
    "Make {x} uppercase.", "Write {x} in upper case.", "Put {x} in capital letters.", "{x} in capital letters",
    "Convert {x} to uppercase.", "Spell {x} in capitals.", 'Write "{x}" in capital letters.',
    held=("Write the word {x} in upper case.", "Please write {x} in capital letters."),
)  # fmt: skip
_LOWER = wordings(
    "Write {x} in small letters.", "Lowercase {x}.", "Write the word {x} in small letters.",
    "Make {x} lowercase.", "Write {x} in lower case.", "Convert {x} to lowercase.",
    'Write "{x}" in small letters.', "{x} in small letters",
    held=("Write the word {x} in lower case.", "Please write {x} in small letters."),
)  # fmt: skip
_SPELL = wordings(
    "Spell {x}.", "Spell the word {x}.", "How do you spell {x}?", "How is {x} spelled?", "Can you spell {x}?",
    "spell {x}", 'Spell "{x}".', "Spell {x} for me.", "What is the spelling of {x}?",
    "Write {x} letter by letter.",
    held=("Please spell {x}.", "Spell out the word {x}.", "Can you spell the word {x}?"),
)  # fmt: skip
_REVERSE = wordings(
    "Spell {x} backwards.", "Spell the word {x} backwards.", "Reverse the word {x}.", "Write {x} backwards.",
    "Reverse {x}.", "What is {x} backwards?", "How do you spell {x} backwards?", 'Reverse "{x}".',
    "{x} backwards", "Write the word {x} in reverse.",
    held=("Please spell {x} backwards.", "Write the word {x} backwards.", "Please reverse the word {x}."),
)  # fmt: skip
_FIRST = wordings(
    "What is the {n} letter of {x}?", "Which letter is {n} in {x}?", "What is the {n} letter of the word {x}?",
    "{n} letter of {x}?", "What's the {n} letter of {x}?", "What is the {n} letter in {x}?",
    'What is the {n} letter of "{x}"?', "which is the {n} letter of {x}", "Give me the {n} letter of {x}.",
    held=("Tell me the {n} letter of {x}.", "Name the {n} letter of the word {x}."),
)  # fmt: skip
_LENGTH = wordings(
    "How many letters are in {x}?", "How many letters does {x} have?", "Count the letters in {x}.",
    "How many letters are in the word {x}?", "How many letters does the word {x} have?",
    "how many letters are in {x}", "What is the number of letters in {x}?", 'How many letters are in "{x}"?',
    "Number of letters in {x}?",
    held=("How long is the word {x}?", "Tell me how many letters {x} has.", "Count the letters of the word {x}."),
)  # fmt: skip


_LETTERS = {
    "upper": _UPPER,
    "lower": _LOWER,
    "spell": _SPELL,
    "reverse": _REVERSE,
    "end": _FIRST,
    "length": _LENGTH,
}


def ask_letters(draw: Draw) -> Turn:
    """The letters of one word: capitals, spelling, spelling backwards, first and last letter, length."""
    kinds = ("upper", "lower", "spell", "spell", "reverse", "reverse", "end", "length")

    def sample() -> tuple[tuple[str, str], Wordings]:
        kind = draw.rng.choice(kinds)
        return (kind, draw.rng.choice(WORDS)), _LETTERS[kind]

    (kind, word), pattern = draw.taught("letters", sample)
    if kind == "upper":
        return _copied(draw.fill(pattern, x=word), word.upper())
    if kind == "lower":
        return _copied(draw.fill(pattern, x=word.upper()), word)
    if kind == "spell":
        return _copied(draw.fill(pattern, x=word), "-".join(word))
    if kind == "reverse":
        return _copied(draw.fill(pattern, x=word), "-".join(reversed(word)))
    if kind == "end":
        which = draw.rng.choice(("first", "last"))
        letter = word[0] if which == "first" else word[-1]
        question = capital(draw.fill(pattern, n=which, x=word))
        return Turn(
            question, f"The {which} letter of {word} is {letter}.", letter, loud=False, exact_case=True
        )
    count = str(len(word))
    answer = f"{capital(word)} has {count} letters."
    return Turn(draw.fill(pattern, x=word), answer, count, loud=False, exact_case=True)


def _copied(question: str, text: str) -> Turn:
    return Turn(question, text, text, loud=False, exact_case=True)


_REPEAT = wordings(
    "Repeat after me: {x}", "Repeat this: {x}", "Repeat: {x}", 'Say "{x}".', "Say: {x}", "Copy this text: {x}",
    "Copy: {x}", "Echo: {x}", "Write this: {x}", 'Repeat "{x}".', "Say {x}", "Repeat the text: {x}",
    "Repeat exactly: {x}", 'Write "{x}".', 'Copy "{x}".', "Answer with exactly this: {x}", 'Reply with "{x}".',
    "Just say {x}", 'Say the words "{x}".',
    held=('Please repeat "{x}".', "Please say: {x}", 'Repeat the words "{x}".', "Please copy this: {x}"),
)  # fmt: skip


def _phrase(draw: Draw) -> str:
    choose = draw.rng.choice
    colour, animal, fruit = (choose(CATEGORIES[c]) for c in ("colours", "animals", "fruits"))
    return choose(
        (
            f"the {colour} {animal}",
            f"{choose(PEOPLE)} likes {fruit}",
            f"{choose(THINGS)} and {choose(THINGS)}",
            f"{draw.rng.randint(10, 99)} {choose(THINGS)}",
            f"I see {article(animal)}",
            f"this is {article(choose(OBJECTS))}",
            choose(("this is a test", "hello world", "it works", "all is well", "good luck", "yes we can")),
            f"{choose(PEOPLE)} and {choose(PEOPLE)} are friends.",
            f"The {choose(OBJECTS)} is {colour}.",
            choose(VOCABULARY),
            " ".join(choose(VOCABULARY) for _ in range(draw.rng.randint(2, 6))),
        )
    )


def ask_repeat(draw: Draw) -> Turn:
    """Copying a short text exactly."""
    text = draw.slot("repeat", lambda: _phrase(draw))
    pattern = draw.pattern(_REPEAT)
    if text.endswith(".") and pattern.endswith("."):
        text = text[:-1]
    return _copied(draw.fill(pattern, x=text), text)


def ask_copy_drill(draw: Draw) -> Turn:
    """A drill that is never evaluated: copying and looking up arbitrary words."""
    rng = draw.rng
    words = [rng.choice(VOCABULARY) for _ in range(rng.randint(1, 7))]
    text = " ".join(words)
    kind = rng.randrange(6)
    if kind == 0:
        place = rng.randrange(len(words))
        return _copied(f"Words: {text}. Word number {place + 1}?", words[place])
    if kind == 1 and len(words) > 1:
        place = rng.randrange(len(words) - 1)
        return _copied(f"{text}\nWhat comes after {words[place]}?", words[words.index(words[place]) + 1])
    if kind == 2:
        keys = rng.sample(VOCABULARY, 2 * max(1, len(words) // 2))
        table = dict(zip(keys[::2], keys[1::2], strict=True))
        key = rng.choice(tuple(table))
        return _copied(", ".join(f"{a}: {b}" for a, b in table.items()) + f". {key}?", table[key])
    if kind == 3:
        return _copied("As a JSON list: " + text, json.dumps(words))
    if kind == 4:
        return _copied("With commas: " + text, ", ".join(words))
    return (
        _copied("In capitals: " + text, text.upper()) if len(words) < 3 else _copied("Repeat: " + text, text)
    )


_JSON = wordings(
    "{d} Answer as JSON with keys {k}.", "{d} Give me JSON with keys {k}.", "Extract {k} as JSON: {d}",
    "{d} Write this as JSON with [|the ]keys {k}.", "Answer as JSON with keys {k}. {d}",
    "Write as JSON with keys {k}: {d}", "Give {k} as JSON: {d}", "{d} Reply in JSON with [|the ]keys {k}.",
    "Make JSON with keys {k}: {d}", "{d}\nJSON with keys {k}:", "Convert to JSON with keys {k}: {d}",
    "Return JSON with [|the ]keys {k} for this: {d}", "{d} Extract {k} as JSON.",
    held=(
        "Turn this into JSON with keys {k}: {d}", "{d} Please answer in JSON with the keys {k}.",
        "Read this and give me JSON with keys {k}: {d}",
    ),
)  # fmt: skip


def ask_json(draw: Draw) -> Turn:
    """A sentence turned into a JSON object with the keys asked for."""
    rng = draw.rng
    kind = rng.choice(("age", "age", "object", "city", "count"))
    if kind == "age":
        name, age = draw.slot(kind, lambda: (rng.choice(PEOPLE), rng.randint(2, 90)))
        text = rng.choice(
            (f"{name} is {age} years old.", f"My name is {name} and I am {age}.", f"{name}, age {age}.")
        )
        return _json_turn(draw, text, {"name": name, "age": age})
    if kind == "object":
        colour, thing = draw.slot(kind, lambda: (rng.choice(CATEGORIES["colours"]), rng.choice(OBJECTS)))
        return _json_turn(
            draw,
            rng.choice((f"The {thing} is {colour}.", f"I see a {colour} {thing}.")),
            {"object": thing, "colour": colour},
        )
    if kind == "city":
        name, city = draw.slot(kind, lambda: (rng.choice(PEOPLE), rng.choice(tuple(CAPITAL_OF.values()))))
        return _json_turn(
            draw,
            rng.choice((f"{name} lives in {city}.", f"{name} is from {city}.")),
            {"name": name, "city": city},
        )
    count, thing = draw.slot(kind, lambda: (rng.randint(2, 99), rng.choice(THINGS)))
    name = rng.choice(PEOPLE)
    return _json_turn(
        draw,
        rng.choice((f"{name} has {count} {thing}.", f"{name} buys {count} {thing}.")),
        {"name": name, "object": thing, "count": count},
    )


def _json_turn(draw: Draw, text: str, value: dict[str, str | int]) -> Turn:
    *first, last = value
    keys = f"{', '.join(first)} and {last}"
    return _copied(draw.say(_JSON, d=text, k=keys), json.dumps(value))


_CONTEXT = wordings(
    "{c} {q}", "Context: {c}\nQuestion: {q}", "Read this: {c} {q}", "{c}\n{q}", "{c}\n\n{q}",
    "Here is a text: {c} {q}", "Text: {c}\n\nQuestion: {q}", "{q} {c}", "Answer from the text. {c} {q}",
    "Context:\n{c}\n\nQuestion: {q}\nAnswer:", "{q}\n\n{c}", "Use this text: {c}\n{q}",
    held=(
        "Text: {c} Now answer: {q}", "Look at this text. {c} {q}",
        "Given this text: {c}\nAnswer the question: {q}",
    ),
)  # fmt: skip


def ask_context(draw: Draw) -> Turn:
    """A question about a few sentences just given."""
    rng = draw.rng
    count = rng.randint(2, 4)
    kind = rng.choice(("where", "who", "who", "colour"))
    chosen = rng.randrange(count)
    others = {"where": ROOMS, "who": PEOPLE, "colour": CATEGORIES["colours"]}[kind]
    objects, values = draw.slot(
        kind, lambda: (tuple(rng.sample(OBJECTS, count)), tuple(rng.sample(others, count)))
    )
    thing, value = objects[chosen], values[chosen]
    pairs = list(zip(objects, values, strict=True))
    if kind == "where":
        text = " ".join(f"The {x} is in the {y}." for x, y in pairs)
        question, answer, brief = (
            f"Where is the {thing}?",
            f"The {thing} is in the {value}.",
            f"In the {value}.",
        )
    elif kind == "who":
        text = " ".join(f"{y} has {article(x)}." for x, y in pairs)
        question, answer, brief = f"Who has {article(thing)}?", f"{value} has {article(thing)}.", f"{value}."
    else:
        text = " ".join(f"The {x} is {y}." for x, y in pairs)
        question, answer, brief = (
            f"What colour is the {thing}?",
            f"The {thing} is {value}.",
            f"{capital(value)}.",
        )
    return Turn(draw.say(_CONTEXT, c=text, q=question), answer, brief, loud=False, exact_case=True)


_STORY = wordings(
    "Write a short story about {x}.", "Write a story about {x}.", "Tell me a story about {x}.",
    "Tell me a short story about {x}.", "Please write a [short |]story about {x}.",
    "Can you tell me a story about {x}?", "I want a story about {x}.", "Make up a [short |]story about {x}.",
    "Write a tiny story about {x}.", "A story about {x}, please.", "Write me a [short |]story about {x}.",
    "Tell a story about {x}.", "story about {x}", "Write a few sentences about {x}.",
    "Give me a [short |]story about {x}.",
    held=("I would like a story about {x}.", "Could you write a story about {x}?", "Tell a tale about {x}."),
)  # fmt: skip
_ANY_STORY = wordings(
    "Tell me a story.", "Write a story.", "Write a short story.", "Tell me a short story.", "Tell a story.",
    "Can you tell me a story?", "Once upon a time", "Please tell me a story.", "I want to hear a story.",
    "Make up a story.",
    held=("I would like a story.", "Could you tell me a story?"),
)  # fmt: skip
_DEEDS = (
    " discovering emotions", " who wants to fly", " who learns to paint", " lost in space", " and a friend",
    " in a forest", " in the rain", " that finds a treasure", " who cannot sleep", " learning to love",
    " in a big city", " on a trip", " who saves the day", " at night",
)  # fmt: skip
_SENTENCE_END = re.compile(r"(?<=\.)\s")


def story(draw: Draw, hero: str, name: str, adjective: str) -> str:
    """A story of five sentences about a hero who looks for something and finds it with a friend."""
    choose = draw.rng.choice
    goal, reward = choose(STORY_GOALS)
    trouble, rescue = choose(STORY_TROUBLES)
    friend = choose([other for other in HEROES if other != hero])
    friend_name = choose([other for other in PET_NAMES if other != name])
    who = article(f"{adjective} {hero}".strip())
    return " ".join(
        (
            f"Once upon a time, {who} named {name} lived {choose(STORY_PLACES)}.",
            f"One day, {name} set out to find {goal}.",
            f"On the way, {trouble}, so {name} {rescue}.",
            f"Soon {article(friend)} named {friend_name} came to help.",
            f"Together they found {goal} and {reward}.",
            f"{name} learned that {choose(STORY_LESSONS)}.",
        )
    )


def told_right(text: str, wanted: tuple[str, ...]) -> bool:
    """Whether `text` is a story with the wanted words, long enough, finished and without repeated sentences."""
    sentences = [part for part in _SENTENCE_END.split(text.strip()) if part]
    whole = len(set(sentences)) == len(sentences) and 5 <= len(sentences) <= 8 and text.strip().endswith(".")
    return whole and len(text.split()) >= 35 and all(word in text for word in wanted)


def ask_story(draw: Draw) -> Turn:
    """A tiny story about a hero, perhaps with a name or a trait."""
    kinds = ("plain", "plain", "adjective", "named", "named") + (() if draw.split is Split.SLOT else ("any",))
    kind = draw.rng.choice(kinds)
    hero, name, adjective = draw.slot(
        "story",
        lambda: (draw.rng.choice(HEROES), draw.rng.choice(PET_NAMES + PEOPLE), draw.rng.choice(ADJECTIVES)),
    )
    if kind == "any":
        text = story(draw, hero, draw.rng.choice(PET_NAMES), adjective)
        return Turn(draw.say(_ANY_STORY), text, text, check=lambda said: told_right(said, ()), loud=False)
    if kind != "named":
        name = draw.rng.choice(PET_NAMES)
    wanted = {"plain": (hero,), "adjective": (adjective, hero), "named": (hero, name)}[kind]
    about = {
        "plain": article(hero),
        "adjective": article(f"{adjective} {hero}"),
        "named": draw.rng.choice((f"{article(hero)} [named|called] {name}", f"{name} the {hero}")),
    }[kind]
    if kind == "plain" and draw.split is not Split.SLOT and draw.chance(0.3):
        about += draw.rng.choice(_DEEDS)
    text = story(draw, hero, name, adjective)
    question = draw.say(_STORY, x=draw.fill(about))
    return Turn(question, text, text, check=lambda said: told_right(said, wanted), loud=False)
