"""Memory: something said earlier in the conversation is asked for later."""

from dataclasses import dataclass

from starter.chat.templates import Draw, Wordings, capital, wordings
from starter.chat.world import CATEGORIES, PEOPLE, PET_NAMES


@dataclass(frozen=True)
class Recall:
    """A thing told, the reply to it, the question that asks for it and the answer."""

    told: str
    reply: str
    question: str
    answer: str


_NAME = wordings(
    "My name is {x}.", "Hi, I am {x}.", "I am {x}.", "Call me {x}.", "Hi, my name is {x}.",
    "Hello! My name is {x}.", "My name is {x}", "Hello, I'm {x}.", "I'm {x}.", "Hi! I'm {x}",
    "You can call me {x}.",
    held=("Hello, my name is {x}.", "Please call me {x}.", "Hello, I am {x}."),
)  # fmt: skip
_ASK_NAME = wordings(
    "What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "Tell me my name.",
    "Do you know my name?", "what is my name", "Say my name.", "What was my name?", "And what is my name?",
    held=("Can you tell me my name?", "Can you recall my name?", "So, what is my name?"),
)  # fmt: skip
_NUMBER = wordings(
    "Remember the number {x}.", "My number is {x}.", "Please remember {x}.", "My lucky number is {x}.",
    "My favourite number is {x}.", "The number is {x}.", "Remember {x}.", "Keep the number {x} in mind.",
    held=("Please remember the number {x}.", "Remember my number: {x}."),
)  # fmt: skip
_ASK_NUMBER = wordings(
    "What was the number?", "What is the number?", "Which number did I tell you?", "What is my number?",
    "What was my number?", "Do you remember the number?", "Tell me the number.", "Which number was it?",
    held=("Tell me the number again.", "What number did I tell you?"),
)  # fmt: skip
_COLOUR = wordings(
    "My favourite colour is {x}.", "My favorite color is {x}.", "I like {x}.", "I love the colour {x}.",
    "I like the colour {x}.", "{X} is my favourite colour.", "I like the color {x} best.",
    held=("The colour I like best is {x}.", "My best colour is {x}."),
)  # fmt: skip
_ASK_COLOUR = wordings(
    "What is my favourite colour?", "What is my favorite color?", "Which colour do I like?",
    "What colour do I like?", "What colour do I love?", "What's my favourite colour?",
    "Do you remember my favourite colour?",
    held=("Tell me my favourite colour.", "Which colour is my favourite?"),
)  # fmt: skip
_PET = wordings(
    "I have a {a} named {x}.", "My {a} is called {x}.", "My {a} is named {x}.", "I have a {a} called {x}.",
    "This is my {a} {x}.", "The name of my {a} is {x}.", "My {a}'s name is {x}.",
    held=("I own a {a} called {x}.", "My {a} has the name {x}."),
)  # fmt: skip
_ASK_PET = wordings(
    "What is my {a} called?", "What is the name of my {a}?", "What is my {a}'s name?",
    "What's the name of my {a}?", "Do you remember my {a}'s name?", "How is my {a} called?",
    "What's my {a}'s name?",
    held=("Tell me the name of my {a}.", "What name does my {a} have?"),
)  # fmt: skip
_PETS = ("cat", "dog", "horse", "rabbit", "duck", "hamster", "parrot")
_UNTOLD = (
    (_ASK_NAME, "You have not told me your name yet."),
    (_ASK_COLOUR, "You have not told me your favourite colour yet."),
    (_ASK_NUMBER, "You have not told me a number yet."),
)


def recall(draw: Draw) -> Recall:
    """Something to remember: a name, a number, a colour or a pet's name."""
    kind = draw.rng.choice(("name", "name", "number", "colour", "pet"))
    if kind == "name":
        name = draw.slot("memory-name", lambda: draw.rng.choice(PEOPLE))
        return _recall(draw, _NAME, f"Nice to meet you, {name}!", _ASK_NAME, f"Your name is {name}.", x=name)
    if kind == "number":
        number = draw.slot("memory-number", lambda: draw.rng.randint(1, 99))
        return _recall(
            draw, _NUMBER, f"I will remember {number}.", _ASK_NUMBER, f"The number is {number}.", x=number
        )
    if kind == "colour":
        colour, pattern = draw.fact("memory-colour", CATEGORIES["colours"], _COLOUR)
        told = draw.fill(pattern, x=colour, X=capital(colour))
        return Recall(
            told, f"{capital(colour)} is a nice colour.", draw.say(_ASK_COLOUR), f"You like {colour}."
        )
    animal, name = draw.slot("memory-pet", lambda: (draw.rng.choice(_PETS), draw.rng.choice(PET_NAMES)))
    reply = f"{name} is a nice name for a {animal}."
    return _recall(draw, _PET, reply, _ASK_PET, f"Your {animal} is called {name}.", x=name, a=animal)


def untold(draw: Draw) -> tuple[str, str]:
    """A question about something never told, with its honest answer."""
    choices, answer = draw.rng.choice(_UNTOLD)
    return draw.say(choices), answer


def _recall(draw: Draw, told: Wordings, reply: str, ask: Wordings, answer: str, **slots: object) -> Recall:
    return Recall(draw.say(told, **slots), reply, draw.say(ask, **slots), answer)
