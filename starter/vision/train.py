"""Stages 1 and 2: teaches starter-chat to talk about what the trained tower sees, or goes on from the checkpoint.

The schedule counts steps, so a run may be stopped, paused or cut and taken up again. While the tower is frozen only the
projector and the language model learn; then all learn together, the tower slowly and with its dense labels beside.
"""

import argparse
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from starter.chat.batches import Batch, batches
from starter.chat.chatml import IMAGE
from starter.chat.optimizer import Muon
from starter.chat.tokeniser import save_tokeniser
from starter.chat.workers import Workers
from starter.vision.batches import Look, Pool, Talk, talks
from starter.vision.model import UNUSED, Eye, features, new_model, normalised
from starter.vision.projector import separate_words, write_dictionary
from starter.vision.train_tower import eye_loss

_STATE = "state.pt"
_NOT_WHOLE = ("embed", "heads")
_STOP = "stop"


@dataclass(frozen=True)
class Plan:
    """How a run goes, counted in steps; each step learns from some talks, one text and, when thawed, a look."""

    total: int
    decay_start: int
    thaw: int
    tokens: int = 896
    talks: int = 3
    text_tokens: int = 1088
    text_share: float = 0.35
    look: int = 32
    look_share: float = 0.15
    matrix_lr: float = 2.5e-3
    other_lr: float = 1.2e-3
    tower_share: float = 0.35
    """The tower's learning rates as a share of the others'."""
    projector_share: float = 0.15
    """The projector's; Muon, which moves all directions alike, would drown its dictionary."""
    warmup: int = 20
    checkpoint_seconds: float = 180.0

    def factor(self, step: int) -> float:
        """The learning rate's factor: warm up, hold, then fall linearly to nothing."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if step < self.decay_start:
            return 1.0
        return max(0.0, (self.total - step) / (self.total - self.decay_start))


@dataclass(frozen=True)
class Part:
    """One batch of any kind and what its summed loss is divided by, its share in the step's loss included."""

    batch: Talk | Batch | Look
    divisor: float


class Learner(torch.nn.Module):  # type: ignore[misc]
    """The LLaVA with the tower's heads, which are dropped in the end."""

    def __init__(self, chat: Path, eye: Eye) -> None:
        super().__init__()
        self.llava = new_model(chat, eye.tower.state_dict())
        self.heads = eye.heads
        self.image = Tokenizer.from_file(str(chat / "tokenizer.json")).token_to_id(IMAGE)
        self.frozen = True

    def forward(self, pixels: torch.Tensor) -> Any:
        """The heads' logits, as `Eye` gives them."""
        return Eye.forward(self, pixels)

    @property
    def tower(self) -> Any:
        """The tower, by the name that `Eye` uses."""
        return self.llava.model.vision_tower

    def embedded(self, ids: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """What the language model reads: tokens, and projected patches where pictures are."""
        embeddings = self.llava.model.language_model.embed_tokens(ids)
        if self.frozen:
            with torch.no_grad():
                seen = features(self.tower, pixels)
        else:
            seen = features(self.tower, pixels)
        shown = self.llava.model.multi_modal_projector(seen).to(embeddings.dtype)
        return embeddings.masked_scatter((ids == self.image)[..., None], shown)


def part_loss(learner: Learner, part: Part) -> torch.Tensor:
    """The part's share of the step's loss."""
    batch = part.batch
    device = learner.heads.weight.device
    if isinstance(batch, Look):
        return eye_loss(learner, (batch.pixels, batch.labels)) / part.divisor
    ids, weights = batch.ids.to(device), batch.weights[:, 1:].flatten().to(device)
    wanted = weights > 0
    model = learner.llava
    with torch.autocast(device.type, dtype=torch.bfloat16):
        if isinstance(batch, Talk):
            pixels = normalised(batch.pixels).to(device)
            pixels += torch.randn_like(pixels) * 0.02
            inputs = {"inputs_embeds": learner.embedded(ids, pixels)}
        else:
            inputs = {"input_ids": ids}
        hidden = model.model.language_model(**inputs, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
        logits = model.lm_head(hidden[wanted])
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:].flatten()[wanted], reduction="none")
    return (losses * weights[wanted]).sum() / part.divisor


def _adamw(weights: list[torch.nn.Parameter], rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)


