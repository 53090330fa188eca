"""Whose inputs the model reads in the next step. Pure: lists and numbers in, a batch out; no clock, no tensors.

A batch begins with the input whose turn it is and takes others that fit beside it: of any request, and of about
the same length, so that little is padded. Between owners it is fair by counted tokens, and so it is between the
requests of one owner: whoever got least is next, so a long list keeps a short one waiting for one step at most.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

GRAIN = 16
"""Inputs shorter than this count as so long when lengths are compared: a step costs something by itself."""
MAX_PADDED = 1.25
"""Tokens of a batch with padding may be so many times those without."""


@dataclass(slots=True, eq=False)
class Work:
    """A request on its way: which of its inputs are still to be read."""

    id: int
    owner: str
    inputs: Sequence[Sequence[int]]
    order: list[int] = field(init=False)
    """Indexes of the unread inputs; the shortest comes last, from where it is taken."""
    unanswered: int = field(init=False)
    served: float = 0.0

    def __post_init__(self) -> None:
        self.order = sorted(range(len(self.inputs)), key=lambda index: (-len(self.inputs[index]), -index))
        self.unanswered = len(self.inputs)

    @property
    def next_length(self) -> int:
        """Length of the input that is read next."""
        return len(self.inputs[self.order[-1]])


Batch = list[tuple[Work, int]]
"""Requests, and which input of each is read."""


class Batches:
    """Requests with unread inputs, and what each owner has had so far."""

    def __init__(self, max_batch_tokens: int) -> None:
        """A batch has at most so many tokens, padding included; a longer input is read alone."""
        self._max_tokens = max_batch_tokens
        self._works: dict[int, Work] = {}
        self._served: dict[str, float] = {}
        """Tokens per owner; only owners with work have an entry."""

    @property
    def busy(self) -> bool:
        """Whether anything is unread."""
        return bool(self._works)

    def add(self, work: Work) -> None:
        """Queue a request; newcomers start level with the least served, so that idle time is not credit."""
        if work.owner not in self._served:
            self._served[work.owner] = min(self._served.values(), default=0.0)
        others = [one.served for one in self._works.values() if one.owner == work.owner]
        work.served = min(others, default=0.0)
        self._works[work.id] = work

    def remove(self, request_id: int) -> None:
        """Forget a request; unknown ids are ignored."""
        work = self._works.pop(request_id, None)
        if work is not None and all(one.owner != work.owner for one in self._works.values()):
            del self._served[work.owner]

    def plan(self) -> Batch:
        """Take the next batch; empty only if nothing is unread."""
        batch: Batch = []
        shape = _Shape(self._max_tokens)
        queue = [self._turn(work) for work in self._works.values()]
        heapq.heapify(queue)
        while queue:
            turn = heapq.heappop(queue)
            work = self._works[turn[-1]]
            if turn != self._turn(work):
                # Its owner has been served meanwhile.
                heapq.heappush(queue, self._turn(work))
            elif shape.fits(work.next_length):
                shape.add(work.next_length)
                work.served += work.next_length
                self._served[work.owner] += work.next_length
                batch.append((work, work.order.pop()))
                if work.order:
                    heapq.heappush(queue, self._turn(work))
                else:
                    self.remove(work.id)
        return batch

    def _turn(self, work: Work) -> tuple[float, float, int]:
        """The smallest is next."""
        return self._served[work.owner], work.served, work.id


@dataclass(slots=True)
class _Shape:
    """How large a batch is: rows × the longest, whatever is padding in it."""

    max_tokens: int
    rows: int = 0
    longest: int = 0
    counted: int = 0

    def fits(self, length: int) -> bool:
        if not self.rows:
            return True
        rows, longest = self.rows + 1, max(self.longest, length)
        padded = rows * max(longest, GRAIN)
        return rows * longest <= self.max_tokens and padded <= MAX_PADDED * (
            self.counted + max(length, GRAIN)
        )

    def add(self, length: int) -> None:
        self.rows += 1
        self.longest = max(self.longest, length)
        self.counted += max(length, GRAIN)
