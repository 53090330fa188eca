"""Embedding jobs: a vector per input, made of its words; texts that share words point in similar directions."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

from quintet.core.errors import ContextTooLong, InvalidRequest
from quintet.core.events import Embedding, Event, Finished, Usage
from quintet.core.models import Model
from quintet.core.requests import EmbeddingRequest
from quintet.engines.echo import words

DIMENSIONS = 32


def embedding_job(request: EmbeddingRequest, model: Model) -> Iterator[list[Event]]:
    """One input per step. Checks before the first step."""
    if request.dimensions is not None and request.dimensions > DIMENSIONS:
        raise InvalidRequest(
            f"`dimensions` may be at most {DIMENSIONS} with this model; ask for fewer.", param="dimensions"
        )
    inputs = request.ids or tuple(
        tuple(span.id for span in words.spans(text)) or (words.token_id(text),) for text in request.texts
    )
    longest = model.max_input_tokens or model.context_length
    for index, ids in enumerate(inputs):
        if any(not 0 <= id < words.VOCABULARY_SIZE for id in ids):
            raise InvalidRequest(
                f"`input[{index}]` has a token id outside this model's vocabulary.", param="input"
            )
        if len(ids) > longest:
            raise ContextTooLong(
                f"`input[{index}]` has {len(ids)} tokens, but this model takes at most {longest}; shorten it.",
                param="input",
                facts={"prompt_tokens": len(ids), "max_prompt_tokens": longest},
            )
    return _speak(inputs, request.dimensions or DIMENSIONS)


def _speak(inputs: tuple[tuple[int, ...], ...], dimensions: int) -> Iterator[list[Event]]:
    total = sum(len(ids) for ids in inputs)
    for index, ids in enumerate(inputs):
        events: list[Event] = [Embedding(index, vector(ids, dimensions))]
        if index + 1 == len(inputs):
            events.append(Finished(usage=Usage(prompt_tokens=total)))
        yield events


def vector(ids: tuple[int, ...], dimensions: int) -> bytes:
    """The direction that these words point to, the same in every process; never zero."""
    numbers = [1e-3] * dimensions
    for id in ids:
        for place in range(dimensions):
            numbers[place] += zlib.crc32(b"%d:%d" % (id, place)) / 2**31 - 1
    norm = math.sqrt(sum(number * number for number in numbers))
    return struct.pack(f"<{dimensions}f", *(number / norm for number in numbers))
