"""Answers that are one file and nothing else: the bytes of a picture or an animation."""

from __future__ import annotations

from collections.abc import Sequence

from quintet.core.errors import QuintetError
from quintet.core.events import Event, Outcome
from quintet.dialects.base import Reply


class OneFileRenderer:
    """Renders the first file of a call. There is no stream on the wire; one would be the file as one piece."""

    stream_content_type = "application/octet-stream"

    def __init__(self) -> None:
        self._outcome = Outcome()

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The file, as the engine made it."""
        file = outcomes[0].media[0]
        return Reply(body=file.data, content_type=file.mime)

    def event(self, index: int, event: Event) -> bytes:
        """Nothing yet: a file comes whole."""
        self._outcome.add(event)
        return b""

    def end(self) -> bytes:
        """The file."""
        return self.whole([self._outcome]).body

    def failure(self, error: QuintetError) -> bytes:
        """Nothing: the connection is dropped before the body's proper end, which clients report."""
        return b""
