"""The child process that turns safetensors into an OpenVINO IR: `python -m quintet.weights.conversion SOURCE TARGET …`.

Only here are torch, transformers, optimum and nncf imported. Standard output carries JSON lines and nothing else:
{"stage": …} while it works, at last {"done": {…}} or {"error": {"kind": …, "message": …}}; what libraries print goes
to standard error. Foreign code of a model is never run, and nothing is asked of a network.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import re
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from quintet.weights import vision

EXPORT_TASKS = {
    "text": "text-generation-with-past",
    "vision": "image-text-to-text",
    "embedding": "feature-extraction",
}
COPIED_SUFFIXES = (".json", ".jinja", ".txt", ".model", ".tiktoken")
COPIED_FOLDERS = re.compile(r"|\d_[A-Z][A-Za-z]{1,30}|additional_chat_templates")
"""The model's own folder, the layers of a sentence encoder, more chat templates."""
INT4_GROUP = 128
"""Weights that share a scale in int4; where a row is no multiple of it, the largest power of two that divides it."""
PROVEN = (
    "Gemma2OpenVINOConfig",
    "Gemma3TextOpenVINOConfig",
    "Idefics3OpenVINOConfig",
    "Qwen2VLOpenVINOConfig",
    "Qwen2_5_VLOpenVINOConfig",
    "SmolVLMOpenVINOConfig",
)
"""Exporters that ask for an older transformers than is installed. The engine's tests, such as
tests/engines/text/test_architectures.py, prove them with the one that is."""
_LANGUAGE_MODELS = ("openvino_model", vision.LANGUAGE_MODEL)
_UNUSED = re.compile(r"(?:.*\.)?pooler\..*")
"""Tensors of a sentence encoder that its checkpoint may lack: what the exported model puts out is made before them."""
_LAYER = re.compile(r"(?:.*\.)?layers?\.\d+\..*")
_PR_SET_PDEATHSIG = 1

Report = Callable[[str], None]
"""Is told the stage that begins: load, export, compress, save."""


class Unconvertible(Exception):
    """The model can't be converted; the message says why, in words safe to show."""


def convert_directory(source: Path, target: Path, task: str, precision: str, report: Report) -> None:
    """Write `source` as an IR of this precision into `target`, with all that belongs to it; raises Unconvertible."""
    described = json.loads((source / "config.json").read_text("utf-8"))
    report("load")
    _check(source, described, task)
    model = _load(source, described, task, precision)
    report("export")
    target.mkdir(parents=True, exist_ok=True)
    _export(model, target, EXPORT_TASKS[task], precision)
    del model
    if precision in ("int8", "int4"):
        _compress(target, precision, report)
    _copy_companions(source, target, task)


def import_exporter() -> None:
    """Import the exporter and let it register what it supports, as if there were no diffusers.

    It would import pipelines that want a newer transformers than itself, and it exports none of them here.
    """
    before = sys.modules.get("diffusers")
    sys.modules["diffusers"] = None  # type: ignore[assignment]  # so that nobody finds it
    try:
        import optimum.exporters.openvino
        import optimum.intel.openvino.configuration  # noqa: F401
    finally:
        if before is None:
            del sys.modules["diffusers"]
        else:
            sys.modules["diffusers"] = before


def _check(source: Path, described: dict[str, Any], task: str) -> None:
    """Refuse what the exporter does not know or the engine does not run, before the weights are read."""
    if task == "vision":
        reason = vision.why_not(described, [path.name for path in source.iterdir()], "safetensors")
        if reason:
            raise Unconvertible(reason)
    import_exporter()
    from optimum.exporters.tasks import TasksManager

    kind, export_task = str(described.get("model_type", "")), EXPORT_TASKS[task]
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(kind, "openvino", library_name="transformers")
    except KeyError:
        tasks = {}
    if export_task not in tasks:
        raise Unconvertible(
            f"the architecture `{kind[:60]}` can't be converted for {export_task.removesuffix('-with-past')}: "
            "the exporter does not know it. Look for a repository that has the model as OpenVINO IR."
        )


