"""Clips, enlargements and LoRAs through the engine's one door."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from quintet.core.errors import InvalidRequest, LoadFailed
from quintet.core.events import Media, Progress, Usage, collect
from quintet.core.models import Model
from quintet.core.requests import AnimationRequest, Lora, UpscaleRequest
from tests.engines import contract
from tests.engines.image.conftest import NATIVE, ask, content, files, model_of

FRAMES = 3


def open_with(model: Model):
    from quintet.engines.image.engine import open_engine

    return open_engine(model)


@pytest.fixture(scope="module")
def mover(tiny_image, tmp_path_factory):
    from tests.engines.image.tiny_motion import make_adapter

    options = {"base": str(tiny_image("sd15")), "denoiser": "torch", "threads": 1}
    path = str(make_adapter(tmp_path_factory.mktemp("motion")))
    engine = open_with(Model(name="mover", task="animation", engine="image", path=path, options=options))
    yield engine
    assert not engine.busy()
    engine.close()


@pytest.fixture(scope="module")
def enlarger():
    engine = open_with(Model(name="larger", task="upscale", engine="image", options={"threads": 1}))
    yield engine
    assert not engine.busy()
    engine.close()


def clip(**more) -> AnimationRequest:
    usual = {"frames": FRAMES, "width": NATIVE, "height": NATIVE, "steps": 2, "seed": 7}
    return AnimationRequest(model="mover", prompt="a red circle", **usual | more)


def test_clips(mover) -> None:
    events = contract.check_grammar(mover, clip(previews=True))
    outcome = collect(events)
    (media,) = outcome.media
    assert media.mime == "image/gif"
    assert Image.open(io.BytesIO(media.data)).n_frames == FRAMES  # type: ignore[attr-defined]
    assert "Seed: 7, Size: 64x64" in media.text
    assert "Frames: 3, FPS: 8" in media.text
    assert outcome.finished.usage == Usage(frames=FRAMES, pixel_steps=FRAMES * NATIVE * NATIVE * 2)
    assert outcome.finished.seed == 7
    steps = [event for event in events if isinstance(event, Progress)]
    assert (steps[-1].done, steps[-1].total) == (2, 2)
    assert any(step.preview for step in steps)
    others = [clip(seed=8, owner="bob"), clip(format="frames", owner="cy", with_metadata=False)]
    found = contract.drive(mover, [*others, clip(previews=True)])
    assert files(found[2]) == files(events)
    pictures = collect(found[1]).media
    assert [picture.mime for picture in pictures] == ["image/png"] * FRAMES
    assert not any(picture.text for picture in pictures)
    contract.check_cancel(mover, clip(steps=30))


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"frames": 129}, "frames"),
        ({"width": 10**6}, "width"),
        ({"sampler": "x"}, "sampler"),
        ({"steps": 0}, "steps"),
    ],
)
def test_bad_clips_are_refused_before_any_work(mover, wrong, param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        mover.prepare(clip(**wrong))
    assert refusal.value.param == param


def test_pictures_are_not_for_movers(mover) -> None:
    contract.check_unsupported(mover, ask())


def test_enlargements(enlarger) -> None:
    request = UpscaleRequest(
        model="larger", picture=content(Image.linear_gradient("L").convert("RGB")), scale=1.5
    )
    events = contract.check_grammar(enlarger, request)
    (media,) = [event for event in events if isinstance(event, Media)]
    assert Image.open(io.BytesIO(media.data)).size == (384, 384)
    assert collect(events).finished.usage == Usage(images=1, pixel_steps=384 * 384)
    assert collect(events).finished.seed is None
    assert {event.stage for event in events if isinstance(event, Progress)} == {"enlarge"}
    with pytest.raises(InvalidRequest) as refusal:
        enlarger.prepare(UpscaleRequest(model="larger", picture=request.picture, scale=9))
    assert refusal.value.param == "scale"


def test_loras_of_one_request_do_not_stay_for_the_next(tiny_image, tmp_path) -> None:
    import torch
    from safetensors.torch import save_file

    from quintet.engines.image.families import load_pipeline, read_family
    from tests.engines.image.test_loras import layers, write_diffusers

    folder = tiny_image("sd15")
    file = tmp_path / "ink.safetensors"
    write_diffusers(layers(load_pipeline(folder, read_family(folder), torch.float32)), file, 1)
    save_file({"nothing.lora_A.weight": torch.zeros(4, 4)}, tmp_path / "odd.safetensors")
    loras = {"ink": str(file), "odd": str(tmp_path / "odd.safetensors")}
    engine = open_with(model_of(folder, loras=loras))
    ink, none = (ask(loras=(Lora(name="ink", weight=weight),), owner=f"{weight}") for weight in (0.8, 0.0))
    try:
        (plain,) = contract.drive(engine, [ask(with_metadata=False)])
        found = contract.drive(engine, [ink, ask(with_metadata=False, owner="ann"), none, ask(owner="bob")])
        assert files(found[1]) == files(plain)
        assert files(found[2]) == files(found[3])
        texts = [collect(events).media[0].text for events in found]
        assert "Lora weights: ink: 0.8" in texts[0].replace('"', "")
        assert "Lora hashes: ink: " in texts[0].replace('"', "")
        opened = [Image.open(io.BytesIO(files(events)[0])).convert("RGB").tobytes() for events in found]
        assert opened[0] != opened[1] == opened[2] == opened[3]
        with pytest.raises(InvalidRequest) as refusal:
            contract.drive(engine, [ask(loras=(Lora(name="odd"),))])
        assert refusal.value.param == "loras"
        assert files(contract.drive(engine, [ask(with_metadata=False)])[0]) == files(plain)
    finally:
        engine.close()


def test_tasks_that_it_has_nothing_for_are_refused() -> None:
    with pytest.raises(LoadFailed, match="speech"):
        open_with(Model(name="talker", task="speech", engine="image", path="nowhere"))
