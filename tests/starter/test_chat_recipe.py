"""The starter chat model's recipe: what it writes is right, and what it is measured on it has never seen."""

from __future__ import annotations

import random

import pytest

from starter.chat import (
    conversations,
    skills_facts,
    skills_memory,
    skills_numbers,
    skills_talk,
    skills_text,
    unknown,
)
from starter.chat.chatml import TIDY, UNTIDY, render_prompt, segments, training_segments
from starter.chat.conversations import DRILL, EVALUATED, SKILLS, WEIGHTS
from starter.chat.evaluate import as_markdown, macro, measure
from starter.chat.held_out import HELD_OUT, clean_conversation, evaluation_set, plainly
from starter.chat.skills_facts import listed_right
from starter.chat.skills_numbers import ask_arithmetic, written_difference, written_sum
from starter.chat.skills_text import told_right
from starter.chat.templates import Draw, Split, Wordings, expand, wordings
from starter.chat.unknown import DONT_KNOW, ask_unknown

SKILL_MODULES = (skills_facts, skills_memory, skills_numbers, skills_talk, skills_text, unknown)
TRAINING_CONVERSATIONS = 20_000
FIRST_QUESTIONS = (
    "Hello!", "Hi", "Say hello", "Who are you?", "What can you do?", "What is your name?", "Tell me a joke.",
    "Write a haiku.", "How are you?", "Count to 10.", "Tell me a story.",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained_questions() -> set[str]:
    rng = random.Random(5)
    conversations = (clean_conversation(rng) for _ in range(TRAINING_CONVERSATIONS))
    return {text for messages in conversations for role, text in messages if role == "user"}


@pytest.mark.parametrize("split", HELD_OUT)
@pytest.mark.parametrize("skill", EVALUATED)
def test_held_out_questions_never_occur_in_training(skill: str, split: Split, trained_questions: set[str]):
    asked = {plainly(conversation.held_out) for conversation in evaluation_set(skill, split)}
    assert asked.isdisjoint(map(plainly, trained_questions))


@pytest.mark.parametrize("split", HELD_OUT)
@pytest.mark.parametrize("skill", EVALUATED)
def test_every_question_accepts_its_own_answer_and_no_other(skill: str, split: Split):
    for conversation in evaluation_set(skill, split):
        assert conversation.last.accepts(conversation.messages[-1][1])
        assert not conversation.last.accepts("")
        answer = conversation.messages[-1][1]
        assert not conversation.last.accepts(answer[: len(answer) // 2])


def test_the_evaluation_set_is_fixed():
    first = evaluation_set("fact", Split.SLOT)
    evaluation_set.cache_clear()
    assert evaluation_set("fact", Split.SLOT) == first


def all_wordings() -> list[Wordings]:
    found: list[Wordings] = []
    waiting: list[object] = [
        value for module in (conversations, *SKILL_MODULES) for value in vars(module).values()
    ]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Wordings):
            found.append(value)
        elif isinstance(value, tuple | list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
    return found


def test_no_wording_is_both_seen_and_held_out():
    found = all_wordings()
    assert len(found) > 60
    for choices in found:
        assert {plainly(text) for text in choices.seen}.isdisjoint(plainly(text) for text in choices.held)
        assert choices.held


def test_every_skill_is_trained_and_evaluated():
    assert set(WEIGHTS) == set(SKILLS)
    assert set(SKILLS) <= set(EVALUATED)
    assert DRILL not in EVALUATED


@pytest.mark.parametrize(
    "question", ["Hello!", "Hi", "Who are you?", "What can you do?", "Tell me a joke.", "Write a haiku."]
)
def test_the_first_questions_people_type_are_trained(question: str, trained_questions: set[str]):
    assert question in trained_questions


def test_sums_are_right_and_write_their_step():
    assert written_sum(27, 45) == "27 + 45 = 67 + 5 = 72"
    assert written_sum(27, 5) == "27 + 5 = 32"
    assert written_difference(72, 45) == "72 - 45 = 32 - 5 = 27"
    rng = random.Random(1)
    for _ in range(500):
        turn = ask_arithmetic(Draw(rng, Split.TRAIN))
        *steps, result = turn.answer.rstrip(".").split(" = ")
        assert turn.brief in (result, turn.answer.rstrip("."))
        assert {eval_sum(step) for step in steps} == {int(result)}


def eval_sum(text: str) -> int:
    left, sign, right = text.split()
    return {"+": int(left) + int(right), "-": int(left) - int(right), "x": int(left) * int(right)}[sign]


def test_a_list_is_judged_by_its_members():
    assert listed_right("1. Apple\n2. Banana\n3. Plum", "fruits", 3)
    assert listed_right("apple, banana, plum", "fruits", 3)
    assert not listed_right("1. Apple\n2. Apple\n3. Plum", "fruits", 3)
    assert not listed_right("1. Apple\n2. Banana", "fruits", 3)
    assert not listed_right("1. Apple\n2. Banana\n3. Table", "fruits", 3)


def test_a_story_is_judged_by_its_words_and_its_end():
    sentences = [f"Once there was a fox number {n} who walked in the forest." for n in range(6)]
    assert told_right(" ".join(sentences), ("fox",))
    assert not told_right(" ".join(sentences), ("bear",))
    assert not told_right(" ".join(sentences)[:-1], ("fox",))
    assert not told_right(" ".join([*sentences[:5], sentences[0]]), ("fox",))


def test_what_lies_beyond_is_not_known():
    rng = random.Random(2)
    answers = {ask_unknown(Draw(rng, split)).answer for split in Split for _ in range(50)}
    assert DONT_KNOW in answers
    assert all(answer.startswith(("I don't know", "That is too big")) for answer in answers)


def test_alternatives_are_expanded_and_held_wordings_stay_out():
    rng = random.Random(3)
    assert {expand(rng, "[a|b] [c|]") for _ in range(50)} == {"a c", "b c", "a ", "b "}
    choices = wordings("seen {x}", held=("held {x}",))
    assert choices == Wordings(("seen {x}",), ("held {x}",))
    assert Draw(rng, Split.TRAIN).say(choices, x=1) == "seen 1"
    assert Draw(rng, Split.TEMPLATE).say(choices, x=1) == "held 1"


def test_only_what_the_assistant_says_is_learned():
    messages = [("system", "S"), ("user", "U"), ("assistant", "A")]
    for habits in (TIDY, *UNTIDY):
        assert [piece.text for piece in segments(messages, habits) if piece.learned] == ["A<|im_end|>"]
    rng = random.Random(4)
    for _ in range(200):
        assert [piece.text for piece in training_segments(rng, messages) if piece.learned] == ["A<|im_end|>"]


def test_the_prompt_is_what_the_training_shows_before_an_answer():
    messages = [("user", "U"), ("assistant", "A")]
    for habits in (TIDY, *UNTIDY):
        shown = "".join(piece.text for piece in segments(messages, habits))
        assert shown.startswith(render_prompt(messages[:1], habits) + "A")


def test_the_table_counts_right_answers():
    def know_nothing(conversations: list) -> list[str]:
        return ["I don't know that. I am only a small starter model."] * len(conversations)

    table = measure(know_nothing, 5, ("opposite", "unknown"))
    assert table["opposite"][Split.SLOT].percent == 0
    assert table["unknown"][Split.TEMPLATE].percent >= 60
    assert macro(table, Split.TEMPLATE) == table["unknown"][Split.TEMPLATE].percent / 2
    assert as_markdown(table).count("\n") == 4
