"""What is found out before anything large is brought: disk, memory, and whether the conversion can be done here."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from quintet.core.errors import InsufficientStorage, LoadFailed, Unsupported
from quintet.core.models import Model, Task
from quintet.weights import convert, painting, vision
from quintet.weights.configs import read_facts
from quintet.weights.sizes import show_bytes

RUNNABLE: frozenset[Task] = frozenset(("text", "vision", "embedding", *painting.TASKS))
"""What there are engines for; the catalog knows models for the others already."""
SPARE = 1.1
"""So many times its size must be free on the disk."""


def can_run(model: Model) -> bool:
    """Whether this version runs a model of the catalog, as far as its entry tells."""
    try:
        check_task(model.name, model.task, model.architecture)
    except Unsupported:
        return False
    return True


def check_task(name: str, task: Task, architecture: str = "") -> None:
    """Raise Unsupported for models that could be brought but not run.

    `architecture` is what the catalog says of a model whose files are not here yet; empty = not known.
    """
    if task not in RUNNABLE:
        raise Unsupported(
            f"{name} is a model for {task}, and this version of Quintet runs models for "
            f"{_listed(sorted(RUNNABLE))} only; nothing was downloaded.",
            code="no_engine",
            param="model",
        )
    reason = ""
    if task == "vision" and architecture and architecture not in vision.PARTS:
        reason = vision.no_engine(architecture)
    if task == "image" and architecture and architecture not in painting.PIPELINES:
        reason = painting.no_engine(architecture)
    if reason:
        raise Unsupported(
            f"{name} can't be run: {reason} Nothing was downloaded.", code="no_engine", param="model"
        )


def check_vision(name: str, format: str, config: object, names: Collection[str]) -> None:
    """Raise Unsupported for a vision-language model whose config.json or files the engine could not work with."""
    reason = vision.why_not(config, names, format)
    if reason:
        runs = read_facts(config).model_type in vision.PARTS
        raise Unsupported(
            f"{name} can't be run: {reason} None of its weights were downloaded.",
            code="wrong_format" if runs else "no_engine",
            param="model",
        )


def check_painting(name: str, task: Task, format: str, described: object) -> None:
    """Raise Unsupported for a model for pictures that the engine could not work with."""
    reason = painting.why_not(task, format, described)
    if reason:
        raise Unsupported(
            f"{name} can't be run: {reason} None of its weights were downloaded.",
            code="no_engine",
            param="model",
        )


def check_disk(name: str, missing: int, free: int, *, converting: int = 0) -> None:
    """Raise InsufficientStorage unless what is missing fits, with a tenth to spare, and then the `converting` of it."""
    needed = int(missing * SPARE) + converting
    if needed <= free:
        return
    also = f", {show_bytes(converting)} to convert it" if converting else ""
    raise InsufficientStorage(
        f"{name} needs {show_bytes(needed)} of disk ({show_bytes(missing)} to bring with a tenth to spare{also}), but "
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


def check_conversion(name: str, task: Task, weights: int, memory: int) -> None:
    """Raise Unsupported or LoadFailed if so many bytes of safetensors for this task can never be converted here."""
    if task not in convert.TASKS:
        raise Unsupported(
            f"{name} is a model for {task} stored as safetensors, and Quintet converts those for "
            f"{_listed(convert.TASKS)} only. Look for a repository that has it as OpenVINO IR.",
            code="wrong_format",
            param="model",
        )
    convert.check_tools()
    needed = convert.memory_needed(weights)
    if needed > memory:
        raise LoadFailed(
            f"Converting {name} needs about {show_bytes(needed)} of memory, but this machine has {show_bytes(memory)}. "
            "Convert it on a larger machine and pull the directory, or pull a repository that has it as OpenVINO IR.",
            code="insufficient_memory",
            facts={"needed": needed, "memory": memory},
        )


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
