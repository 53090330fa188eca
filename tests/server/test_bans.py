"""Bans, with a clock moved by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quintet.server.bans import Bans, group_address


class Clock:
    """Monotonic seconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(bans: Bans, times: int, address: str = "1.2.3.4") -> list[bool]:
    return [bans.fail(address) for _ in range(times)]


def test_the_fifth_failure_bans_for_300_seconds() -> None:
    clock = Clock()
    bans = Bans(clock)
    assert fail(bans, 5) == [False, False, False, False, True]
    assert bans.seconds_left("1.2.3.4") == 300
    assert bans.seconds_left("1.2.3.5") == 0
    clock.now += 299.9
    assert 0 < bans.seconds_left("1.2.3.4") <= 0.11
    clock.now += 0.2
    assert bans.seconds_left("1.2.3.4") == 0


def test_attempts_during_a_ban_neither_count_nor_extend() -> None:
    clock = Clock()
    bans = Bans(clock)
    fail(bans, 5)
    clock.now += 200
    assert fail(bans, 50) == [False] * 50
    assert bans.seconds_left("1.2.3.4") == 100
    clock.now += 101
    assert fail(bans, 4) == [False] * 4


def test_a_ban_clears_the_count() -> None:
    clock = Clock()
    bans = Bans(clock)
    fail(bans, 5)
    clock.now += 301
    assert fail(bans, 5) == [False, False, False, False, True]


def test_a_success_clears_the_count_but_no_ban() -> None:
    bans = Bans(Clock())
    fail(bans, 4)
    bans.succeed("1.2.3.4")
    assert fail(bans, 4) == [False] * 4
    fail(bans, 1)
    bans.succeed("1.2.3.4")
    assert bans.seconds_left("1.2.3.4") > 0


def test_failures_are_forgotten_1800_seconds_after_the_last() -> None:
    clock = Clock()
    bans = Bans(clock)
    fail(bans, 4)
    clock.now += 1801
    assert fail(bans, 4) == [False] * 4
    clock.now += 1799
    assert fail(bans, 1) == [True]


def test_ipv6_counts_per_64_and_mapped_addresses_fold() -> None:
    bans = Bans(Clock())
    for last in range(5):
        bans.fail(f"2001:db8:1:2::{last:x}")
    assert bans.seconds_left("2001:db8:1:2:ffff::1") > 0
    assert bans.seconds_left("2001:db8:1:3::1") == 0
    fail(bans, 5, "::ffff:9.9.9.9")
    assert bans.seconds_left("9.9.9.9") > 0
    assert group_address("not an address") == "not an address"


def test_the_table_is_bounded_and_swept() -> None:
    clock = Clock()
    bans = Bans(clock, capacity=100)
    for number in range(1000):
        bans.fail(f"10.0.{number // 250}.{number % 250}")
    assert len(bans) == 100
    clock.now += 1801
    bans.fail("1.1.1.1")
    assert len(bans) == 1


@given(st.lists(st.tuples(st.sampled_from("fsq"), st.floats(0, 2000)), max_size=60))
def test_any_history_agrees_with_a_plain_model(history: list[tuple[str, float]]) -> None:
    clock = Clock()
    bans = Bans(clock)
    failures, last, banned_until = 0, -1e9, 0.0
    for action, pause in history:
        clock.now += pause
        if banned_until and clock.now >= banned_until:
            failures, banned_until = 0, 0.0
        banned = banned_until > clock.now
        if action == "f":
            bans.fail("1.2.3.4")
            if not banned:
                failures = 1 if clock.now - last > 1800 else failures + 1
                last = clock.now
                if failures >= 5:
                    banned_until = clock.now + 300
        elif action == "s":
            bans.succeed("1.2.3.4")
            if not banned:
                failures = 0
        assert (bans.seconds_left("1.2.3.4") > 0) == (banned_until > clock.now)
