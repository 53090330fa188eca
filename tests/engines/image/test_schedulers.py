"""Every sampler, walked against a denoiser that is known in closed form: pictures with normally distributed values.

Data N(MEAN, DEVIATION²) noised to signal·x + noise·e is normal, too, so the best prediction is a formula, and a sampler
that is right ends with the data's mean and deviation.
"""

import inspect
import math
from functools import cache, partial

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

from quintet.core.errors import InvalidRequest
from quintet.core.samplers import SAMPLERS, flow_samplers
from quintet.engines.image.schedulers import make_scheduler, uses_flow
from tests.support import tiny_image

pytestmark = [
    # diffusers asks numpy for a torch tensor's array in the old way
    pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors this small gain nothing from several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


MEAN, DEVIATION = 0.7, 0.5
STABLE_DIFFUSION = {
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
}
VELOCITY = STABLE_DIFFUSION | {"prediction_type": "v_prediction"}
ZERO_SNR = VELOCITY | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
ANIMATE_DIFF = STABLE_DIFFUSION | {"beta_schedule": "linear"}
SD3 = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
FLUX = SD3 | {"use_dynamic_shifting": True, "base_image_seq_len": 256, "max_image_seq_len": 4096}
SCHNELL = SD3 | {"shift": 1.0, "use_dynamic_shifting": False}

DISTILLED = {"LCM"}
"""Made for models that predict the clean picture at once: mean right, deviation smaller by design."""


@cache
def log_ratios(beta_schedule, zero_snr):
    """Of noise over signal, at every time."""
    schedule = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule=beta_schedule, rescale_betas_zero_snr=zero_snr
    )
    bars = schedule.alphas_cumprod.double().clamp(min=2.0**-24)
    return (0.5 * torch.log((1 - bars) / bars)).tolist()


def predict(ratios, sample, time, prediction):
    """What a perfect model says about this sample at this time, which may lie between two whole ones."""
    low = math.floor(time)
    ratio = math.exp(ratios[low] + (ratios[min(low + 1, 999)] - ratios[low]) * (time - low))
    signal, noise = 1 / math.sqrt(1 + ratio**2), ratio / math.sqrt(1 + ratio**2)
    clean = best_guess(sample, signal, noise)
    error = (sample - signal * clean) / noise
    return error if prediction == "epsilon" else signal * error - noise * clean


def best_guess(sample, signal, noise):
    gain = signal * DEVIATION**2 / (signal**2 * DEVIATION**2 + noise**2)
    return MEAN + gain * (sample - signal * MEAN)


def walk(scheduler, guess, seed, side=48):
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(1, 1, side, side, generator=generator) * scheduler.init_noise_sigma
    takes = inspect.signature(scheduler.step).parameters
    extra = {"generator": generator} if "generator" in takes else {}
    for time in scheduler.timesteps:
        told = guess(scheduler.scale_model_input(sample, time), float(time))
        sample = scheduler.step(told, time, sample, return_dict=False, **extra)[0]
    return sample


def paint(name, config=STABLE_DIFFUSION, steps=30, seed=0, side=48):
    scheduler = make_scheduler(SAMPLERS[name], config, steps)
    scheduler.set_timesteps(steps, device="cpu")
    ratios = log_ratios(config["beta_schedule"], config.get("rescale_betas_zero_snr", False))
    guess = partial(predict, ratios, prediction=config["prediction_type"])
    return walk(scheduler, guess, seed, side), scheduler


def flow_guess(sample, time):
    noise = time / 1000
    clean = best_guess(sample, 1 - noise, noise)
    return (sample - clean) / noise if noise > 0 else sample - clean


def flow_paint(name, config, steps=30, seed=0, **given):
    scheduler = make_scheduler(SAMPLERS[name], config, steps)
    scheduler.set_timesteps(**({"num_inference_steps": steps} | given), device="cpu")
    scheduler.init_noise_sigma = 1.0
    scheduler.scale_model_input = lambda sample, time: sample
    return walk(scheduler, flow_guess, seed), scheduler


def assert_right(name, sample):
    assert abs(float(sample.mean()) - MEAN) < 0.06
    if name not in DISTILLED:
        assert abs(float(sample.std()) - DEVIATION) < 0.1


@pytest.mark.parametrize("name", SAMPLERS)
def test_ends_with_the_data_and_draws_from_the_seed_alone(name):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, scheduler = paint(name)
    assert torch.equal(torch.random.get_rng_state(), before), "torch's own generator was used"
    assert_right(name, one)
    short = paint(name, steps=5)[0]
    torch.manual_seed(2)
    assert torch.equal(short, paint(name, steps=5)[0])
    assert not torch.equal(short, paint(name, steps=5, seed=1)[0])
    twice = SAMPLERS[name].evaluations == 2
    assert len(scheduler.timesteps) == (59 if twice else 31 if name == "PLMS" else 30)
    assert scheduler.order == SAMPLERS[name].evaluations, "pipelines cut img2img's times by it"


