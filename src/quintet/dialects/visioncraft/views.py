"""Lists of names, as VisionCraft answers them: JSON arrays of strings."""

from __future__ import annotations

from collections.abc import Iterable

from quintet.dialects import sse
from quintet.dialects.base import Reply


def names_reply(names: Iterable[str]) -> Reply:
    """The names, each once, in their order."""
    return Reply(body=sse.encode_json(list(dict.fromkeys(names))))
