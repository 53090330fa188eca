"""Small pictures of a state half-way: latents → RGB by a linear map, fitted to the model's own autoencoder.

Decoding latents takes about as long as a step. A map from each latent pixel to one colour takes next to nothing and
shows where things are; it is found by least squares on a few pictures of soft colours.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

LONGEST_SIDE = 128
_PICTURES = 6
_CELLS = 16
"""The fit's pictures are so many latent pixels wide and high."""
_QUALITY = 70
_RIDGE = 1e-3


class LatentMap:
    """Colours of latents of one autoencoder."""

    def __init__(self, vae: Any, factor: int) -> None:
        """Fit to `vae`, whose latents are `factor` times smaller than its pictures."""
        pictures = _soft_pictures()
        shown = torch.nn.functional.interpolate(pictures, scale_factor=factor, mode="bilinear")
        with torch.no_grad():
            found = vae.encode((shown * 2 - 1).to(vae.device, vae.dtype)).latent_dist.mode()
        latents = (found.float().cpu() - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
        inputs = _rows(latents).double()
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1).double()], 1)
        colours = _rows(pictures).double()
        ridge = _RIDGE * len(inputs) * torch.eye(inputs.shape[1]).double()
        self._weights = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ colours).float()

    def picture(self, latents: torch.Tensor) -> bytes:
        """A JPEG of latents [1, C, H, W], or of the first frame of [1, C, F, H, W]."""
        one = latents.detach()[0].float().cpu()
        one = one[:, 0] if one.dim() == 4 else one
        # Some schedulers scale their noise up; what the autoencoder knows has a spread of about one.
        one = one / one.std().clamp(min=1.0)
        colours = one.permute(1, 2, 0) @ self._weights[:-1] + self._weights[-1]
        pixels = (colours.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        height, width = pixels.shape[:2]
        scale = LONGEST_SIDE / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        made = io.BytesIO()
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(made, "JPEG", quality=_QUALITY)
        return made.getvalue()


def _soft_pictures() -> torch.Tensor:
    """A few pictures [N, 3, cells, cells] of colours that flow into each other, always the same."""
    random = np.random.default_rng(0)
    corners = torch.from_numpy(random.random((_PICTURES, 3, 4, 4), dtype=np.float32))
    return torch.nn.functional.interpolate(
        corners, size=(_CELLS, _CELLS), mode="bilinear", align_corners=True
    )


def _rows(pictures: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] → [N·H·W, C]."""
    return pictures.permute(0, 2, 3, 1).reshape(-1, pictures.shape[1])
