"""LoRAs on tiny pipelines: they work, in both ways of writing them, and leave nothing behind."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from quintet.core.errors import EngineFailed, InvalidRequest
from quintet.core.requests import Lora
from quintet.engines.image.loras import Loras
from tests.support import tiny_image

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

RANK = 4


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors this small gain nothing from several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def layers(pipeline):
    """The layers that LoRAs are made for, by part: attention of the UNet, attention of the text encoder."""
    wanted = {"unet": r"attn\d\.(to_q|to_v|to_out\.0)$", "text_encoder": r"self_attn\.(q_proj|out_proj)$"}
    return {
        part: {
            name: module
            for name, module in getattr(pipeline, part).named_modules()
            if re.search(pattern, name)
        }
        for part, pattern in wanted.items()
    }


def matrices(module, seed):
    draw = torch.Generator().manual_seed(seed)
    outputs, inputs = module.weight.shape
    down = torch.randn(RANK, inputs, generator=draw) * 0.3
    return down, torch.randn(outputs, RANK, generator=draw) * 0.3


def write_diffusers(found, path, seed):
    """As diffusers and peft write it."""
    tensors = {}
    for part, modules in found.items():
        for number, (name, module) in enumerate(modules.items()):
            down, up = matrices(module, seed + number)
            tensors[f"{part}.{name}.lora_A.weight"] = down
            tensors[f"{part}.{name}.lora_B.weight"] = up
    save_file(tensors, path)


def write_kohya(found, path, seed, alpha=RANK):
    """As kohya's trainer writes it, which the web UI reads; alpha / rank scales it."""
    tensors = {}
    for part, modules in found.items():
        for number, (name, module) in enumerate(modules.items()):
            down, up = matrices(module, seed + number)
            flat = f"lora_{'te' if part == 'text_encoder' else part}_{name.replace('.', '_')}"
            if part == "text_encoder" and "text_model" not in flat:
                flat = flat.replace("lora_te_", "lora_te_text_model_")
            tensors[f"{flat}.lora_down.weight"] = down
            tensors[f"{flat}.lora_up.weight"] = up
            tensors[f"{flat}.alpha"] = torch.tensor(float(alpha))
    save_file(tensors, path)


