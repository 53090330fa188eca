"""Trains the starter chat model from nothing, or goes on from a checkpoint.

The schedule counts tokens, not time, so a run may be stopped, paused or cut and taken up again.
"""

import argparse
import os
import random
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from starter.chat.batches import Batch, batches
from starter.chat.chatml import END, END_OF_TEXT, PAD
from starter.chat.optimizer import Muon
from starter.chat.tokeniser import CONTEXT_TOKENS, build_tokeniser, save_tokeniser
from starter.chat.workers import Workers

_STATE = "state.pt"
_STOP = "stop"


@dataclass(frozen=True)
class Plan:
    """How a run goes: learning rates, batch size, and a schedule counted in tokens."""

    decay_start_tokens: float
    total_tokens: float
    tokens_per_batch: int
    parts: int
    repeated_share: float
    matrix_lr: float = 4e-3
    other_lr: float = 2e-3
    warmup_tokens: float = 3e5
    checkpoint_seconds: float = 240.0

    def factor(self, tokens: int) -> float:
        """The learning rate's factor: warm up, hold, then fall linearly to nothing."""
        if tokens < self.warmup_tokens:
            return tokens / self.warmup_tokens
        if tokens < self.decay_start_tokens:
            return 1.0
        return max(0.0, (self.total_tokens - tokens) / (self.total_tokens - self.decay_start_tokens))


def new_model(tokeniser: Tokenizer) -> LlamaForCausalLM:
    """A Llama of 5.8 million parameters with random weights."""
    config = LlamaConfig(
        vocab_size=tokeniser.get_vocab_size(),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
        max_position_embeddings=CONTEXT_TOKENS,
        initializer_range=0.02,
        bos_token_id=tokeniser.token_to_id(END_OF_TEXT),
        eos_token_id=tokeniser.token_to_id(END),
        pad_token_id=tokeniser.token_to_id(PAD),
    )
    config.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
    model = LlamaForCausalLM(config)
    model.set_attn_implementation(
        "eager"
    )  # on short texts a third faster than the fused kernel's backward pass
    return model


class Run:
    """A training run: model, optimisers and how far it has come."""

    def __init__(self, folder: Path, plan: Plan, device: str, threads: int) -> None:
        self.folder, self.plan = folder, plan
        self.tokens = self.steps = 0
        self.loss = 0.0
        tokeniser_file = folder / "tokenizer.json"
        if not tokeniser_file.exists():
            save_tokeniser(build_tokeniser(), folder)
        self.tokeniser = Tokenizer.from_file(str(tokeniser_file))
        self.model = new_model(self.tokeniser).to(device)
        named = list(self.model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in named if p.ndim != 2 or "embed" in name]
        halves = (Muon(matrices[half::2], lr=plan.matrix_lr) for half in (0, 1))
        words = torch.optim.AdamW(others, lr=plan.other_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self.optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            (half, plan.matrix_lr) for half in halves
        ]
        self.optimizers.append((words, plan.other_lr))
        self.workers = Workers(self.model, threads)

    def resume(self) -> None:
        """Goes on from the folder's checkpoint, if it has one."""
        file = self.folder / _STATE
        if not file.exists():
            return
        state = torch.load(file, map_location=self.model.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for (optimizer, _), saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.tokens, self.steps = state["tokens"], state["steps"]

    def save(self) -> None:
        """Writes the checkpoint and the weights beside it; the file is replaced whole, so a cut leaves the old one."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "tokens": self.tokens,
            "steps": self.steps,
        }
        partial = self.folder / (_STATE + ".partial")
        torch.save(state, partial)
        os.replace(partial, self.folder / _STATE)
        self.model.save_pretrained(self.folder)

    def step(self, parts: list[Batch]) -> float:
        """Learns from a few batches at once and returns the loss per learned token."""
        factor = self.plan.factor(self.tokens)
        loss = self.workers.backward(parts)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, rate in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate * factor
        self.workers.run([optimizer.step for optimizer, _ in self.optimizers])
        self.model.zero_grad()
        self.steps += 1
        self.tokens += sum(part.tokens for part in parts)
        return loss

    def learn(self) -> None:
        """Trains until the plan's tokens are done or a file named `stop` appears in the folder."""
        saved_at = logged_at = time.monotonic()
        logged_tokens = self.tokens
        rng = random.Random(1_000_003 + self.tokens)
        source = batches(
            rng, self.tokeniser, self.plan.tokens_per_batch // self.plan.parts, self.plan.repeated_share
        )
        while True:
            loss = self.step(list(islice(source, self.plan.parts)))
            self.loss = loss if not self.loss else 0.98 * self.loss + 0.02 * loss
            now = time.monotonic()
            if self.steps % 50 == 0:
                speed = (self.tokens - logged_tokens) / (now - logged_at)
                print(
                    f"step {self.steps} loss {self.loss:.4f} {self.tokens / 1e6:.2f}M tokens {speed:.0f}/s",
                    flush=True,
                )
                logged_at, logged_tokens = now, self.tokens
            stopping = self.tokens >= self.plan.total_tokens or (self.folder / _STOP).exists()
            if stopping or now - saved_at > self.plan.checkpoint_seconds:
                self.save()
                saved_at = time.monotonic()
            if stopping:
                (self.folder / _STOP).unlink(missing_ok=True)
                return


def main() -> None:
    """Trains in a folder that holds the tokeniser, the checkpoint and the weights."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--total-tokens", type=float, default=16e6)
    parser.add_argument("--decay-start-tokens", type=float, default=5e6)
    parser.add_argument("--tokens-per-batch", type=int, default=3072)
    parser.add_argument("--matrix-lr", type=float, default=4e-3)
    parser.add_argument("--other-lr", type=float, default=2e-3)
    parser.add_argument("--repeated-share", type=float, default=0.1, help="of texts that only teach copying")
    parser.add_argument("--threads", type=int, default=1 if cuda else os.cpu_count() or 1)
    parser.add_argument(
        "--parts", type=int, default=4, help="batches of one step, shared out among the threads"
    )
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    plan = Plan(
        options.decay_start_tokens,
        options.total_tokens,
        options.tokens_per_batch,
        options.parts,
        options.repeated_share,
        options.matrix_lr,
        options.other_lr,
    )
    run = Run(options.folder, plan, options.device, options.threads)
    run.resume()
    run.learn()


if __name__ == "__main__":
    main()
