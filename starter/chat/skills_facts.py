"""Facts: colours, shapes, animals, capitals, opposites, the calendar, foreign words and lists."""

import re
from collections.abc import Callable

from starter.chat.templates import Draw, Turn, Wordings, article, capital, wordings
from starter.chat.world import (
    ALPHABET,
    BABY,
    CAPITAL_OF,
    CATEGORIES,
    CATEGORY_NAMES,
    COLOUR_OF,
    DAYS,
    LANGUAGES,
    LEGS,
    LIVES,
    MASS_NOUNS,
    MONTH_DAYS,
    MONTHS,
    NUMBER_WORDS,
    OPPOSITES,
    ORDINALS,
    SIDES,
    SINGULAR,
    SOUND,
    THE_NOUNS,
)

_COLOUR = wordings(
    "What [colour|color] is {x}?", "Which [colour|color] is {x}?", "Tell me the [colour|color] of {x}.",
    "What is the [colour|color] of {x}?", "What's the [colour|color] of {x}?",
    "What [colour|color] does {x} have?", "what color is {x}", "Which [colour|color] does {x} have?",
    "Name the [colour|color] of {x}.", "Do you know what [colour|color] {x} is?",
    held=(
        "Do you know the [colour|color] of {x}?", "Tell me what [colour|color] {x} is.",
        "Give me the [colour|color] of {x}.",
    ),
)  # fmt: skip
_SIDES = wordings(
    "How many sides does {x} have?", "How many sides has {x}?", "How many sides are there in {x}?",
    "What is the number of sides of {x}?", "Number of sides of {x}?", "{x} has how many sides?",
    "how many sides does {x} have", "Do you know how many sides {x} has?", "How many corners does {x} have?",
    held=("Tell me the number of sides of {x}.", "Tell me how many sides {x} has."),
)  # fmt: skip
_SOUND = wordings(
    "What sound does {x} make?", "What does {x} say?", "Which sound does {x} make?", "How does {x} sound?",
    "What noise does {x} make?", "What is the sound of {x}?", "Tell me the sound of {x}.",
    "what sound does {x} make", "Make the sound of {x}.",
    held=("Tell me what {x} says.", "Which noise does {x} make?"),
)  # fmt: skip
_LEGS = wordings(
    "How many legs does {x} have?", "How many legs has {x}?", "{x} has how many legs?", "Number of legs of {x}?",
    "What is the number of legs of {x}?", "how many legs does {x} have", "Do you know how many legs {x} has?",
    "How many legs are there on {x}?",
    held=("Tell me how many legs {x} has.", "Tell me the number of legs of {x}."),
)  # fmt: skip
_LIVES = wordings(
    "Where does {x} live?", "Where do you find {x}?", "Where can I find {x}?", "What is the home of {x}?",
    "where does {x} live", "Where is {x} at home?", "Where do I find {x}?", "In what place does {x} live?",
    held=("Tell me where {x} lives.", "Where would I find {x}?"),
)  # fmt: skip
_BABY = wordings(
    "What is a baby {x} called?", "What do you call a baby {x}?", "What is the name of a baby {x}?",
    "What's a baby {x} called?", "A baby {x} is called what?", "What is the baby of a {x} called?",
    "What do we call a baby {x}?", "what is a baby {x} called",
    held=("Tell me the name of a baby {x}.", "How do you call a baby {x}?"),
)  # fmt: skip
_CAPITAL = wordings(
    "What is the capital of {x}?", "What's the capital of {x}?", "Tell me the capital of {x}.",
    "Name the capital of {x}.", "Which city is the capital of {x}?", "what is the capital of {x}",
    "What is the capital city of {x}?", "Capital of {x}?", "Do you know the capital of {x}?",
    "The capital of {x} is?", "What city is the capital of {x}?", "Which is the capital of {x}?",
    "What is {x}'s capital?",
    held=(
        "Can you tell me the capital of {x}?", "Give me the capital of {x}.",
        "Please name the capital city of {x}.",
    ),
)  # fmt: skip
_KIND = wordings(
    "Is {x} {y}?", "Is {x} a kind of {z}?", "Is {x} {y} or not?", "Can you say that {x} is {y}?",
    "Do you think {x} is {y}?", "is {x} {y}", "True or false: {x} is {y}.",
    held=("Would you say {x} is {y}?", "Tell me if {x} is {y}."),
)  # fmt: skip
_OVERLAPS = {
    frozenset(pair) for pair in (("birds", "animals"), ("fruits", "colours"), ("fruits", "vegetables"))
}


