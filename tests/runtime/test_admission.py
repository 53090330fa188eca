import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintet.core.errors import Overloaded, ShuttingDown
from quintet.core.models import Model
from quintet.runtime.admission import Admission, retry_after_seconds


def model(name, limit):
    return Model(name=name, task="text", engine="echo", max_in_flight=limit)


@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "complete", "fail", "again"]), st.integers(0, 1), st.integers(0, 9)
        ),
        max_size=60,
    ),
)
def test_never_more_than_the_limit_and_nothing_lost(limit, history):
    now = 0.0
    admission = Admission(clock=lambda: now)
    models = [model("a", limit), model("b", limit)]
    held = [[], []]
    for action, which, amount in history:
        now += amount
        if action == "admit":
            if len(held[which]) < limit:
                held[which].append(admission.admit(models[which]))
            else:
                with pytest.raises(Overloaded) as refusal:
                    admission.admit(models[which])
                assert 1 <= refusal.value.retry_after <= 60
        elif held[which]:
            ticket = held[which].pop(amount % len(held[which]))
            ticket.release(completed=action == "complete")
            if action == "again":
                ticket.release(completed=True)
        assert [admission.in_flight(each) for each in models] == [len(each) for each in held]


def test_a_ticket_comes_back_whatever_happens():
    admission, one = Admission(), model("a", 1)
    with contextlib.suppress(ZeroDivisionError), admission.admit(one):
        assert 1 / 0
    assert admission.in_flight(one) == 0
    with admission.admit(one):
        assert admission.in_flight(one) == 1
    assert admission.in_flight(one) == 0


def test_retry_after_learns_from_completed_requests_only():
    now = 0.0
    admission, one = Admission(clock=lambda: now), model("a", 1)

    def retry_after():
        ticket = admission.admit(one)
        with pytest.raises(Overloaded) as refusal:
            admission.admit(one)
        ticket.release(completed=False)
        return refusal.value.retry_after

    assert retry_after() == 1
    for _ in range(50):
        ticket = admission.admit(one)
        now += 20
        ticket.release(completed=True)
    assert retry_after() == 20
    ticket = admission.admit(one)
    now += 10_000
    ticket.release(completed=False)
    assert retry_after() == 20
    assert retry_after_seconds(100, 1e9, 1) == 60


def test_draining_admits_nobody():
    admission, one = Admission(), model("a", 1)
    admission.drain()
    with pytest.raises(ShuttingDown) as refusal:
        admission.admit(one)
    assert refusal.value.retry_after
    assert admission.in_flight(one) == 0
