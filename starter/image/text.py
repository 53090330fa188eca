"""Warms up the text encoder: it learns to tell what a prompt asks for before the UNet learns to listen to it."""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from starter.image.captions import caption
from starter.image.scenes import SHAPES, Wish, draw_wish
from starter.image.tokeniser import LENGTH, load_tokeniser, train_tokeniser
from starter.vision.palette import BACKGROUNDS, COLOURS
from starter.vision.scenes import SIZES

WIDTH = 128
_GRID = 4
"""The picture is told as this many cells a side."""

_CELL_CLASSES = (len(COLOURS) + 1, len(SHAPES) + 1)
_CLASSES = (len(BACKGROUNDS), len(SIZES) + 1, *(_CELL_CLASSES * _GRID**2))
"""The background, the size, and every cell's colour and shape; class 0 means that nothing is there."""


def make_text_encoder(entries: int) -> CLIPTextModel:
    """CLIP's text encoder, small; the last two entries of the vocabulary are start and end."""
    config = CLIPTextConfig(
        vocab_size=entries, hidden_size=WIDTH, intermediate_size=4 * WIDTH, projection_dim=WIDTH, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=LENGTH, hidden_act="quick_gelu", bos_token_id=entries - 2,
        eos_token_id=entries - 1, pad_token_id=entries - 1,
    )  # fmt: skip
    return CLIPTextModel(config)


def facts(wish: Wish) -> list[int]:
    """What a prompt says, as one class for every head."""
    sizes = {SIZES.index(wish.size) + 1} if wish.size else {0}
    colours, shapes = np.zeros((_GRID, _GRID), int), np.zeros((_GRID, _GRID), int)
    centres = (np.arange(_GRID) + 0.5) / _GRID
    for thing in wish.scene.things:
        reach = max(thing.radius, 0.126)
        covered = (abs(centres[:, None] - thing.y) <= reach) & (abs(centres[None, :] - thing.x) <= reach)
        colours[covered], shapes[covered] = COLOURS.index(thing.colour) + 1, SHAPES.index(thing.name) + 1
    cells = np.stack([colours.ravel(), shapes.ravel()], 1).ravel()
    return [BACKGROUNDS.index(wish.scene.background), *sizes, *cells.tolist()]


def warm_up(folder: Path, steps: int, batch: int = 96, lr: float = 2e-3) -> None:
    """Trains tokeniser and text encoder from nothing and writes both into the folder."""
    train_tokeniser(folder / "tokenizer")
    tokeniser = load_tokeniser(folder / "tokenizer")
    encoder = make_text_encoder(len(tokeniser))
    head = torch.nn.Linear(WIDTH, sum(_CLASSES))
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=1e-2)
    rng = random.Random("text")
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = (
            lr * min(1, (step + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * step / steps)) + 1e-5
        )
        wishes = [draw_wish(rng) for _ in range(batch)]
        captions = [caption(rng, wish) for wish in wishes]
        ids = tokeniser(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        wanted = torch.tensor([facts(wish) for wish in wishes])
        states = encoder(ids).last_hidden_state
        ends = (ids == tokeniser.eos_token_id).int().argmax(1)
        # The UNet may listen to the first end token or to the padding behind it: both have to know everything.
        heard = (states[torch.arange(batch), ends], states[:, -1])
        loss = torch.zeros(())
        right = []
        for weight, state in zip((1.0, 0.5), heard, strict=True):
            for number, logits in enumerate(head(state).split(_CLASSES, -1)):
                scale = 1.0 if number < 2 else 0.3
                loss = loss + weight * scale * torch.nn.functional.cross_entropy(logits, wanted[:, number])
                right.append((logits.argmax(-1) == wanted[:, number]).float().mean().item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            cells = np.mean(right[2 : len(_CLASSES)])
            print(
                f"step {step + 1} loss {loss.item():.3f} background {right[0]:.2f} size {right[1]:.2f} cells {cells:.3f}",
                flush=True,
            )
    encoder.save_pretrained(folder / "text_encoder")


def main() -> None:
    """Trains tokeniser and text encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warm_up(options.folder, options.steps)


if __name__ == "__main__":
    main()
