"""Encodes the pool for the UNet's training: latents, four tokenised captions each, kinds, and where there is something."""

import argparse
import os
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from starter.image.autoencoder import FACTOR, SCALING, scaled
from starter.image.captions import caption
from starter.image.pictures import CROPS_FROM, load_shard, shard_wishes
from starter.image.scenes import KINDS, SIDE, Wish
from starter.image.tokeniser import load_tokeniser

CAPTIONS = 4
"""Wordings of every picture."""

CROP = -1
"""The kind of a piece of a larger picture."""

PARTS = ("ids", "kinds", "marks", "latents")
"""The files of one shard; the last is written last."""

_CELLS = SIDE // FACTOR


def marks(wish: Wish) -> np.ndarray:
    """Which latents belong to a shape or its border."""
    centres = (np.arange(_CELLS) + 0.5) / _CELLS
    covered = np.zeros((_CELLS, _CELLS), bool)
    for thing in wish.scene.things:
        reach = thing.radius * 1.05 + 0.04
        covered |= (abs(centres[:, None] - thing.y) <= reach) & (abs(centres[None, :] - thing.x) <= reach)
    return covered


def tokenised(tokeniser: CLIPTokenizer, texts: list[str]) -> np.ndarray:
    """Token ids [texts, length]."""
    ids = tokeniser(texts, padding="max_length", truncation=True).input_ids
    return np.array(ids, np.int16)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def rough_latents(model: AutoencoderKL, pixels: np.ndarray) -> np.ndarray:
    """Scaled latents in half precision, by rough numbers: noise is added to them anyway."""
    parts = []
    for start in range(0, len(pixels), 64):
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            found = model.encode(scaled(pixels[start : start + 64], model.device.type)).latent_dist.mean
        parts.append((found.float() * SCALING).half().cpu().contiguous().numpy())
    return np.concatenate(parts)


def write_latents(pool: Path, shard: int, model: AutoencoderKL, tokeniser: CLIPTokenizer) -> None:
    """Encodes one file of pictures, if that is not done."""
    if (pool / f"{shard:04d}.latents.npy").exists():
        return
    wishes, crops = shard_wishes(shard), shard >= CROPS_FROM
    rng = random.Random(f"captions/{shard}")
    texts = [caption(rng, wish) for wish in wishes for _ in range(CAPTIONS)]
    values = {
        "ids": tokenised(tokeniser, texts).reshape(len(wishes), CAPTIONS, -1),
        "kinds": np.array([CROP if crops else KINDS.index(wish.kind) for wish in wishes], np.int8),
        "marks": np.stack([marks(wish) & (not crops) for wish in wishes]),
        "latents": rough_latents(model, load_shard(pool, shard, "pictures")),
    }
    for part in PARTS:
        partial = pool / f"{shard:04d}.{part}.partial.npy"
        np.save(partial, values[part])
        os.replace(partial, pool / f"{shard:04d}.{part}.npy")


def main() -> None:
    """Encodes files of the pool; the UNet's training takes new ones as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--autoencoder", type=Path, required=True, help="the folder that its training wrote")
    parser.add_argument("--text", type=Path, required=True, help="the folder that the text warm-up wrote")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=11)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoencoderKL.from_pretrained(options.autoencoder / "vae").eval()
    model.to(options.device, memory_format=torch.channels_last)
    tokeniser = load_tokeniser(options.text / "tokenizer")
    for shard in range(options.first, options.first + options.count * options.step, options.step):
        write_latents(options.pool, shard, model, tokeniser)
        print(f"file {shard} encoded", flush=True)


if __name__ == "__main__":
    main()
