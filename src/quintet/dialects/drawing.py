"""What bodies that ask for pictures have in common: samplers, adapters and sizes by name, and files in answers."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Mapping
from typing import Annotated

import msgspec
from pydantic import Field

from quintet.core.errors import InvalidRequest
from quintet.core.events import Media
from quintet.core.requests import Lora
from quintet.core.samplers import SAMPLERS, find_sampler

MAX_LORAS = 5
MAX_PROMPT_CHARACTERS = 32_000
"""More than any text encoder reads."""
MAX_SEED = 2**63 - 1

PictureText = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]
Loras = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=256)], Annotated[float, Field(ge=-10, le=10)]],
    Field(max_length=MAX_LORAS),
]
"""How strongly each adapter applies, by its name; 0 = not at all."""

_PNG_START = b"\x89PNG\r\n\x1a\n"


def sampler_name(given: str | None, field: str = "sampler") -> str | None:
    """The sampler under the name it has here, whatever its spelling; raises InvalidRequest if there is none."""
    if given is None:
        return None
    found = find_sampler(given)
    if found is None:
        first, second, third = difflib.get_close_matches(given, SAMPLERS, 3, cutoff=0.0)
        raise InvalidRequest(
            f"`{field}` names no sampler of this server. The nearest names are {first}, {second} and {third}; "
            "GET /sd/samplers lists all.",
            param=field,
            code="sampler_not_found",
        )
    return found.name


def to_loras(given: Mapping[str, float] | None) -> tuple[Lora, ...]:
    """Adapters by name as the house has them; whether the model has them is the service's to say."""
    return tuple(Lora(name=name, weight=float(weight)) for name, weight in (given or {}).items())


def as_base64(data: bytes) -> msgspec.Raw:
    """A file as a JSON string, ready to be put into an answer without being looked through again."""
    return msgspec.Raw(b'"' + base64.b64encode(data) + b'"')


def size_of(media: Media) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG; None of anything else."""
    head = media.data[:24]
    if len(head) < 24 or not head.startswith(_PNG_START):
        return None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
