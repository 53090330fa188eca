"""Every family draws by its real classes, and says by its folder what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quintet.core.errors import InvalidRequest, LoadFailed, Unsupported
from quintet.core.events import Finished, Progress, Usage, collect
from tests.engines import contract
from tests.engines.image.conftest import NATIVE, ask, content, files, model_of, pixels

FAMILIES = ("sd15", "sd2", "sdxl", "turbo", "sd3", "flux", "schnell")
DIFFERENT = ("sd15", "sdxl", "sd3", "flux")
"""Those that have pipelines of their own."""
WITH_SECOND_PROMPT = ("sdxl", "sd3", "flux")
WITH_NEGATIVE = ("sd15", "sd2", "sdxl", "sd3")


def draw(engine, *prompts, **more) -> np.ndarray:
    (events,) = contract.drive(engine, [ask(*prompts, **more)])
    (data,) = files(events)
    return pixels(data)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_what_it_is_asked(engines, family: str) -> None:
    engine = engines(family)
    events = contract.check_grammar(engine, ask())
    (data,) = files(events)
    again = files(contract.drive(engine, [ask()])[0])
    assert [data] == again
    assert pixels(data).shape == (NATIVE, NATIVE, 3)
    assert pixels(data).std() > 5
    assert abs(pixels(data) - draw(engine, "a blue square")).mean() > 0.2
    assert abs(pixels(data) - draw(engine, seed=8)).mean() > 1
    assert abs(pixels(data) - draw(engine, steps=3)).mean() > 0.2
    outcome = collect(events)
    assert outcome.finished.usage == Usage(images=1, pixel_steps=NATIVE * NATIVE * 2)
    assert outcome.finished.seed == 7
    steps = [event for event in events if isinstance(event, Progress)]
    assert [event.done / event.total for event in steps] == pytest.approx(
        np.arange(1, len(steps) + 1) / len(steps)
    )


@pytest.mark.parametrize("family", DIFFERENT)
def test_sizes_that_the_model_can_not_draw_are_cut_out_of_larger_ones(engines, family: str) -> None:
    assert draw(engines(family), width=NATIVE + 9, height=NATIVE - 23).shape == (NATIVE - 23, NATIVE + 9, 3)


@pytest.mark.parametrize("family", WITH_NEGATIVE)
def test_negative_prompt_makes_a_difference(engines, family: str) -> None:
    engine = engines(family)
    assert abs(draw(engine) - draw(engine, negative_prompts=("a dog",))).mean() > 0.05
    unguided = draw(engine, guidance=1.0)
    assert (unguided == draw(engine, guidance=1.0, negative_prompts=("a dog",))).all()


@pytest.mark.parametrize("family", WITH_SECOND_PROMPT)
def test_second_prompt_makes_a_difference(engines, family: str) -> None:
    engine = engines(family)
    assert abs(draw(engine) - draw(engine, second_prompts=("a dog",))).mean() > 0.02


def test_sdxl_has_two_negative_prompts(engines) -> None:
    engine = engines("sdxl")
    one = draw(engine, negative_prompts=("dog",))
    two = draw(engine, negative_prompts=("dog",), second_negative_prompts=("a house",))
    only = draw(engine, second_negative_prompts=("a house",))
    assert abs(one - two).mean() > 0.05
    assert abs(only - draw(engine)).mean() > 0.05


def test_flux_takes_no_negative_prompt_and_says_so_in_its_record(engines) -> None:
    (events,) = contract.drive(engines("flux"), [ask(negative_prompts=("dog",))])
    assert "dog" not in collect(events).media[0].text
    assert (pixels(files(events)[0]) == draw(engines("flux"))).all()


@pytest.mark.parametrize("family", DIFFERENT)
def test_goes_over_a_picture(engines, family: str) -> None:
    engine = engines(family)
    source = content(Image.linear_gradient("L").convert("RGB").resize((80, 48)))
    (events,) = contract.drive(engine, [ask(source=source, strength=0.5, steps=4, width=None, height=None)])
    assert pixels(files(events)[0]).shape == (48, 80, 3)
    assert collect(events).finished.usage.pixel_steps == 2 * 80 * 48
    near = draw(engine, source=source, strength=0.25, steps=4)
    far = draw(engine, source=source, strength=1.0, steps=4)
    other = draw(engine, source=content(Image.new("RGB", (NATIVE, NATIVE), "red")), strength=0.25, steps=4)
    assert abs(near - far).mean() > 0.5
    assert abs(near - other).mean() > 0.5


@pytest.mark.parametrize("family", DIFFERENT)
def test_mask_says_where(engines, family: str) -> None:
    source = Image.linear_gradient("L").convert("RGB").resize((NATIVE, NATIVE))
    mask = Image.new("L", (NATIVE, NATIVE), 0)
    mask.paste(255, (0, 0, NATIVE // 2, NATIVE))
    made = draw(
        engines(family), source=content(source), mask=content(mask, is_mask=True), strength=0.75, steps=4
    )
    before = np.asarray(source).astype(int)
    assert (made[:, NATIVE // 2 + 1 :] == before[:, NATIVE // 2 + 1 :]).all()
    assert abs(made[:, : NATIVE // 2] - before[:, : NATIVE // 2]).mean() > 2


@pytest.mark.parametrize(
    ("family", "strength"), [("sd15", 0.0), ("sdxl", 0.3333), ("sd3", 0.67), ("flux", 0.9999)]
)
def test_every_strength_takes_a_whole_number_of_steps(engines, family: str, strength: float) -> None:
    source = content(Image.new("RGB", (NATIVE, NATIVE), "red"))
    request = ask(source=source, strength=strength, steps=3, previews=False)
    (events,) = contract.drive(engines(family), [request])
    expected = max(1, int(3 * strength))
    assert collect(events).finished.usage.pixel_steps == expected * NATIVE * NATIVE
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.done, last.total) == (expected, expected)


def test_refiner_goes_over_what_the_base_drew(engines, tiny_image, tmp_path: Path) -> None:
    from quintet.engines.image.engine import open_engine

    options = {"refiner": str(tiny_image("refiner")), "refine": True, "refiner_strength": 0.5}
    engine = open_engine(model_of(tiny_image("sdxl"), options=options))
    try:
        (refined,) = contract.drive(engine, [ask(steps=4)])
        (plain,) = contract.drive(engine, [ask(steps=4, refiner="")])
        (named,) = contract.drive(engine, [ask(steps=4, refiner="refiner")])
    finally:
        engine.close()
    assert files(plain) == files(contract.drive(engines("sdxl"), [ask(steps=4)])[0])
    assert abs(pixels(files(refined)[0]) - pixels(files(plain)[0])).mean() > 0.5
    assert files(named) == files(refined)
    assert collect(refined).finished.usage.pixel_steps == NATIVE * NATIVE * 6
    assert "Refiner strength: 0.5" in collect(refined).media[0].text
    assert "Refiner" not in collect(plain).media[0].text
    with pytest.raises(Unsupported):
        engines("sdxl").prepare(ask(refiner="refiner"))


def test_refiner_alone_needs_a_picture(engines) -> None:
    engine = engines("refiner")
    with pytest.raises(Unsupported) as refusal:
        engine.prepare(ask())
    assert refusal.value.param == "image"
    assert draw(engine, source=content(Image.new("RGB", (NATIVE, NATIVE), "red"))).shape[0] == NATIVE


def test_flow_models_refuse_samplers_of_others(engines) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        engines("sd3").prepare(ask(sampler="PLMS"))
    assert refusal.value.param == "sampler"


def test_turbo_walks_from_the_end_of_the_schedule(engines) -> None:
    assert abs(draw(engines("turbo"), steps=1) - draw(engines("sdxl"), steps=1)).mean() > 1


def test_finished_comes_last(engines) -> None:
    (events,) = contract.drive(engines("sd15"), [ask("a dog", "a cat", images_per_prompt=2)])
    assert isinstance(events[-1], Finished)
    pictures = files(events)
    assert len(set(pictures)) == 4
    seeds = [text.text.split("Seed: ")[1].split(",")[0] for text in collect(events).media]
    assert seeds == ["7", "8", "9", "10"]
    assert [text.text.splitlines()[0] for text in collect(events).media] == ["a dog"] * 2 + ["a cat"] * 2


@pytest.fixture
def copy(tiny_image, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_image("sd15"), tmp_path / "copy"))


def _change(file: Path, **more: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": "WanPipeline"}, "StableDiffusionPipeline"),
        ({"_class_name": ["pipeline", "MyPipeline"]}, "StableDiffusionPipeline"),
        ({"unet": ["my_unet", "MyUNet"]}, "not run"),
    ],
)
def test_strange_folders_are_refused(copy: Path, change: dict[str, object], words: str) -> None:
    from quintet.engines.image.families import read_family

    _change(copy / "model_index.json", **change)
    with pytest.raises(LoadFailed, match=words):
        read_family(copy)


@pytest.mark.parametrize("file", ["model_index.json", "vae/config.json", "unet/config.json"])
def test_broken_folders_are_refused_with_the_file(copy: Path, file: str) -> None:
    from quintet.engines.image.families import read_family

    (copy / file).write_text("{")
    with pytest.raises(LoadFailed, match=Path(file).name):
        read_family(copy)
    (copy / file).unlink()
    with pytest.raises(LoadFailed, match=Path(file).name):
        read_family(copy)


def test_only_safetensors_are_read(copy: Path) -> None:
    from quintet.engines.image.engine import open_engine

    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(OSError, match="safetensors"):
        open_engine(model_of(copy))


def test_half_precision_is_drawn_in_full_on_a_cpu(copy: Path) -> None:
    import torch

    from quintet.engines.image.families import load_pipeline, read_family

    half = load_pipeline(copy, read_family(copy), torch.float16)
    half.save_pretrained(copy, safe_serialization=True)
    loaded = load_pipeline(copy, read_family(copy), torch.float32)
    parts = (half.unet, half.text_encoder, loaded.unet, loaded.text_encoder, loaded.vae)
    assert [str(part.dtype) for part in parts] == ["torch.float16"] * 2 + ["torch.float32"] * 3


def test_half_precision_files_are_found_by_their_variant(copy: Path) -> None:
    from quintet.engines.image.families import read_family

    for file in copy.glob("*/*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    assert read_family(copy).variant == "fp16"
    _change(copy / "unet" / "config.json", in_channels=9)
    assert read_family(copy).needs_mask
