"""Image models of a known size with random weights, made once and kept in build/bench."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench.shapes import FOLDER

SIDE = 512
CACHE = FOLDER / "denoisers"
"""Where the engine keeps what it converts."""


def sd15() -> Path:
    """Stable Diffusion 1.5's shape (UNet of 860 M parameters, CLIP's text encoder, autoencoder), in float16."""
    target = FOLDER / "sd15"
    if not (target / "model_index.json").is_file():
        shutil.rmtree(target, ignore_errors=True)
        fresh = target.with_name(".sd15-fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        _make(fresh)
        fresh.rename(target)
    return target


def catalog() -> str:
    """The catalog table of the benchmark's image model."""
    return f"""
[bench-image]
task = "image"
engine = "image"
path = {json.dumps(str(sd15()))}
options = {{ cache = {json.dumps(str(CACHE))} }}
"""


def _make(target: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from tokenizers import pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer({piece: id for id, piece in enumerate(pieces)}, [], model_max_length=77)
    text = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        bos_token_id=len(pieces) - 2,
        eos_token_id=len(pieces) - 1,
        pad_token_id=len(pieces) - 1,
    )
    unet = UNet2DConditionModel(sample_size=SIDE // 8, cross_attention_dim=768)
    size = sum(parameter.numel() for parameter in unet.parameters())
    if not 850e6 < size < 870e6:
        raise SystemExit(f"the UNet has {size:,} parameters: that is not Stable Diffusion 1.5's shape.")
    autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=SIDE,
        scaling_factor=0.18215,
    )
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler(**noise, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(target, safe_serialization=True)
