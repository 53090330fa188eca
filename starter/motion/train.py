"""Trains the motion adapter on top of a frozen starter-image, or goes on from its checkpoint, also on another base.

Only the adapter learns. It has no text of its own: it reads the direction in the features of the frozen UNet.
"""

import argparse
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTokenizer

from starter.chat.optimizer import Muon
from starter.chat.workers import Workers
from starter.image.noise import STEPS, noised
from starter.motion.clips import load_pool

LONGEST = 32
"""Frames that the adapter has places for."""
HEADS = 2
_STATE = "motion.pt"
_STOP = "stop"
_EMPTY = 0.1
"""The share of captions that are left out, for guidance."""
_EMA = 0.995


@dataclass(frozen=True)
class Plan:
    """Learning rates, batch size, and a schedule counted in clips."""

    total: float
    decay_start: float
    batch: int = 8
    parts: int = 4
    matrix_lr: float = 2e-3
    other_lr: float = 1e-3
    warmup: float = 400
    checkpoint_seconds: float = 120.0

    def factor(self, seen: int) -> float:
        """The learning rates' factor: warm up, hold, then fall linearly to nothing."""
        if seen < self.warmup:
            return (seen + self.batch) / (self.warmup + self.batch)
        if seen < self.decay_start:
            return 1.0
        return max(0.0, (self.total - seen) / (self.total - self.decay_start))


def make_adapter(unet: UNet2DConditionModel) -> MotionAdapter:
    """A motion adapter for this UNet that moves nothing yet: what it puts out is zero."""
    adapter = MotionAdapter(
        block_out_channels=unet.config.block_out_channels, motion_layers_per_block=unet.config.layers_per_block,
        motion_num_attention_heads=HEADS, motion_norm_num_groups=unet.config.norm_num_groups,
        motion_max_seq_length=LONGEST, use_motion_mid_block=True,
    )  # fmt: skip
    for name, module in adapter.named_modules():
        if name.endswith("motion_modules.0.proj_out") or name.endswith("motion_modules.1.proj_out"):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    return adapter


class Idle(torch.nn.Module):  # type: ignore[misc]
    """In the place of a motion module that is not trained yet: it moves nothing."""

    def forward(self, hidden_states: torch.Tensor, *unused: object, **unused_too: object) -> torch.Tensor:
        """What came in."""
        return hidden_states


def make_moving(unet: UNet2DConditionModel, adapter: MotionAdapter, coarse: bool = False) -> UNetMotionModel:
    """The frozen UNet with the adapter in it; attention is written out, which is quicker for so few frames.

    `coarse` leaves out the modules of the finest level, which cost most: they come in when the rest has learned where
    things are.
    """
    moving = UNetMotionModel.from_unet2d(unet, adapter)
    moving.freeze_unet2d_params()
    if coarse:
        for block in (moving.down_blocks[0], moving.up_blocks[-1]):
            for number in range(len(block.motion_modules)):
                block.motion_modules[number] = Idle()
    moving.set_attn_processor(AttnProcessor())
    return moving


class Mover(torch.nn.Module):  # type: ignore[misc]
    """What a step needs: the moving UNet, and the frozen text encoder."""

    def __init__(self, moving: UNetMotionModel, text: CLIPTextModel) -> None:
        super().__init__()
        self.moving, self.text = moving, text.requires_grad_(False)

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The adapter's weights by name."""
        return {name: p for name, p in self.moving.named_parameters() if p.requires_grad}


@dataclass(frozen=True)
class Part:
    """A few clips of one length: clean latents [clips, frames, 4, 16, 16], token ids, times and noise."""

    latents: torch.Tensor
    ids: torch.Tensor
    times: torch.Tensor
    noise: torch.Tensor


def motion_loss(mover: Mover, part: Part) -> torch.Tensor:
    """The sum over clips of the square error of the predicted velocity; what moves counts like what stands still."""
    device = mover.moving.device
    count, frames = part.latents.shape[:2]
    times = part.times.to(device)
    noisy, velocity = noised(
        part.latents.to(device).flatten(0, 1),
        part.noise.to(device).flatten(0, 1),
        times.repeat_interleave(frames),
    )
    with torch.no_grad():
        heard = mover.text(part.ids.to(device)).last_hidden_state
    clips = noisy.unflatten(0, (count, frames)).transpose(1, 2)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        told = mover.moving(clips, times, heard.repeat_interleave(frames, 0)).sample
    off = (told.float().transpose(1, 2).flatten(0, 1) - velocity) ** 2
    return off.mean((1, 2, 3)).unflatten(0, (count, frames)).mean(1).sum()


def some_times(count: int) -> torch.Tensor:
    """Random times: late ones above all, where much noise is left and it is decided where things are."""
    noisy = torch.sigmoid(torch.randn(count) + 0.7)
    times = torch.where(torch.rand(count) < 0.2, torch.rand(count), noisy)
    return (times * (STEPS - 0.01)).long()