class Run:
    """A training run: model, optimisers and how far it has come."""

    def __init__(self, folder: Path, chat: Path, tower: Path, plan: Plan, device: str, threads: int) -> None:
        self.folder, self.plan, self.steps = folder, plan, 0
        folder.mkdir(parents=True, exist_ok=True)
        self.tokeniser = Tokenizer.from_file(str(chat / "tokenizer.json"))
        save_tokeniser(self.tokeniser, folder)
        eye = Eye()
        if (tower / "tower.pt").exists():
            eye.load_state_dict(torch.load(tower / "tower.pt", weights_only=True)["eye"])
        self.learner = Learner(chat, eye)
        self.learner.to(device)
        self.optimizers = self._optimizers(plan)
        self.workers = Workers(self.learner, threads, part_loss)

    def _optimizers(self, plan: Plan) -> list[tuple[torch.optim.Optimizer, float]]:
        named = [
            (name, weight)
            for name, weight in self.learner.named_parameters()
            if not any("vision_tower" in name and unused in name for unused in UNUSED)
            and "multi_modal_projector" not in name
        ]
        made: list[tuple[torch.optim.Optimizer, float]] = []
        for seeing, share in ((False, 1.0), (True, plan.tower_share)):
            own = [(n, p) for n, p in named if ("vision_tower" in n or n.startswith("heads")) == seeing]
            whole = [p for n, p in own if p.ndim == 2 and not any(kept in n for kept in _NOT_WHOLE)]
            matrices, others = whole, [p for _, p in own if all(p is not matrix for matrix in whole)]
            matrix_lr, other_lr = plan.matrix_lr * share, plan.other_lr * share
            made += [(Muon(matrices[half::2], lr=matrix_lr), matrix_lr) for half in (0, 1)]
            made.append((_adamw(others, other_lr), other_lr))
        projector_lr = plan.other_lr * plan.projector_share
        projector = list(self.learner.llava.model.multi_modal_projector.parameters())
        return [(_adamw(projector, projector_lr), projector_lr), *made]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def begin(self, pool: Pool) -> None:
        """Gives the projector its first weights, from what the tower sees in some pictures."""
        inner, heads = self.learner.llava.model, self.learner.heads
        pixels = normalised(pool.look(random.Random(1), 256).pixels).to(heads.weight.device)
        seen = features(self.learner.tower, pixels).flatten(0, 1)
        words = inner.language_model.embed_tokens.weight
        separate_words(words, self.tokeniser)
        write_dictionary(inner.multi_modal_projector, heads, words, self.tokeniser, seen)

    def resume(self, pool: Pool) -> None:
        """Goes on from the folder's checkpoint, or begins if it has none."""
        if not (self.folder / _STATE).exists():
            self.begin(pool)
            return
        state = torch.load(self.folder / _STATE, weights_only=True)
        self.learner.load_state_dict(state["learner"])
        for (optimizer, _), saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.steps = state["steps"]

    def save(self) -> None:
        """Writes the checkpoint and the model beside it; files are replaced whole."""
        state = {
            "learner": self.learner.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "steps": self.steps,
        }
        torch.save(state, self.folder / (_STATE + ".partial"))
        os.replace(self.folder / (_STATE + ".partial"), self.folder / _STATE)

    def parts(self, pool: Pool) -> Iterator[list[Part]]:
        """Every step's batches, for ever."""
        plan, rng = self.plan, random.Random(7_000_003 + self.steps)
        about = talks(rng, self.tokeniser, pool, plan.tokens)
        texts = batches(rng, self.tokeniser, plan.text_tokens, 0.02)
        while True:
            chosen = [next(about) for _ in range(plan.talks)]
            said = sum(float(talk.weights[:, 1:].sum()) for talk in chosen)
            made = [Part(talk, said) for talk in chosen]
            text = next(texts)
            made.append(Part(text, float(text.weights[:, 1:].sum()) / plan.text_share))
            if self.steps >= plan.thaw and plan.look:
                made.insert(0, Part(pool.look(rng, plan.look), plan.look / plan.look_share))
            yield made

    def step(self, made: list[Part]) -> float:
        """Learns from a few batches at once and returns the loss."""
        thawed = self.steps >= self.plan.thaw
        for replica in self.workers.replicas:
            replica.frozen = not thawed
        loss = self.workers.backward(made, total=1.0)
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        moving = self.optimizers if thawed else self.optimizers[:4]
        for optimizer, rate in moving:
            optimizer.param_groups[0]["lr"] = rate * self.plan.factor(self.steps)
        self.workers.run([optimizer.step for optimizer, _ in moving])
        self.learner.zero_grad()
        self.steps += 1
        return loss

    def learn(self, pool: Pool) -> None:
        """Trains until the plan's steps are done or a file named `stop` appears in the folder."""
        saved_at = logged_at = time.monotonic()
        smooth = 0.0
        for made in self.parts(pool):
            loss = self.step(made)
            smooth = loss if not smooth else 0.97 * smooth + 0.03 * loss
            now = time.monotonic()
            if self.steps % 20 == 0:
                print(f"step {self.steps} loss {smooth:.4f} {(now - logged_at) / 20:.2f} s/step", flush=True)
                logged_at = now
            stopping = self.steps >= self.plan.total or (self.folder / _STOP).exists()
            if stopping or now - saved_at > self.plan.checkpoint_seconds:
                self.save()
                saved_at = time.monotonic()
            if stopping:
                (self.folder / _STOP).unlink(missing_ok=True)
                self.learner.llava.save_pretrained(self.folder)
                return


def main() -> None:
    """Trains in a folder, from starter-chat's weights and the tower of stage 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chat", type=Path, required=True, help="folder of starter-chat's float weights")
    parser.add_argument("--tower", type=Path, required=True, help="folder of stage 0")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--total", type=int, default=1500)
    parser.add_argument("--decay-start", type=int, default=500)
    parser.add_argument("--thaw", type=int, default=60)
    parser.add_argument("--matrix-lr", type=float, default=2.5e-3)
    parser.add_argument("--other-lr", type=float, default=1.2e-3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    plan = Plan(
        options.total,
        options.decay_start,
        options.thaw,
        matrix_lr=options.matrix_lr,
        other_lr=options.other_lr,
    )
    run = Run(options.folder, options.chat, options.tower, plan, options.device, options.threads)
    pool = Pool(options.pool)
    run.resume(pool)
    run.learn(pool)


if __name__ == "__main__":
    main()
