"""OpenAI's `usage` object and the fingerprint that all answers carry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quintet import __version__
from quintet.core.events import Usage

FINGERPRINT = f"quintet-{__version__}"


def usage_object(usages: Iterable[Usage]) -> dict[str, Any]:
    """The usage of all requests of one call together."""
    prompt = completion = cached = 0
    for usage in usages:
        prompt += usage.prompt_tokens
        completion += usage.completion_tokens
        cached += usage.cached_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
