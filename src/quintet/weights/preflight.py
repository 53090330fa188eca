"""What is found out before anything large is brought: disk, memory, and whether the conversion can be done here."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from quintet.core.errors import InsufficientStorage, LoadFailed, Unsupported
from quintet.core.models import Task
from quintet.weights import convert
from quintet.weights.sizes import show_bytes

SPARE = 1.1
"""So many times its size must be free on the disk."""
BYTES_PER_WEIGHT = {"int8": 1.0, "int4": 0.6, "fp16": 2.0}
STORED_BYTES_PER_WEIGHT = 2.0
"""As most safetensors are stored: float16 and bfloat16."""


def converted_bytes(source_bytes: int, precision: str) -> int:
    """About what the converted model takes on the disk."""
    return int(source_bytes * BYTES_PER_WEIGHT[precision] / STORED_BYTES_PER_WEIGHT)


def check_disk(name: str, missing: int, converted: int, free: int) -> None:
    """Raise InsufficientStorage unless what is missing and what it is converted to fit, with a tenth to spare."""
    needed = int((missing + converted) * SPARE)
    if needed <= free:
        return
    also = f" and {show_bytes(converted)} for the converted model" if converted else ""
    raise InsufficientStorage(
        f"{name} needs {show_bytes(needed)} of disk ({show_bytes(missing)} to bring{also}, and a tenth to spare), but "
        f"only {show_bytes(free)} are free. Free some space, or set QUINTET_HOME to a larger disk.",
        facts={"needed": needed, "free": free},
    )


def check_memory(name: str, weights: int, memory: int) -> None:
    """Raise LoadFailed for weights that this machine can never hold."""
    if weights > memory:
        raise LoadFailed(
            f"The weights of {name} take {show_bytes(weights)} of memory, but this machine has {show_bytes(memory)}. "
            "Choose a smaller model or another precision.",
            code="insufficient_memory",
            facts={"needed": weights, "memory": memory},
        )


def check_conversion(name: str, task: Task) -> None:
    """Raise Unsupported or LoadFailed if safetensors for this task can't be converted here."""
    if task not in convert.TASKS:
        raise Unsupported(
            f"{name} is a model for {task} stored as safetensors, and Quintet converts those for "
            f"{' and '.join(convert.TASKS)} only. Look for a repository that has it as OpenVINO IR.",
            code="wrong_format",
            param="model",
        )
    convert.check_tools()


def machine_memory_bytes() -> int:
    """The memory that this machine has, or that its control group may use."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found
