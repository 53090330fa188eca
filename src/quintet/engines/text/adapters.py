"""Adapters of one model: PEFT directories found by name, read when first asked for, dropped when others need the room.

A directory holds adapter_config.json and adapter_model.safetensors, as PEFT saves a LoRA. Nothing else is read, and no
code comes with it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quintet.core.errors import InvalidRequest, ModelNotFound, Overloaded
from quintet.engines.text.lora import AdapterInputs, Matrix, Pair, Slot

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
MAX_LOADED = 8
"""Adapters in the graph at once; each costs a little of every step, whoever uses it."""
MAX_RANK = 256
WEIGHTS = "adapter_model.safetensors"
MAX_FILE_BYTES = 2 * 1024**3
_MAX_HEADER_BYTES = 16 * 1024 * 1024
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)(?:\.default)?\.weight")
_UNSUPPORTED = {
    "use_dora": "DoRA",
    "modules_to_save": "whole modules beside the low-rank ones",
    "fan_in_fan_out": "transposed weights",
    "layer_replication": "replicated layers",
    "trainable_token_indices": "changed token embeddings",
    "alora_invocation_tokens": "adapters that begin in the middle of a prompt",
}
_CHANGES_BASE = ("pissa", "corda", "olora", "loftq")
"""Ways to begin a training that change the model's own weights too; what is saved fits those alone."""

Pairs = dict[str, Pair]


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter in memory: its matrices by projection; `digest` changes with its content."""

    name: str
    pairs: Pairs
    digest: str


class Adapters:
    """What of a folder is in the graph now. `read` may run on another thread; the rest is the stepping thread's."""

    def __init__(self, folder: Path, inputs: AdapterInputs) -> None:
        """`folder` has one directory per adapter."""
        self._folder = folder
        self._inputs = inputs
        self._loaded: OrderedDict[str, Adapter] = OrderedDict()
        self._users: dict[str, int] = {}
        self.slots: dict[str, Slot] = {}

    @property
    def names(self) -> list[str]:
        """Every adapter there is on disk now."""
        if not self._folder.is_dir():
            return []
        return sorted(path.parent.name for path in self._folder.glob("*/adapter_config.json"))

    def read(self, name: str) -> Adapter:
        """An adapter, from memory or from disk; raises ModelNotFound or InvalidRequest. Thread-safe."""
        loaded = self._loaded.get(name)
        if loaded is not None:
            return loaded
        if not NAME.fullmatch(name) or name not in self.names:
            there = ", ".join(self.names[:20]) or "none"
            raise ModelNotFound(f"There is no such adapter of this model; there are: {there}.", param="model")
        directory = self._folder / name
        pairs = read_adapter(directory, self._inputs.sizes)
        digest = hashlib.blake2b((directory / WEIGHTS).read_bytes(), digest_size=16).hexdigest()
        return Adapter(name, pairs, digest)

    def acquire(self, adapter: Adapter, request: Any) -> Adapter:
        """One more user of an adapter; puts it into the graph if it isn't there. Raises Overloaded.

        Returns the one that is in the graph: its file may have changed since.
        """
        name = adapter.name
        if name not in self._loaded:
            if len(self._loaded) >= MAX_LOADED:
                idle = next((known for known in self._loaded if not self._users.get(known)), None)
                if idle is None:
                    raise Overloaded(
                        "All places for adapters are in use; try again in a moment.", retry_after=1
                    )
                del self._loaded[idle]
            self._loaded[name] = adapter
            self.slots = self._inputs.fill(
                request, {known.name: known.pairs for known in self._loaded.values()}
            )
        self._loaded.move_to_end(name)
        self._users[name] = self._users.get(name, 0) + 1
        return self._loaded[name]

    def release(self, adapter: Adapter) -> None:
        """One user less."""
        self._users[adapter.name] -= 1


def read_adapter(directory: Path, sizes: Mapping[str, tuple[int, int]]) -> Pairs:
    """Read and check one PEFT directory against the model's projections (in, out); raises InvalidRequest."""
    config = _read_config(directory)
    tensors = read_safetensors(directory / WEIGHTS)
    found: dict[str, dict[str, Matrix]] = {}
    for key, tensor in tensors.items():
        parts = _KEY.fullmatch(key)
        if parts is None or parts[1] not in sizes:
            raise _broken(
                f"it changes `{key[:200]}`, which this model doesn't have or which can't be changed here"
            )
        found.setdefault(parts[1], {})[parts[2]] = tensor
    pairs: Pairs = {}
    for module, both in found.items():
        if len(both) != 2:
            raise _broken(f"`{module}` lacks one of its two matrices")
        a, b = both["A"], both["B"]
        size_in, size_out = sizes[module]
        rank = a.shape[0]
        if a.shape != (rank, size_in) or b.shape != (size_out, rank) or not 0 < rank <= MAX_RANK:
            raise _broken(
                f"the matrices of `{module}` are {a.shape} and {b.shape}, which don't fit this model"
            )
        pairs[module] = (a, b * np.float32(_scale(config, module, rank)))
    if not pairs:
        raise _broken("it has no matrices")
    return pairs


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / "adapter_config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _broken("adapter_config.json can't be read") from error
    if not isinstance(config, dict) or config.get("peft_type", "LORA") != "LORA":
        raise _broken("only LoRA adapters are supported")
    for key, what in _UNSUPPORTED.items():
        if config.get(key):
            raise _broken(f"`{key}` is set, and {what} are not supported")
    if str(config.get("init_lora_weights", "")).lower().startswith(_CHANGES_BASE):
        raise _broken("it belongs to weights that its training changed; save it converted to a plain LoRA")
    if config.get("bias", "none") != "none":
        raise _broken("it changes biases, which is not supported")
    return config


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA (arXiv:2312.03732)."""
    alpha = config.get("lora_alpha", rank)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        # PEFT matches the end of the module's name; a plain comparison is enough for names without wildcards.
        if module == pattern or module.endswith(f".{pattern}"):
            alpha = value
    if not isinstance(alpha, int | float):
        raise _broken("`lora_alpha` is not a number")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


_TYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def read_safetensors(path: Path) -> dict[str, Matrix]:
    """Every tensor [rows, columns] of a safetensors file as float32; raises InvalidRequest."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _broken(f"its file is larger than {MAX_FILE_BYTES:,} bytes")
        data = path.read_bytes()
        (length,) = struct.unpack_from("<Q", data)
        if length > min(_MAX_HEADER_BYTES, len(data) - 8):
            raise _broken("its file's header is longer than the file")
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
        body = memoryview(data)[8 + length :]
        return {key: _tensor(entry, body) for key, entry in header.items() if key != "__metadata__"}
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(f"{WEIGHTS} can't be read or is damaged") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names stand once; two readers could disagree about others."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _tensor(entry: Mapping[str, Any], body: memoryview) -> Matrix:
    kind = _TYPES[entry["dtype"]]
    first, end = entry["data_offsets"]
    rows, columns = entry["shape"]
    if not 0 <= first <= end <= len(body) or end - first != rows * columns * np.dtype(kind).itemsize:
        raise ValueError("a tensor lies outside of the file")
    values = np.frombuffer(body[first:end], kind).reshape(rows, columns)
    if kind is np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"This adapter can't be used: {why}.", param="model", code="adapter_unusable")
