"""Embeddings of a foreign server as ours: unit length, little-endian float32. Pure."""

from __future__ import annotations

import math
import struct
from typing import Any

from quintet.core.errors import InvalidRequest
from quintet.core.events import Embedding, Event, Finished, Usage
from quintet.core.requests import EmbeddingRequest
from quintet.engines.upstream.sse import malformed


def vectors_body(request: EmbeddingRequest, model: str) -> dict[str, Any]:
    """What to ask; the vectors are shortened here, as not every server can."""
    given: list[Any] = list(request.texts) or [list(ids) for ids in request.ids]
    return {"model": model, "input": given, "encoding_format": "float"}


def read_vectors(request: EmbeddingRequest, answer: dict[str, Any]) -> list[Event]:
    """The events of a whole answer; raises EngineFailed if it makes no sense."""
    data = answer.get("data")
    count = len(request.texts) or len(request.ids)
    if not isinstance(data, list) or len(data) != count:
        raise malformed()
    try:
        ordered = sorted(data, key=lambda item: item["index"])
        vectors = [[float(number) for number in item["embedding"]] for item in ordered]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise malformed() from None
    if [item["index"] for item in ordered] != list(range(count)):
        raise malformed()
    if len({len(vector) for vector in vectors}) != 1:
        raise malformed()
    events: list[Event] = [
        Embedding(index, _packed(vector, request.dimensions)) for index, vector in enumerate(vectors)
    ]
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else 0
    tokens = tokens if type(tokens) is int and tokens >= 0 else 0
    return [*events, Finished(usage=Usage(prompt_tokens=tokens))]


def _packed(vector: list[float], dimensions: int | None) -> bytes:
    if dimensions is not None and dimensions > len(vector):
        raise InvalidRequest(
            f"`dimensions` may be at most {len(vector)} for this model. Lower it or leave it out.",
            param="dimensions",
        )
    kept = vector[:dimensions]
    length = math.sqrt(sum(number * number for number in kept))
    if not kept or not math.isfinite(length):
        raise malformed()
    return struct.pack(f"<{len(kept)}f", *(number / (length or 1.0) for number in kept))
