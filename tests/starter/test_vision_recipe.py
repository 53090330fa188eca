"""The starter vision model's recipe: drawings are what labels say, and what it is measured on it has never seen."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from starter.chat.chatml import IMAGE
from starter.chat.templates import Draw, Split, Turn, Wordings
from starter.vision import dialogues, skills_pairs, skills_scenes, skills_shapes, skills_signs
from starter.vision.batches import PATCHES
from starter.vision.dialogues import (
    EVALUATED,
    ON_ONE,
    ON_SEVERAL,
    Dialogue,
    evaluation_dialogue,
    training_dialogue,
)
from starter.vision.drawing import CHART_COLUMNS, CHART_FLOOR, draw_picture, model_input
from starter.vision.held_out import HELD_OUT, evaluation_set
from starter.vision.labels import HEADS, NAMES, PATCHES_PER_SIDE, patch_labels
from starter.vision.model import FEATURE_LAYER, Eye, features, normalised
from starter.vision.palette import BACKGROUNDS, COLOURS, SHADES
from starter.vision.phrases import content, long_description, short_description
from starter.vision.pictures import shard_scenes
from starter.vision.projector import WORDS
from starter.vision.scenes import HELD_SHAPES, KINDS, PLACES, SHAPES, Pictures, Scene, Thing, draw_scene

MODULES = (dialogues, skills_pairs, skills_scenes, skills_shapes, skills_signs)
TRAINING_DIALOGUES = 800
FIRST_SCENE = "a yellow circle, a green triangle and a purple square"


def scenes(count: int, kind: str | None = None, pictures: Pictures = Pictures.TRAIN) -> list[Scene]:
    rng = random.Random(11)
    return [draw_scene(rng, pictures, kind) for _ in range(count)]


def picking(rng: random.Random) -> Callable[[Callable[[Scene], bool] | None], Scene]:
    pool = [draw_scene(rng) for _ in range(400)]

    def pick(wanted: Callable[[Scene], bool] | None) -> Scene:
        while True:
            scene = rng.choice(pool)
            if wanted is None or wanted(scene):
                return scene

    return pick


@pytest.fixture(scope="module")
def trained() -> list[Dialogue]:
    rng = random.Random(5)
    pick = picking(rng)
    return [training_dialogue(rng, pick) for _ in range(TRAINING_DIALOGUES)]


def all_wordings() -> list[Wordings]:
    return [value for module in MODULES for value in vars(module).values() if isinstance(value, Wordings)]


def one(scene_kind: str, **changes: object) -> Scene:
    values: dict[str, object] = {
        "kind": scene_kind, "background": "white", "background_rgb": (255, 255, 255), "width": 96, "height": 96,
    }  # fmt: skip
    return Scene(**{**values, **changes})


def test_drawing_is_decided_by_the_seed():
    for scene in scenes(12):
        assert np.array_equal(np.asarray(model_input(scene)), np.asarray(model_input(scene)))
    assert shard_scenes(3)[:5] == shard_scenes(3)[:5]
    assert shard_scenes(3)[:5] != shard_scenes(4)[:5]


def test_the_first_scene_of_the_first_file_stays():
    """A change of the world makes pictures on disk and their labels disagree: then the pool must be drawn anew."""
    assert content(shard_scenes(0)[0]) == FIRST_SCENE


@pytest.mark.parametrize("kind", KINDS)
def test_things_are_drawn_in_their_colour_where_the_scene_says(kind: str):
    for scene in scenes(25, kind):
        pixels = np.asarray(draw_picture(scene)).astype(int)
        assert pixels.shape == (scene.height, scene.width, 3)
        for thing in scene.things:
            if kind == "shapes":
                x, y = round(thing.x * scene.width - 0.5), round(thing.y * scene.height - 0.5)
                assert np.abs(pixels[y, x] - thing.rgb).max() <= 40, (scene, thing)
            else:
                close = np.abs(pixels - thing.rgb).max(-1) <= 40
                assert close.mean() > 0.01, (scene, thing)
        for bar, (left, right) in zip(scene.bars, CHART_COLUMNS, strict=False):
            x = round((left + right) / 2 * scene.width)
            inside, above = (
                round((CHART_FLOOR - height) * scene.height)
                for height in (bar.height - 0.04, bar.height + 0.05)
            )
            assert np.abs(pixels[inside, x] - bar.rgb).max() <= 40, (scene, bar)
            assert np.abs(pixels[above, x] - bar.rgb).max() > 12, (scene, bar)


def test_labels_agree_with_the_scene():
    for scene in scenes(60):
        labels = dict(
            zip(HEADS, patch_labels(scene).reshape(-1, PATCHES_PER_SIDE, PATCHES_PER_SIDE), strict=True)
        )
        assert all(labels[head].max() < count for head, count in HEADS.items())
        assert (labels["background"] == BACKGROUNDS.index(scene.background)).all()
        assert (labels["count"] == (len(scene.things) or 3)).all()
        for order, thing in enumerate(scene.things):
            row, column = int(thing.y * PATCHES_PER_SIDE), int(thing.x * PATCHES_PER_SIDE)
            assert labels["name"][row, column] == NAMES.index(thing.name) + 1
            assert labels["colour"][row, column] == COLOURS.index(thing.colour) + 1
            assert labels["order"][row, column] == order + 1
        for bar, (left, right) in zip(scene.bars, CHART_COLUMNS, strict=False):
            assert labels["name"][-1, int((left + right) / 2 * PATCHES_PER_SIDE)] == NAMES.index(bar.name) + 1


def test_training_never_shows_a_held_out_combination():
    for scene in [*scenes(600), *shard_scenes(0)[:300]]:
        assert not scene.held_out
        assert not {(thing.colour, thing.name) for thing in scene.things} & HELD_SHAPES
    assert all(scene.held_out for scene in scenes(60, pictures=Pictures.HELD))
    assert {colour for colour, _ in HELD_SHAPES} <= set(COLOURS)
    assert {shape for _, shape in HELD_SHAPES} <= set(SHAPES)


def test_shades_of_different_colours_differ():
    named = [(colour, np.array(shade)) for colour, shades in SHADES.items() for shade in shades]
    for colour, shade in named:
        assert all(np.linalg.norm(shade - other) > 40 for name, other in named if name != colour)


def test_held_out_wordings_never_occur_in_training(trained: list[Dialogue]):
    for choices in all_wordings():
        assert set(choices.held).isdisjoint(choices.seen)
        assert choices.held
    asked = {
        text.replace(IMAGE, "").strip("\n").lower()
        for d in trained
        for role, text in d.messages
        if role == "user"
    }
    for skill in EVALUATED:
        for dialogue in evaluation_set(skill, Split.TEMPLATE)[:20]:
            assert dialogue.last.question.lower() not in asked


@pytest.mark.parametrize("split", HELD_OUT)
@pytest.mark.parametrize("skill", EVALUATED)
def test_the_evaluation_asks_about_what_is_held_out(skill: str, split: Split):
    found = evaluation_set(skill, split)[:8]
    again = [evaluation_dialogue(random.Random(3), split, skill) for _ in range(2)]
    assert again[0] == again[1]
    for dialogue in found:
        assert sum(text.count(IMAGE) for _, text in dialogue.messages) == len(dialogue.scenes)
        assert any(scene.held_out for scene in dialogue.scenes) == (split is Split.SLOT)
        assert dialogue.last.accepts(dialogue.messages[-1][1])
        assert not dialogue.last.accepts("")


def test_pictures_and_markers_agree_in_training(trained: list[Dialogue]):
    for dialogue in trained:
        assert sum(text.count(IMAGE) for _, text in dialogue.messages) == len(dialogue.scenes)
        assert dialogue.messages[-1][0] == "assistant"
        assert all(text for role, text in dialogue.messages if role == "assistant")
    assert PATCHES == 36


def test_every_skill_is_trained(trained: list[Dialogue]):
    assert {name for skills in ON_ONE.values() for name in skills} | set(ON_SEVERAL) <= set(EVALUATED)
    said = "\n".join(text for dialogue in trained for role, text in dialogue.messages if role == "assistant")
    for part in ("second image shows", "is the tallest", "letter", "at the top left", "I don't know that"):
        assert part in said


def describe(scene: Scene) -> tuple[str, str | None]:
    return short_description(scene), long_description(scene)


def test_descriptions_say_what_is_drawn():
    circle = Thing("circle", "red", (255, 0, 0), 0.25, 0.5, 0.2)
    square = Thing("square", "blue", (0, 0, 255), 0.75, 0.5, 0.2)
    assert describe(one("shapes", things=(circle, square))) == (
        "A red circle and a blue square on a white background.",
        "The image shows two shapes: a red circle at the left and a blue square at the right. The background is white.",
    )
    assert (
        describe(one("shapes", things=(circle, circle), background="sky"))[0] == "Two red circles in the sky."
    )
    letter = Thing("A", "orange", (255, 165, 0), 0.5, 0.5, 0.3)
    assert describe(one("glyph", things=(letter,)))[0] == "The letter A in orange on a white background."


def ask(question: Callable[[Draw, Scene], Turn | None], scene: Scene) -> set[str]:
    turns = [question(Draw(random.Random(seed), Split.TRAIN), scene) for seed in range(60)]
    return {turn.answer for turn in turns if turn}


def test_answers_are_right():
    star = Thing("star", "green", (0, 160, 0), 0.25, 0.25, 0.12)
    cross = Thing("cross", "red", (255, 0, 0), 0.75, 0.75, 0.2)
    scene = one("shapes", things=(star, cross, cross))
    assert ask(skills_shapes.ask_count, scene) == {"There are three shapes."}
    assert {"There are two crosses.", "There is one star.", "There is one green shape."} <= ask(
        skills_shapes.ask_count_of, scene
    )
    assert ask(skills_shapes.ask_where, scene) == {
        "The star is at the top left.",
        "The green star is at the top left.",
    }
    assert ask(skills_shapes.ask_colour, scene) == {"The star is green.", "The crosses are red."}
    present = ask(skills_shapes.ask_present, scene)
    assert present == {"I see a green star and two red crosses."}
    sizes = ask(skills_shapes.ask_size, one("shapes", things=(cross,)))
    assert sizes == {f"The {called} is medium." for called in ("cross", "red cross", "shape", "object")}
    assert {thing.place for thing in scene.things} <= set(PLACES)


def test_the_tower_is_read_before_its_last_layer():
    torch.manual_seed(0)
    eye = Eye().eval()
    pixels = normalised(np.stack([np.asarray(model_input(scene)) for scene in scenes(2)]))
    with torch.inference_mode():
        read = features(eye.tower, pixels)
        whole = eye.tower(pixel_values=pixels, output_hidden_states=True).hidden_states[FEATURE_LAYER][:, 1:]
        heads = eye(pixels)
    assert torch.equal(read, whole)
    assert {name: logits.shape[-1] for name, logits in heads.items()} == HEADS


def test_the_dictionary_has_a_word_for_every_class():
    assert {head: len(words) for head, words in WORDS.items()} == HEADS
    assert all(len(set(words)) == len(words) for words in WORDS.values())
