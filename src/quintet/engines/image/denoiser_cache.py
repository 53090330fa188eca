"""Converted denoisers on disk: one folder per set of weights and version of the tools, whole or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import openvino as ov
import torch

from quintet.engines.image.denoiser_ir import FILES

FORMAT = 1
"""To be raised when the converted files change."""
FACTS = "facts.json"
"""Which files belong here and what was measured; written last."""
_SAMPLED = 4096
_PIECES, _PIECE_BYTES = 64, 65536


def identity(module: torch.nn.Module) -> str:
    """A name for these very weights as these very tools convert them, from every tensor's shape and some numbers.

    All numbers would have to be read from disk, at every load.
    """
    found = hashlib.sha256(f"{FORMAT} {ov.__version__} {diffusers.__version__} {torch.__version__}".encode())
    config = {name: str(value) for name, value in dict(module.config).items() if not name.startswith("_")}
    found.update(f"{type(module).__name__} {json.dumps(config, sort_keys=True)}".encode())
    for name, tensor in module.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _SAMPLED)].to(torch.float32).contiguous()
        found.update(some.numpy().tobytes())
    return found.hexdigest()[:32]


class Cache:
    """The place of one converted denoiser."""

    def __init__(self, root: Path, name: str) -> None:
        """`name` is the identity of the weights; nothing is read or written yet."""
        self.root = root
        self.folder = root / name

    def is_whole(self) -> bool:
        """Whether the files are there and look as they did when they were written."""
        written = self._facts().get("files")
        try:
            return written is not None and written == _fingerprints(self.folder)
        except OSError:
            return False

    def fill(self, convert: Callable[[Path], None]) -> None:
        """Have the files made, in place of damaged ones; other processes see all of them or none."""
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".converting-") as scratch:
            fresh = Path(scratch) / "ir"
            fresh.mkdir()
            convert(fresh)
            (fresh / FACTS).write_text(json.dumps({"files": _fingerprints(fresh)}), "utf-8")
            self.clear()
            with contextlib.suppress(OSError):  # another process was faster
                os.replace(fresh, self.folder)
        if not self.is_whole():
            raise OSError("the converted denoiser could not be kept")

    def clear(self) -> None:
        """Take the files away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def measured(self, key: str) -> dict[str, float] | None:
        """Seconds of a step by what makes it, as measured before under these conditions."""
        found = self._facts().get("measured", {}).get(key)
        return found if isinstance(found, dict) else None

    def remember(self, key: str, seconds: dict[str, float]) -> None:
        """Keep what was measured."""
        facts = self._facts()
        facts["measured"] = facts.get("measured", {}) | {key: seconds}
        scratch = self.folder / f".{FACTS}-{os.getpid()}"
        scratch.write_text(json.dumps(facts), "utf-8")
        os.replace(scratch, self.folder / FACTS)

    def _facts(self) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / FACTS).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _fingerprints(folder: Path) -> dict[str, str]:
    """Of each file: its size and a hash of pieces from all over it."""
    found = {}
    for name in FILES:
        with (folder / name).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            pieces = hashlib.sha256()
            for place in range(0, size, max(_PIECE_BYTES, size // _PIECES)):
                stream.seek(place)
                pieces.update(stream.read(_PIECE_BYTES))
            stream.seek(max(0, size - _PIECE_BYTES))
            pieces.update(stream.read())
        found[name] = f"{size} {pieces.hexdigest()}"
    return found
