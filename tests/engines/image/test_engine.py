"""The engine's own work: order, cancelling, progress, previews, checks, failures."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from quintet.core.errors import EngineFailed, InvalidRequest, LoadFailed, QuintetError
from quintet.core.events import Finished, Media, Progress, collect
from quintet.core.requests import AnimationRequest, TextRequest
from tests.engines import contract
from tests.engines.image.conftest import NATIVE, ask, content, files, model_of, pixels

PATIENCE_SECONDS = 30.0


@pytest.fixture
def engine(engines):
    return engines("sd15")


def steps_of(events) -> list[Progress]:
    return [event for event in events if isinstance(event, Progress) and event.stage == "denoise"]


def until(condition) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_contract(engine, tiny_image) -> None:
    from quintet.engines.image.engine import open_engine

    contract.check_cancel(engine, ask())
    contract.check_unsupported(engine, TextRequest(model="tiny", prompt=("a",)))
    contract.check_unsupported(engine, AnimationRequest(model="tiny", prompt="a"))
    contract.check_close(lambda: open_engine(model_of(tiny_image("sd15"))))
    assert engine.info().device == "CPU"
    assert engine.info().version.startswith("diffusers ")


def test_same_bytes_alone_and_among_others(engine) -> None:
    request = ask("a dog", images_per_prompt=2, owner="ann")
    alone = files(contract.drive(engine, [request])[0])
    others = [
        ask("a cat", seed=1, images_per_prompt=3, owner="bob"),
        ask("a cow", seed=2, owner="cy", steps=3),
    ]
    found = contract.drive(engine, [*others, request])
    assert files(found[-1]) == alone
    assert files(contract.drive(engine, [ask("a dog", seed=8)])[0]) == alone[1:]
    threads = threading.active_count()
    busy = threading.Thread(target=lambda: sum(i * i for i in range(10**6)))
    busy.start()
    assert files(contract.drive(engine, [request])[0]) == alone
    busy.join()
    assert threading.active_count() == threads


def test_without_a_seed_one_is_drawn_and_told(engine) -> None:
    (events,) = contract.drive(engine, [ask(seed=None)])
    (again,) = contract.drive(engine, [ask(seed=None)])
    seed = collect(events).finished.seed
    assert seed is not None
    assert 0 <= seed < 2**32
    assert seed != collect(again).finished.seed
    assert files(contract.drive(engine, [ask(seed=seed)])[0]) == files(events)


def test_owners_take_turns(engine) -> None:
    for number, owner in ((1, "ann"), (2, "bob")):
        engine.submit(number, engine.prepare(ask(images_per_prompt=3, owner=owner, steps=1)))
    engine.submit(3, engine.prepare(ask(owner="ann", steps=1)))
    order = []
    while engine.busy():
        order += [number for number, output in engine.step() if isinstance(output, Media)]
    assert order[:5] in ([1, 2, 1, 2, 1], [2, 1, 2, 1, 2])  # the first may be taken before the second comes
    assert order[-1] == 3


def test_cancel_takes_effect_within_a_step(engine) -> None:
    """The painting thread itself has stopped after one more step, whatever the picture would still have needed."""
    engine.submit(1, engine.prepare(ask(steps=500)))
    until(lambda: any(isinstance(output, Progress) for _, output in engine.step()))
    taken = []
    run = engine.desk._painter.brush.pipeline.unet.forward
    engine.desk._painter.brush.pipeline.unet.forward = lambda *a, **k: taken.append(1) or run(*a, **k)
    try:
        engine.cancel(1)
        assert not engine.busy()
        before = len(taken)
        engine.submit(2, engine.prepare(ask(steps=1)))
        outputs = []
        while engine.busy():
            outputs += engine.step()
    finally:
        engine.desk._painter.brush.pipeline.unet.forward = run
    assert {number for number, _ in outputs} == {2}
    assert (
        len(taken) - before <= 4
    )  # at most the step that was under way; then one step, which PLMS makes of two


def test_cancelled_work_that_waits_is_never_painted(engine) -> None:
    engine.submit(1, engine.prepare(ask(steps=20, owner="ann")))
    engine.submit(2, engine.prepare(ask(steps=20, owner="bob")))
    engine.cancel(2)
    outputs = []
    while engine.busy():
        outputs += engine.step()
    assert {number for number, _ in outputs} == {1}


def test_progress_and_previews(engine) -> None:
    (events,) = contract.drive(engine, [ask(steps=6, images_per_prompt=2, previews=True, sampler="Euler a")])
    steps = steps_of(events)
    assert [(step.done, step.total) for step in steps] == [(done, 12.0) for done in range(1, 13)]
    shown = [step.preview for step in steps if step.preview]
    assert shown
    preview = Image.open(io.BytesIO(shown[0]))
    assert preview.format == "JPEG"
    assert max(preview.size) == 128
    assert len(shown[0]) < 20_000
    (events,) = contract.drive(engine, [ask()])
    assert not any(step.preview for step in steps_of(events))


def test_preview_is_near_to_the_picture(engine) -> None:
    """Of latents that the autoencoder made itself: the map is fitted to the way back."""
    import torch

    brush = engine.desk._painter.brush
    picture = torch.zeros(1, 3, NATIVE, NATIVE)
    picture[:, 0, :, NATIVE // 2 :] = 1
    with torch.no_grad():
        latents = brush.pipeline.vae.encode(picture * 2 - 1).latent_dist.mode()
    shown = pixels(brush.preview(latents * brush.pipeline.vae.config.scaling_factor, NATIVE, NATIVE))
    assert shown[:, 80:, 0].mean() > shown[:, :48, 0].mean() + 20


def test_preview_of_packed_latents(engines) -> None:
    import torch

    brush = engines("flux").desk._painter.brush
    latents = torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    shown = brush.preview(brush.pipeline._pack_latents(latents, 1, 16, 8, 12), 96, 64)
    assert shown == brush._map.picture(latents)
    assert Image.open(io.BytesIO(shown)).size == (128, 85)


def test_silence_is_broken_while_a_request_waits(engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from quintet.engines.image import easel

    monkeypatch.setattr(easel, "SILENCE_SECONDS", 0.0)
    engine.submit(1, engine.prepare(ask(owner="ann", steps=30)))
    engine.submit(2, engine.prepare(ask(owner="bob", steps=1)))
    outputs = []
    while engine.busy():
        outputs += engine.step()
    waiting = [output for number, output in outputs if number == 2 and isinstance(output, Progress)]
    assert waiting[0] == Progress("queue", 0, 1)
    assert sum(isinstance(output, Finished) for _, output in outputs) == 2


def test_enlarged_pictures_are_drawn_at_native_size_first(engine) -> None:
    size = {"width": 2 * NATIVE, "height": 2 * NATIVE}
    (events,) = contract.drive(engine, [ask(**size, steps=4, enlarge=True)])
    (plain,) = contract.drive(engine, [ask(**size, steps=4)])
    assert pixels(files(events)[0]).shape == (2 * NATIVE, 2 * NATIVE, 3)
    assert files(events) != files(plain)
    outcome = collect(events)
    assert outcome.finished.usage.pixel_steps == NATIVE * NATIVE * 4 + 4 * NATIVE * NATIVE
    text = outcome.media[0].text
    assert f"Size: {NATIVE}x{NATIVE}" in text
    assert f"Hires resize: {2 * NATIVE}x{2 * NATIVE}, Hires steps: 1, Hires upscaler: Lanczos" in text
    assert "Denoising strength: 0.35" in text
    assert "Hires" not in collect(plain).media[0].text
    steps = steps_of(events)
    assert (steps[-1].done, steps[-1].total) == (5, 5)
    native = ask(steps=4)
    assert files(contract.drive(engine, [native])[0]) == files(
        contract.drive(engine, [replace(native, enlarge=True)])[0]
    )


@pytest.mark.parametrize(
    ("size", "first"),
    [((128, 64), (88, 48)), ((256, 64), (96, 24)), ((64, 64), None), ((66, 64), None), ((65, 129), (48, 88))],
)
def test_first_size_has_about_the_native_pixels(engine, size, first) -> None:
    work = engine.prepare(ask(width=size[0], height=size[1], enlarge=True))
    assert engine.desk._painter.first_size(work.sketches[0]) == first


def test_much_larger_pictures_are_refined_at_twice_the_native_size(engine) -> None:
    work = engine.prepare(ask(width=6 * NATIVE, height=3 * NATIVE, steps=4, enlarge=True))
    (_, first), (_, second) = engine.desk._painter.plan(work.sketches[0])
    assert (first.width, first.height) == (88, 48)
    assert (second.width, second.height, second.taken) == (184, 96, 1)


def test_enlarged_only(tiny_image, engine) -> None:
    from quintet.engines.image.engine import open_engine

    other = open_engine(model_of(tiny_image("sd15"), options={"enlarge": True, "enlarge_strength": 0.0}))
    try:
        (events,) = contract.drive(other, [ask(width=96, height=96)])
        (small,) = contract.drive(other, [ask()])
    finally:
        other.close()
    grown = Image.open(io.BytesIO(files(small)[0])).resize((96, 96), Image.Resampling.LANCZOS)
    assert (pixels(files(events)[0]) == np.asarray(grown)).all()
    assert "Hires steps" not in collect(events).media[0].text
    assert collect(events).finished.usage.pixel_steps == NATIVE * NATIVE * 2


def test_options_of_the_model_hold(tiny_image, engine) -> None:
    from quintet.engines.image.engine import open_engine

    options = {"enlarge": True, "guidance_max": 2.0, "guidance_rescale": 0.7, "max_side": 128}
    other = open_engine(model_of(tiny_image("sd15"), options=options))
    try:
        (events,) = contract.drive(other, [ask(width=96, height=96)])
        assert "Hires resize: 96x96" in collect(events).media[0].text
        assert "CFG scale: 2," in collect(events).media[0].text
        small = ask(guidance=2.0)
        assert files(contract.drive(other, [small])[0]) != files(contract.drive(engine, [small])[0])
        with pytest.raises(InvalidRequest) as refusal:
            other.prepare(ask(width=129))
        assert refusal.value.param == "width"
    finally:
        other.close()


@pytest.mark.parametrize(
    "options",
    [
        {"device": "abacus"},
        {"precision": "int1"},
        {"enlarge_strength": 1.5},
        {"refine": True},
        {"threads": -1},
        {"colour": "red"},
        {"guidance_max": 5},
    ],
)
def test_wrong_options_are_named(tiny_image, options) -> None:
    from quintet.engines.image.engine import open_engine

    with pytest.raises(LoadFailed, match=next(iter(options))):
        open_engine(model_of(tiny_image("sd15"), options=options))


RED = content(Image.new("RGB", (NATIVE, NATIVE), "red"))
MASK = content(Image.new("L", (NATIVE, NATIVE), 255), is_mask=True)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"width": 31}, "width"),
        ({"height": 10**9}, "height"),
        ({"steps": 0}, "steps"),
        ({"steps": 501}, "steps"),
        ({"guidance": -1.0}, "guidance"),
        ({"guidance": float("nan")}, "guidance"),
        ({"sampler": "__class__"}, "sampler"),
        ({"strength": 1.1, "source": RED}, "strength"),
        ({"mask": MASK}, "mask"),
        ({"images_per_prompt": 0}, "n"),
        ({"negative_prompts": ("a", "b", "c")}, "negative_prompt"),
        ({"second_prompts": ("a", "b", "c")}, "prompt_2"),
    ],
)
def test_bad_requests_are_refused_before_any_work(engine, wrong, param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        engine.prepare(ask("a dog", "a cat", **wrong))
    assert refusal.value.param == param
    assert refusal.value.message.endswith(".")
    assert not engine.busy()


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ValueError("secret path"), "engine_error"),
        (MemoryError(), "out_of_memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu] not enough memory: you tried to allocate 9 bytes"),
            "out_of_memory",
        ),
    ],
)
def test_a_failure_ends_one_request_and_the_engine_lives_on(
    engine, monkeypatch, capfd, failure, code
) -> None:
    brush = engine.desk._painter.brush

    def fail(*_: object, **__: object) -> None:
        raise failure

    engine.submit(1, engine.prepare(ask(images_per_prompt=2)))
    with monkeypatch.context() as patch:
        patch.setattr(brush.pipeline.vae, "decode", fail)
        outputs: list[tuple[int, object]] = []
        while engine.busy():
            outputs += engine.step()
    error = outputs[-1][1]
    assert isinstance(error, EngineFailed)
    assert error.code == code
    assert "secret" not in error.message
    assert sum(isinstance(output, QuintetError) for _, output in outputs) == 1
    assert type(failure).__name__ in capfd.readouterr().err
    contract.check_grammar(engine, ask())


def test_record_names_what_was_used(engine) -> None:
    (events,) = contract.drive(engine, [ask("a dog", negative_prompts=("a cat",), sampler="euler a")])
    text = collect(events).media[0].text
    assert Image.open(io.BytesIO(files(events)[0])).info["parameters"] == text
    assert text.startswith(
        "a dog\nNegative prompt: a cat\nSteps: 2, Sampler: Euler a, CFG scale: 7.5, Seed: 7, Size: 64x64"
    )
    (bare,) = contract.drive(engine, [ask(with_metadata=False)])
    assert collect(bare).media[0].text == ""
    assert "parameters" not in Image.open(io.BytesIO(files(bare)[0])).info
