"""Samplers for models trained by flow matching that diffusers' pipelines can't use as they are.

Those pipelines set a scheduler's times with sigmas, or with `mu`, the shift that suits the picture's size, and noise
a source with `scale_noise`. diffusers' Heun knows neither sigmas nor a shift that varies; its multistep solvers know no
sigmas, refuse `mu` where the shift is fixed, cut times to whole numbers, and noise with `add_noise`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchHeunDiscreteScheduler, UniPCMultistepScheduler


class FlowHeunScheduler(FlowMatchHeunDiscreteScheduler):  # type: ignore[misc]
    """Heun's method, two evaluations per step."""

    config: Any
    sigma_max: float
    sigma_min: float

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Every sigma but the first and the last is asked for twice."""
        if sigmas is None:
            sigmas = np.linspace(self.sigma_max, self.sigma_min, num_inference_steps or 1).tolist()
        plain = np.array(sigmas, dtype=np.float64)
        dynamic = mu is not None and self.config.get("use_dynamic_shifting", False)
        shift = math.exp(mu) if dynamic and mu is not None else self.config.shift
        shifted = torch.from_numpy(shift * plain / (1 + (shift - 1) * plain)).to(dtype=torch.float32)
        self.num_inference_steps = len(plain)
        times = shifted * self.config.num_train_timesteps
        self.timesteps = torch.cat([times[:1], times[1:].repeat_interleave(2)]).to(device=device)
        self.sigmas = torch.cat([shifted[:1], shifted[1:].repeat_interleave(2), torch.zeros(1)])
        self.prev_derivative = self.dt = self.sample = None
        self._step_index = self._begin_index = None


class _ForPipelines:
    """What a multistep solver lacks in a pipeline for flow matching."""

    sigmas: torch.Tensor
    timesteps: torch.Tensor
    config: Any

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Given sigmas count, and are spread anew."""
        steps = len(sigmas) if sigmas is not None else num_inference_steps
        dynamic = {"mu": mu} if mu is not None and self.config.use_dynamic_shifting else {}
        super().set_timesteps(steps, device, **dynamic)  # type: ignore[misc]
        self.timesteps = (self.sigmas[:-1] * self.config.num_train_timesteps).to(device=device)

    def scale_noise(self, sample: torch.Tensor, timestep: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The sample as noisy as it is at this time."""
        noisy: torch.Tensor = self.add_noise(sample, noise, timestep)  # type: ignore[attr-defined]
        return noisy


class FlowMultistepScheduler(_ForPipelines, DPMSolverMultistepScheduler):  # type: ignore[misc]
    """DPM-Solver++ of several steps, along the ODE or the SDE."""


class FlowUniPCScheduler(_ForPipelines, UniPCMultistepScheduler):  # type: ignore[misc]
    """UniPC."""
