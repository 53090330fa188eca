"""Answers that are links to files: {"images": ["http://…"]}."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quintet.core.errors import QuintetError
from quintet.core.events import Event, Media, Outcome
from quintet.dialects import sse
from quintet.dialects.base import Reply


class LinksRenderer:
    """Renders the files of a call as links. There is no stream on the wire; one would be the answer as one piece."""

    stream_content_type = "application/json"

    def __init__(self, publish: Callable[[Media], str]) -> None:
        """`publish` keeps a file for a while and gives its link."""
        self._publish = publish
        self._outcome = Outcome()

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The links, in the order of the files."""
        links = [self._publish(file) for outcome in outcomes for file in outcome.media]
        return Reply(body=sse.encode_json({"images": links}))

    def event(self, index: int, event: Event) -> bytes:
        """Nothing yet: all links come together."""
        self._outcome.add(event)
        return b""

    def end(self) -> bytes:
        """The whole answer."""
        return self.whole([self._outcome]).body

    def failure(self, error: QuintetError) -> bytes:
        """Nothing: JSON that breaks off looks broken."""
        return b""