@pytest.mark.parametrize("name", SAMPLERS)
def test_is_random_says_whether_noise_is_added_on_the_way(name):
    scheduler = make_scheduler(SAMPLERS[name], STABLE_DIFFUSION, 4)
    scheduler.set_timesteps(4)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    sample = torch.ones(1, 1, 4, 4)
    extra = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for time in scheduler.timesteps:
        scheduler.scale_model_input(sample, time)
        sample = scheduler.step(0.1 * sample, time, sample, return_dict=False, **extra)[0]
    assert torch.equal(generator.get_state(), before) != SAMPLERS[name].is_random


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_kind_of_model(name):
    for config in (VELOCITY, ZERO_SNR, ANIMATE_DIFF):
        assert_right(name, paint(name, config)[0])


@pytest.mark.parametrize("name", SAMPLERS)
def test_any_number_of_steps(name):
    for config in (STABLE_DIFFUSION, ZERO_SNR):
        for steps in (1, 2, 3, 7):
            assert paint(name, config, steps, side=8)[0].isfinite().all()
        assert abs(float(paint(name, config, 1)[0].mean()) - MEAN) < 0.05, "one step starts from noise"


def test_distilled_models_take_more_steps_than_they_were_distilled_to():
    assert_right("LCM", paint("LCM", steps=60)[0])


@pytest.mark.parametrize("name", flow_samplers())
def test_flow_matching(name):
    for config, given in (
        (SD3, {}),
        (FLUX, {"mu": 0.9, "sigmas": np.linspace(1, 1 / 30, 30), "num_inference_steps": None}),
        (FLUX, {"mu": 0.9}),
        (SCHNELL, {"mu": 0.9, "sigmas": np.linspace(1, 1 / 30, 30), "num_inference_steps": None}),
    ):
        if name == "Euler" and "sigmas" in given:
            given = given | {"sigmas": given["sigmas"].tolist()}  # type: ignore[attr-defined]
        one, scheduler = flow_paint(name, config, **given)
        assert_right(name, one)
        assert torch.equal(one, flow_paint(name, config, **given)[0])
        assert not torch.equal(one, flow_paint(name, config, seed=1, **given)[0])
        assert len(scheduler.timesteps) == (59 if name == "Heun" else 30)
        assert scheduler.config.shift == config["shift"]
        assert scheduler.config.get("use_dynamic_shifting", False) == config.get(
            "use_dynamic_shifting", False
        )
    for steps in (1, 2, 4, 100):
        assert flow_paint(name, SD3, steps)[0].isfinite().all()


@pytest.mark.parametrize("name", flow_samplers())
def test_flow_matching_shifts(name):
    """A larger shift spends more steps near the noise, given by the model or by the size of the picture."""
    times = [flow_paint(name, SD3 | {"shift": shift})[1].timesteps.mean() for shift in (1.0, 3.0)]
    assert times[1] > times[0] + 50
    times = [flow_paint(name, FLUX, mu=mu)[1].timesteps.mean() for mu in (0.1, 1.1)]
    assert times[1] > times[0] + 50


def test_flow_matching_refuses_other_samplers_and_names_those_that_work():
    assert uses_flow(SD3)
    assert not uses_flow(STABLE_DIFFUSION)
    for name in set(SAMPLERS) - set(flow_samplers()):
        with pytest.raises(InvalidRequest) as refused:
            make_scheduler(SAMPLERS[name], FLUX)
        assert refused.value.param == "sampler"
        assert "Euler, Heun, DPM++ 2M, DPM++ 2M SDE, UniPC" in refused.value.message


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_models_own_settings_stay(name):
    config = make_scheduler(SAMPLERS[name], VELOCITY | {"beta_end": 0.013}, 20).config
    assert (config.beta_end, config.beta_schedule, config.prediction_type) == (
        0.013,
        "scaled_linear",
        "v_prediction",
    )
    trailing = make_scheduler(SAMPLERS[name], STABLE_DIFFUSION | {"timestep_spacing": "trailing"}, 4)
    trailing.set_timesteps(4)
    assert float(trailing.timesteps[0]) > 997, "few-step models start at the very end"


@pytest.mark.parametrize("name", ["DDIM", "Heun", "LCM", "DDPM"])
def test_latents_are_not_clipped(name):
    assert (
        make_scheduler(SAMPLERS[name], STABLE_DIFFUSION | {"clip_sample": True}).config.clip_sample is False
    )


@pytest.fixture(scope="module")
def painters():
    """From words, and from a picture; with their scheduler's own settings."""
    words = tiny_image.make_sd15()
    picture = StableDiffusionImg2ImgPipeline(**words.components, requires_safety_checker=False)
    source = torch.zeros(1, 3, 64, 64)
    asked = [(words, {"height": 64, "width": 64}), (picture, {"image": source, "strength": 0.5})]
    for pipeline, _ in asked:
        pipeline.set_progress_bar_config(disable=True)
    return asked, words.scheduler.config


@pytest.mark.parametrize("name", SAMPLERS)
def test_pipelines_take_every_sampler(painters, name):
    asked, config = painters
    for pipeline, given in asked:
        pipeline.scheduler = make_scheduler(SAMPLERS[name], config, 4)
        generator = torch.Generator().manual_seed(0)
        latents = pipeline(
            "a ball", num_inference_steps=4, output_type="latent", generator=generator, **given
        ).images
        assert latents.shape == (1, 4, 8, 8)
        assert latents.isfinite().all()
