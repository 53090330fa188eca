"""Log-probabilities as OpenAI-compatible servers write them, in either of the two forms. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from quintet.core.events import Alternative
from quintet.engines.upstream.sse import malformed


@dataclass(frozen=True, slots=True)
class Entry:
    """One generated token."""

    id: int
    raw: bytes
    logprob: float
    top: tuple[Alternative, ...]


def read_entries(value: object, most: int, ids: object) -> list[Entry]:
    """The tokens of one piece with at most `most` alternatives each; raises EngineFailed if they make no sense."""
    if value is None:
        return []
    if not isinstance(value, dict):
        raise malformed()
    content = value.get("content")
    try:
        entries = _listed(content, most) if isinstance(content, list) else _columns(value, most)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise malformed() from None
    if isinstance(ids, list) and len(ids) == len(entries):
        entries = [
            Entry(_id(number), entry.raw, entry.logprob, entry.top)
            for number, entry in zip(ids, entries, strict=True)
        ]
    return entries


def _listed(content: list[Any], most: int) -> list[Entry]:
    """{"content": [{"token", "bytes", "logprob", "top_logprobs": […]}]}, as chats have it."""
    return [
        Entry(
            _id(item.get("id")),
            _raw(item),
            _logprob(item["logprob"]),
            tuple(
                Alternative(_id(other.get("id")), _raw(other), _logprob(other["logprob"]))
                for other in (item.get("top_logprobs") or [])[:most]
            ),
        )
        for item in content
    ]


def _columns(value: dict[str, Any], most: int) -> list[Entry]:
    """{"tokens": […], "token_logprobs": […], "top_logprobs": [{token: value}]}, as completions have it."""
    tokens, logprobs = value.get("tokens") or [], value.get("token_logprobs") or []
    tops = value.get("top_logprobs") or [{}] * len(tokens)
    return [
        Entry(
            0,
            token.encode(),
            _logprob(logprob),
            tuple(
                Alternative(0, text.encode(), _logprob(number))
                for text, number in sorted((top or {}).items(), key=lambda pair: -_logprob(pair[1]))[:most]
            ),
        )
        for token, logprob, top in zip(tokens, logprobs, tops, strict=True)
    ]


def _raw(item: dict[str, Any]) -> bytes:
    spelled = item.get("bytes")
    if isinstance(spelled, list):
        return bytes(spelled)
    token: str = item["token"]
    return token.encode()


def _logprob(value: Any) -> float:
    """Some servers write null for what can't happen."""
    number = -9999.0 if value is None else float(value)
    if math.isnan(number):
        raise ValueError(number)
    return max(number, -9999.0)


def _id(value: object) -> int:
    return value if type(value) is int and 0 <= value < 2**31 else 0
