"""Echo's vocabulary: a token is one word with the space before it, its id a hash of the word."""

from __future__ import annotations

import math
import re
import zlib

from quintet.core.content import Image, Message
from quintet.core.events import Alternative, TokenSpan

VOCABULARY_SIZE = 65_536
IMAGE_WORD = "<image>"

_TOKEN = re.compile(r"\s*\S+|\s+\Z")


def token_id(word: str) -> int:
    """The id of a word, the same in every process."""
    return zlib.crc32(word.strip().encode()) % VOCABULARY_SIZE


def spans(text: str) -> tuple[TokenSpan, ...]:
    """The tokens of a text; together they cover it without a gap."""
    return tuple(
        TokenSpan(token_id(match[0]), match[0], match.start(), match.end()) for match in _TOKEN.finditer(text)
    )


def flatten(parts: tuple[str | Image, ...]) -> str:
    """Text and pictures as one text."""
    return " ".join(part if isinstance(part, str) else IMAGE_WORD for part in parts)


def render(messages: tuple[Message, ...]) -> str:
    """A conversation as one text: echo's chat template."""
    return "\n".join(f"{message.role}: {flatten(message.parts)}" for message in messages)


def logprob(seed: int, position: int, word_id: int) -> float:
    """An invented log-probability between -2 and 0 that never changes."""
    drawn = zlib.crc32(f"{seed}:{position}:{word_id}".encode()) % 10_000
    return math.log(1.0 - 0.86 * drawn / 10_000)


def alternatives(word: str, word_logprob: float, count: int) -> tuple[Alternative, ...]:
    """The `count` likeliest tokens at a position: the word itself, then invented ones, each half as likely."""
    first = Alternative(token_id(word), word.encode(), word_logprob)
    others = (
        Alternative(
            (first.id + rank) % VOCABULARY_SIZE, f" ~{rank}".encode(), word_logprob - rank * math.log(2)
        )
        for rank in range(1, count)
    )
    return (first, *others)[:count]