def _thing(noun: str) -> str:
    if noun in MASS_NOUNS:
        return noun
    return "the " + noun if noun in THE_NOUNS else article(noun)


def _told(
    draw: Draw,
    tag: str,
    items: dict[str, str],
    choices: Wordings,
    full: Callable[[str], str],
    shown: Callable[[str], str] = article,
) -> Turn:
    item, pattern = draw.fact(tag, tuple(items), choices)
    question = (
        capital(draw.fill(pattern, x=shown(item)))
        if pattern[0] != "w" and pattern[0] != "h"
        else draw.fill(pattern, x=shown(item))
    )
    return Turn(question, full(item), capital(items[item]) + ".")


def ask_fact(draw: Draw) -> Turn:
    """A fact about colours, shapes, animals, capitals or kinds of things."""
    kind = draw.rng.choice(
        ("colour", "colour", "sides", "sound", "legs", "lives", "baby", "capital", "capital", "kind")
    )
    if kind == "colour":
        return _told(
            draw, kind, COLOUR_OF, _COLOUR, lambda x: f"{capital(_thing(x))} is {COLOUR_OF[x]}.", _thing
        )
    if kind == "sides":
        sides = {x: NUMBER_WORDS[n] for x, n in SIDES.items()}
        return _told(draw, kind, sides, _SIDES, lambda x: f"{capital(article(x))} has {sides[x]} sides.")
    if kind == "sound":
        return _told(draw, kind, SOUND, _SOUND, lambda x: f"{capital(article(x))} says {SOUND[x]}.")
    if kind == "legs":
        legs = {x: NUMBER_WORDS[n] for x, n in LEGS.items()}
        return _told(draw, kind, legs, _LEGS, lambda x: f"{capital(article(x))} has {legs[x]} legs.")
    if kind == "lives":
        return _told(draw, kind, LIVES, _LIVES, lambda x: f"{capital(article(x))} lives {LIVES[x]}.")
    if kind == "baby":
        return _told(draw, kind, BABY, _BABY, lambda x: f"A baby {x} is called a {BABY[x]}.", str)
    if kind == "capital":
        return _told(
            draw, kind, CAPITAL_OF, _CAPITAL, lambda x: f"The capital of {x} is {CAPITAL_OF[x]}.", str
        )
    return _ask_kind(draw)


def _ask_kind(draw: Draw) -> Turn:
    def sample() -> tuple[str, str, str]:
        of = draw.rng.choice(tuple(SINGULAR))
        word = draw.rng.choice(CATEGORIES[of])
        if draw.chance(0.5):
            return word, of, of
        others = [c for c in SINGULAR if word not in CATEGORIES[c] and frozenset((c, of)) not in _OVERLAPS]
        return word, of, draw.rng.choice(others)

    word, of, asked = draw.slot("kind", sample)
    single = SINGULAR[asked]
    question = draw.say(_KIND, x=word, y=article(single), z=single)
    if asked == of:
        return Turn(question, f"Yes, {word} is {article(single)}.", "Yes.")
    return Turn(question, f"No, {word} is not {article(single)}.", "No.")


