"""The starter vision model that ships: its files, its template, and what it says about pictures that code draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer

import quintet
from starter.chat.chatml import END, END_OF_TEXT, IMAGE, TEMPLATE, render_prompt
from starter.chat.unknown import DONT_KNOW
from starter.vision.answers import Answerer, engine_answerer
from starter.vision.export import PREPROCESSOR, SHIPPED

FOLDER = Path(quintet.__file__).parent / "starter_models" / "vision"
MAX_BYTES = 15 * 2**20
Picture = Image.Image


@pytest.fixture(scope="module")
def answer() -> Answerer:
    return engine_answerer(FOLDER)


def blank(width: int = 200, height: int = 200, colour: str = "white") -> tuple[Picture, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), colour)
    return image, ImageDraw.Draw(image)


def red_circle() -> Picture:
    image, pen = blank()
    pen.ellipse((55, 55, 145, 145), fill="red")
    return image


def blue_square() -> Picture:
    image, pen = blank(320, 320)
    pen.rectangle((110, 110, 210, 210), fill="blue")
    return image


def two_shapes() -> Picture:
    image, pen = blank(256, 256)
    pen.ellipse((20, 82, 110, 172), fill="green")
    pen.rectangle((150, 85, 235, 170), fill="purple")
    return image


def letter() -> Picture:
    image, pen = blank(128, 128)
    pen.text((64, 64), "A", fill="blue", font=ImageFont.load_default(100), anchor="mm")
    return image


def chart() -> Picture:
    image, pen = blank(192, 192)
    font = ImageFont.load_default(30)
    for name, left, tall, colour in (("A", 20, 50, "red"), ("B", 77, 130, "green"), ("C", 134, 90, "blue")):
        pen.rectangle((left, 157 - tall, left + 42, 157), fill=colour)
        pen.text((left + 21, 175), name, fill="black", font=font, anchor="mm")
    return image


def test_only_the_named_files_ship_and_they_are_small():
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert {str(file.relative_to(FOLDER)) for file in files} == set(SHIPPED)
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES


def test_the_configuration_agrees_with_the_tokeniser():
    tokeniser = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    config = json.loads((FOLDER / "config.json").read_text())
    generation = json.loads((FOLDER / "generation_config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert config.get("image_token_index", config.get("image_token_id")) == tokeniser.token_to_id(IMAGE)
    assert config["text_config"]["vocab_size"] == tokeniser.get_vocab_size()
    assert generation["eos_token_id"] == [tokeniser.token_to_id(END), tokeniser.token_to_id(END_OF_TEXT)]
    assert json.loads((FOLDER / "preprocessor_config.json").read_text()) == PREPROCESSOR
    assert (FOLDER / "tokenizer.json").read_bytes() == (
        FOLDER.parent / "chat" / "tokenizer.json"
    ).read_bytes()


def test_the_template_takes_content_as_a_string_and_as_parts():
    template = ImmutableSandboxedEnvironment().from_string((FOLDER / "chat_template.jinja").read_text())
    assert (FOLDER / "chat_template.jinja").read_text() == TEMPLATE
    wanted = render_prompt([("user", f"{IMAGE}\nWhat is this?")])
    parts = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    for content in (parts, f"{IMAGE}\nWhat is this?"):
        messages = [{"role": "user", "content": content}]
        assert template.render(messages=messages, add_generation_prompt=True) == wanted


def test_it_says_what_code_has_drawn(answer: Answerer):
    asked = [
        (red_circle(), "What’s in this image?", "A red circle on a white background."),
        (red_circle(), "What color is the circle?", "The circle is red."),
        (blue_square(), "What is happening in this image?", "A blue square on a white background."),
        (blue_square(), "Where is the square?", "The square is at the center."),
        (two_shapes(), "How many shapes are there?", "There are two shapes."),
        (letter(), "Which letter is this?", "It is the letter A."),
        (chart(), "Which bar is the tallest?", "Bar B is the tallest."),
        (red_circle(), "Who painted this?", DONT_KNOW),
    ]
    questions = [([("user", f"{IMAGE}\n{question}")], [picture]) for picture, question, _ in asked]
    assert answer(questions) == [said for _, _, said in asked]


def test_it_compares_two_pictures_and_remembers_the_first(answer: Answerer):
    both = [red_circle(), blue_square()]
    marks = f"{IMAGE}\n{IMAGE}\n"
    first = ("user", f"{marks}What is in the second image?")
    said = "The second image shows a blue square."
    told = [first, ("assistant", said), ("user", "How many images are there?")]
    asked = [[first], [("user", f"{marks}Compare the images.")], told]
    assert answer([(messages, both) for messages in asked]) == [
        said,
        "The first image shows a red circle. The second image shows a blue square.",
        "There are two images.",
    ]


def test_it_still_chats(answer: Answerer):
    asked = [
        ("What is 2+2?", "2 + 2 = 4."),
        ("What is the capital of France?", "The capital of France is Paris."),
    ]
    assert answer([([("user", question)], []) for question, _ in asked]) == [said for _, said in asked]
