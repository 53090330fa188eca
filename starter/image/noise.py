"""How latents are noised, and the schedule that samplers read: velocity, linear betas."""

from functools import cache

import torch

STEPS = 1000
_LATE = 450
SCHEDULE: dict[str, object] = {
    "num_train_timesteps": STEPS, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear",
    "prediction_type": "v_prediction",
}  # fmt: skip
"""What every diffusers scheduler is told about the training."""


@cache
def _kept() -> torch.Tensor:
    """The share of the picture's variance that is left at every time."""
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64), 0).float()


def some_times(count: int) -> torch.Tensor:
    """Random times: most of them in the middle, where shapes are decided, some anywhere."""
    middle = torch.sigmoid(torch.randn(count) - 0.1)
    times = torch.where(torch.rand(count) < 0.3, torch.rand(count), middle)
    return (times * (STEPS - 0.01)).long()


def late_times(count: int) -> torch.Tensor:
    """Random times at which the layout is long decided: what refining an enlarged picture begins with."""
    return (torch.rand(count) * _LATE).long()


def noised(
    latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The noisy latents and the velocity that the UNet has to tell."""
    kept = _kept().to(latents.device)[times].view(-1, 1, 1, 1)
    signal, rest = kept.sqrt(), (1 - kept).sqrt()
    return signal * latents + rest * noise, signal * noise - rest * latents
