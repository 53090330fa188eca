"""What model files are good for: their format by the names in a repository, their task by config.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from quintet.core.errors import Unsupported
from quintet.core.models import SourceFormat, Task
from quintet.weights.configs import read_facts

ENGINES: dict[Task, str] = {
    "text": "text",
    "vision": "text",
    "image": "image",
    "animation": "image",
    "upscale": "image",
    "speech": "speech",
    "embedding": "embed",
}
"""The engine room for each task."""
_UNREAD = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".gguf", ".onnx", ".h5", ".msgpack"})
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_SEEING = ("ForConditionalGeneration", "ForVision2Seq", "ForImageTextToText")


def find_format(names: Sequence[str]) -> SourceFormat:
    """The format of these files, from what stands at the top of the folder; raises Unsupported."""
    here = {name for name in names if "/" not in name}
    if any(name.startswith("openvino_") and name.endswith(".xml") for name in here):
        return "openvino"
    if "model_index.json" in here:
        return "diffusers"
    if any(name.endswith(".safetensors") for name in here):
        return "safetensors"
    if "model.bin" in here and any(name.startswith("vocabulary.") for name in here):
        return "ctranslate2"
    kinds = sorted({PurePosixPath(name).suffix for name in names} & _UNREAD)
    what = f"only weights as {', '.join(kinds)}" if kinds else f"no weights among {len(names)} files"
    raise Unsupported(
        f"There are {what} here. Quintet loads OpenVINO IR and safetensors, never pickles: look for a repository of "
        "the same model that has one of these.",
        code="wrong_format",
        param="model",
    )


def find_task(format: str, config: object, names: Sequence[str]) -> Task:
    """What the model with this config.json and these files is for; raises Unsupported."""
    facts = read_facts(config)
    name = facts.architecture
    if format == "diffusers":
        return "image"
    if facts.model_type == "swin2sr":
        return "upscale"
    if format == "ctranslate2" or name.startswith("Whisper"):
        return "speech"
    if "modules.json" in names:
        return "embedding"
    if name.endswith(_CAUSAL):
        return "text"
    if name.endswith(_SEEING):
        return "vision"
    if name.endswith("Model"):
        return "embedding"
    raise Unsupported(
        f"The architecture {name or '(its config.json names none)'} is none that Quintet runs; there are engines for "
        "text, pictures in prompts, embeddings, speech and images.",
        code="unknown_architecture",
        param="model",
    )
