"""The oldest versions that are safe to run, and which weakness each floor closes. Read by doctor and by tests."""

from __future__ import annotations

import re
from typing import Final

PYTHON: Final = {(3, 11): (3, 11, 13), (3, 12): (3, 12, 11), (3, 13): (3, 13, 4)}
"""Oldest safe patch release per minor version (CVE-2025-4517, unpacking of tar archives)."""

PACKAGES: Final = {
    "starlette": ("1.3.0", "CVE-2026-48710, PYSEC-2026-248"),
    "python-multipart": ("0.0.27", "CVE-2026-42561"),
    "h11": ("0.16", "CVE-2025-43859"),
    "pillow": ("12.3.0", "CVE-2026-40192"),
    "vllm": ("0.32.0", "PYSEC-2026-4344"),
    "transformers": ("5.2.1", "CVE-2026-5241"),
    "diffusers": ("0.42.1", "GHSA-4prv-5hj7-c2xr"),
    "torch": ("2.6", "CVE-2025-32434"),
    "xgrammar": ("0.1.21", "PYSEC-2026-2054"),
    "ray": ("2.52.0", "CVE-2025-62593"),
}


def is_below(version: str, floor: str) -> bool:
    """Whether a release number is older than a floor; anything after the numbers (rc1, +cpu) is ignored."""
    return _numbers(version) < _numbers(floor)


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    parts = [int(part) for part in match[0].split(".")] if match else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
