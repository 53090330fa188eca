"""The world of starter-image: what is drawn, what is said of it, what training never sees, and how it is judged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from starter.image import tokeniser as tokeniser_module
from starter.image.autoencoder import AutoencoderRun, decode, encode, make_autoencoder, whiten
from starter.image.autoencoder import Plan as AutoencoderPlan
from starter.image.captions import Wording, caption
from starter.image.checker import look, score
from starter.image.evaluate import ROWS, evaluation_set
from starter.image.export import SHIPPED, export_model, load_painter
from starter.image.latents import marks, write_latents
from starter.image.loras import STYLES, outlined, paled
from starter.image.noise import SCHEDULE, STEPS, noised, some_times
from starter.image.pictures import draw_wishes, load_shard, shards, write_shard
from starter.image.scenes import KINDS, SHAPES, SIDE, Wish, Wishes, draw_wish, visible
from starter.image.text import warm_up
from starter.image.tokeniser import LENGTH, load_tokeniser
from starter.image.train import PainterRun, Plan
from starter.vision.drawing import draw_picture
from starter.vision.palette import BACKGROUNDS, COLOURS

CHECKED = [kind for kind in KINDS if kind not in ("motion", "plain")]


def wishes(count: int, kind: str | None = None, side: Wishes = Wishes.TRAIN) -> list[Wish]:
    rng = random.Random(7)
    return [draw_wish(rng, side, kind) for _ in range(count)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks are quickest on one thread, above all beside other programs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything that training needs, tiny: a pool of 16 pictures, an autoencoder and a text encoder."""
    folder = tmp_path_factory.mktemp("image")
    patch = pytest.MonkeyPatch()
    patch.setattr("starter.image.pictures.SHARD", 16)
    patch.setattr(tokeniser_module, "_CAPTIONS", 1000)
    patch.setattr(tokeniser_module, "_LEAST_SEEN", 2)
    torch.manual_seed(0)
    (folder / "pool").mkdir()
    write_shard(folder / "pool", 0)
    run = AutoencoderRun(folder / "vae", folder / "pool", AutoencoderPlan(24, 12), "cpu", 1)
    (folder / "vae").mkdir()
    run.learn()
    run.finish()
    warm_up(folder / "text", 1, batch=4)
    write_latents(
        folder / "pool", 0, make_autoencoder().eval(), load_tokeniser(folder / "text" / "tokenizer")
    )
    yield folder
    patch.undo()


def painter_run(work: Path, total: int, folder: str = "run") -> PainterRun:
    (work / folder).mkdir(exist_ok=True)
    plan = Plan(total, total / 2, batch=4, warmup=4)
    return PainterRun(work / folder, work / "pool", work / "text", plan, "cpu", 1)


def test_held_out_combinations_are_only_in_the_evaluation():
    assert not any(wish.held_out for wish in wishes(400))
    for row in ROWS:
        asked = evaluation_set(row, 20)
        assert len(asked) == 20
        assert all(wish.held_out for wish, _ in asked)


def test_the_evaluation_is_the_same_every_time():
    assert evaluation_set.__wrapped__("one shape", 10) == evaluation_set.__wrapped__("one shape", 10)


def test_every_shape_colour_background_and_kind_is_trained():
    seen = wishes(1500)
    assert {shape for wish in seen for _, shape in wish.looks} == set(SHAPES)
    assert {colour for wish in seen for colour, _ in wish.looks} == set(COLOURS)
    assert {wish.scene.background for wish in seen} == set(BACKGROUNDS)
    assert {wish.kind for wish in seen} == set(KINDS)
    assert any(wish.background is None for wish in seen)


def test_things_stand_out_and_lie_inside():
    for wish in wishes(300):
        for thing in wish.scene.things:
            assert visible(thing.colour, wish.scene.background)
            assert thing.x - thing.radius >= 0
            assert thing.x + thing.radius <= 1


@pytest.mark.parametrize("wording", list(Wording))
def test_a_caption_says_everything_that_was_wished(wording: Wording):
    rng = random.Random(3)
    for wish in wishes(200, "pair"):
        text = caption(rng, wish, wording).lower().replace("grey", "gray")
        for colour, shape in wish.looks:
            assert colour in text
            assert shape in text
        if wish.background in COLOURS:
            assert text.count(wish.background) >= 1


def test_loose_wordings_are_never_trained():
    rng = random.Random(3)
    trained = {caption(rng, wish) for wish in wishes(1500)}
    loose = {caption(rng, wish, Wording.LOOSE) for wish in wishes(300, "single", Wishes.HELD)}
    assert not trained & loose


@pytest.mark.parametrize("kind", CHECKED)
def test_the_checker_sees_what_is_drawn(kind: str):
    for wish in wishes(15, kind):
        found = score(wish, draw_picture(wish.scene))
        assert found["all"], (wish, found)


@pytest.mark.parametrize("kind", CHECKED)
def test_the_checker_sees_what_is_wrong(kind: str):
    for wish in wishes(6, kind):
        first, *rest = wish.scene.things
        other = next(shape for shape in SHAPES if shape != first.name)
        without = replace(wish.scene, things=tuple(rest))
        reshaped = replace(wish.scene, things=(replace(first, name=other), *rest))
        moved = replace(wish.scene, things=(*(replace(t, x=1 - t.x, y=1 - t.y) for t in wish.scene.things),))
        assert not score(wish, draw_picture(without))["count"]
        assert not score(wish, draw_picture(reshaped))["shape"]
        if wish.places and max(abs(first.x - 0.5), abs(first.y - 0.5)) > 0.1:
            assert not score(wish, draw_picture(moved))["place"]


