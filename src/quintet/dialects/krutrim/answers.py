"""Answers that hold files: pictures, or the frames of an animation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quintet.core.errors import QuintetError
from quintet.core.events import Event, Outcome
from quintet.dialects import sse
from quintet.dialects.base import Reply
from quintet.dialects.drawing import as_base64


class FilesRenderer:
    """Renders the files of one request. There is no stream on the wire; one would be the whole answer as one piece."""

    stream_content_type = "application/json"

    def __init__(self, *, with_count: bool) -> None:
        """With the count of files under `created`, which is what the SDK's examples read there."""
        self._with_count = with_count
        self._outcome = Outcome()

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The files in base64, in order."""
        data = [{"b64_json": as_base64(media.data)} for media in outcomes[0].media]
        body: dict[str, Any] = {"created": len(data)} if self._with_count else {}
        return Reply(body=sse.encode_json({**body, "data": data, "error": None}))

    def event(self, index: int, event: Event) -> bytes:
        """Nothing yet: all files come together."""
        self._outcome.add(event)
        return b""

    def end(self) -> bytes:
        """The whole answer."""
        return self.whole([self._outcome]).body

    def failure(self, error: QuintetError) -> bytes:
        """Nothing: JSON that breaks off looks broken."""
        return b""
