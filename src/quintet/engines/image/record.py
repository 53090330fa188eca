"""What a picture's own file says of how it was made: the "parameters" text of AUTOMATIC1111's web UI, in a PNG.

The same facts give the same bytes: nothing here knows the time.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL.Image import Image as Picture
from PIL.PngImagePlugin import PngInfo

from quintet import __version__
from quintet.core.requests import Lora

KEYWORD = "parameters"
_COMPRESSION = 4
"""Of zlib: drawn pictures hardly become smaller with more."""
_NEEDS_QUOTES = frozenset(',:\n"')
_SHORT_MODEL, _SHORT_LORA = 10, 12
"""Digits of hashes that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Facts of one picture; those that are empty or None are left out."""

    prompt: str
    negative: str = ""
    steps: int = 0
    sampler: str = ""
    guidance: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    model: str = ""
    model_hash: str = ""
    loras: Sequence[Lora] = ()
    lora_hashes: Mapping[str, str] = field(default_factory=dict)
    strength: float | None = None
    """Of image-to-image, or of the refinement after enlarging."""
    more: Mapping[str, str] = field(default_factory=dict)
    """What else is to be said, in this order."""

    def text(self) -> str:
        """Prompt, negative prompt, and one line of facts."""
        negative = [f"Negative prompt: {self.negative}"] if self.negative else []
        line = ", ".join(f"{name}: {_quoted(value)}" for name, value in self._facts().items() if value)
        return "\n".join([self.prompt, *negative, line])

    def _facts(self) -> dict[str, str]:
        return {
            "Steps": str(self.steps or ""),
            "Sampler": self.sampler,
            "CFG scale": _number(self.guidance),
            "Seed": _number(self.seed),
            "Size": "{}x{}".format(*self.size) if self.size else "",
            "Model hash": self.model_hash[:_SHORT_MODEL],
            "Model": self.model,
            "Denoising strength": _number(self.strength),
            **self.more,
            "Lora weights": ", ".join(f"{lora.name}: {_number(lora.weight)}" for lora in self.loras),
            "Lora hashes": ", ".join(
                f"{lora.name}: {self.lora_hashes[lora.name][:_SHORT_LORA]}"
                for lora in self.loras
                if lora.name in self.lora_hashes
            ),
            "Version": f"Quintet {__version__}",
        }


def encode_png(picture: Picture, text: str = "") -> bytes:
    """The picture as a PNG file, with a text under `parameters` unless it is empty."""
    facts = PngInfo()
    if text:
        facts.add_text(KEYWORD, text)  # tEXt; iTXt where Latin-1 is not enough
    made = io.BytesIO()
    picture.save(made, "PNG", pnginfo=facts, compress_level=_COMPRESSION)
    return made.getvalue()


def hash_weights(files: Sequence[Path]) -> str:
    """One SHA-256 over the contents of weight files in this order."""
    digest = hashlib.sha256()
    for path in files:
        _feed(digest, path, 0)
    return digest.hexdigest()


def hash_lora(path: Path) -> str:
    """SHA-256 of a LoRA's numbers without the file's header, as the web UI counts it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    _feed(digest, path, 8 + header)
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, path: Path, start: int) -> None:
    with path.open("rb") as file:
        file.seek(start)
        while part := file.read(1024 * 1024):
            digest.update(part)


def _number(value: float | None) -> str:
    """Short: 7 rather than 7.0."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _quoted(value: str) -> str:
    """As JSON if it holds what separates facts."""
    return json.dumps(value, ensure_ascii=False) if _NEEDS_QUOTES & set(value) else value
