"""Samplers that ask the model twice per step, at its start and in its middle: DPM2, DPM++ 2S a and DPM++ SDE.

DPM2 is diffusers' own. The others are the two-stage form of DPM-Solver++ (arXiv:2211.01095), the middle at half of the
step in log sigma, with noise split off each step as k-diffusion does it. Sigma is noise over signal. Noise comes from
the request's generator alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import KDPM2AncestralDiscreteScheduler, KDPM2DiscreteScheduler
from diffusers.schedulers.scheduling_k_dpm_2_ancestral_discrete import KDPM2AncestralDiscreteSchedulerOutput
from diffusers.utils.torch_utils import randn_tensor

Draw = Callable[[], torch.Tensor]
"""Draws noise of the sample's shape."""


class _QuickStart:
    """Saves the third of a second in which diffusers' constructor lays out a walk over all times of the training."""

    def set_timesteps(
        self,
        num_inference_steps: int,
        device: str | torch.device | None = None,
        num_train_timesteps: int | None = None,
    ) -> None:
        """The constructor alone says how many times there were in training."""
        steps = num_inference_steps if num_train_timesteps is None else 2
        super().set_timesteps(steps, device, num_train_timesteps)  # type: ignore[misc]


class Dpm2Scheduler(_QuickStart, KDPM2DiscreteScheduler):  # type: ignore[misc]
    """DPM2."""


class Dpm2AncestralScheduler(_QuickStart, KDPM2AncestralDiscreteScheduler):  # type: ignore[misc]
    """DPM2 a."""


class TwoStageAncestralScheduler(Dpm2AncestralScheduler):
    """DPM++ 2S a. Its grid of sigmas and times, noising and scaling are those of DPM2 a."""

    config: Any
    sigmas: torch.Tensor
    """Each but the first and last twice, as for both of its stages."""
    sigmas_interpol: torch.Tensor
    """Of the middles."""
    sigmas_up: torch.Tensor
    """Of the noise that each step adds."""
    sigmas_down: torch.Tensor
    """Where a step ends before it adds noise."""
    log_sigmas: torch.Tensor
    timesteps: torch.Tensor
    step_index: Any
    state_in_first_order: bool
    _step_index: Any
    _init_step_index: Any
    _sigma_to_t: Any

    def step(
        self,
        model_output: torch.Tensor,
        timestep: float | torch.Tensor,
        sample: torch.Tensor,
        generator: torch.Generator | None = None,
        return_dict: bool = True,
    ) -> Any:
        """The sample at the middle of the step, or, when called for the middle, at its end."""
        if self.step_index is None:
            self._init_step_index(timestep)
        first = self.state_in_first_order
        place = self.step_index if first else self.step_index - 1
        clean = self._clean(
            model_output, sample, self.sigmas[place] if first else self.sigmas_interpol[place]
        )

        def draw() -> torch.Tensor:
            return randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)

        self._step_index += 1
        if first:
            self.sample = sample
            previous = self._to_middle(place, sample, clean, draw)
        else:
            start, self.sample = self.sample, None
            previous = self._to_end(place, start, clean, draw)
        if not return_dict:
            return previous, clean
        return KDPM2AncestralDiscreteSchedulerOutput(prev_sample=previous, pred_original_sample=clean)

    def _clean(self, model_output: torch.Tensor, sample: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        if self.config.prediction_type == "v_prediction":
            return sample / (sigma**2 + 1) - model_output * sigma / (sigma**2 + 1) ** 0.5
        return sample - sigma * model_output

    def _to_middle(self, place: int, sample: torch.Tensor, clean: torch.Tensor, draw: Draw) -> torch.Tensor:
        return _towards(clean, sample, self.sigmas_interpol[place] / self.sigmas[place])

    def _to_end(self, place: int, start: torch.Tensor, clean: torch.Tensor, draw: Draw) -> torch.Tensor:
        ratio = self.sigmas_down[place] / self.sigmas[place]
        return _towards(clean, start, ratio) + draw() * self.sigmas_up[place]


class TwoStageSdeScheduler(TwoStageAncestralScheduler):
    """DPM++ SDE: the middle lies between this sigma and the next, and has noise of its own.

    The noise of the whole step holds that of its first half, as increments of one Brownian path over sigma do.
    """

    first_noise: torch.Tensor | None = None

    def set_timesteps(
        self,
        num_inference_steps: int,
        device: str | torch.device | None = None,
        num_train_timesteps: int | None = None,
    ) -> None:
        """Like DPM2 a, with other middles."""
        super().set_timesteps(num_inference_steps, device, num_train_timesteps)
        grid = self.sigmas[0::2]
        middles = (grid * grid.roll(-1)).sqrt()
        middles[-2:] = 0.0  # the last step ends without noise, so it has one stage
        self.sigmas_interpol = torch.cat([middles[:1], middles[1:].repeat_interleave(2), middles[-1:]])
        log_sigmas = self.log_sigmas.cpu().numpy()
        times = torch.from_numpy(self._sigma_to_t(middles[:-2].numpy(), log_sigmas))
        self.timesteps[1::2] = times.to(self.timesteps)
        self.first_noise = None

    def _to_middle(self, place: int, sample: torch.Tensor, clean: torch.Tensor, draw: Draw) -> torch.Tensor:
        sigma, middle = self.sigmas[place], self.sigmas_interpol[place]
        up = middle * (1 - (middle / sigma) ** 2) ** 0.5
        down = middle**2 / sigma
        self.first_noise = draw()
        return _towards(clean, sample, down / sigma) + self.first_noise * up

    def _to_end(self, place: int, start: torch.Tensor, clean: torch.Tensor, draw: Draw) -> torch.Tensor:
        sigma, middle, end = self.sigmas[place], self.sigmas_interpol[place], self.sigmas[place + 1]
        share = (sigma - middle) / (sigma - end)
        first, self.first_noise = self.first_noise, None

        def draw_whole() -> torch.Tensor:
            return draw() if first is None else share**0.5 * first + (1 - share) ** 0.5 * draw()

        return super()._to_end(place, start, clean, draw_whole)


def _towards(clean: torch.Tensor, sample: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
    """The sample with its noise made smaller by this ratio."""
    return clean + (sample - clean) * ratio