def test_the_checker_reads_the_background_and_nothing_else_from_an_empty_picture():
    for wish in wishes(20, "plain"):
        sight = look(draw_picture(wish.scene))
        assert sight.background == wish.background
        assert sight.blots == ()


def test_marks_cover_the_shapes():
    wish = wishes(1, "single")[0]
    thing = wish.scene.things[0]
    covered = marks(wish)
    assert covered[int(thing.y * 16), int(thing.x * 16)]
    assert 0 < covered.mean() < 1


def test_noise_follows_the_schedule_that_samplers_are_told():
    kept = DDPMScheduler(**SCHEDULE).alphas_cumprod
    clean, noise, times = (
        torch.randn(5, 4, 2, 2),
        torch.randn(5, 4, 2, 2),
        torch.tensor([0, 10, 500, 900, 999]),
    )
    noisy, velocity = noised(clean, noise, times)
    signal = kept[times].view(-1, 1, 1, 1).sqrt()
    assert torch.allclose(signal * noisy - (1 - signal**2).sqrt() * velocity, clean, atol=1e-4)
    drawn = some_times(2000)
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < STEPS


def test_whitening_changes_latents_but_not_pictures():
    torch.manual_seed(0)
    model = make_autoencoder().eval()
    pixels = draw_wishes(wishes(8))
    before = decode(model, encode(model, pixels))
    whiten(model, pixels)
    latents = encode(model, pixels)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-3
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 1e-2
    assert np.abs(decode(model, latents).astype(int) - before).max() <= 1


def test_the_tokeniser_takes_any_text_and_its_own_words_whole(work: Path):
    tokeniser = load_tokeniser(work / "text" / "tokenizer")
    pieces = tokeniser.convert_ids_to_tokens(tokeniser("A red circle, Yellow Background").input_ids)
    assert pieces[1:-1] == ["a</w>", "red</w>", "circle</w>", ",</w>", "yellow</w>", "background</w>"]
    long = tokeniser("zebra 🦓 ☃ " * 20, truncation=True, padding="max_length").input_ids
    assert len(long) == LENGTH
    assert len(tokeniser("").input_ids) == 2


def test_training_goes_on_where_it_was_cut(work: Path):
    run = painter_run(work, 8)
    run.learn()
    again = painter_run(work, 16)
    again.resume()
    assert again.seen == 8
    before = [p.detach().clone() for p in again.painter.parameters()]
    again.learn()
    assert again.seen == 16
    moved = [not torch.equal(a, b) for a, b in zip(before, again.painter.parameters(), strict=True)]
    assert sum(moved) > len(moved) * 0.9


def test_a_file_named_stop_ends_the_training(work: Path):
    run = painter_run(work, 10_000, "stopped")
    (work / "stopped" / "stop").touch()
    run.learn()
    assert run.seen == 4
    assert not (work / "stopped" / "stop").exists()
    assert (work / "stopped" / "painter.pt").exists()


def test_the_pool_is_complete_and_drawn_from_seeds(work: Path):
    assert shards(work / "pool", "pictures") == shards(work / "pool", "latents") == [0]
    again = draw_wishes([draw_wish(random.Random("wish/0/3"))])
    assert np.array_equal(load_shard(work / "pool", 0, "pictures")[3], again[0])


# diffusers' own schedulers turn tensors into arrays in a way that NumPy 2 frowns upon.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_what_is_exported_is_what_was_trained(work: Path):
    from diffusers import StableDiffusionPipeline

    run = painter_run(work, 4, "exported")
    run.learn()
    export_model(work / "exported", work / "vae", work / "shipped")
    files = {
        str(file.relative_to(work / "shipped")) for file in (work / "shipped").rglob("*") if file.is_file()
    }
    assert files == set(SHIPPED)
    pipeline = StableDiffusionPipeline.from_pretrained(
        work / "shipped", safety_checker=None, dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    trained = load_painter(work / "exported")
    for name, own in trained.unet.named_parameters():
        assert torch.allclose(own, pipeline.unet.get_parameter(name).float(), atol=2e-3)
    seed = torch.Generator().manual_seed(1)
    picture = pipeline("a red circle", num_inference_steps=2, generator=seed).images[0]
    assert picture.size == (SIDE, SIDE)


def test_outlines_are_hollow_and_pastel_is_pale():
    assert set(STYLES) == {"outline", "pastel"}
    for wish in wishes(40, "single"):
        thing, full = wish.scene.things[0], draw_picture(wish.scene)
        centre = int(thing.x * SIDE), int(thing.y * SIDE)
        if thing.size == "large" and thing.name in ("circle", "square"):
            hollow = np.array(outlined(wish).getpixel(centre), int)
            assert np.abs(hollow - np.array(full.getpixel(centre), int)).sum() > 55
        assert _saturation(paled(wish)) <= _saturation(full)


def _saturation(picture: Image.Image) -> float:
    return float(np.asarray(picture.convert("HSV"))[..., 1].mean())
