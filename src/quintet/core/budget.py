"""How many bytes all requests together may hold in memory; whoever wants more is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quintet.core.errors import QuintetError


class Budget:
    """Bytes that are lent out, up to a bound. For one event loop, so no locks."""

    def __init__(self, max_bytes: int, refusal: Callable[[], QuintetError]) -> None:
        """`refusal` makes the error that meets whoever would hold too many."""
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._refusal = refusal

    def take(self, size: int) -> None:
        """Hold so many bytes more; raises the refusal when they would be too many."""
        if self.held_bytes + size > self.max_bytes:
            raise self._refusal()
        self.held_bytes += size

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        self.held_bytes -= size

    @contextmanager
    def loan(self) -> Iterator[Loan]:
        """What one request borrows; all that it still holds is given back at the end."""
        loan = Loan(self)
        try:
            yield loan
        finally:
            loan.give_back(loan.held_bytes)


class Loan:
    """The part of a budget that one request holds."""

    __slots__ = ("_budget", "held_bytes")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held_bytes = 0

    def take(self, size: int) -> None:
        """Hold so many bytes more; raises the budget's refusal when they would be too many."""
        self._budget.take(size)
        self.held_bytes += size

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        self._budget.give_back(size)
        self.held_bytes -= size
