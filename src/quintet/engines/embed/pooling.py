"""From one vector per token to one per text: which way a model wants it, and the arithmetic.

The ways and their files are those of sentence-transformers, whose models these are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quintet.core.errors import LoadFailed
from quintet.engines.embed.files import read_json

Vectors = npt.NDArray[np.float32]

POOLINGS = ("mean", "cls", "last", "max")

_NAMES = {
    "mean": "mean",
    "mean_tokens": "mean",
    # Divided by √length instead of the length: the same direction, and only that is left in the end.
    "mean_sqrt_len_tokens": "mean",
    "cls": "cls",
    "cls_token": "cls",
    "max": "max",
    "max_tokens": "max",
    "lasttoken": "last",
}
_IGNORED_STEPS = frozenset({"Transformer", "Normalize", "Dropout"})
"""Steps of modules.json that are the encoder itself, done anyhow, or nothing outside of training."""
_SMALLEST_NORM = 1e-12


def find_pooling(directory: Path, chosen: str) -> str:
    """How to pool: as chosen, else as the files of sentence-transformers say, else the mean. Raises LoadFailed."""
    folders = list(_pooling_folders(read_json(directory / "modules.json")))
    if chosen:
        return chosen
    if not folders and (directory / "1_Pooling").is_dir():
        folders = ["1_Pooling"]
    described = read_json(directory / folders[0] / "config.json") if folders else {}
    modes = list(_modes(described)) if isinstance(described, dict) else []
    if not modes:
        return "mean"
    if len(modes) > 1 or modes[0] not in _NAMES:
        raise LoadFailed(
            f"the model pools its tokens in a way that is not supported ({', '.join(map(repr, modes))}); "
            f"choose another model, or set its option `pooling` to one of {', '.join(POOLINGS)}."
        )
    return _NAMES[modes[0]]


def _pooling_folders(modules: Any) -> Iterator[str]:
    """Folders of the pooling step in modules.json; raises LoadFailed for steps that would be left out."""
    for module in modules if isinstance(modules, list) else []:
        described = module if isinstance(module, dict) else {}
        kind = str(described.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            yield Path(str(described.get("path", ""))).name
        elif kind not in _IGNORED_STEPS:
            raise LoadFailed(
                f"the model has a step {kind!r} beside its encoder, which is not supported; choose one without it."
            )


def _modes(described: dict[str, Any]) -> Iterator[str]:
    """The ways a pooling config names: newer files have one key, older ones a flag for each."""
    if "pooling_mode" in described:
        named = described["pooling_mode"]
        yield from [str(one) for one in named] if isinstance(named, list) else [str(named)]
        return
    for key, value in described.items():
        if key.startswith("pooling_mode_") and value is True:
            yield key.removeprefix("pooling_mode_")


def pool(hidden: Vectors, lengths: npt.NDArray[np.int64], way: str) -> Vectors:
    """[B, T, H] of texts that are `lengths` [B] tokens long, padded on the right, to [B, H]."""
    rows = np.arange(len(hidden))
    if way == "cls":
        return hidden[:, 0]
    if way == "last":
        return hidden[rows, lengths - 1]
    inside = np.arange(hidden.shape[1]) < lengths[:, None]
    if way == "max":
        highest: Vectors = np.where(inside[..., None], hidden, np.float32(-np.inf)).max(axis=1)
        return highest
    total = np.where(inside[..., None], hidden, np.float32(0)).sum(axis=1)
    mean: Vectors = total / lengths[:, None].astype(np.float32)
    return mean


def unit(vectors: Vectors) -> Vectors:
    """Each row of [B, H] at length 1."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(norms, _SMALLEST_NORM)
    return scaled
