"""Pictures written into a raw prompt, in the three notations that clients use. One pass, linear in the text.

![any text](data:image/png;base64,…)      ![any text](https://…)      <image>…base64…</image>
"""

from __future__ import annotations

import re

from quintet.core.content import Image, Part
from quintet.core.errors import InvalidRequest
from quintet.dialects.conversation import MAX_TEXT_CHARACTERS
from quintet.dialects.pictures import check_count, parse_encoded, parse_picture

_START = re.compile(
    r"!\[(?:[^\[\]\n]|\[[^\[\]\n]{0,64}\]){0,256}\]\((?=data:|https?://)|</?image>", re.IGNORECASE
)
"""The beginning of markup. A description may hold brackets in pairs, as names of files do: `![photo [1].png](…)`."""
_MAX_BEGINNING = 20_000
"""Characters; more than the longest beginning has."""
_OPEN, _CLOSE = "<image>", "</image>"


def split_pictures(text: str, field: str) -> tuple[Part, ...]:
    """The prompt as stretches of text and pictures; raises InvalidRequest where markup is broken."""
    if "![" not in text and "image>" not in text.lower():
        return (text,)
    parts: list[Part] = []
    done = pictures = 0
    room = MAX_TEXT_CHARACTERS  # a prompt with more is refused whatever follows, so that isn't searched
    while start := _START.search(text, done, done + room + _MAX_BEGINNING):
        pictures += 1
        room = max(0, room - (start.start() - done))
        check_count(pictures, field)
        picture, end = _read_picture(text, start, field)
        if start.start() > done:
            parts.append(text[done : start.start()])
        parts.append(picture)
        done = end
    if done < len(text):
        parts.append(text[done:])
    return tuple(parts)


def _read_picture(text: str, start: re.Match[str], field: str) -> tuple[Image, int]:
    """The picture whose markup begins at `start`, and where the markup ends."""
    mark = start.group().lower()
    if mark == _CLOSE:
        raise _broken(field, "has </image> without <image> before it. Write <image>base64</image>.")
    closing = "</" + start.group()[1:] if mark == _OPEN else ")"
    end = text.find(closing, start.end())
    if end < 0:
        raise _broken(field, f"has a picture that is not closed. End it with {closing}.")
    content = text[start.end() : end].strip()
    parse = parse_encoded if mark == _OPEN else parse_picture
    return parse(content, field), end + len(closing)


def _broken(field: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"`{field}` {rule}", param=field, code="image_decode_failed")
