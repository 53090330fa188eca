"""Stage 0: trains the tower alone on dense labels, or goes on from its checkpoint."""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from starter.chat.optimizer import Muon
from starter.chat.workers import Workers
from starter.vision.labels import HEADS
from starter.vision.model import UNUSED, Eye, normalised
from starter.vision.pictures import VALIDATION, load_labels, load_pictures, shards

_STATE = "tower.pt"
_STOP = "stop"
_WEIGHTS = {"name": 1.0, "colour": 0.5, "place": 0.3, "size": 0.15, "order": 0.3, "rank": 0.5, "bar": 0.5}
_GLOBAL_WEIGHTS = {"count": 0.3, "background": 0.15, "kind": 0.1}
_FOREGROUND = 3.0
"""How much more a patch counts on which there is something."""


@dataclass(frozen=True)
class Plan:
    """Learning rates, batch size, and a schedule counted in pictures."""

    total: float
    decay_start: float
    batch: int = 64
    parts: int = 2
    matrix_lr: float = 3e-3
    other_lr: float = 2e-3
    warmup: float = 6e3
    checkpoint_seconds: float = 180.0

    def factor(self, seen: int) -> float:
        """The learning rate's factor: warm up, hold, then fall linearly to nothing."""
        if seen < self.warmup:
            return (seen + self.batch) / (self.warmup + self.batch)
        if seen < self.decay_start:
            return 1.0
        return max(0.0, (self.total - seen) / (self.total - self.decay_start))


Part = tuple[np.ndarray, np.ndarray]
"""Pixels and labels of a few pictures."""


def eye_loss(eye: Eye, part: Part) -> torch.Tensor:
    """The sum over pictures of what all heads lose."""
    device = eye.heads.weight.device
    pixels = normalised(part[0]).to(device)
    pixels += torch.randn_like(pixels) * 0.02
    labels = torch.from_numpy(part[1].astype(np.int64)).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        heads = eye(pixels)
    weight = torch.where(labels[:, 0] > 0, _FOREGROUND, 1.0)
    loss = torch.zeros((), device=device)
    for number, (name, logits) in enumerate(heads.items()):
        wanted = labels[:, number]
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), ignore_index=-1, reduction="none"
        ).view_as(weight)
        if name in _WEIGHTS:
            loss = loss + _WEIGHTS[name] * (each * weight).mean(-1).sum()
        else:
            loss = loss + _GLOBAL_WEIGHTS[name] * each.mean(-1).sum()
    return loss


def parts(pool: Path, batch: int, count: int, seed: int) -> Iterator[list[Part]]:
    """Batches in `count` parts for ever: a few files at a time, shuffled, drawn again from all that exist by then."""
    rng = np.random.default_rng(seed)
    size = batch // count
    while True:
        chosen = rng.permutation(shards(pool))[:4]
        pixels = np.concatenate([np.asarray(load_pictures(pool, shard)) for shard in chosen])
        labels = np.concatenate([load_labels(pool, shard) for shard in chosen])
        order = rng.permutation(len(pixels))
        for start in range(0, len(order) - batch + 1, batch):
            rows = [order[start + size * part : start + size * (part + 1)] for part in range(count)]
            yield [(pixels[row], labels[row]) for row in rows]


