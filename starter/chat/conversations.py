"""Whole conversations: skills, system prompts and their styles, memory, and how sloppily users type."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starter.chat.skills_facts import ask_calendar, ask_fact, ask_list, ask_opposite, ask_translation
from starter.chat.skills_memory import recall, untold
from starter.chat.skills_numbers import ask_arithmetic, ask_compare, ask_word_problem
from starter.chat.skills_talk import ask_fun, ask_greeting, ask_identity
from starter.chat.skills_text import ask_context, ask_copy_drill, ask_json, ask_letters, ask_repeat, ask_story
from starter.chat.templates import Draw, Split, Turn, wordings
from starter.chat.unknown import ask_unknown, junk_text

Message = tuple[str, str]
"""A role and its text."""

SKILLS: dict[str, Callable[[Draw], Turn]] = {
    "greeting": ask_greeting,
    "identity": ask_identity,
    "fun": ask_fun,
    "arithmetic": ask_arithmetic,
    "word problem": ask_word_problem,
    "compare": ask_compare,
    "fact": ask_fact,
    "opposite": ask_opposite,
    "calendar": ask_calendar,
    "translation": ask_translation,
    "list": ask_list,
    "story": ask_story,
    "letters": ask_letters,
    "repeat": ask_repeat,
    "json": ask_json,
    "context": ask_context,
    "unknown": ask_unknown,
}
WEIGHTS: dict[str, float] = {
    "greeting": 5, "identity": 8, "fun": 3, "arithmetic": 11, "word problem": 9, "compare": 15, "fact": 10, "opposite": 2,
    "calendar": 8, "translation": 5, "list": 9, "story": 2, "letters": 8, "repeat": 5, "json": 3, "context": 18, "unknown": 6,
}  # fmt: skip
DRILL = "copy drill"
DRILL_WEIGHT = 4.0
MEMORY = "memory"
STYLES = ("concise", "capitals", "pirate")
_LONG = frozenset({"story"})

_PLAIN_SYSTEM = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are a helpful assistant.",
    "You are a helpful AI assistant.", "You are an assistant.", "You are a friendly assistant.",
    "You are Quintet's starter model.", "You are a helpful, honest and harmless assistant.", "You are a chatbot.",
    "You are an expert in everything.", "Be helpful.", "Be polite and friendly.",
    "Answer the questions of the user.", "Help the user.",
    "You are an AI assistant that follows instructions well.",
    "You are a helpful assistant. Answer every question as well as you can.",
    "You are a helpful assistant. Think step by step and answer truthfully.",
    "A chat between a curious user and an assistant. The assistant gives helpful and polite answers.",
    "You are a knowledgeable assistant who always answers in English.", "You are a teacher.",
    "You are a support agent of a shop.", "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024",
    "You are a helpful assistant.\nToday is Monday.", "You are a coding assistant.",
    "You are a helpful assistant named Max.",
)  # fmt: skip
_STYLE_SYSTEM = {
    "concise": wordings(
        "Answer concisely.", "Give brief answers.", "Please be concise.", "Please keep your answers short.",
        "Keep it short.", "Please answer in a few words.", "Answer in a few words.", "You are brief.",
        "Your replies are concise.", "Please give only the answer.", "Be short and clear.", "Give short answers.",
        "You answer in as few words as possible.", "Be concise.", "Answer briefly.",
        "Answer in one word if you can.", "Keep your answers short.", "You give very short answers.",
        "You are a helpful assistant. Answer concisely.", "You are a concise assistant.",
        "Reply with just the answer.", "Use as few words as possible.", "Short answers only.",
        held=("Be brief.", "Your answers are short.", "Please answer concisely."),
    ),
    "capitals": wordings(
        "Answer in capital letters.", "Please answer in capital letters.", "Write in capital letters.",
        "Please use capital letters.", "Answer in upper case.", "Write in upper case only.", "All caps, please.",
        "You always write in capital letters.", "You answer in capital letters.", "Please answer in all caps.",
        "Always write in capital letters.", "Use only upper case letters.", "Reply in capital letters.",
        "Write everything in capital letters.", "You are a helpful assistant. Answer in capital letters.",
        "ANSWER IN CAPITAL LETTERS.", "Use capital letters only.", "You only speak in capital letters.",
        "Respond in all caps.",
        held=("Reply in all caps.", "Please write in capital letters.", "You always answer in upper case."),
    ),
    "pirate": wordings(
        "You are a pirate.", "Please speak like a pirate.", "You are a friendly old pirate.",
        "Answer as a pirate.", "You always talk like a pirate.", "Please answer like a pirate.",
        "You are the pirate of the ship.", "Talk like a pirate.", "You speak like a pirate.",
        "Answer like a pirate.", "You are a helpful pirate.", "You are a pirate assistant.",
        "Speak like a pirate.", "Always answer like a pirate.", "You are an old pirate.",
        "You are a helpful assistant. Talk like a pirate.", "Act as a pirate.",
        held=("Answer as a pirate would.", "Please talk like a pirate.", "You are a friendly pirate."),
    ),
}  # fmt: skip
_PREFIXES = (
    "Please tell me: ", "Hey, ", "Ok, ", "Question: ", "I want to know: ", "Quick question: ", "Hi! ", "Hello, ",
    "So, ", "Now: ", "Please: ", "Tell me, ", "And ",
)  # fmt: skip
_SUFFIXES = (" Please.", " Thanks!", " Tell me.", " please", " Thank you.", " Quick.", " :)", " Answer me.")


@dataclass(frozen=True)
class Conversation:
    """Messages that end in the assistant's answer, the turn that judges it, and the text kept from training."""

    messages: tuple[Message, ...]
    last: Turn
    held_out: str

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last answer."""
        return self.messages[:-1]


def styled(turn: Turn, style: str) -> Turn:
    """The turn with its answer, and its judgement, in the style that the system prompt asks for."""
    if style == "concise":
        return Turn(
            turn.question, turn.brief, turn.brief, turn.check, exact_case=turn.exact_case, skill=turn.skill
        )
    if style == "capitals":
        return Turn(
            turn.question, turn.answer.upper(), turn.brief, exact_case=turn.exact_case, skill=turn.skill
        )
    if style != "pirate":
        return turn
    said, plain = "Arr, matey! ", turn.check
    check = (lambda text: text.startswith(said) and plain(text.removeprefix(said))) if plain else None
    return Turn(
        turn.question, said + turn.answer, turn.brief, check, exact_case=turn.exact_case, skill=turn.skill
    )


def fits(turn: Turn, style: str) -> bool:
    """Whether the turn can be answered in the style."""
    if style == "capitals":
        return turn.loud
    return turn.skill not in ("json", DRILL)


def draw_turn(draw: Draw, style: str = "", short: bool = False) -> Turn:
    """One turn of any skill, by weight, that the style can be applied to."""
    names = [*WEIGHTS, DRILL] if draw.split is Split.TRAIN and not style else [*WEIGHTS]
    weights = [*WEIGHTS.values(), DRILL_WEIGHT][: len(names)]
    while True:
        skill = draw.rng.choices(names, weights)[0]
        if short and skill in _LONG:
            continue
        turn = (ask_copy_drill(draw) if skill == DRILL else SKILLS[skill](draw)).named(skill)
        if not style or fits(turn, style):
            return styled(turn, style)


def sloppy(rng: random.Random, turn: Turn) -> str:
    """The question as a hurried user would type it."""
    chance, question = rng.random(), turn.question
    if chance < 0.7 or "\n" in question:
        return question
    if chance < 0.76:
        return rng.choice(_PREFIXES) + question
    if chance < 0.80 and question[-1] in ".?!":
        return question + rng.choice(_SUFFIXES)
    if turn.exact_case:
        return question
    if chance < 0.88:
        return question[:1].lower() + question[1:]
    if chance < 0.94:
        return question.rstrip("?.!") or question
    return question.lower()


def training_conversation(rng: random.Random) -> tuple[Message, ...]:
    """A conversation of one to six turns to learn from."""
    draw = Draw(rng, Split.TRAIN)
    style = rng.choices(("", *STYLES), (68, 13, 10, 9))[0]
    messages = _opening(draw, style)
    if not style and rng.random() < 0.12:
        return tuple(messages + _memory_messages(draw, sloppy_too=True))
    for _ in range(rng.randint(1, 6)):
        turn = draw_turn(draw, style, short=style in ("capitals", "concise"))
        messages += [("user", sloppy(rng, turn)), ("assistant", turn.answer)]
    return tuple(messages)


def _opening(draw: Draw, style: str) -> list[Message]:
    if style:
        return [("system", draw.say(_STYLE_SYSTEM[style]))]
    chance = draw.rng.random()
    if chance < 0.45:
        return []
    if chance < 0.9:
        return [("system", draw.rng.choice(_PLAIN_SYSTEM))]
    return [("system", f"{draw.rng.choice(_PLAIN_SYSTEM)} {junk_text(draw)}")]


def _memory_messages(draw: Draw, sloppy_too: bool = False) -> list[Message]:
    train = Draw(draw.rng, Split.TRAIN)

    def filler() -> list[Message]:
        turn = draw_turn(train, short=True)
        return [("user", sloppy(draw.rng, turn) if sloppy_too else turn.question), ("assistant", turn.answer)]

    messages: list[Message] = []
    if draw.split is not Split.SLOT and draw.chance(0.2):  # nothing told, so no slot to hold out
        for _ in range(draw.rng.randint(0, 1)):
            messages += filler()
        question, answer = untold(draw)
        return [*messages, ("user", question), ("assistant", answer)]
    told = recall(draw)
    messages += [("user", told.told), ("assistant", told.reply)]
    for _ in range(draw.rng.choice((0, 1, 1, 2))):
        messages += filler()
    return [*messages, ("user", told.question), ("assistant", told.answer)]


def evaluation_conversation(rng: random.Random, split: Split, skill: str) -> Conversation:
    """A conversation whose last question is held out of training."""
    draw = Draw(rng, split)
    if skill == MEMORY:
        messages = _memory_messages(draw)
        (_, question), (_, answer) = messages[-2:]
        told = messages[0][1] if split is Split.SLOT else question
        return Conversation(tuple(messages), Turn(question, answer, answer, skill=skill), told)
    turn = SKILLS[skill](draw).named(skill)
    messages = [("system", _PLAIN_SYSTEM[0])] if rng.random() < 0.3 else []
    return Conversation((*messages, ("user", turn.question), ("assistant", turn.answer)), turn, turn.question)


def styled_conversation(rng: random.Random, split: Split, style: str, turns: Sequence[Turn]) -> Conversation:
    """One of the held-out questions under a system prompt that asks for a style."""
    while True:
        skill = rng.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
        turn = rng.choice([turn for turn in turns if turn.skill == skill])
        if skill not in _LONG and fits(turn, style):
            break
    system = Draw(rng, split).say(_STYLE_SYSTEM[style])
    turn = styled(turn, style)
    messages = (("system", system), ("user", turn.question), ("assistant", turn.answer))
    return Conversation(messages, turn, turn.question)


EVALUATED: tuple[str, ...] = (*SKILLS, MEMORY, *STYLES)
"""Every skill with a row in the published table."""
