"""The recipe of starter-motion: clips are what captions say, tracks tell them apart, a new adapter moves nothing."""

import json
import random

import numpy as np
import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from starter.image.text import WIDTH
from starter.image.tokeniser import LENGTH
from starter.motion.clips import Clip, draw_clip, draw_frames, load_pool
from starter.motion.evaluate import evaluation_set
from starter.motion.paths import MOTIONS, PHRASES, Way, is_held_out, random_path, still_time
from starter.motion.tracks import follow, moves_as
from starter.motion.train import MotionRun, Mover, Part, Plan, make_adapter, make_moving, motion_loss

FRAMES = 8


def tiny_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def tiny_text() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=100,
        hidden_size=WIDTH,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
    )
    return CLIPTextModel(config)


def some_part(frames=3) -> Part:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, frames, 4, 16, 16, generator=generator)
    noise = torch.randn(2, frames, 4, 16, 16, generator=generator)
    return Part(latents, torch.full((2, LENGTH), 7), torch.tensor([900, 500]), noise)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_way_stays_inside_the_picture(motion):
    rng = random.Random(3)
    for size in ("small", "medium", "large"):
        way = random_path(rng, motion, size)
        for number in range(11):
            x, y, radius = way.at(number / 10)
            assert all(middle - radius >= 0 and middle + radius <= 1 for middle in (x, y))


def test_ways_go_where_they_say():
    for motion, axis, sign in (("right", 0, 1), ("left", 0, -1), ("down", 1, 1), ("up", 1, -1)):
        way = Way(motion, 0.17, 0.5)
        change = np.subtract(way.at(1.0), way.at(0.0))
        assert change[axis] * sign > 0.4
        assert change[1 - axis] == 0
    assert Way("growing", 0.1, 0.5).at(1.0)[2] > 3 * Way("growing", 0.1, 0.5).at(0.0)[2]
    bounce = [Way("bouncing", 0.17, 0.5).at(time)[1] for time in (0, 0.5, 1)]
    assert bounce[0] == bounce[2] > bounce[1] + 0.3


def test_stills_tell_the_direction():
    rng = random.Random(3)
    assert np.mean([still_time(rng, "left") for _ in range(400)]) > 0.6
    assert abs(np.mean([still_time(rng, "bouncing") for _ in range(400)]) - 0.5) < 0.05


def test_tracks_tell_every_motion_from_all_others():
    rng = random.Random(4)
    for motion in MOTIONS:
        clip = draw_clip(rng, motion)
        track = follow(clip, draw_frames(clip, FRAMES))
        assert [other for other in MOTIONS if moves_as(track, other, FRAMES)] == [motion]


def test_a_clip_without_its_shape_or_with_another_colour_is_wrong():
    clip = Clip("red", "circle", "blue", None, Way("right", 0.17, 0.5))
    other = Clip("blue", "circle", "white", None, clip.way)
    frames = draw_frames(clip, FRAMES)
    assert moves_as(follow(clip, frames), "right", FRAMES)
    assert not moves_as(follow(clip, np.repeat(frames[:1], FRAMES, 0)), "right", FRAMES)
    assert not moves_as(follow(clip, np.full_like(frames, 255)), "right", FRAMES)
    assert not moves_as(follow(clip, draw_frames(other, FRAMES)), "right", FRAMES)


def test_captions_name_what_is_drawn():
    rng = random.Random(5)
    for _ in range(60):
        clip = draw_clip(rng)
        words = clip.caption(rng)
        assert clip.shape in words
        assert clip.colour in words.replace("grey", "gray")
        assert any(phrase in words for phrase in PHRASES[clip.motion])


def test_what_is_measured_was_never_trained():
    rng = random.Random(6)
    trained = [draw_clip(rng) for _ in range(300)]
    assert not any(is_held_out(clip.colour, clip.shape, clip.motion) or clip.held_out for clip in trained)
    held = evaluation_set(3)
    assert all(clip.held_out for clip, _ in held)
    assert {clip.motion for clip, _ in held} == set(MOTIONS)
    assert held == evaluation_set(3)


def test_a_new_adapter_moves_nothing_and_then_learns():
    torch.manual_seed(0)
    unet = tiny_unet()
    mover = Mover(make_moving(unet, make_adapter(unet)), tiny_text())
    latents, words = torch.randn(1, 4, 3, 16, 16), torch.randn(1, LENGTH, WIDTH)
    with torch.no_grad():
        moving = mover.moving(latents, 500, words.repeat_interleave(3, 0)).sample[:, :, 1]
        assert torch.allclose(moving, unet(latents[:, :, 1], 500, words).sample, atol=1e-5)
    assert all("motion_modules" in name for name in mover.trained)
    motion_loss(mover, some_part()).backward()
    learning = [name for name, p in mover.trained.items() if p.grad is not None and p.grad.abs().sum() > 0]
    assert learning
    assert all("proj_out" in name for name in learning)


def test_a_run_goes_on_from_its_checkpoint_also_with_more_modules(tmp_path, monkeypatch):
    base, pool, folder = tmp_path / "base", tmp_path / "pool", tmp_path / "run"
    for made in (pool, folder):
        made.mkdir()
    torch.manual_seed(0)
    tiny_unet().save_pretrained(base / "unet")
    tiny_text().save_pretrained(base / "text_encoder")
    np.save(pool / "0000.npy", np.random.default_rng(0).normal(size=(4, 3, 4, 16, 16)).astype(np.float16))
    (pool / "0000.json").write_text(json.dumps([["red"]] * 4))
    monkeypatch.setattr("starter.motion.train.CLIPTokenizer", Words)
    assert load_pool(pool)[0][0].shape == (4, 3, 4, 16, 16)

    def run(total, **options):
        made = MotionRun(folder, pool, base, Plan(total, total, batch=2, parts=1), "cpu", 1, **options)
        made.resume()
        made.learn()
        return made

    first = run(4, coarse=True)
    assert (first.seen, first.steps) == (4, 2)
    second = run(6)
    assert (second.seen, second.steps) == (6, 3)
    assert len(second.mover.trained) > len(first.mover.trained)
    shipped = MotionAdapter.from_pretrained(folder / "adapter").state_dict()
    assert all(torch.equal(shipped[name], value) for name, value in second.mean.items())
    (folder / "stop").touch()
    assert run(1000).steps == 4
    assert not (folder / "stop").exists()


class Words:
    """Instead of a tokeniser: every prompt is the same."""

    @classmethod
    def from_pretrained(cls, folder):
        return cls()

    def __call__(self, texts, **options):
        return type("Ids", (), {"input_ids": torch.full((len(texts), LENGTH), 7)})
