"""Clips by AnimateDiff: the real classes with tiny random weights."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from quintet.core.errors import LoadFailed
from quintet.core.models import Model
from quintet.core.requests import AnimationRequest
from quintet.core.samplers import SAMPLERS
from quintet.engines.image.animation import Animator, Clip, encode_clip
from quintet.engines.image.prompts import Words
from quintet.engines.image.settings import Settings
from tests.engines.image.tiny_motion import LONGEST, make_adapter
from tests.media.clips import drawing
from tests.support import tiny_image

STEPS = 2


class Stopped(Exception):
    """Raised by a test to end a clip."""


def silent(done, total, preview):
    pass


def clip(**changes) -> Clip:
    settings = {"frames": 4, "width": 64, "height": 64, "steps": STEPS, "guidance": 3.0, "seed": 7}
    words = Words(prompt=changes.pop("prompt", "a red circle"), negative=changes.pop("negative", ""))
    return Clip(words=words, **settings | changes)


def model(folder, **options) -> Model:
    return Model(name="mover", task="animation", engine="image", path=str(folder), options=options)


def load(folder, base, **options) -> Animator:
    entry = model(folder, base=str(base), denoiser="torch", device="cpu", **options)
    return Animator(entry, Settings.of(entry))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_image.make("sd15", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return make_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def animator(base, adapter):
    return load(adapter, base)


def test_a_clip_has_the_frames_and_size_asked_for(animator):
    frames = animator.animate(clip(frames=3, width=48, height=72), silent)
    assert frames.shape == (3, 72, 48, 3)
    assert frames.dtype == np.uint8
    assert len(np.unique(frames)) > 10


def test_the_seed_fixes_the_clip_whatever_came_before(animator):
    first = animator.animate(clip(), silent)
    other = animator.animate(clip(seed=8), silent)
    assert np.array_equal(animator.animate(clip(), silent), first)
    assert not np.array_equal(first, other)


def test_prompt_negative_prompt_and_guidance_make_a_difference(animator):
    plain = animator.animate(clip(), silent)
    for changes in ({"prompt": "zebra"}, {"negative": "zebra"}, {"guidance": 9.0}, {"guidance": 1.0}):
        assert not np.array_equal(animator.animate(clip(**changes), silent), plain), changes


def test_the_adapter_binds_frames_together(animator, base, tmp_path):
    idle = load(make_adapter(tmp_path / "idle", spread=0.0), base)
    still, moved = (one.animate(clip(), silent).astype(int) for one in (idle, animator))
    assert not np.array_equal(still, moved)
    alone = idle.brush.pipeline.unet
    first = torch.randn(1, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    changed = first.clone()
    changed[:, :, 1] += 1
    words = torch.zeros(2, 5, 32)
    with torch.no_grad():
        for unet, is_bound in ((alone, False), (animator.brush.pipeline.unet, True)):
            outputs = [unet(latents, 500, words).sample[:, :, 0] for latents in (first, changed)]
            assert torch.allclose(*outputs) != is_bound


def test_progress_comes_after_every_step_with_a_preview(animator):
    seen = []
    animator.animate(clip(steps=3), lambda done, total, preview: seen.append((done, total, preview())))
    done = [entry[0] for entry in seen]
    assert len(done) >= 3
    assert done == sorted(done)
    assert seen[-1][:2] == (3, 3)
    assert all(Image.open(BytesIO(entry[2])).format == "JPEG" for entry in seen)


def test_a_clip_can_be_ended_at_any_step_and_leaves_no_trace(animator):
    usual = animator.animate(clip(), silent)

    def stop(done, total, preview):
        raise Stopped

    for frames in (4, 2 * LONGEST):
        with pytest.raises(Stopped):
            animator.animate(clip(frames=frames), stop)
    assert np.array_equal(animator.animate(clip(), silent), usual)


def test_a_clip_longer_than_the_adapter_knows_is_made_of_windows(animator):
    usual = animator.animate(clip(), silent)
    steps = []
    long = animator.animate(
        clip(frames=2 * LONGEST + 1), lambda done, total, preview: steps.append((done, len(preview())))
    )
    assert len(long) == 2 * LONGEST + 1
    assert steps[-1][0] == STEPS
    assert np.array_equal(animator.animate(clip(), silent), usual)


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M Karras", "DPM2", "LMS", "DDIM", "LCM", "UniPC"])
def test_samplers_make_clips(animator, sampler):
    chosen = SAMPLERS[sampler]
    done = []
    frames = animator.animate(
        clip(sampler=chosen, frames=2, steps=3), lambda at, total, preview: done.append(at)
    )
    assert frames.shape == (2, 64, 64, 3)
    assert done[-1] == 3


def test_a_clip_above_the_native_side_is_enlarged_if_the_entry_says_so(base, adapter, animator):
    small = load(adapter, base, enlarge=True)
    assert small.fit(256, 256) == (64, 64)
    assert small.fit(320, 160) == (88, 48)
    assert small.fit(64, 64) == (64, 64)
    assert animator.fit(256, 250) == (256, 256)
    assert small.pixel_steps(clip(width=256, height=256)) == 4 * 64 * 64 * STEPS
    assert small.animate(clip(width=256, height=200), silent).shape == (4, 200, 256, 3)


def test_an_adapter_without_its_base_says_what_to_do(base, adapter, tmp_path):
    for options in ({}, {"base": "stable-diffusion-v1-5"}):
        entry = model(adapter, **options)
        with pytest.raises(LoadFailed, match="pull that"):
            Animator(entry, Settings.of(entry))
    with pytest.raises(LoadFailed, match="widths"):
        load(make_adapter(tmp_path / "wide", widths=(16, 48)), base)


@pytest.mark.parametrize(
    ("format", "mime", "start"),
    [("gif", "image/gif", b"GIF89a"), ("webp", "image/webp", b"RIFF"), ("frames", "image/png", b"\x89PNG")],
)
def test_every_format_has_its_file_and_says_how_it_was_made(format, mime, start):
    request = AnimationRequest(model="m", prompt="p", format=format, frames_per_second=5)
    media = encode_clip(drawing(3), request, "a red disc\nSeed: 7")
    assert [one.mime for one in media] == [mime] * (3 if format == "frames" else 1)
    assert all(one.data.startswith(start) and one.text == "a red disc\nSeed: 7" for one in media)
    plain = encode_clip(
        drawing(3), AnimationRequest(model="m", prompt="p", format=format, with_metadata=False), "a red disc"
    )
    assert b"a red disc" not in plain[0].data


def test_mp4_files():
    pytest.importorskip("av")
    request = AnimationRequest(model="m", prompt="p", format="mp4")
    (made,) = encode_clip(drawing(3), request, "a red disc")
    assert made.mime == "video/mp4"
    assert made.data[4:8] == b"ftyp"