_OPPOSITE = wordings(
    "What is the opposite of {x}?", "What's the opposite of {x}?", "Opposite of {x}?",
    "Give me the opposite of {x}.", "Name the opposite of {x}.", "what is the opposite of {x}",
    "What word is the opposite of {x}?", "What is the opposite word of {x}?", "Which is the opposite of {x}?",
    "Do you know the opposite of {x}?", "The opposite of {x} is?",
    held=("Tell me the opposite of {x}.", "Which word is the opposite of {x}?", "Can you name the opposite of {x}?"),
)  # fmt: skip


def ask_opposite(draw: Draw) -> Turn:
    """The opposite of a word."""
    table = {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])}
    return _told(draw, "opposite", table, _OPPOSITE, lambda x: f"The opposite of {x} is {table[x]}.", str)


_DAY = wordings(
    "What day comes {w} {x}?", "Which day comes {w} {x}?", "What day is {w} {x}?", "Which day is {w} {x}?",
    "What comes {w} {x}?", "What is the day {w} {x}?", "what day comes {w} {x}", "Name the day {w} {x}.",
    held=("Tell me the day {w} {x}.", "Which day of the week comes {w} {x}?"),
)  # fmt: skip
_MONTH = wordings(
    "What month comes {w} {x}?", "Which month comes {w} {x}?", "What month is {w} {x}?",
    "Which month is {w} {x}?", "What comes {w} {x}?", "What is the month {w} {x}?", "what month comes {w} {x}",
    "Name the month {w} {x}.",
    held=("Tell me the month {w} {x}.", "Which month of the year comes {w} {x}?"),
)  # fmt: skip
_LETTER = wordings(
    "What letter comes {w} {x}?", "Which letter comes {w} {x}?", "What letter is {w} {x}?",
    "Which letter is {w} {x}?", "What is the letter {w} {x}?", "what letter comes {w} {x}",
    "In the alphabet, what comes {w} {x}?", "Name the letter {w} {x}.",
    held=("Tell me the letter {w} {x}.", "Which letter of the alphabet comes {w} {x}?"),
)  # fmt: skip
_DAYS_IN = wordings(
    "How many days are in {x}?", "How many days does {x} have?", "How many days are there in {x}?",
    "How many days has {x}?", "how many days are in {x}", "{x} has how many days?",
    "What is the number of days in {x}?", "How long is {x}?",
    held=("Tell me how many days {x} has.", "Tell me the number of days in {x}."),
)  # fmt: skip
_NTH_MONTH = wordings(
    "What is the {n} month?", "Which is the {n} month of the year?", "What is the {n} month of the year?",
    "Which month is the {n}?", "what is the {n} month", "Which month is the {n} of the year?",
    "Tell me the {n} month.",
    held=("Name the {n} month.", "Give me the {n} month of the year."),
)  # fmt: skip
_UNITS = (
    (wordings(
        "How many days are in a week?", "How many days does a week have?", "Days in a week?",
        "How many days are there in a week?", "how many days in a week",
        held=("Tell me how many days a week has.",),
    ), "A week has 7 days.", "7"),
    (wordings(
        "How many months are in a year?", "How many months does a year have?", "Months in a year?",
        "How many months are there in a year?", "how many months in a year",
        held=("Tell me how many months a year has.",),
    ), "A year has 12 months.", "12"),
    (wordings(
        "How many hours are in a day?", "How many hours does a day have?", "Hours in a day?",
        "How many hours are there in a day?", "how many hours in a day",
        held=("Tell me how many hours a day has.",),
    ), "A day has 24 hours.", "24"),
    (wordings(
        "How many minutes are in an hour?", "How many minutes does an hour have?", "Minutes in an hour?",
        "How many minutes are there in an hour?",
        held=("Tell me how many minutes an hour has.",),
    ), "An hour has 60 minutes.", "60"),
    (wordings(
        "How many seconds are in a minute?", "How many seconds does a minute have?", "Seconds in a minute?",
        "How many seconds are there in a minute?",
        held=("Tell me how many seconds a minute has.",),
    ), "A minute has 60 seconds.", "60"),
    (wordings(
        "How many letters are in the alphabet?", "How many letters does the alphabet have?",
        "Letters in the alphabet?", "How many letters are there in the alphabet?",
        held=("Tell me how many letters the alphabet has.",),
    ), "The alphabet has 26 letters.", "26"),
    (wordings(
        "Say the alphabet.", "What is the alphabet?", "Write the alphabet.", "Tell me the alphabet.",
        "List the letters of the alphabet.", "Recite the alphabet.",
        held=("Please say the alphabet.",),
    ), " ".join(ALPHABET), " ".join(ALPHABET)),
    (wordings(
        "Name the days of the week.", "What are the days of the week?", "List the days of the week.",
        "Tell me the days of the week.", "Say the days of the week.", "days of the week",
        held=("Please name the days of the week.",),
    ), ", ".join(DAYS) + ".", ", ".join(DAYS)),
    (wordings(
        "Name the months of the year.", "What are the months of the year?", "List the months of the year.",
        "Tell me the months of the year.", "Say the months of the year.", "months of the year",
        held=("Please name the months of the year.",),
    ), ", ".join(MONTHS) + ".", ", ".join(MONTHS)),
)  # fmt: skip


