"""Whose inputs are read next: little padding, nobody waits behind a long list, nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.engines.embed.batches import GRAIN, MAX_PADDED, Batch, Batches, Work


def work(id: int, *lengths: int, owner: str = "") -> Work:
    return Work(id, owner, [[0] * length for length in lengths])


def lengths(batch: Batch) -> list[int]:
    return [len(one.inputs[index]) for one, index in batch]


def drain(batches: Batches) -> list[list[tuple[int, int]]]:
    """(request, length) of every step until nothing is left."""
    steps = []
    while batches.busy:
        batch = batches.plan()
        assert batch, "work waits, but nothing is read"
        steps.append([(one.id, len(one.inputs[index])) for one, index in batch])
    assert batches._served == {}
    assert batches.plan() == []
    return steps


def test_inputs_of_about_the_same_length_go_together() -> None:
    batches = Batches(200)
    batches.add(work(1, 100, 20, 98, 21, 22, 100))
    assert [[length for _, length in step] for step in drain(batches)] == [[20, 21, 22], [98, 100], [100]]


def test_short_inputs_go_together_although_their_lengths_differ() -> None:
    batches = Batches(512)
    batches.add(work(1, 1, 2, 5, 12, 16))
    assert len(drain(batches)) == 1


def test_a_batch_is_filled_from_other_requests_and_owners() -> None:
    batches = Batches(100)
    for id in range(1, 4):
        batches.add(work(id, 20, owner=f"o{id}"))
    batches.add(work(4, 20, 20, owner="o1"))
    assert [len(step) for step in drain(batches)] == [5]


def test_an_input_longer_than_a_batch_is_read_alone() -> None:
    batches = Batches(64)
    batches.add(work(1, 500, 60, 490))
    assert [[length for _, length in step] for step in drain(batches)] == [[60], [490], [500]]


@pytest.mark.parametrize("owner", ["long", "other"])
@pytest.mark.parametrize("length", [3, 100, 500])
def test_a_long_list_keeps_a_small_request_waiting_for_one_step_at_most(owner: str, length: int) -> None:
    batches = Batches(512)
    batches.add(work(1, *[100] * 2048, owner="long"))
    for _ in range(5):
        batches.plan()
    batches.add(work(2, length, owner=owner))
    assert any(one.id == 2 for batch in (batches.plan(), batches.plan()) for one, _ in batch)


def test_owners_get_the_same_share_however_many_requests_they_have() -> None:
    batches = Batches(100)
    for id in range(1, 10):
        batches.add(work(id, *[50] * 100, owner="many"))
    batches.add(work(10, *[50] * 100, owner="one"))
    owners = [one.owner for _ in range(20) for one, _ in batches.plan()]
    assert owners.count("one") == owners.count("many") == 20


def test_time_without_work_is_no_credit() -> None:
    batches = Batches(100)
    batches.add(work(1, *[50] * 100, owner="a"))
    for _ in range(10):
        batches.plan()
    batches.add(work(2, *[50] * 100, owner="b"))
    owners = [one.owner for _ in range(10) for one, _ in batches.plan()]
    assert abs(owners.count("a") - owners.count("b")) <= 2


def test_removed_work_is_not_read() -> None:
    batches = Batches(100)
    batches.add(work(1, *[50] * 10))
    batches.add(work(2, *[50] * 3))
    batches.plan()
    batches.remove(1)
    batches.remove(1)
    batches.remove(99)
    assert {id for step in drain(batches) for id, _ in step} == {2}


REQUESTS = st.tuples(
    st.just("add"), st.sampled_from("abc"), st.lists(st.integers(1, 90), min_size=1, max_size=30)
)
ACTS = st.lists(REQUESTS | st.tuples(st.just("step")) | st.tuples(st.just("remove"), st.integers(0, 9)))


@settings(max_examples=150, deadline=None)
@given(acts=ACTS, most=st.integers(1, 128))
def test_any_history_reads_everything_once_within_the_limits(acts: list[Any], most: int) -> None:
    batches, unread = Batches(most), {}

    def step() -> None:
        batch = batches.plan()
        assert bool(batch) == any(unread.values())
        found = lengths(batch)
        if len(batch) > 1:
            assert len(batch) * max(found) <= most
            grained = [max(length, GRAIN) for length in found]
            assert len(batch) * max(grained) <= MAX_PADDED * sum(grained)
        for one, index in batch:
            unread[one.id].remove(index)

    for number, act in enumerate(acts):
        if act[0] == "add":
            batches.add(work(number, *act[2], owner=act[1]))
            unread[number] = set(range(len(act[2])))
        elif act[0] == "step":
            step()
        elif unread:
            id = list(unread)[act[1] % len(unread)]
            batches.remove(id)
            del unread[id]
    while batches.busy:
        step()
    assert not any(unread.values())
    assert batches._served == {}
