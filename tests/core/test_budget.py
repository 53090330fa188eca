"""What all requests together may hold."""

from __future__ import annotations

import pytest

from quintet.core.budget import Budget
from quintet.core.errors import Overloaded


def test_loans_share_one_budget_and_end_with_their_requests() -> None:
    budget = Budget(10, lambda: Overloaded("Full."))
    with budget.loan() as loan:
        loan.take(6)
        with budget.loan() as other:
            other.take(4)
            with pytest.raises(Overloaded, match="Full"):
                other.take(1)
            assert budget.held_bytes == 10
        assert (budget.held_bytes, loan.held_bytes) == (6, 6)
        loan.give_back(2)
        budget.take(6)
    assert budget.held_bytes == 6
    budget.give_back(6)
    assert budget.held_bytes == 0