class TowerRun:
    """A training run of the tower: weights, optimisers and how many pictures it has seen."""

    def __init__(self, folder: Path, pool: Path, plan: Plan, device: str, threads: int) -> None:
        self.folder, self.pool, self.plan = folder, pool, plan
        self.seen = self.steps = 0
        self.eye = Eye().to(device)
        named = [(n, p) for n, p in self.eye.named_parameters() if not any(unused in n for unused in UNUSED)]
        matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n and "heads" not in n]
        others = [p for n, p in named if not (p.ndim == 2 and "embed" not in n and "heads" not in n)]
        rest = torch.optim.AdamW(others, lr=plan.other_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self.optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            *((Muon(matrices[half::2], lr=plan.matrix_lr), plan.matrix_lr) for half in (0, 1)),
            (rest, plan.other_lr),
        ]
        self.workers = Workers(self.eye, threads, eye_loss)

    def resume(self) -> None:
        """Goes on from the folder's checkpoint, if it has one."""
        if not (self.folder / _STATE).exists():
            return
        state = torch.load(self.folder / _STATE, weights_only=True)
        self.eye.load_state_dict(state["eye"])
        for (optimizer, _), saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.seen, self.steps = state["seen"], state["steps"]

    def save(self) -> None:
        """Replaces the checkpoint whole."""
        state = {
            "eye": self.eye.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "seen": self.seen,
            "steps": self.steps,
        }
        torch.save(state, self.folder / (_STATE + ".partial"))
        os.replace(self.folder / (_STATE + ".partial"), self.folder / _STATE)

    def learn(self) -> None:
        """Trains until the plan's pictures are done or a file named `stop` appears in the folder."""
        saved_at = logged_at = time.monotonic()
        logged, loss = self.seen, 0.0
        for batch in parts(self.pool, self.plan.batch, self.plan.parts, self.seen):
            step_loss = self.workers.backward(batch, total=self.plan.batch)
            loss = step_loss if not loss else 0.98 * loss + 0.02 * step_loss
            torch.nn.utils.clip_grad_norm_(self.eye.parameters(), 1.0)
            for optimizer, rate in self.optimizers:
                optimizer.param_groups[0]["lr"] = rate * self.plan.factor(self.seen)
            self.workers.run([optimizer.step for optimizer, _ in self.optimizers])
            self.eye.zero_grad()
            self.steps += 1
            self.seen += self.plan.batch
            now = time.monotonic()
            if self.steps % 200 == 0:
                speed = (self.seen - logged) / (now - logged_at)
                print(
                    f"step {self.steps} loss {loss:.4f} {self.seen / 1e3:.0f}k pictures {speed:.0f}/s",
                    flush=True,
                )
                logged_at, logged = now, self.seen
            if self.steps % 1000 == 0:
                print(accuracies(self.eye, self.pool), flush=True)
            stopping = self.seen >= self.plan.total or (self.folder / _STOP).exists()
            if stopping or now - saved_at > self.plan.checkpoint_seconds:
                self.save()
                saved_at = time.monotonic()
            if stopping:
                (self.folder / _STOP).unlink(missing_ok=True)
                print(accuracies(self.eye, self.pool), flush=True)
                return


@torch.inference_mode()  # type: ignore[untyped-decorator]
def accuracies(eye: Eye, pool: Path, count: int = 512) -> str:
    """Every head's accuracy where there is something, on pictures kept from training."""
    pixels, labels = (
        load_pictures(pool, VALIDATION)[:count],
        load_labels(pool, VALIDATION)[:count].astype(np.int64),
    )
    with torch.autocast(eye.heads.weight.device.type, dtype=torch.bfloat16):
        heads = eye(normalised(np.array(pixels)).to(eye.heads.weight.device))
    shown = []
    kinds = labels[:, list(HEADS).index("kind"), 0]
    for number, (name, logits) in enumerate(heads.items()):
        right, wanted = logits.argmax(-1).cpu().numpy() == labels[:, number], labels[:, number]
        for kind in range(3) if name == "name" else (None,):
            there = (wanted > 0) & ((kinds == kind)[:, None] if kind is not None else True)
            shown.append(f"{name}{'' if kind is None else kind} {right[there].mean():.3f}")
    return "  ".join(shown)


def main() -> None:
    """Trains the tower in a folder, on a pool of pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--total", type=float, default=5e5)
    parser.add_argument("--decay-start", type=float, default=2.5e5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(options.total, options.decay_start)
    run = TowerRun(options.folder, options.pool, plan, options.device, options.threads)
    run.resume()
    run.learn()


if __name__ == "__main__":
    main()
