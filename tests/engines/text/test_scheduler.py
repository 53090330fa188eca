"""Who runs when: blocks are never confused, budgets hold, everybody is served, nobody crowds out another."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.engines.text.scheduler import Batch
from tests.engines.text.house import House

ACTS = st.one_of(
    st.tuples(
        st.just("add"), st.sampled_from("abc"), st.integers(1, 30), st.integers(1, 20), st.integers(0, 3)
    ),
    st.tuples(st.just("step"), st.integers(1, 6)),
    st.tuples(st.just("cancel"), st.integers(0, 99)),
)


def random_acts(source: random.Random) -> Iterator[tuple]:
    for _ in range(40):
        act = source.choices(["add", "step", "cancel"], [5, 4, 1])[0]
        if act == "add":
            yield (
                act,
                source.choice("abc"),
                source.randint(1, 30),
                source.randint(1, 20),
                source.randint(0, 3),
            )
        else:
            yield act, source.randint(1, 6)


def test_crowded_histories() -> None:
    source = random.Random(3)
    preemptions = reused = 0
    for _ in range(300):
        house = House(source.randint(13, 30), source.randint(1, 24), source.randint(1, 8))
        house.live(random_acts(source))
        preemptions += house.scheduler.preemptions
        reused += house.scheduler.reused_tokens
    assert preemptions > 300
    assert reused > 3000


@settings(max_examples=100, deadline=None)
@given(st.lists(ACTS, max_size=40), st.integers(13, 30), st.integers(1, 24), st.integers(1, 8))
def test_any_history(acts: list[tuple], blocks: int, tokens: int, sequences: int) -> None:
    House(blocks, tokens, sequences).live(acts)


def test_first_come_first_served_within_an_owner() -> None:
    house = House(tokens=8, sequences=3)
    sequences = [house.add("a", 1 + 7 * (number % 3), 1 + number % 4) for number in range(20)]
    house.finish()
    assert house.admissions == sequences


def test_a_newcomer_is_not_queued_behind_a_flood() -> None:
    house = House(blocks=400, tokens=32, sequences=64)
    for _ in range(100):
        house.add("flood", 20, 10)
    for _ in range(5):
        house.step()
    single = house.add("single", 20, 10)
    batch = house.step()
    assert (single, 20) in batch.chunks
    house.finish()


@pytest.mark.parametrize(("blocks", "sequences"), [(400, 4), (24, 64)])
def test_a_newcomer_takes_a_seat_from_a_flood(blocks: int, sequences: int) -> None:
    house = House(blocks, 32, sequences)
    flood = [house.add("flood", 20, 10) for _ in range(100)]
    for _ in range(3):
        house.step()
    youngest = house.scheduler.running[-1]
    single = house.add("single", 20, 10)
    batch = house.step()
    assert single in [sequence for sequence, _ in batch.chunks]
    assert youngest in batch.preempted
    assert flood[0] in house.scheduler.running
    house.finish()


def test_a_long_prompt_of_one_does_not_delay_another() -> None:
    house = House(blocks=400, tokens=16)
    house.add("long", 800)
    house.step()
    short = house.add("short", 10)
    batch = house.step()
    assert (short, 10) in batch.chunks
    assert batch.tokens == 16
    house.finish()


def test_busy_owners_are_served_equally() -> None:
    house = House(blocks=200, tokens=8, sequences=4)
    for number in range(60):
        house.add("many", 12, 6)
        if number < 30:
            house.add("long", 24, 12)
    served = Counter()
    for _ in range(120):
        for sequence, count in house.step().chunks:
            prompt = max(0, min(count, sequence.prompt_length - sequence.computed + count))
            served[sequence.owner] += prompt + 2 * (count - prompt)
    assert {"many", "long"} == set(house.scheduler.served)
    assert abs(served["many"] - served["long"]) <= 0.1 * served.total()


def test_idle_time_is_not_credit() -> None:
    house = House(blocks=200, tokens=8, sequences=4)
    for _ in range(20):
        house.add("steady", 8, 8)
    for _ in range(30):
        house.step()
    house.add("new", 4)
    assert house.scheduler.served["new"] == house.scheduler.served["steady"]


def test_generated_tokens_count_twice_and_recomputed_ones_not_again() -> None:
    house = House(blocks=20, tokens=8)
    other = house.add("other", 1, 100)
    one = house.add("one", 11, 5)
    while one in house.left and house.left[one] > 2:
        house.step()
    served = house.scheduler.served["one"]
    assert served == 11 + 2 * 2
    house.scheduler._preempt(one, Batch())
    while house.left[one] > 1:
        house.step()
    assert house.scheduler.served["one"] == served + 2
    house.remove(other)
    house.finish()


def test_the_youngest_of_the_most_served_owner_gives_way() -> None:
    house = House(blocks=12, tokens=12, sequences=4)
    old = house.add("greedy", 12, 30)
    house.step()
    young = house.add("greedy", 11, 30)
    house.step()
    modest = house.add("modest", 4, 30)
    while not house.scheduler.preemptions:
        house.step()
    assert house.scheduler.running == [old, modest]
    assert house.scheduler.waiting["greedy"][0] is young
    house.finish()


def test_a_preempted_sequence_is_not_admitted_only_to_be_preempted_again() -> None:
    house = House(blocks=16, tokens=16, sequences=4)
    house.add("a", 8, 50)
    house.add("b", 8, 50)
    house.finish()
    assert house.scheduler.preemptions <= 2


def test_nobody_is_admitted_into_the_room_that_a_running_prompt_needs() -> None:
    house = House(blocks=16, tokens=16)
    house.add("a", 40, 20)
    house.step()
    house.add("b", 40)
    house.finish()
    assert house.scheduler.preemptions == 0


def test_what_a_sequence_read_itself_is_not_a_cached_prefix() -> None:
    house = House(blocks=400, tokens=16)
    sequence = house.add("a", 40)
    house.step()
    house.scheduler._preempt(sequence, Batch())
    house.finish()
    assert sequence.cached == 0
    assert house.scheduler.prefilled_tokens == 40


def test_reused_tokens_are_those_of_prompts() -> None:
    house = House()
    sequence = house.add("a", 8, 12)
    while house.left[sequence] > 4:
        house.step()
    house.scheduler._preempt(sequence, Batch())
    house.finish()
    assert house.scheduler.reused_tokens == 8


def test_a_prefix_is_reused_by_its_owner_alone() -> None:
    house = House()
    prompt = list(range(1, 14))
    house.add("a", prompt)
    house.finish()
    again, other = house.add("a", prompt), house.add("b", prompt)
    house.finish()
    assert (again.cached, other.cached) == (12, 0)
    assert house.scheduler.prefilled_tokens == 13 + 1 + 13
    assert house.scheduler.reused_tokens == 12


def test_at_least_one_token_is_read() -> None:
    house = House()
    prompt = list(range(1, 13))
    for _ in range(2):
        last = house.add("a", prompt)
        house.finish()
    assert last.cached == 8


def test_a_shared_prefix_is_read_once_when_all_arrive_together() -> None:
    house = House(blocks=400, tokens=16, sequences=64)
    shared = list(range(1, 65))
    for number in range(64):
        house.add("a", [*shared, 100 + number, 200 + number])
    house.finish()
    assert house.scheduler.prefilled_tokens == 64 + 64 * 2
    assert house.scheduler.reused_tokens == 63 * 64


def test_who_shares_nothing_does_not_wait_for_a_reader() -> None:
    house = House(blocks=400, tokens=16)
    house.add("a", [1] * 40)
    twin = house.add("a", [1] * 40)
    free = house.add("b", 6)
    stranger = house.add("b", [1] * 40)
    for _ in range(2):
        house.step()
    assert free in house.admissions
    assert twin not in house.admissions
    while stranger not in house.admissions:
        house.step()
    assert stranger.cached == 0
    house.finish()


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_who_waits_for_a_reader_goes_on_without_it(steps: int) -> None:
    house = House(blocks=400, tokens=16)
    reader = house.add("a", [1] * 40, 3)
    waiters = [house.add("a", [*[1] * 40, number]) for number in range(3)]
    for _ in range(steps):
        house.step()
    assert steps == 3 or all(one in house.scheduler.waiting["a"] for one in waiters)
    house.remove(reader)
    assert house.step().chunks
    assert waiters[0] in house.admissions
    house.finish()
    # What the reader got done is not done again.
    assert house.scheduler.prefilled_tokens == 40 + 3


def test_who_waits_for_a_reader_goes_on_when_it_is_preempted() -> None:
    house = House(blocks=400, tokens=16)
    reader = house.add("a", [1] * 40)
    waiter = house.add("a", [*[1] * 40, 2])
    house.step()
    house.scheduler._preempt(reader, Batch())
    house.finish()
    assert waiter.cached == 40
    assert house.scheduler.prefilled_tokens == 41


def test_a_prompt_whose_every_row_is_wanted_is_read_whole_and_at_once() -> None:
    house = House(blocks=400, tokens=16)
    house.add("a", [1] * 40)
    rows = house.add("a", [1] * 40, rows=True)
    house.finish()
    assert rows.cached == 0
    assert house.scheduler.prefilled_tokens == 80


@pytest.mark.parametrize("state", ["waiting", "prefilling", "decoding", "preempted"])
def test_cancel_in_every_state_frees_everything(state: str) -> None:
    house = House(blocks=400, tokens=8)
    sequence = house.add("a", 20, 9)
    for _ in range({"waiting": 0, "prefilling": 1, "decoding": 4, "preempted": 4}[state]):
        house.step()
    if state == "preempted":
        house.scheduler._preempt(sequence, Batch())
    assert sequence.admitted == (state in ("prefilling", "decoding"))
    assert (sequence.pending == 1) == (state == "decoding")
    house.remove(sequence)
    house.check_idle()


def test_decoding_never_misses_a_step_for_lack_of_budget() -> None:
    house = House(blocks=400, tokens=4, sequences=100)
    for _ in range(20):
        house.add("a", 2, 30)
    house.finish()  # House.check asks for every decoding sequence in every batch.
    assert house.scheduler.max_sequences == 4
