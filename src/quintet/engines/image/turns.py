"""Whose turn it is: round robin between owners, first come first served within one. Pure data."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What the queue has to know of a piece of work."""

    @property
    def owner(self) -> str:
        """Who asked for it."""
        ...

    @property
    def turns(self) -> int:
        """How many turns it takes."""
        ...


W = TypeVar("W", bound=Waiting)


@dataclass(slots=True)
class Turns(Generic[W]):
    """Work that waits; a turn is one picture, so an owner with many pictures delays the others by one at most."""

    _lines: dict[str, deque[tuple[W, int]]] = field(default_factory=dict)
    """By owner; the owner whose turn is next comes first. Each work with the turns it had."""

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, work: W) -> None:
        """Put work at the end of its owner's line."""
        self._lines.setdefault(work.owner, deque()).append((work, 0))

    def remove(self, work: W) -> None:
        """Forget work; unknown work is ignored."""
        line = self._lines.get(work.owner, deque())
        kept = deque(entry for entry in line if entry[0] is not work)
        if kept:
            self._lines[work.owner] = kept
        else:
            self._lines.pop(work.owner, None)

    def take(self) -> tuple[W, int]:
        """The work whose turn it is and the number of the turn, from 0; the next owner is then another one."""
        owner, line = next(iter(self._lines.items()))
        del self._lines[owner]
        work, turn = line.popleft()
        if turn + 1 < work.turns:
            line.appendleft((work, turn + 1))
        if line:
            self._lines[owner] = line
        return work, turn
