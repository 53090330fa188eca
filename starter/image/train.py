"""Trains the UNet and, more slowly, the text encoder on the encoded pool, or goes on from its checkpoint."""

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel

from starter.chat.workers import Workers
from starter.image.autoencoder import FACTOR
from starter.image.latents import CROP, PARTS
from starter.image.matrices import Optimizers
from starter.image.noise import late_times, noised, some_times
from starter.image.pictures import load_shard, shards
from starter.image.scenes import KINDS, SIDE
from starter.image.text import WIDTH
from starter.image.tokeniser import load_tokeniser

_STATE = "painter.pt"
_STOP = "stop"
_SEVERAL = ("pair", "places", "three")
_EMPTY, _EMPTY_LATE, _LATE = 0.1, 0.5, 400
"""The share of captions that are left out, for guidance; more at late times, where the picture itself says what it shows,
so that guidance, however strong, changes little there."""
_EMA = 0.997


@dataclass(frozen=True)
class Plan:
    """Learning rates, batch size, and a schedule counted in samples."""

    total: float
    decay_start: float
    several_from: float = 4e4
    """Until here pictures of several different shapes are rare."""
    batch: int = 48
    parts: int = 2
    matrix_lr: float = 2e-3
    other_lr: float = 1e-3
    text_lr: float = 3e-4
    foreground: float = 1.0
    """How much more a latent counts on which there is something."""
    warmup: float = 5e3
    checkpoint_seconds: float = 180.0

    def factor(self, seen: int) -> float:
        """The learning rates' factor: warm up, hold, then fall linearly to nothing."""
        if seen < self.warmup:
            return (seen + self.batch) / (self.warmup + self.batch)
        if seen < self.decay_start:
            return 1.0
        return max(0.0, (self.total - seen) / (self.total - self.decay_start))


def make_unet() -> UNet2DConditionModel:
    """A small UNet: three levels, attention on the lower two."""
    return UNet2DConditionModel(
        sample_size=SIDE // FACTOR, in_channels=4, out_channels=4, block_out_channels=(48, 96, 112), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=16,
    )  # fmt: skip


