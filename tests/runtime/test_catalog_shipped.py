"""The tables that ship: consistent, complete, and under the names that clients send."""

from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest

from quintet.core.errors import ModelNotFound
from quintet.core.models import Task
from quintet.runtime.catalog import NAME, read_catalog
from quintet.runtime.catalog_file import read_file
from quintet.weights.vision import PARTS

FOLDER = Path(str(files("quintet"))) / "catalog"
CATALOG = read_catalog()
PULLED = [model for model in CATALOG.models if model.sources]

SEEDS = {
    # paths of the hackathon's servers, and what its pages call them
    "phi3": "text", "Phi-3": "text", "llava": "vision", "LLaVA-NeXT": "vision", "FLUX.1-schnell": "image",
    "FLUX.1-dev": "image", "flux": "image", "SDXL-Lightning": "image",
    # krutrim-cloud
    "diffusion1XL": "image", "idefics": "vision", "openai/whisper-large-v3": "speech", "Mistral-7B-Instruct": "text",
    "Meta-Llama-3-8B-Instruct": "text", "Gemma-2-27B-IT": "text",
    # VisionCraft
    "sdxl-base": "image", "sdxl-refiner": "image", "deliberate_v2": "image", "SD-1.5": "image",
    "AnimateDiff": "animation",
    "lzlv_70b_fp16_hf": "text", "CodeLlama-34b-Instruct-hf": "text", "airoboros-70b": "text",
    "dolphin-2.6-mixtral-8x7b": "text", "openchat-3.6-8b": "text", "Mixtral-8x22B-Instruct-v0.1": "text",
    "codegemma-7b-it": "text", "WizardLM-2-8x22B": "text", "zephyr-orpo-141b-A35b-v0.1": "text",
    "dbrx-instruct": "text", "Mistral-7B-Instruct-v0.3": "text", "Llama-2-70b-chat-hf": "text",
    "Mixtral-8x7B-Instruct-v0.1": "text", "Llama-3-8B-Instruct": "text", "Mixtral-8x22B-v0.1": "text",
    "Yi-34B-Chat": "text", "Llama-2-7b-chat-hf": "text", "Llama-2-13b-chat-hf": "text", "gemma-1.1-7b-it": "text",
    "Qwen2-72B-Instruct": "text", "Phi-3-medium-4k-instruct": "text", "L3-70B-Euryale-v2.1": "text",
    "dolphin-2.9.1-llama-3-70b": "text", "Llama-3-70B-Instruct": "text", "WizardLM-2-7B": "text",
    "llava-1.5-7b-hf": "vision", "gemma-2-9b-it": "text", "gemma-2-27b-it": "text", "Llama-3.1-8B-Instruct": "text",
    "Llama-3.1-70B-Instruct": "text", "Llama-3.1-405B-Instruct": "text", "Nemotron-4-340B-Instruct": "text",
    # the model manager
    "deep-qwen-4": "text", "llama-1b-4": "text", "llava-1.5-7b-4": "vision", "minicpm-o-2.6-4": "vision",
    "stable-cascade": "image",
}  # fmt: skip


@pytest.mark.parametrize("name", SEEDS)
def test_names_that_clients_send(name):
    assert CATALOG.find(name).task == SEEDS[name]


def test_starter_and_echo():
    chat = CATALOG.find("starter-chat")
    assert (chat.task, chat.context_length, chat.default_new_tokens, chat.licence) == (
        "text",
        1024,
        256,
        "Apache-2.0",
    )
    with pytest.raises(ModelNotFound):
        CATALOG.find("echo")
    echoes = [model for model in read_catalog(with_echo=True).models if model.engine == "echo"]
    assert {model.task for model in echoes} == set(get_args(Task))
    assert not any(model.options for model in echoes), "no fault switches by default"


def test_every_name_means_one_model():
    tables = [model for path in FOLDER.glob("*.toml") for model in read_file(path, relative_to=FOLDER)]
    names = Counter(name for model in tables for name in {model.name, *model.aliases})
    assert [name for name, count in names.items() if count > 1] == []
    assert all(len(set(model.aliases)) == len(model.aliases) for model in tables)
    assert all(NAME.fullmatch(name) for name in names)


def test_only_what_ships_is_installed():
    assert [model.name for model in CATALOG.models if model.is_installed] == [
        "starter-chat",
        "starter-vision",
        "starter-image",
        "lanczos",
    ]


@pytest.mark.parametrize("model", PULLED, ids=lambda model: model.name)
def test_tables_are_consistent(model):
    assert len({source.repo for source in model.sources}) == len(model.sources)
    formats = [source.format for source in model.sources]
    assert "openvino" not in formats[1:], "what needs no conversion is the first choice on a CPU"
    upstream = next(source.repo for source in model.sources if source.format != "openvino")
    assert upstream in model.aliases, "clients send the name on the hub, too"
    for source in model.sources:
        marked = source.repo.rsplit("-", 2)
        if source.format == "openvino":
            assert (marked[-1], marked[-2]) == ("ov", source.precision)
    assert model.description.endswith(".")
    engine = {"text": "text", "vision": "text", "speech": "speech", "embedding": "embed"}.get(
        model.task, "image"
    )
    assert model.engine == engine
    if model.engine != "image":
        assert model.context_length != 2048 or model.name == "tinyllama-1.1b-chat", (
            "said, not left to the default"
        )
        assert model.memory_bytes > 0
    if model.memory_bytes and model.sources[0].precision in ("int8", "int4"):
        assert model.disk_bytes < model.memory_bytes, "weights are loaded whole"


@pytest.mark.parametrize("model", [model for model in PULLED if model.can_see], ids=lambda model: model.name)
def test_models_that_see_say_whether_they_run(model):
    assert model.architecture
    assert (model.architecture not in PARTS) == model.description.endswith("This version can't run it.")


@pytest.mark.parametrize(
    "name", ["llava", "LLaVA-NeXT", "llava-1.5-7b-hf", "llava-1.5-7b-4", "idefics", "smolvlm"]
)
def test_what_clients_call_a_model_that_sees_runs_once_it_is_pulled(name):
    assert CATALOG.find(name).architecture in PARTS


def test_each_task_has_a_small_one():
    for task in ("text", "vision", "speech", "embedding"):
        sizes = [model.disk_bytes for model in CATALOG.for_tasks([task]) if model.disk_bytes]
        assert min(sizes) < 600_000_000