def _load(source: Path, described: dict[str, Any], task: str, precision: str) -> Any:
    """The model in the type of its checkpoint if 16 bits will do, in float32 if that is asked for."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText

    stored = _stored_type(described) or _stored_type(described.get("text_config"))
    narrow = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    dtypes = {"fp32": torch.float32, "fp16": torch.float16}
    dtype = dtypes.get(precision) or narrow.get(stored, torch.float32)
    makers = {"text": AutoModelForCausalLM, "vision": AutoModelForImageTextToText, "embedding": AutoModel}
    options: dict[str, Any] = {}
    if described.get("model_type") == "gemma2":
        options["attn_implementation"] = "sdpa"  # its default, eager, is not what paged attention looks for
    model, found = makers[task].from_pretrained(
        source,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    _check_tensors(task, found["missing_keys"], found["unexpected_keys"])
    return model.eval()


def _stored_type(described: object) -> str:
    found = (described.get("dtype") or described.get("torch_dtype")) if isinstance(described, dict) else ""
    return str(found or "")


def _check_tensors(task: str, missing: Collection[str], unexpected: Collection[str]) -> None:
    """Refuse weights whose names don't fit: transformers fills what it does not find with random numbers."""
    lacking = sorted(name for name in missing if task != "embedding" or not _UNUSED.fullmatch(name))
    if lacking:
        raise Unconvertible(
            f"{len(lacking)} of its tensors are not among the weights under the names that transformers knows, such "
            f"as {lacking[0][:100]}. The files are incomplete, or were saved by a newer transformers; take the model "
            "from another source."
        )
    if any(_LAYER.fullmatch(name) for name in unexpected):
        raise Unconvertible(
            "the weights have layers that its config.json does not describe. Take the model from another source."
        )


def _export(model: Any, target: Path, export_task: str, precision: str) -> None:
    import torch
    from optimum.exporters.openvino import convert, model_configs
    from optimum.intel.openvino.configuration import OVConfig

    # Tracing once more to compare both traces takes half of the export.
    convert.allow_skip_tracing_check = lambda *_: True
    for name in PROVEN:
        getattr(model_configs, name).MAX_TRANSFORMERS_VERSION = None
    narrow = model.dtype in (torch.float16, torch.bfloat16)
    convert.export_from_model(
        model,
        target,
        task=export_task,
        # Never None, or models of a billion parameters and more are quantised behind our back.
        ov_config=OVConfig(dtype="fp16" if precision == "fp16" else "fp32"),
        patch_16bit_model=narrow,
        # Of a vision-language model it would load the processor, which wants torchvision, only to save it again.
        preprocessors=[] if export_task == EXPORT_TASKS["vision"] else None,
    )


def _compress(target: Path, precision: str, report: Report) -> None:
    """Replace the IRs in `target` by ones with 8- or 4-bit weights; activations stay as they are.

    Of a vision-language model 4 bits are for the language model alone. What is beside it, vision encoder and token
    embeddings, has 8 in any case, as in the repositories that have such models as IR.
    """
    import nncf

    report("compress")
    nncf.set_log_level(logging.ERROR)
    paths = sorted(target.glob("openvino_*.xml"), key=lambda path: path.stem in _LANGUAGE_MODELS)
    for path in paths:
        is_last = path == paths[-1]
        _compress_one(path, precision if is_last else "int8_sym", report if is_last else lambda _: None)