class MotionRun:
    """A training run: the adapter, its running mean, optimisers, and how many clips it has seen."""

    def __init__(
        self, folder: Path, pool: Path, base: Path, plan: Plan, device: str, threads: int,
        coarse: bool = False,
    ) -> None:  # fmt: skip
        self.folder, self.plan, self.seen, self.steps = folder, plan, 0, 0
        self.pool = load_pool(pool)
        self.tokeniser = CLIPTokenizer.from_pretrained(str(base / "tokenizer"))
        self.unet = UNet2DConditionModel.from_pretrained(base / "unet").float()
        text = CLIPTextModel.from_pretrained(base / "text_encoder").float()
        self.mover = Mover(make_moving(self.unet, make_adapter(self.unet), coarse), text).to(device)
        self.mean = {name: p.detach().clone() for name, p in self.mover.trained.items()}
        self.optimizers = self._optimizers()
        self.workers = Workers(self.mover, threads, motion_loss)

    def _optimizers(self) -> list[tuple[torch.optim.Optimizer, float]]:
        weights = list(self.mover.trained.values())
        matrices = [p for p in weights if p.ndim == 2]
        others = [p for p in weights if p.ndim != 2]
        rest = torch.optim.AdamW(
            others, lr=self.plan.other_lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )
        return [
            *(
                (Muon(matrices[half::2], lr=self.plan.matrix_lr, weight_decay=0.02), self.plan.matrix_lr)
                for half in (0, 1)
            ),
            (rest, self.plan.other_lr),
        ]

    def resume(self) -> None:
        """Goes on from the folder's checkpoint, if it has one; the base, or what is trained, may be another by now."""
        if not (self.folder / _STATE).exists():
            return
        state = torch.load(self.folder / _STATE, weights_only=True)
        known, trained = state["adapter"], self.mover.trained
        for name in known.keys() & trained.keys():
            trained[name].data.copy_(known[name])
            self.mean[name] = state["mean"][name]
        if known.keys() == trained.keys():
            for (optimizer, _), saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
        self.seen, self.steps = state["seen"], state["steps"]

    def save(self) -> None:
        """Replaces the checkpoint whole, and the folder's adapter made of the mean weights."""
        state = {
            "adapter": {name: p.detach() for name, p in self.mover.trained.items()}, "mean": self.mean,
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "seen": self.seen, "steps": self.steps,
        }  # fmt: skip
        torch.save(state, self.folder / (_STATE + ".partial"))
        os.replace(self.folder / (_STATE + ".partial"), self.folder / _STATE)
        adapter = make_adapter(self.unet)
        adapter.load_state_dict(self.mean, strict=False)
        adapter.save_pretrained(self.folder / "adapter")

    def batches(self) -> Iterator[list[Part]]:
        """Batches in parts for ever; all clips of a part have one length."""
        rng = random.Random(self.seen)
        size = self.plan.batch // self.plan.parts
        while True:
            batch = []
            for _ in range(self.plan.parts):
                latents, captions = rng.choice(self.pool)
                rows = [rng.randrange(len(latents)) for _ in range(size)]
                words = ["" if rng.random() < _EMPTY else rng.choice(captions[row]) for row in rows]
                ids = self.tokeniser(
                    words, padding="max_length", truncation=True, return_tensors="pt"
                ).input_ids
                clean = torch.from_numpy(np.stack([latents[row] for row in rows])).float()
                batch.append(Part(clean, ids, some_times(size), torch.randn_like(clean)))
            yield batch

    def learn(self) -> None:
        """Trains until the plan's clips are done or a file named `stop` appears in the folder."""
        saved_at = logged_at = time.monotonic()
        logged, loss = self.seen, 0.0
        for batch in self.batches():
            step_loss = self.step(batch)
            loss = step_loss if not loss else 0.98 * loss + 0.02 * step_loss
            now = time.monotonic()
            if self.steps % 50 == 0:
                speed = (self.seen - logged) / (now - logged_at)
                print(f"step {self.steps} loss {loss:.4f} {self.seen} clips {speed:.1f}/s", flush=True)
                logged_at, logged = now, self.seen
            stopping = self.seen >= self.plan.total or (self.folder / _STOP).exists()
            if stopping or now - saved_at > self.plan.checkpoint_seconds:
                self.save()
                saved_at = time.monotonic()
            if stopping:
                (self.folder / _STOP).unlink(missing_ok=True)
                return

    def step(self, batch: list[Part]) -> float:
        """One step on one batch; returns its loss."""
        loss = self.workers.backward(batch, total=self.plan.batch)
        weights = self.mover.trained
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        for optimizer, rate in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate * self.plan.factor(self.seen)
        self.workers.run([optimizer.step for optimizer, _ in self.optimizers])
        self.mover.zero_grad()
        self.steps += 1
        self.seen += self.plan.batch
        keep = min(_EMA, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.values()), [p.detach() for p in weights.values()], 1 - keep)
        return loss


def main() -> None:
    """Trains the adapter in a folder, on a pool of clips and a folder of starter-image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True, help="the folder of starter-image")
    parser.add_argument("--total", type=float, default=4e4)
    parser.add_argument("--decay-start", type=float, default=2.5e4)
    parser.add_argument("--matrix-lr", type=float, default=2e-3)
    parser.add_argument("--other-lr", type=float, default=1e-3)
    parser.add_argument("--coarse", action="store_true", help="without the finest level")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(options.total, options.decay_start, matrix_lr=options.matrix_lr, other_lr=options.other_lr)
    run = MotionRun(
        options.folder, options.pool, options.base, plan, options.device, options.threads, options.coarse
    )
    run.resume()
    run.learn()


if __name__ == "__main__":
    main()