def ask_calendar(draw: Draw) -> Turn:
    """Days, months, letters and how many of one are in another."""
    kind = draw.rng.choice(("day", "day", "month", "month", "letter", "days-in", "nth", "units"))
    if kind == "units":
        index, pattern = draw.slot(
            "units", lambda: (i := draw.rng.randrange(len(_UNITS)), draw.pattern(_UNITS[i][0]))
        )
        return Turn(draw.fill(pattern), _UNITS[index][1], _UNITS[index][2])
    if kind == "days-in":
        days = {month: str(count) for month, count in zip(MONTHS, MONTH_DAYS, strict=True)}
        month, pattern = draw.fact(kind, MONTHS, _DAYS_IN)
        return Turn(draw.fill(pattern, x=month), f"{month} has {days[month]} days.", days[month])
    if kind == "nth":
        index, pattern = draw.fact(kind, range(12), _NTH_MONTH)
        return Turn(
            draw.fill(pattern, n=ORDINALS[index]),
            f"The {ORDINALS[index]} month is {MONTHS[index]}.",
            MONTHS[index],
        )
    ring, choices = {"day": (DAYS, _DAY), "month": (MONTHS, _MONTH), "letter": (list(ALPHABET), _LETTER)}[
        kind
    ]
    margin = 1 if kind == "letter" else 0
    (index, word), pattern = draw.fact(
        kind, [(i, w) for i in range(margin, len(ring) - margin) for w in ("after", "before")], choices
    )
    answer = ring[(index + (1 if word == "after" else -1)) % len(ring)]
    return Turn(draw.fill(pattern, w=word, x=ring[index]), f"{answer} comes {word} {ring[index]}.", answer)


_INTO = wordings(
    "Translate {x} to {l}.", "What is {x} in {l}?", "How do you say {x} in {l}?", "Say {x} in {l}.",
    "Translate the word {x} to {l}.", 'Translate "{x}" to {l}.', "Translate {x} into {l}.",
    "What is the {l} word for {x}?", "How do I say {x} in {l}?", "{l} for {x}?", "what is {x} in {l}",
    "{x} in {l}", 'What is "{x}" in {l}?', 'How do you say "{x}" in {l}?', "What's {x} in {l}?",
    "Tell me the {l} word for {x}.",
    held=(
        "Translate the word {x} into {l}.", "Give me the {l} word for {x}.", "Can you say {x} in {l}?",
        "Please translate {x} to {l}.",
    ),
)  # fmt: skip
_FROM = wordings(
    "What does {x} mean in English?", "What is {x} in English?", "Translate {x} from {l} to English.",
    "What does {x} mean?", "Translate {x} to English.", "What does the {l} word {x} mean?",
    "What is the meaning of {x}?", "Translate the {l} word {x}.",
    held=("Say {x} in English.", "Tell me what {x} means in English."),
)  # fmt: skip