class Painter(torch.nn.Module):  # type: ignore[misc]
    """What is trained together: the UNet and the text encoder."""

    def __init__(self, text: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text = make_unet(), text
        # Plain products of matrices: on processors the fused attention learns at half the speed on maps this small.
        self.unet.set_attn_processor(AttnProcessor())


@dataclass(frozen=True)
class Part:
    """A few samples: clean latents, token ids, what counts how much, times and noise."""

    latents: torch.Tensor
    ids: torch.Tensor
    weights: torch.Tensor
    times: torch.Tensor
    noise: torch.Tensor


def velocity_loss(painter: Painter, part: Part) -> torch.Tensor:
    """The sum over samples of the weighted square error of the predicted velocity."""
    device = painter.unet.device
    noisy, velocity = noised(part.latents.to(device), part.noise.to(device), part.times.to(device))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        heard = painter.text(part.ids.to(device)).last_hidden_state
        told = painter.unet(noisy, part.times.to(device), heard).sample
    off = (told.float() - velocity) ** 2
    return (off * part.weights.to(device)).mean((1, 2, 3)).sum()


class Samples:
    """The encoded pool in memory; grows while files are added."""

    def __init__(self, pool: Path) -> None:
        self.pool, self._files = pool, 0
        self.refresh()

    def refresh(self) -> None:
        """Loads the pool again if it has grown."""
        files = shards(self.pool, "latents")
        if len(files) != self._files:
            parts = [np.concatenate([load_shard(self.pool, file, part) for file in files]) for part in PARTS]
            self.ids, self.kinds, self.marks, self.latents = parts
            self._files = len(files)

    def rows(self, rng: np.random.Generator, count: int, several: float) -> np.ndarray:
        """Random rows; pictures of several different shapes come `several` times as often as in the pool."""
        weights = np.array([several if kind in _SEVERAL else 1.0 for kind in KINDS]) / max(several, 1.0)
        chosen = rng.integers(0, len(self.kinds), count * 8)
        chosen = chosen[rng.random(len(chosen)) < weights[self.kinds[chosen]]]
        return chosen[:count]  # type: ignore[no-any-return]


class PainterRun:
    """A training run: weights, their running mean, optimisers, and how many samples it has seen."""

    def __init__(self, folder: Path, pool: Path, text: Path, plan: Plan, device: str, threads: int) -> None:
        self.folder, self.plan, self.seen, self.steps = folder, plan, 0, 0
        self.samples = Samples(pool)
        tokeniser = load_tokeniser(text / "tokenizer")
        shutil.copytree(text / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
        self.empty = np.array(tokeniser("", padding="max_length").input_ids, np.int16)
        self.painter = Painter(
            CLIPTextModel.from_pretrained(text / "text_encoder", attn_implementation="eager")
        ).to(device)
        self.mean = [p.detach().clone() for p in self.painter.parameters()]
        self.unet_optimizers = Optimizers(
            self.painter.unet.named_parameters(),
            plan.matrix_lr,
            plan.other_lr,
            ("conv_in", "conv_out", "time_"),
        )
        self.text_optimizer = torch.optim.AdamW(
            self.painter.text.parameters(), lr=plan.text_lr, betas=(0.9, 0.99), weight_decay=1e-2, fused=True
        )
        self.workers = Workers(self.painter, threads, velocity_loss)

    def resume(self) -> None:
        """Goes on from the folder's checkpoint, if it has one."""
        if not (self.folder / _STATE).exists():
            return
        state = torch.load(self.folder / _STATE, weights_only=True)
        self.painter.load_state_dict(state["painter"])
        self.unet_optimizers.load_state(state["unet_optimizers"])
        self.text_optimizer.load_state_dict(state["text_optimizer"])
        self.mean = state["mean"]
        self.seen, self.steps = state["seen"], state["steps"]

    def save(self) -> None:
        """Replaces the checkpoint whole; the mean weights are what `export` takes."""
        state = {
            "painter": self.painter.state_dict(), "mean": self.mean, "seen": self.seen, "steps": self.steps,
            "unet_optimizers": self.unet_optimizers.state(), "text_optimizer": self.text_optimizer.state_dict(),
        }  # fmt: skip
        torch.save(state, self.folder / (_STATE + ".partial"))
        os.replace(self.folder / (_STATE + ".partial"), self.folder / _STATE)

    def batches(self) -> Iterator[list[Part]]:
        """Batches in parts for ever."""
        rng = np.random.default_rng(self.seen)
        plan = self.plan
        while True:
            rows = self.samples.rows(rng, plan.batch, 1.0 if self.seen >= plan.several_from else 0.15)
            ids = self.samples.ids[rows, rng.integers(0, self.samples.ids.shape[1], len(rows))]
            weights = 1 + plan.foreground * self.samples.marks[rows][:, None].astype(np.float32)
            latents = torch.from_numpy(self.samples.latents[rows]).float()
            crops = torch.from_numpy(self.samples.kinds[rows] == CROP)
            times = torch.where(crops, late_times(len(rows)), some_times(len(rows)))
            left_out = rng.random(len(rows)) < np.where(times.numpy() < _LATE, _EMPTY_LATE, _EMPTY)
            ids = np.where(left_out[:, None], self.empty, ids)
            whole = Part(
                latents, torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(weights / weights.mean()),
                times, torch.randn_like(latents),
            )  # fmt: skip
            size = -(-len(rows) // plan.parts)
            pieces = [getattr(whole, name).split(size) for name in Part.__dataclass_fields__]
            yield [Part(*piece) for piece in zip(*pieces, strict=True)]

    def learn(self) -> None:
        """Trains until the plan's samples are done or a file named `stop` appears in the folder."""
        saved_at = logged_at = time.monotonic()
        logged, loss = self.seen, 0.0
        for batch in self.batches():
            step_loss = self.step(batch)
            loss = step_loss if not loss else 0.98 * loss + 0.02 * step_loss
            now = time.monotonic()
            if self.steps % 100 == 0:
                speed = (self.seen - logged) / (now - logged_at)
                print(
                    f"step {self.steps} loss {loss:.4f} {self.seen / 1e3:.0f}k samples {speed:.0f}/s",
                    flush=True,
                )
                logged_at, logged = now, self.seen
                self.samples.refresh()
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
        torch.nn.utils.clip_grad_norm_(self.painter.parameters(), 1.0)
        factor = self.plan.factor(self.seen)
        self.unet_optimizers.prepare(factor)
        self.text_optimizer.param_groups[0]["lr"] = self.plan.text_lr * factor
        self.workers.run(
            [optimizer.step for optimizer, _ in self.unet_optimizers.all] + [self.text_optimizer.step]
        )
        self.painter.zero_grad()
        self.steps += 1
        self.seen += self.plan.batch
        keep = min(_EMA, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, [p.detach() for p in self.painter.parameters()], 1 - keep)
        return loss


def main() -> None:
    """Trains the UNet in a folder, on an encoded pool and a warmed-up text encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--total", type=float, default=2.7e5)
    parser.add_argument("--decay-start", type=float, default=1.5e5)
    parser.add_argument("--matrix-lr", type=float, default=2e-3)
    parser.add_argument("--other-lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        options.total,
        options.decay_start,
        matrix_lr=options.matrix_lr,
        other_lr=options.other_lr,
        parts=options.threads,
    )
    run = PainterRun(options.folder, options.pool, options.text, plan, options.device, options.threads)
    run.resume()
    run.learn()


if __name__ == "__main__":
    main()
