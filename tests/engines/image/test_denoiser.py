"""The denoiser on OpenVINO draws what torch draws; real classes of every family with tiny random weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter
from PIL import Image

from quintet.engines.image.denoiser import Denoiser, accelerate
from quintet.engines.image.denoiser_cache import identity
from quintet.engines.image.denoiser_inputs import Sizes, find_inputs
from quintet.engines.image.families import load_pipeline, read_family, sibling, takes
from quintet.engines.image.settings import Settings
from tests.engines.image.tiny_motion import make_adapter

FAMILIES = ("sd15", "sdxl", "refiner", "sd3", "flux", "motion")
ALIKE_DECIBELS = 30.0
SIDE = 64


@dataclass
class Tiny:
    """A pipeline of torch, and one place for everything that was converted from it."""

    pipeline: Any
    part: str
    module: Any
    folder: Path
    cache: Path

    def restore(self) -> None:
        """As it was loaded."""
        setattr(self.pipeline, self.part, self.module)

    def accelerate(self, cache: Path | None = None, **settings: Any) -> Denoiser | None:
        self.restore()
        keep = settings.pop("keep_torch", True)
        found = Settings(**{"denoiser": "openvino", "denoiser_precision": "f32", "threads": 1} | settings)
        return accelerate(self.pipeline, self.folder, cache or self.cache, found, keep_torch=keep)


def load(folder: Path, cache: Path, adapter: Path | None = None) -> Tiny:
    pipeline = load_pipeline(folder, read_family(folder), torch.float32)
    if adapter is not None:
        parts = {name: part for name, part in pipeline.components.items() if name in _MOVING}
        motion = MotionAdapter.from_pretrained(adapter, use_safetensors=True, local_files_only=True)
        pipeline = AnimateDiffPipeline(**parts, motion_adapter=motion)
        pipeline.set_progress_bar_config(disable=True)
    part = "transformer" if hasattr(pipeline, "transformer") else "unet"
    with torch.no_grad():
        for name, value in getattr(pipeline, part).named_parameters():
            if "attn2.to_k" in name:
                value *= 0.02  # SDXL reads what its encoders have not normalised: attention would be all or nothing
    return Tiny(pipeline, part, getattr(pipeline, part).eval(), folder, cache)


_MOVING = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tensors are not worth waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tiny_image, tmp_path_factory):
    """By family; converted when the first test needs it, once for all tests."""
    made: dict[str, Tiny] = {}

    def get(family: str) -> Tiny:
        if family not in made:
            adapter = make_adapter(tmp_path_factory.mktemp("adapter")) if family == "motion" else None
            folder = tiny_image("sd15" if adapter else family)
            made[family] = load(folder, tmp_path_factory.mktemp("cache"), adapter)
        made[family].restore()
        return made[family]

    return get


def draw(one: Tiny, way: str, seed: int = 7) -> np.ndarray:
    """Pixels of two steps."""
    arguments = {
        "prompt": "a red circle",
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "generator": torch.Generator().manual_seed(seed),
        "output_type": "np",
    }
    if way == "move":
        one.pipeline.scheduler = fresh(one.pipeline.scheduler)
        return one.pipeline(**arguments, num_frames=3, width=SIDE, height=SIDE).frames[0]
    pipeline = sibling(one.pipeline, getattr(read_family(one.folder).kind, way))
    if way != "draw":
        arguments |= {
            "image": Image.radial_gradient("L").resize((SIDE, SIDE)).convert("RGB"),
            "strength": 1.0,
        }
    if way == "inpaint":
        arguments["mask_image"] = Image.linear_gradient("L").resize((SIDE, SIDE))
    if takes(pipeline, "height"):
        arguments |= {"width": SIDE, "height": SIDE}
    pipeline.scheduler = fresh(pipeline.scheduler)
    return pipeline(**arguments).images[0]


def fresh(scheduler: Any) -> Any:
    """Another one like it, whose times lead, as SDXL's do: untrained weights make errors grow in pure noise."""
    spacing = {"timestep_spacing": "leading"} if hasattr(scheduler.config, "timestep_spacing") else {}
    return type(scheduler).from_config(scheduler.config, **spacing)


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures with values from 0 to 1."""
    return -10 * np.log10(np.mean((one.astype(np.float64) - other) ** 2) + 1e-12)


def error(denoiser: Denoiser, sizes: Sizes) -> float:
    """Root mean square of what it does not have in common with torch, as a share of the result."""
    inputs = find_inputs(denoiser._pipeline, denoiser.module)
    example = inputs.example(sizes)
    if sizes.batch == 2 and "guidance" not in example:
        example["timestep"] += 451  # a time that bfloat16 can't tell from others
    named = inputs.nest(example)
    with torch.inference_mode():
        wanted = denoiser.module(**named, return_dict=False)[0].numpy()
    found = denoiser(**named).sample.numpy()
    assert found.shape == wanted.shape
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_those_of_torch(tiny, family) -> None:
    one = tiny(family)
    ways = {"motion": ["move"], "refiner": ["redraw"], "sdxl": ["draw"]}.get(
        family, ["draw", "redraw", "inpaint"]
    )
    wanted = {way: draw(one, way) for way in ways}
    other = draw(one, ways[0], seed=8)
    for precision, most in (("f32", 0.003), ("bf16", 0.03)):
        denoiser = one.accelerate(denoiser_precision=precision)
        assert error(denoiser, Sizes(2, 3, 10, 6, 20)) == pytest.approx(0, abs=most)
        for way in ways:
            found = draw(one, way)
            assert getattr(one.pipeline, one.part) is denoiser
            assert decibels(found, wanted[way]) >= ALIKE_DECIBELS, (way, precision)
            assert decibels(other, wanted[ways[0]]) < ALIKE_DECIBELS / 2, "all look alike"
            assert not np.array_equal(found, wanted[way]), "it was torch that drew"


def test_converted_once(tiny, tmp_path, capfd) -> None:
    one = tiny("sd3")
    one.accelerate()
    wanted = draw(one, "draw")
    shutil.copytree(one.cache, tmp_path, dirs_exist_ok=True)
    (folder,) = tmp_path.iterdir()
    capfd.readouterr()
    one.accelerate(tmp_path)
    assert "converting" not in capfd.readouterr().err
    assert np.array_equal(draw(one, "draw"), wanted)

    weights = folder / "denoiser.bin"
    whole = weights.read_bytes()
    for damaged in (whole[:-100], whole[:1000] + b"#" * 64 + whole[1064:]):
        weights.write_bytes(damaged)
        one.accelerate(tmp_path)
        assert "converting the denoiser" in capfd.readouterr().err
        assert np.array_equal(draw(one, "draw"), wanted)
    assert list(tmp_path.iterdir()) == [folder]

    known = identity(one.module)
    with torch.no_grad():
        one.module.proj_out.bias[0] += 0.01
    assert identity(one.module) != known
    with torch.no_grad():
        one.module.proj_out.bias[0] -= 0.01


def test_the_faster_one_is_remembered(tiny, capfd) -> None:
    one = tiny("flux")
    one.accelerate(denoiser="auto")
    assert "s with torch" in capfd.readouterr().err
    (facts,) = one.cache.glob("*/facts.json")
    known = json.loads(facts.read_text())
    (key,) = known["measured"]
    assert set(known["measured"][key]) == {"torch", "OpenVINO"}

    for fast, slow in (("torch", "OpenVINO"), ("OpenVINO", "torch")):
        known["measured"][key] = {fast: 1.0, slow: 2.0}
        facts.write_text(json.dumps(known))
        assert (one.accelerate(denoiser="auto") is None) == (fast == "torch")
        assert (getattr(one.pipeline, one.part) is one.module) == (fast == "torch")
        assert "one step" not in capfd.readouterr().err
    assert one.accelerate(denoiser="torch") is None


def test_torch_steps_in(tiny) -> None:
    one = tiny("sd15")
    by_torch = draw(one, "draw")
    denoiser = one.accelerate()
    other = sibling(one.pipeline, "StableDiffusionImg2ImgPipeline")
    by_openvino = draw(one, "draw")
    with denoiser.suspended():
        assert one.pipeline.unet is one.module
        assert np.array_equal(draw(one, "draw"), by_torch)
        sample = denoiser(torch.zeros(1, 4, 8, 8), 3, torch.zeros(1, 7, 32), return_dict=False)[0]
        assert torch.equal(sample, one.module(torch.zeros(1, 4, 8, 8), 3, torch.zeros(1, 7, 32)).sample)
    assert one.pipeline.unet is other.unet is denoiser
    assert np.array_equal(draw(one, "draw"), by_openvino)

    mask = torch.tensor([[1.0, 1, 1, 0, 0, 0, 0]])  # no pipeline of ours sends one, and it isn't ignored
    unusual = {"encoder_attention_mask": mask, "return_dict": False}
    wanted = one.module(torch.zeros(1, 4, 8, 8), 3, torch.ones(1, 7, 32), **unusual)[0]
    found = denoiser(torch.zeros(1, 4, 8, 8), 3, torch.ones(1, 7, 32), **unusual)[0]
    assert torch.equal(found, wanted)


def test_without_torch(tiny, tiny_image) -> None:
    tiny("sd3").accelerate()
    one = load(tiny_image("sd3"), tiny("sd3").cache)
    shapes = {name: value.shape for name, value in one.module.state_dict().items()}
    wanted = draw(one, "draw")
    denoiser = one.accelerate(keep_torch=False)
    assert all(parameter.is_meta for parameter in one.module.parameters())
    assert {name: value.shape for name, value in denoiser.state_dict().items()} == shapes
    assert (denoiser.dtype, denoiser.device) == (torch.float32, torch.device("cpu"))
    assert denoiser.config.in_channels == 16
    assert decibels(draw(one, "redraw"), draw(one, "redraw")) > 100
    assert decibels(draw(one, "draw"), wanted) >= ALIKE_DECIBELS
    with pytest.raises(RuntimeError, match="keep_torch"), denoiser.suspended():
        pass


def test_half_precision_stays(tiny_image, tmp_path) -> None:
    one = load(tiny_image("sd3"), tmp_path)
    wanted = draw(one, "draw")
    one.pipeline.to(torch.bfloat16)
    before = {name: value.clone() for name, value in one.module.state_dict().items()}
    denoiser = one.accelerate()
    assert one.module.dtype == torch.bfloat16
    assert all(torch.equal(value, before[name]) for name, value in one.module.state_dict().items())
    sample = denoiser(
        hidden_states=torch.zeros(1, 16, 8, 8, dtype=torch.bfloat16),
        timestep=torch.ones(1),
        encoder_hidden_states=torch.zeros(1, 7, 64),
        pooled_projections=torch.zeros(1, 64),
    ).sample
    assert sample.dtype == torch.bfloat16
    assert decibels(draw(one, "draw"), wanted) > 20


def test_a_model_loads_whatever_happens(tiny, tmp_path, capfd) -> None:
    one = tiny("sd15")
    (tmp_path / "file").write_text("no folder")
    assert one.accelerate(tmp_path / "file" / "cache") is None
    assert "torch denoises, because" in capfd.readouterr().err
    assert one.pipeline.unet is one.module
    one.module.register_to_config(class_embed_type="timestep")
    assert one.accelerate() is None
    assert "is not converted" in capfd.readouterr().err
    one.module.register_to_config(class_embed_type=None)
    assert one.accelerate(denoiser_precision="f7") is None
    assert one.pipeline.unet is one.module
