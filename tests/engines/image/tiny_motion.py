"""A tiny motion adapter with random weights, for the tiny Stable Diffusion 1.5."""

from pathlib import Path

import torch
from diffusers import MotionAdapter

LONGEST = 8
"""Frames that it has places for."""


def make_adapter(folder: Path, widths: tuple[int, ...] = (16, 32), spread: float = 0.5) -> Path:
    """Write the adapter to `folder`; the same weights every time. Without a `spread` it moves nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        adapter = MotionAdapter(
            block_out_channels=widths,
            motion_layers_per_block=1,
            motion_num_attention_heads=2,
            motion_norm_num_groups=8,
            motion_max_seq_length=LONGEST,
        )
        for name, value in adapter.named_parameters():
            if ".proj_out." in name:
                torch.nn.init.normal_(value, 0, spread)
    adapter.save_pretrained(folder, safe_serialization=True)
    return folder
