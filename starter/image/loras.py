"""Two small LoRAs on the trained UNet: `outline` leaves shapes empty, `pastel` makes every colour pale."""

import argparse
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image, ImageChops, ImageFilter

from starter.chat.workers import Workers
from starter.image.captions import caption
from starter.image.export import load_painter
from starter.image.latents import rough_latents, tokenised
from starter.image.noise import some_times
from starter.image.scenes import SIDE, Wish, draw_wish, make_scene
from starter.image.tokeniser import load_tokeniser
from starter.image.train import Part, velocity_loss
from starter.vision.drawing import draw_picture

RANK = 8
_TARGETS = ["to_k", "to_q", "to_v", "to_out.0", "conv1", "conv2", "conv_shortcut"]
_PICTURES = 2048
_EMPTY = 0.1
_FINE = 3
_RIM = 15
"""Pixels of the filter that leaves a rim, at three times the side."""
_PALE = 0.55
"""How much white is in a pastel colour."""


def outlined(wish: Wish) -> Image.Image:
    """The scene with shapes of which only the rim is drawn."""
    fine = _fine(wish)
    plain = _fine(Wish("plain", (), None, make_scene(wish.scene.background, ())))
    covered = ImageChops.difference(fine, plain).convert("L").point(lambda value: 255 if value > 12 else 0)
    fine.paste(plain, mask=covered.filter(ImageFilter.MinFilter(_RIM)))
    return fine.reduce(_FINE)


def paled(wish: Wish) -> Image.Image:
    """The scene in pale colours, its background too."""
    return Image.blend(draw_picture(wish.scene), Image.new("RGB", (SIDE, SIDE), "white"), _PALE)


def _fine(wish: Wish) -> Image.Image:
    scene = wish.scene
    larger = type(scene)(
        scene.kind,
        scene.background,
        scene.background_rgb,
        SIDE * _FINE,
        SIDE * _FINE,
        scene.things,
        style=scene.style,
    )
    return draw_picture(larger)


STYLES: dict[str, Callable[[Wish], Image.Image]] = {"outline": outlined, "pastel": paled}
"""How each LoRA's pictures are drawn."""


def samples(
    style: str, autoencoder: AutoencoderKL, tokenizer: Path, batch: int, parts: int, seed: int
) -> Iterator[list[Part]]:
    """Batches in parts for ever, of one pool of pictures in the style."""
    rng = random.Random(f"lora/{style}")
    wishes = [draw_wish(rng) for _ in range(_PICTURES)]
    tokeniser = load_tokeniser(tokenizer)
    pixels = np.stack([np.asarray(STYLES[style](wish)) for wish in wishes])
    latents = torch.from_numpy(rough_latents(autoencoder, pixels)).float()
    ids = torch.from_numpy(tokenised(tokeniser, [caption(rng, wish) for wish in wishes]).astype(np.int64))
    empty = torch.from_numpy(tokenised(tokeniser, [""]).astype(np.int64))
    torch.manual_seed(seed)
    while True:
        rows = torch.randint(0, len(wishes), (batch,))
        said = torch.where((torch.rand(batch) < _EMPTY)[:, None], empty, ids[rows])
        clean = latents[rows]
        whole = (clean, said, torch.ones(batch, 1, 1, 1), some_times(batch), torch.randn_like(clean))
        yield [Part(*piece) for piece in zip(*(t.split(-(-batch // parts)) for t in whole), strict=True)]


def train_lora(
    style: str,
    trained: Path,
    autoencoder: Path,
    target: Path,
    total: int,
    threads: int,
    lr: float = 2e-3,
    batch: int = 32,
) -> None:
    """Trains one LoRA on `total` samples and writes it as a file that `load_lora_weights` reads."""
    painter = load_painter(trained).requires_grad_(False)
    vae = AutoencoderKL.from_pretrained(autoencoder / "vae").eval().to(memory_format=torch.channels_last)
    config = LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=_TARGETS)
    painter.unet.add_adapter(config)
    parameters = [p for p in painter.unet.parameters() if p.requires_grad]
    print(f"{style}: {sum(p.numel() for p in parameters) / 1e3:.0f} k parameters", flush=True)
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=1e-2)
    workers = Workers(painter, threads, velocity_loss)
    loss, steps = 0.0, max(1, total // batch)
    batches = samples(style, vae, trained / "tokenizer", batch, threads, seed=1)
    for step, parts in zip(range(steps), batches, strict=False):
        step_loss = workers.backward(parts, total=batch)
        loss = 0.97 * loss + 0.03 * step_loss if loss else step_loss
        optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / 30) * (1 - step / steps)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 50 == 0:
            print(f"{style}: step {step + 1} of {steps}, loss {loss:.4f}", flush=True)
    painter.unet.half()
    # In peft's own names: diffusers' conversion renames attention only, and the loader then leaves that half out.
    layers = get_peft_model_state_dict(painter.unet)
    StableDiffusionPipeline.save_lora_weights(
        target,
        unet_lora_layers={name: layer.contiguous() for name, layer in layers.items()},
        weight_name=f"{style}.safetensors",
    )


def main() -> None:
    """Trains the LoRAs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, help="the folder for the LoRAs' files")
    parser.add_argument("--trained", type=Path, required=True, help="the folder of `starter.image.train`")
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--styles", nargs="*", default=list(STYLES))
    parser.add_argument("--total", type=int, default=10_000, help="samples for each")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for style in options.styles:
        train_lora(
            style, options.trained, options.autoencoder, options.target, options.total, options.threads
        )


if __name__ == "__main__":
    main()
