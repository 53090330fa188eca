"""Trains the autoencoder on the pool's pictures, or goes on from its checkpoint; its latents come out whitened."""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from starter.chat.workers import Workers
from starter.image.matrices import Optimizers
from starter.image.pictures import load_shard, shards
from starter.image.scenes import SIDE

FACTOR = 4
"""Pixels of a side that one latent stands for."""

SCALING = 0.18215
_STATE = "autoencoder.pt"
_STOP = "stop"
_CROP = 32
_KL, _SQUARES, _ANCHOR = 1e-4, 3.0, 0.2
_EMA = 0.997


@dataclass(frozen=True)
class Plan:
    """Learning rate, batch size, and a schedule counted in crops."""

    total: float
    whole_from: float
    """From here on whole pictures in full precision are shown instead of crops."""
    batch: int = 12
    parts: int = 2
    matrix_lr: float = 4e-3
    other_lr: float = 2e-3
    warmup: float = 1200
    checkpoint_seconds: float = 120.0

    def factor(self, seen: int) -> float:
        """The learning rates' factor: warm up, then a half cosine."""
        done = min(1.0, seen / self.total)
        return float(min(1.0, (seen + self.batch) / self.warmup) * (0.5 + 0.5 * np.cos(np.pi * done)))


def make_autoencoder() -> AutoencoderKL:
    """A small autoencoder without attention: four latent channels at a quarter of the side."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(16, 32, 64), layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, norm_num_groups=4,
        sample_size=SIDE, mid_block_add_attention=False, scaling_factor=SCALING,
    )  # fmt: skip


def scaled(pixels: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """Pixels [pictures, height, width, 3] as the autoencoder reads them."""
    picture = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).to(device)
    return (picture.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


Part = tuple[np.ndarray, bool]
"""Pixels, and whether rough numbers are good enough."""


def picture_loss(model: AutoencoderKL, part: Part) -> torch.Tensor:
    """The sum over pictures of what is lost: colours, evenness of the latents, likeness of latents to a thumbnail."""
    device = model.device
    pictures = scaled(part[0], device.type)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=part[1]):
        latents = model.encode(pictures).latent_dist
        drawn = model.decode(latents.sample()).sample.float()
    thumbnail = torch.nn.functional.avg_pool2d(pictures, FACTOR)
    anchor = ((latents.mean[:, :3].float() - 2 * thumbnail) ** 2).mean()
    spread = latents.kl().float().mean() / latents.mean[0].numel()
    off = drawn - pictures
    loss: torch.Tensor = off.abs().mean() + _SQUARES * (off**2).mean() + _KL * spread + _ANCHOR * anchor
    return loss * len(pictures)


class AutoencoderRun:
    """A training run of the autoencoder: weights, their running mean, and how many crops it has seen."""

    def __init__(self, folder: Path, pool: Path, plan: Plan, device: str, threads: int) -> None:
        self.folder, self.plan, self.seen, self.steps = folder, plan, 0, 0
        self.pixels = np.concatenate([load_shard(pool, s, "pictures") for s in shards(pool, "pictures")[:12]])
        self.model = make_autoencoder().to(device)
        self.mean = [p.detach().clone() for p in self.model.parameters()]
        self.optimizers = Optimizers(
            self.model.named_parameters(),
            plan.matrix_lr,
            plan.other_lr,
            ("encoder.conv_in", "decoder.conv_out"),
        )
        self.workers = Workers(self.model, threads, picture_loss)

    def resume(self) -> None:
        """Goes on from the folder's checkpoint, if it has one."""
        if not (self.folder / _STATE).exists():
            return
        state = torch.load(self.folder / _STATE, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizers.load_state(state["optimizers"])
        self.mean = state["mean"]
        self.seen, self.steps = state["seen"], state["steps"]

    def save(self) -> None:
        """Replaces the checkpoint whole."""
        state = {
            "model": self.model.state_dict(), "optimizers": self.optimizers.state(), "mean": self.mean,
            "seen": self.seen, "steps": self.steps,
        }  # fmt: skip
        torch.save(state, self.folder / (_STATE + ".partial"))
        os.replace(self.folder / (_STATE + ".partial"), self.folder / _STATE)

    def batches(self) -> Iterator[list[Part]]:
        """Crops for ever; late in the plan whole pictures, a third as many."""
        rng = np.random.default_rng(self.seen)
        while True:
            if self.seen < self.plan.whole_from:
                top, left = rng.integers(0, (SIDE - _CROP) // 8 + 1, 2) * 8
                rows = rng.integers(0, len(self.pixels), self.plan.batch)
                pixels = self.pixels[rows, top : top + _CROP, left : left + _CROP]
            else:
                pixels = self.pixels[rng.integers(0, len(self.pixels), self.plan.batch // 3)]
            rough = self.seen < self.plan.whole_from
            yield [(piece, rough) for piece in np.array_split(pixels, self.plan.parts)]

    def learn(self) -> None:
        """Trains until the plan's crops are done or a file named `stop` appears in the folder."""
        saved_at = logged_at = time.monotonic()
        logged = self.seen
        for parts in self.batches():
            loss = self.workers.backward(parts, total=sum(len(pixels) for pixels, _ in parts))
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizers.prepare(self.plan.factor(self.seen))
            self.workers.run([optimizer.step for optimizer, _ in self.optimizers.all])
            self.model.zero_grad()
            self.steps += 1
            self.seen += self.plan.batch
            keep = min(_EMA, (1 + self.steps) / (10 + self.steps))
            with torch.no_grad():
                torch._foreach_lerp_(self.mean, [p.detach() for p in self.model.parameters()], 1 - keep)
            now = time.monotonic()
            if self.steps % 100 == 0:
                quality = decibels(self.model, self.pixels[:: len(self.pixels) // 48])
                speed = (self.seen - logged) / (now - logged_at)
                print(f"{self.seen / 1e3:.0f}k loss {loss:.4f} {quality:.1f} dB {speed:.0f}/s", flush=True)
                logged_at, logged = now, self.seen
            stopping = self.seen >= self.plan.total or (self.folder / _STOP).exists()
            if stopping or now - saved_at > self.plan.checkpoint_seconds:
                self.save()
                saved_at = time.monotonic()
            if stopping:
                (self.folder / _STOP).unlink(missing_ok=True)
                return

    def finish(self) -> None:
        """Writes the mean weights, whitened, as a diffusers folder."""
        with torch.no_grad():
            for own, mean in zip(self.model.parameters(), self.mean, strict=True):
                own.copy_(mean)
        whiten(self.model, self.pixels[:: max(1, len(self.pixels) // 2048)])
        print(f"whitened: {decibels(self.model, self.pixels[::200]):.2f} dB", flush=True)
        self.model.save_pretrained(self.folder / "vae")


@torch.inference_mode()  # type: ignore[untyped-decorator]
def encode(model: AutoencoderKL, pixels: np.ndarray) -> torch.Tensor:
    """Latents [pictures, 4, 16, 16] of variance one, without noise."""
    parts = [pixels[start : start + 64] for start in range(0, len(pixels), 64)]
    means = [model.encode(scaled(part, model.device.type)).latent_dist.mean.cpu() for part in parts]
    return torch.cat(means).contiguous() * SCALING


@torch.inference_mode()  # type: ignore[untyped-decorator]
def decode(model: AutoencoderKL, latents: torch.Tensor) -> np.ndarray:
    """Pixels [pictures, height, width, 3] of latents."""
    parts = [model.decode(part.to(model.device) / SCALING).sample.cpu() for part in latents.split(64)]
    pixels = ((torch.cat(parts).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return np.ascontiguousarray(pixels.numpy())


def decibels(model: AutoencoderKL, pixels: np.ndarray) -> float:
    """The mean peak signal-to-noise ratio of pictures that went through the latents."""
    off = decode(model, encode(model, pixels)).astype(np.float64) - pixels
    return float((10 * np.log10(255**2 / np.maximum((off**2).mean((1, 2, 3)), 1e-3))).mean())


@torch.no_grad()  # type: ignore[untyped-decorator]
def whiten(model: AutoencoderKL, pixels: np.ndarray) -> None:
    """Changes the 1x1 convolutions around the latents so that each channel has mean 0 and variance 1 when scaled."""
    latents = encode(model, pixels) / SCALING
    mean, gain = latents.mean((0, 2, 3)), 1 / (latents.std((0, 2, 3)) * SCALING)
    inner, outer = model.quant_conv, model.post_quant_conv
    channels = len(mean)
    inner.weight[:channels] *= gain[:, None, None, None]
    inner.bias[:channels] = (inner.bias[:channels] - mean) * gain
    inner.bias[channels:] += 2 * torch.log(gain)
    outer.bias += outer.weight[:, :, 0, 0] @ mean
    outer.weight *= (1 / gain)[None, :, None, None]


def main() -> None:
    """Trains the autoencoder in a folder, on a pool of pictures, and encodes the pool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--total", type=float, default=3e4)
    parser.add_argument("--whole-from", type=float, default=3e4)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(options.total, options.whole_from, parts=options.threads)
    run = AutoencoderRun(options.folder, options.pool, plan, options.device, options.threads)
    run.resume()
    run.learn()
    run.finish()


if __name__ == "__main__":
    main()