def ask_translation(draw: Draw) -> Turn:
    """A Spanish word, or a Hindi word in Latin letters, and back."""
    language = draw.rng.choice(tuple(LANGUAGES))
    words = LANGUAGES[language]
    if draw.chance(0.25):
        word, pattern = draw.fact(f"from-{language}", tuple(words), _FROM)
        return Turn(
            draw.fill(pattern, x=words[word], l=language), f"{capital(words[word])} means {word}.", word
        )
    word, pattern = draw.fact(f"into-{language}", tuple(words), _INTO)
    return Turn(
        draw.fill(pattern, x=word, l=language),
        f"{capital(word)} in {language} is {words[word]}.",
        words[word],
    )


_LIST = wordings(
    "List {n} {c}.", "Name {n} {c}.", "Give me {n} {c}.", "List {n} {c}", "Write a list of {n} {c}.",
    "Tell me {n} {c}.", "name {n} {c}", "What are {n} {c}?", "Give me a list of {n} {c}.", "Write {n} {c}.",
    "Make a list of {n} {c}.", "Can you list {n} {c}?", "Show me {n} {c}.", "I need {n} {c}.", "Say {n} {c}.",
    held=(
        "Please list {n} {c}.", "Can you name {n} {c}?", "I would like a list of {n} {c}.",
        "Please give me {n} {c}.",
    ),
)  # fmt: skip
_ANY = wordings(
    "List some {c}.", "Name some {c}.", "Give me some {c}.", "What are some {c}?", "Give me a list of {c}.",
    "List {c}.", "Tell me some {c}.", "Write a list of {c}.",
    held=("Please list some {c}.", "Can you name some {c}?"),
)  # fmt: skip
_ONE = wordings(
    "Name a {c}.", "Tell me a {c}.", "Give me a {c}.", "Name one {c}.", "What is a {c}?", "Give me one {c}.",
    "Give an example of a {c}.", "Say a {c}.",
    held=("Please name a {c}.", "Can you name a {c}?"),
)  # fmt: skip
_NUMBERED = re.compile(r"^\d+\. ")


def listed_right(text: str, category: str, count: int) -> bool:
    """Whether `text` names `count` different members of the category, numbered lines or a comma list."""
    lines = [_NUMBERED.sub("", line).strip(" .").lower() for line in text.strip().split("\n")]
    if len(lines) == 1:
        lines = [part.strip(" .").lower() for part in lines[0].split(",")]
    members = {member.lower() for member in CATEGORIES[category]}
    return len(lines) == count and len(set(lines)) == count and members.issuperset(lines)


def ask_list(draw: Draw) -> Turn:
    """A numbered list of members of a category."""
    if draw.chance(0.08):
        category, pattern = draw.fact("one-of", tuple(SINGULAR), _ONE)
        member = CATEGORIES[category][0]
        question = draw.fill(pattern, c=SINGULAR[category]).replace(" a animal", " an animal")
        return Turn(question, f"{capital(member)}.", capital(member), loud=False)
    if draw.chance(0.2):
        count = 3
        category, pattern = draw.fact("any", tuple(CATEGORIES), _ANY)
    else:
        category, count = draw.slot(
            "list", lambda: (draw.rng.choice(tuple(CATEGORIES)), draw.rng.randint(2, 6))
        )
        pattern = draw.pattern(_LIST)
    shown = draw.rng.choice(CATEGORY_NAMES.get(category, (category,)))
    number = draw.rng.choice((NUMBER_WORDS[count], NUMBER_WORDS[count], str(count)))
    question = draw.fill(pattern, c=shown, n=number)
    members = CATEGORIES[category][:count]
    full = "\n".join(f"{place}. {capital(member)}" for place, member in enumerate(members, 1))
    return Turn(
        question, full, ", ".join(members), check=lambda text: listed_right(text, category, count), loud=False
    )
