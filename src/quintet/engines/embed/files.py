"""The small JSON files beside a model's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quintet.core.errors import LoadFailed

MAX_JSON_BYTES = 4 * 1024 * 1024
_PADDING_BEFORE_POSITIONS = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"})
"""Kinds of models that count positions from behind the padding token's id."""


def read_json(path: Path) -> Any:
    """What a file says; {} if there is no such file. Raises LoadFailed."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON_BYTES:
        raise LoadFailed(
            f"{path.name} is larger than any known model needs; pull or convert the model again."
        )
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        raise LoadFailed(f"{path.name} is not valid JSON; pull or convert the model again.") from None


class Config:
    """What the engine needs of a model's config.json."""

    def __init__(self, directory: Path) -> None:
        found = read_json(directory / "config.json")
        self._values: dict[str, Any] = found if isinstance(found, dict) else {}

    @property
    def pad_id(self) -> int:
        """What fills short rows of a batch."""
        return max(0, self._number("pad_token_id") or 0)

    @property
    def vocabulary_size(self) -> int | None:
        """How many token ids the model has."""
        return self._number("vocab_size")

    @property
    def positions(self) -> int | None:
        """How many tokens the model can tell apart by their place; None = unknown."""
        most = self._number("max_position_embeddings")
        if most is not None and self._values.get("model_type") in _PADDING_BEFORE_POSITIONS:
            most -= self.pad_id + 1
        return most if most is not None and most > 0 else None

    def _number(self, name: str) -> int | None:
        value = self._values.get(name)
        return value if type(value) is int else None
