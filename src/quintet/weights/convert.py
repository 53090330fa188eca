"""Safetensors to OpenVINO IR, seen from outside: checked beforehand, done in a child process, watched, cleaned up.

Imports nothing heavy; `quintet.weights.conversion` is the child.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from quintet.core.errors import InsufficientStorage, LoadFailed, Unsupported
from quintet.core.machine import free_memory_bytes, gigabytes
from quintet.weights.safetensors import BITS, read_header

Report = Callable[[str, float, float], None]
"""Is told a stage (load, export, compress, save), which one it is, and of how many."""

PRECISIONS = ("int8", "int4", "fp16", "fp32")
TASKS = ("text", "vision", "embedding")
PACKAGES = ("torch", "transformers", "optimum", "optimum-intel", "nncf", "openvino")
INSTALL = "`make convert` in a checkout or `pip install 'quintet[convert]'` and `pip install --no-deps optimum-intel`"
STAGES = {"load": 0, "export": 1, "compress": 2, "save": 3}

BASE_BYTES = 700_000_000
"""What the libraries alone need."""
MEMORY_FACTOR = 2.6
"""Peak memory beyond that, per byte of the loaded tensors (measured: docs/decisions/0009-conversion.md)."""
DISK_FACTOR = 1.7
"""Bytes on disk per byte of the loaded tensors: the exported model, and the compressed one beside it."""
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_PASSED_ON_PREFIXES = ("LC_", "OMP_", "PYTHONDONT", "PYTHONHASH")
_ERROR_LINES = 40


def convert(source: Path, target: Path, *, task: str, precision: str, report: Report) -> None:
    """Write the model in `source` (safetensors, config, tokenizer) into `target` as an IR with weights in `precision`.

    Raises LoadFailed if it can't be done here (no `convert` extra, too little memory, the tools failed), Unsupported
    if it can't be done with this model; then `target` is as it was. Blocks for as long as it takes.
    """
    if task not in TASKS or precision not in PRECISIONS:
        raise Unsupported(
            f"models are converted for {' or '.join(TASKS)}, with weights in {', '.join(PRECISIONS)}; "
            "choose one of each."
        )
    check_tools()
    check_source(source)
    check_room(source, target, precision)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".converting-") as scratch:
        fresh = Path(scratch) / "model"
        _run_child(source, fresh, task, precision, report)
        _move_into(fresh, target)


def tool_versions() -> dict[str, str]:
    """The packages that shape a converted model, by version; what is not installed is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def check_tools() -> None:
    """Raise LoadFailed that names the command to run if the `convert` extra is not installed."""
    missing = [name for name in PACKAGES if name not in tool_versions()]
    if missing:
        raise LoadFailed(
            f"Converting this model needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed. Install what converting needs ({INSTALL}), or pull a repository that has the model as "
            "OpenVINO IR."
        )


def check_source(source: Path) -> None:
    """Raise Unsupported if there is nothing here to convert."""
    try:
        described = json.loads((source / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise Unsupported(
            "there is no readable config.json beside the weights; pull the model again."
        ) from None
    if not any(source.glob("*.safetensors")):
        raise Unsupported("there are no .safetensors files to convert; no other format is read.")
    quantised = described.get("quantization_config") if isinstance(described, dict) else None
    if quantised:
        method = (
            re.sub(r"[^a-z0-9_.-]", "", str(quantised.get("quant_method", "")).lower())[:20] or "some way"
        )
        raise Unsupported(
            f"the weights are quantised already ({method}); convert the original model, which loses less."
        )


def check_room(source: Path, target: Path, precision: str) -> None:
    """Raise LoadFailed if the child would need more memory than is free, InsufficientStorage for the disk."""
    loaded = loaded_bytes(source, precision)
    needed, free = memory_needed(loaded), free_memory_bytes()
    if needed > free:
        raise LoadFailed(
            f"Converting this model to {precision} needs about {gigabytes(needed)} of memory, and "
            f"{gigabytes(free)} are free. Free some, convert it on a larger machine and pull the directory, or pull "
            "a repository that has it as OpenVINO IR.",
            code="insufficient_memory",
            facts={"needed_bytes": needed, "free_bytes": free},
        )
    wanted, left = int(loaded * DISK_FACTOR), shutil.disk_usage(_existing(target)).free
    if wanted > left:
        raise InsufficientStorage(
            f"Converting this model to {precision} needs about {gigabytes(wanted)} of disk for a while, and "
            f"{gigabytes(left)} are free. Free some, or set QUINTET_HOME to a larger disk.",
            facts={"needed_bytes": wanted, "free_bytes": left},
        )


def memory_needed(loaded: int) -> int:
    """About the most memory that converting takes, for so many bytes of loaded tensors."""
    return BASE_BYTES + int(loaded * MEMORY_FACTOR)


def loaded_bytes(source: Path, precision: str) -> int:
    """Size of all tensors once they are loaded, from the headers of the safetensors files."""
    loaded = 0
    for path in source.glob("*.safetensors"):
        with path.open("rb") as stream:
            sizes = read_header(path.name, stream).bytes_by_dtype
        for dtype, size in sizes.items():
            loaded += size * 32 // BITS[dtype.upper()] if precision == "fp32" else size
    return loaded


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.absolute().parents) if one.exists())


def _run_child(source: Path, target: Path, task: str, precision: str, report: Report) -> None:
    """Start the child, pass its stages on, and turn whatever ends it into an error."""
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-P", "-m", "quintet.weights.conversion", str(source), str(target)]
        command += ["--task", task, "--precision", precision, "--parent", str(os.getpid())]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=child_environment(os.environ),
        )
        try:
            last = _follow(process.stdout, report)
            status = process.wait()
        finally:  # also when the caller is interrupted
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if status == 0 and "done" in last:
            return
        errors.seek(0)
        _raise_failure(last, status, errors.read().decode("utf-8", "replace"))


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the child may see: no secrets, and no way online."""
    passed = {
        name: value
        for name, value in environment.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return passed | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "NNCF_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _follow(lines: IO[bytes] | None, report: Report) -> dict[str, Any]:
    """Report every stage; returns the child's last line."""
    last: dict[str, Any] = {}
    for line in lines or ():
        try:
            last = json.loads(line)
        except ValueError:
            continue
        stage = last.get("stage")
        if stage in STAGES:
            report(stage, float(STAGES[stage]), float(len(STAGES)))
    return last


def _raise_failure(last: dict[str, Any], status: int, output: str) -> None:
    error = last.get("error") or {}
    kind, message = error.get("kind", ""), str(error.get("message", ""))
    if kind == "unsupported":
        raise Unsupported(f"This model can't be converted: {message}")
    print("\n".join(output.splitlines()[-_ERROR_LINES:]), file=sys.stderr)
    if kind == "memory" or status == -9:
        raise LoadFailed(
            "Converting the model ran out of memory and was ended. Free some, or convert it on a larger machine and "
            "pull the directory."
        )
    if kind == "missing":
        raise LoadFailed(
            f"Converting the model needs the Python module {message or 'of the convert extra'}, which is not "
            f"installed. Install what converting needs: {INSTALL}."
        )
    raise LoadFailed(
        f"Converting the model failed ({message or f'the process ended with status {status}'}). What the tools said is "
        "above; a repository that has the model as OpenVINO IR needs no conversion."
    )


def _move_into(fresh: Path, target: Path) -> None:
    """Put the finished files where they are wanted; a file of the same name is replaced."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(fresh.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(fresh)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, place)
