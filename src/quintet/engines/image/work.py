"""What the painting thread does for a request: turns of it, one after the other, each yielding files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from quintet.core.events import Media, Usage

Report = Callable[[float, float, Callable[[], bytes]], None]
"""Told after each step: units done, units in all, and how to get a preview. An exception of it ends the work."""


class Work(Protocol):
    """A checked request on its way to the painting thread."""

    @property
    def owner(self) -> str:
        """Who asked for it."""
        ...

    @property
    def stage(self) -> str:
        """What it is doing when it is doing it, for people who watch."""
        ...

    @property
    def turns(self) -> int:
        """How many pictures, animations or enlargements it is; each is a turn."""
        ...

    @property
    def seed(self) -> int | None:
        """Of its first picture; None if nothing is drawn at random."""
        ...

    @property
    def wants_previews(self) -> bool:
        """Whether somebody looks at the state half-way."""
        ...

    def run(self, turn: int, report: Report) -> Sequence[Media]:
        """Do one turn; called by the painting thread alone."""
        ...

    def usage(self) -> Usage:
        """What the whole of it was."""
        ...
