"""Hashes of a model's weights and LoRAs, which its pictures name. Found in the background: weights are gigabytes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from quintet.engines.image.record import hash_lora, hash_weights


class Digests:
    """What the files of one model are called by their contents."""

    def __init__(self, files: Sequence[Path], loras: Mapping[str, str]) -> None:
        self._files = files
        self._loras = loras
        self._model = ""
        self._found: dict[str, str] = {}
        self._thread = threading.Thread(target=self._hash_model, name="digests", daemon=True)
        self._thread.start()

    def model(self) -> str:
        """SHA-256 of the denoiser's weights; waits until it is known."""
        self._thread.join()
        return self._model

    def lora(self, name: str) -> str:
        """SHA-256 of a LoRA, found when it is first asked for."""
        if name not in self._found:
            self._found[name] = hash_lora(Path(self._loras[name]))
        return self._found[name]

    def _hash_model(self) -> None:
        with contextlib.suppress(OSError):  # files that went away: the pictures name no hash
            self._model = hash_weights(self._files)