@pytest.fixture(scope="module")
def pipeline():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = tiny_image.make_sd15()
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def files(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    found = layers(pipeline)
    write_diffusers(found, folder / "new.safetensors", seed=100)
    write_kohya(found, folder / "old.safetensors", seed=100)
    write_kohya(found, folder / "half.safetensors", seed=100, alpha=RANK / 2)
    write_diffusers({"unet": found["unet"]}, folder / "eyes.safetensors", seed=200)
    write_diffusers({"text_encoder": found["text_encoder"]}, folder / "ears.safetensors", seed=300)
    whole = (folder / "new.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "text.safetensors").write_bytes(b"not safetensors")
    save_file({"unet.up.lora_A.weight": torch.ones(2, 2)}, folder / "stranger.safetensors")
    save_file({"weights.of.something": torch.ones(2, 2)}, folder / "no_lora.safetensors")
    name = next(iter(found["unet"]))
    wide = {f"unet.{name}.lora_A.weight": torch.ones(2, 99), f"unet.{name}.lora_B.weight": torch.ones(99, 2)}
    save_file(wide, folder / "wide.safetensors")
    return {path.stem: str(path) for path in folder.iterdir()} | {"gone": str(folder / "gone.safetensors")}


@pytest.fixture
def loras(pipeline, files):
    yield Loras(pipeline, files)
    pipeline.unload_lora_weights()


@pytest.fixture(scope="module")
def plain(pipeline):
    """What the model paints before it has seen any LoRA."""
    return paint(pipeline)


def paint(pipeline):
    generator = torch.Generator().manual_seed(0)
    asked = {"num_inference_steps": 1, "height": 64, "width": 64, "generator": generator, "output_type": "np"}
    return pipeline("a red ball", **asked).images


def paint_with(pipeline, loras, **weights):
    with loras.applied([Lora(name=name, weight=weight) for name, weight in weights.items()]):
        return paint(pipeline)


def test_no_trace_is_left(pipeline, loras, plain):
    other = paint_with(pipeline, loras, new=1.0, eyes=0.5)
    assert not np.array_equal(other, plain)
    assert np.array_equal(paint(pipeline), plain), "to the byte"
    with pytest.raises(ZeroDivisionError), loras.applied([Lora(name="ears")]):
        raise ZeroDivisionError
    assert np.array_equal(paint(pipeline), plain)
    assert np.array_equal(paint_with(pipeline, loras, new=1.0, eyes=0.5), other)


def test_weight_zero_is_none(pipeline, loras, plain):
    assert np.array_equal(paint_with(pipeline, loras, new=0.0), plain)
    assert pipeline.get_list_adapters() == {}, "it is not even loaded"
    alone = paint_with(pipeline, loras, eyes=1.0)
    assert np.array_equal(paint_with(pipeline, loras, eyes=1.0, new=0.0), alone)
    paint_with(pipeline, loras, new=1.0)
    assert np.array_equal(paint_with(pipeline, loras, new=0.0, eyes=1.0), alone)


def test_both_ways_of_writing(pipeline, loras):
    new = paint_with(pipeline, loras, new=1.0)
    assert np.array_equal(paint_with(pipeline, loras, old=1.0), new)
    assert np.allclose(paint_with(pipeline, loras, half=2.0), new, atol=1e-4), "alpha counts"
    assert not np.allclose(paint_with(pipeline, loras, half=1.0), new, atol=1e-3)


def test_both_parts_of_the_model(pipeline, loras, plain):
    for part in ("eyes", "ears"):
        assert not np.allclose(paint_with(pipeline, loras, **{part: 1.0}), plain, atol=1e-4)
    effects = [np.abs(paint_with(pipeline, loras, eyes=weight) - plain).mean() for weight in (0.1, 0.5, 1.0)]
    assert effects == sorted(effects)


def test_order_makes_no_difference(pipeline, loras):
    one = paint_with(pipeline, loras, new=0.7, eyes=0.3, ears=0.2)
    assert np.array_equal(one, paint_with(pipeline, loras, ears=0.2, eyes=0.3, new=0.7))
    assert not np.array_equal(one, paint_with(pipeline, loras, ears=0.7, eyes=0.3, new=0.2))


def test_a_bounded_number_stays_loaded(pipeline, files):
    few = Loras(pipeline, files, kept=2)
    first = paint_with(pipeline, few, new=1.0)
    for name in ("old", "eyes", "ears"):
        paint_with(pipeline, few, **{name: 1.0})
        present = {adapter for found in pipeline.get_list_adapters().values() for adapter in found}
        assert len(present) <= 2
    assert np.array_equal(paint_with(pipeline, few, new=1.0), first), "loaded anew"
    with few.applied([Lora(name=name) for name in ("new", "old", "eyes", "ears")]):
        assert len(pipeline.get_active_adapters()) == 4, "a request gets all it asks for"
    pipeline.unload_lora_weights()


@pytest.mark.parametrize("name", ["stranger", "no_lora", "wide"])
def test_one_for_another_model_is_refused_by_name(pipeline, loras, plain, name):
    paint_with(pipeline, loras, eyes=1.0)
    with (
        pytest.raises(InvalidRequest, match=f"LoRA {name} does not fit") as refused,
        loras.applied([Lora(name=name)]),
    ):
        pass
    assert refused.value.param == "loras"
    assert np.array_equal(paint(pipeline), plain)
    assert {adapter for found in pipeline.get_list_adapters().values() for adapter in found} == {
        loras._adapters["eyes"]
    }


@pytest.mark.parametrize("name", ["cut", "text", "gone"])
def test_a_broken_file_is_the_operators(pipeline, loras, plain, name):
    with (
        pytest.raises(EngineFailed, match=name) as failed,
        loras.applied([Lora(name="eyes"), Lora(name=name)]),
    ):
        pass
    assert "/" not in failed.value.message
    assert np.array_equal(paint(pipeline), plain)


def test_an_unknown_name_is_refused(loras):
    with pytest.raises(InvalidRequest) as refused, loras.applied([Lora(name="../new")]):
        pass
    assert ".." not in refused.value.message


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (tiny_image.make_sdxl, ("unet", "text_encoder", "text_encoder_2")),
        (tiny_image.make_sd3, ("transformer", "text_encoder")),
        (tiny_image.make_schnell, ("transformer", "text_encoder")),
    ],
)
def test_other_families(make, parts, tmp_path):
    pipeline = make()
    pipeline.set_progress_bar_config(disable=True)
    plain = paint(pipeline)
    for part in parts:
        found = {
            name: module
            for name, module in getattr(pipeline, part).named_modules()
            if re.search(r"(attn\d?\.(to_q|to_v)|self_attn\.q_proj)$", name)
        }
        assert found
        write_diffusers({part: found}, tmp_path / f"{part}.safetensors", seed=1)
    loras = Loras(pipeline, {part: str(tmp_path / f"{part}.safetensors") for part in parts})
    for part in parts:
        assert not np.array_equal(paint_with(pipeline, loras, **{part: 1.0}), plain), part
    assert np.array_equal(paint(pipeline), plain)
