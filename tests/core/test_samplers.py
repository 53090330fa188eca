"""The table of samplers: every name that clients send, and nothing heavy behind it."""

import subprocess
import sys

import pytest

from quintet.core.samplers import SAMPLERS, find_sampler, flow_samplers

WEB_UI = [
    "Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun", "DPM++ 3M SDE", "DPM fast", "DPM adaptive", "LMS Karras", "DPM2 Karras", "DPM2 a Karras",
    "DPM++ 2S a Karras", "DPM++ 2M Karras", "DPM++ SDE Karras", "DPM++ 2M SDE Karras", "DPM++ 2M SDE Exponential",
    "DPM++ 2M SDE Heun Karras", "DPM++ 2M SDE Heun Exponential", "DPM++ 3M SDE Karras", "DPM++ 3M SDE Exponential",
    "DDIM", "PLMS", "UniPC", "LCM",
]  # fmt: skip

SPELLINGS = {
    "EULER A": "Euler a", "euler_ancestral": "Euler a", "k_euler_a": "Euler a", "k_euler": "Euler",
    "k_euler_ancestral": "Euler a", "EulerAncestralDiscreteScheduler": "Euler a", "EulerDiscreteScheduler": "Euler",
    "FlowMatchEulerDiscreteScheduler": "Euler", "k_lms": "LMS", "k_lms_ka": "LMS Karras", "LMSDiscreteScheduler": "LMS",
    "k_dpm_2": "DPM2", "k_dpm_2_a": "DPM2 a", "k_dpm_2_ka": "DPM2 Karras", "KDPM2DiscreteScheduler": "DPM2",
    "k_dpm_2_a_ka": "DPM2 a Karras", "KDPM2AncestralDiscreteScheduler": "DPM2 a", "dpmpp_2s_ancestral": "DPM++ 2S a",
    "k_dpmpp_2s_a_ka": "DPM++ 2S a Karras", "dpmpp_2m": "DPM++ 2M", "k_dpmpp_2m_ka": "DPM++ 2M Karras",
    "DPM++ 2m karras": "DPM++ 2M Karras", "DPM++-2M-Karras": "DPM++ 2M Karras", "k_dpmpp_sde_ka": "DPM++ SDE Karras",
    "DPMSolverMultistepScheduler": "DPM++ 2M", "DPMSolverSDEScheduler": "DPM++ SDE", "  ddim ": "DDIM",
    "k_dpmpp_2m_sde_ka": "DPM++ 2M SDE Karras", "dpmpp_2m_sde_karras": "DPM++ 2M SDE Karras", "pndm": "PLMS",
    "PNDMScheduler": "PLMS", "uni_pc": "UniPC", "UniPCMultistepScheduler": "UniPC", "LCMScheduler": "LCM",
    "k_dpm_fast": "DPM fast", "k_dpm_ad": "DPM adaptive", "dpm_adaptive": "DPM adaptive", "DDPMScheduler": "DDPM",
    "DEISMultistepScheduler": "DEIS", "HeunDiscreteScheduler": "Heun",
}  # fmt: skip


def test_the_web_uis_names():
    assert [name for name in SAMPLERS if name in WEB_UI] == WEB_UI, "in its order"
    assert set(SAMPLERS) - set(WEB_UI) == {"DDPM", "DEIS"}
    assert all(find_sampler(name) is SAMPLERS[name] for name in SAMPLERS)


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS.items())
def test_spellings_of_clients(spelling, name):
    assert find_sampler(spelling) is SAMPLERS[name]


@pytest.mark.parametrize(
    "spelling", ["", "k_", "euler b", "DPM++", "DPM++ 2M Karra", "scheduler", "../euler", "None"]
)
def test_other_names_mean_nothing(spelling):
    assert find_sampler(spelling) is None


def test_two_samplers_are_never_the_same():
    recipes = [
        (sampler.diffusion.scheduler, tuple(sorted(sampler.diffusion.options.items())))
        for sampler in SAMPLERS.values()
    ]
    assert len(set(recipes)) == len(recipes)
    spellings = [name for sampler in SAMPLERS.values() for name in (sampler.name, *sampler.aliases)]
    assert all(find_sampler(name).name == owner.name for owner in SAMPLERS.values() for name in owner.aliases)
    assert len(spellings) == len(set(spellings))


def test_what_flow_matching_can_use():
    assert flow_samplers() == ("Euler", "Heun", "DPM++ 2M", "DPM++ 2M SDE", "UniPC")


def test_the_table_is_frozen():
    with pytest.raises(TypeError):
        SAMPLERS["Euler"] = SAMPLERS["Heun"]
    with pytest.raises(TypeError):
        SAMPLERS["LMS Karras"].diffusion.options["use_karras_sigmas"] = False


def test_nothing_heavy_is_imported():
    code = "import sys, quintet.core.samplers; print({'torch', 'diffusers', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
