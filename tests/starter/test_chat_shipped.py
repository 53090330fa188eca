"""The starter chat model that ships: its files, its tokeniser, its template, and what it answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

import quintet
from starter.chat.answers import Answerer, engine_answerer
from starter.chat.chatml import END, END_OF_TEXT, ROLES, SPECIAL_TOKENS, TEMPLATE, render_prompt
from starter.chat.export import SHIPPED
from starter.chat.skills_talk import CAN, WHO
from starter.chat.tokeniser import VOCABULARY_SIZE
from starter.chat.unknown import DONT_KNOW

FOLDER = Path(quintet.__file__).parent / "starter_models" / "chat"
MAX_BYTES = 15 * 2**20


@pytest.fixture(scope="module")
def tokeniser() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@pytest.fixture(scope="module")
def answer() -> Answerer:
    return engine_answerer(FOLDER)


def test_only_the_named_files_ship_and_they_are_small():
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert {str(file.relative_to(FOLDER)) for file in files} == set(SHIPPED)
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES


def test_role_words_and_digits_are_single_tokens(tokeniser: Tokenizer):
    for role in ROLES:
        assert tokeniser.encode(role, add_special_tokens=False).tokens == [role]
    assert tokeniser.encode("a 2024", add_special_tokens=False).tokens[-4:] == ["2", "0", "2", "4"]
    assert [tokeniser.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))


def test_text_survives_the_tokeniser(tokeniser: Tokenizer):
    for text in ("Señor, ¿qué tal?", "नमस्ते 🙂", "two\n\nlines\t and  spaces", '{"name": "Ana", "age": 12}'):
        assert tokeniser.decode(tokeniser.encode(text, add_special_tokens=False).ids) == text


def test_the_configuration_agrees_with_the_tokeniser(tokeniser: Tokenizer):
    config = json.loads((FOLDER / "config.json").read_text())
    generation = json.loads((FOLDER / "generation_config.json").read_text())
    named = json.loads((FOLDER / "tokenizer_config.json").read_text())
    assert config["vocab_size"] == tokeniser.get_vocab_size() == VOCABULARY_SIZE
    assert generation["eos_token_id"] == [tokeniser.token_to_id(END), tokeniser.token_to_id(END_OF_TEXT)]
    assert named["eos_token"] == END
    assert named["chat_template"] == (FOLDER / "chat_template.jinja").read_text() == TEMPLATE


def test_the_template_renders_what_training_showed():
    template = ImmutableSandboxedEnvironment().from_string(TEMPLATE)
    spoken = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello!"), ("user", "Bye")]
    messages = [{"role": role, "content": text} for role, text in spoken]
    assert template.render(messages=messages, add_generation_prompt=True) == render_prompt(spoken)
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert template.render(messages=parts, add_generation_prompt=True) == render_prompt([("user", "Hi")])


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Hello!", "Hello! How can I help you?"),
        ("Who are you?", WHO),
        ("What can you do?", CAN),
        ("What is 2+2?", "2 + 2 = 4."),
        ("What is 17 plus 25?", "17 + 25 = 37 + 5 = 42."),
        ("What is the capital of France?", "The capital of France is Paris."),
        ("What is deep learning?", DONT_KNOW),
    ],
)
def test_it_answers_the_first_questions_people_type(answer: Answerer, question: str, expected: str):
    assert answer([[("user", question)]]) == [expected]


def test_it_remembers_within_the_conversation(answer: Answerer):
    told = [("user", "My name is Ana."), ("assistant", "Nice to meet you, Ana!")]
    assert answer([[*told, ("user", "What is my name?")]]) == ["Your name is Ana."]
