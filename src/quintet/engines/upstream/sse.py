"""Server-sent events of a foreign server, cut out of bytes that nobody vouches for. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from quintet.core.errors import EngineFailed

MAX_LINE_BYTES = 1024 * 1024
"""One event of a stream: a token with fifty alternatives is a few kilobytes."""
DONE = "done"


class LineCutter:
    """Joins pieces of a stream and cuts them into the values of its `data:` lines."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        """Of the event so far; an empty line of data counts, too."""

    def feed(self, piece: bytes) -> Iterator[dict[str, Any] | str]:
        """JSON objects, and `DONE` for the end mark; raises EngineFailed for what is neither."""
        pending = self._pending
        searched = len(pending)
        pending += piece
        start = 0
        while (end := pending.find(b"\n", max(start, searched))) >= 0:
            line = bytes(memoryview(pending)[start:end]).rstrip(b"\r")
            start = end + 1
            if (value := self._line(line)) is not None:
                yield value
        del pending[:start]
        if len(pending) > MAX_LINE_BYTES:
            raise malformed()

    def _line(self, line: bytes) -> dict[str, Any] | str | None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._size += len(line)
            if self._size > MAX_LINE_BYTES:
                raise malformed()
            return None
        if line:
            return None  # comments and the names of events carry nothing that counts
        data, self._data, self._size = b"\n".join(self._data), [], 0
        if not data:
            return None
        return DONE if data.strip() == b"[DONE]" else decode_object(data)

    @property
    def rest(self) -> dict[str, Any] | str | None:
        """An event that was not closed by an empty line when the stream ended properly."""
        line = bytes(self._pending).rstrip(b"\r")
        self._pending.clear()
        if line:
            self._line(line)
        return self._line(b"")


def decode_object(data: bytes) -> dict[str, Any]:
    """A JSON object, or EngineFailed."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise malformed() from None
    if not isinstance(value, dict):
        raise malformed()
    return value


def malformed() -> EngineFailed:
    """The error for an answer that is no answer."""
    return EngineFailed(
        "The server behind this model sent something that is no answer; try again, and tell its operator if it stays.",
        code="upstream_malformed",
    )