def _compress_one(path: Path, precision: str, report: Report) -> None:
    import nncf
    import openvino

    model = openvino.Core().read_model(path)
    modes = {"int8": nncf.CompressWeightsMode.INT8_ASYM, "int8_sym": nncf.CompressWeightsMode.INT8_SYM}
    with _kept_kernels() if precision in modes else contextlib.nullcontext():
        if precision in modes:
            model = nncf.compress_weights(model, mode=modes[precision])
        else:
            fallback = nncf.GroupSizeFallbackMode.ADJUST
            model = nncf.compress_weights(
                model,
                mode=nncf.CompressWeightsMode.INT4_ASYM,
                group_size=INT4_GROUP,
                ratio=1.0,
                advanced_parameters=nncf.AdvancedCompressionParameters(group_size_fallback_mode=fallback),
            )
    report("save")
    # The weights of the old file are mapped into memory, so the new one gets a name of its own first.
    fresh = path.with_name("compressed.xml")
    openvino.save_model(model, fresh, compress_to_fp16=False)
    del model
    for suffix in (".bin", ".xml"):
        fresh.with_suffix(suffix).replace(path.with_suffix(suffix))


@contextlib.contextmanager
def _kept_kernels() -> Iterator[None]:
    """Let nncf compile its compressor once per kind of weight, not once per weight: 1.9 s instead of 7.0 for 211.

    Only for int8: int4 results are views of the kernel's output, which the next weight would overwrite.
    """
    from nncf.quantization.algorithms.weight_compression import openvino_backend

    before = getattr(openvino_backend, "disable_results_caching", None)
    if before is None:
        yield
        return
    openvino_backend.disable_results_caching = lambda _: contextlib.nullcontext()
    try:
        yield
    finally:
        openvino_backend.disable_results_caching = before


def _copy_companions(source: Path, target: Path, task: str) -> None:
    """Tokenizer, configurations and templates as their makers wrote them.

    Only config.json of a vision-language model is the exporter's: that has the vector which LLaVA-NeXT keeps among
    its weights, and says what the makers' leaves to the library's defaults.
    """
    kept = {"config.json"} if task == "vision" else set()
    for path in sorted([*source.glob("*"), *source.glob("*/*")]):
        folder = path.relative_to(source).parent.name
        is_wanted = path.suffix in COPIED_SUFFIXES and not path.name.endswith(".index.json")
        is_wanted = is_wanted and path.relative_to(source).as_posix() not in kept
        if path.is_file() and is_wanted and COPIED_FOLDERS.fullmatch(folder):
            (target / folder).mkdir(exist_ok=True)
            shutil.copyfile(path, target / folder / path.name)
    if not (target / "tokenizer.json").is_file():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(source, local_files_only=True, use_fast=True).save_pretrained(target)
    if not (target / "tokenizer.json").is_file():
        raise Unconvertible(
            "it has no tokenizer.json, and none could be made of its tokenizer files. Look for a repository that has "
            "one."
        )


def _die_with_parent(parent: int) -> None:
    """A conversion nobody waits for any more is ended by the kernel."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main(arguments: Sequence[str]) -> int:
    """Convert one directory for the parent process that started this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--task", choices=sorted(EXPORT_TASKS), required=True)
    parser.add_argument("--precision", choices=("int8", "int4", "fp16", "fp32"), required=True)
    parser.add_argument("--parent", type=int, required=True, help="process id that this one dies with")
    options = parser.parse_args(arguments)
    _die_with_parent(options.parent)
    lines = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")

    def say(**line: object) -> None:
        lines.write(json.dumps(line) + "\n")

    try:
        convert_directory(
            options.source, options.target, options.task, options.precision, lambda stage: say(stage=stage)
        )
    except Unconvertible as refusal:
        say(error={"kind": "unsupported", "message": str(refusal)})
        return 1
    except MemoryError:
        say(error={"kind": "memory", "message": ""})
        return 1
    except ImportError as error:
        traceback.print_exc()
        say(error={"kind": "missing", "message": str(error.name or "")})
        return 1
    except Exception as error:  # foreign: its text may hold paths, its type does not
        traceback.print_exc()
        say(error={"kind": "failed", "message": type(error).__name__})
        return 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    say(done={"peak_bytes": peak})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
