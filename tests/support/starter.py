"""The starter model's folder: a small real IR that needs no torch to be made."""

from __future__ import annotations

from pathlib import Path

import quintet

FOLDER = Path(quintet.__file__).parent / "starter_models" / "chat"
FILES: dict[str, bytes | Path] = {path.name: path for path in FOLDER.iterdir()}
"""Every file by its name."""
SIZE_BYTES = sum(path.stat().st_size for path in FOLDER.iterdir())
