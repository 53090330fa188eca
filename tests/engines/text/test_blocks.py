"""KV blocks: held by whoever uses them, found again by owner and content, evicted oldest first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintet.engines.text.blocks import BlockPool, OutOfBlocks, chain


def test_every_block_is_handed_out_once() -> None:
    pool = BlockPool(4, 16)
    assert sorted(pool.take() for _ in range(4)) == [0, 1, 2, 3]
    assert pool.available == 0
    with pytest.raises(OutOfBlocks):
        pool.take()


def test_a_released_named_block_is_found_until_its_memory_is_needed() -> None:
    pool = BlockPool(2, 16)
    first, second = pool.take(), pool.take()
    pool.name(first, b"first")
    pool.name(second, b"second")
    pool.release(first)
    pool.release(second)
    assert pool.available == 2
    assert (pool.find(b"first"), pool.find(b"second")) == (first, second)
    assert pool.take() == first
    assert pool.find(b"first") is None
    assert pool.find(b"second") == second


def test_reuse_makes_a_block_young_again() -> None:
    pool = BlockPool(2, 16)
    first, second = pool.take(), pool.take()
    pool.name(first, b"first")
    pool.name(second, b"second")
    for block in (first, second):
        pool.release(block)
    pool.hold(first)
    pool.release(first)
    assert pool.take() == second


def test_a_held_block_is_never_evicted() -> None:
    pool = BlockPool(2, 16)
    block = pool.take()
    pool.name(block, b"shared")
    pool.hold(block)
    pool.release(block)
    assert pool.take() != block
    with pytest.raises(OutOfBlocks):
        pool.take()
    pool.release(block)
    assert pool.available == 1


def test_blocks_without_a_name_are_used_before_content_is_lost() -> None:
    pool = BlockPool(2, 16)
    named, plain = pool.take(), pool.take()
    pool.name(named, b"known")
    pool.release(named)
    pool.release(plain)
    assert pool.take() == plain
    assert pool.find(b"known") == named


def test_twins_keep_the_first_name() -> None:
    pool = BlockPool(2, 16)
    first, second = pool.take(), pool.take()
    pool.name(first, b"same")
    pool.name(second, b"same")
    assert pool.find(b"same") == first
    pool.release(first)
    pool.release(second)
    assert pool.take() == second
    assert pool.find(b"same") == first
    assert pool.take() == first
    assert pool.find(b"same") is None


def test_released_too_often_is_an_error() -> None:
    pool = BlockPool(1, 16)
    block = pool.take()
    pool.release(block)
    with pytest.raises(AssertionError, match="more often than held"):
        pool.release(block)


tokens = st.lists(st.integers(0, 2**31 - 1), max_size=40)


@given(tokens, tokens, st.integers(1, 8))
def test_digests_are_equal_exactly_for_equal_beginnings(one: list[int], other: list[int], size: int) -> None:
    ones, others = chain("a", one, size, []), chain("a", other, size, [])
    assert len(ones) == len(one) // size
    for index, (left, right) in enumerate(zip(ones, others, strict=False)):
        end = (index + 1) * size
        assert (left == right) == (one[:end] == other[:end])
    assert not set(ones) & set(chain("b", one, size, []))


@given(tokens, st.integers(0, 40), st.integers(1, 8))
def test_a_chain_grows_as_its_tokens_do(whole: list[int], cut: int, size: int) -> None:
    known: list[bytes] = []
    chain("a", whole[:cut], size, known)
    assert chain("a", whole, size, known) is known
    assert known == chain("a", whole, size, [])


def test_owners_with_odd_names() -> None:
    names = ["", "a", "b", "\ud800", "é"]
    assert len({chain(name, [1, 2], 2, [])[0] for name in names}) == len(names)


@given(
    st.lists(st.tuples(st.sampled_from(["take", "release", "hold", "name"]), st.integers(0, 9)), max_size=80)
)
def test_any_history_keeps_the_books(history: list[tuple[str, int]]) -> None:
    pool = BlockPool(6, 4)
    holders = [0] * 6
    for number, (act, pick) in enumerate(history):
        held = [block for block in range(6) if holders[block]]
        if act == "take" and pool.available:
            block = pool.take()
            assert holders[block] == 0
            holders[block] = 1
        elif act == "release" and held:
            block = held[pick % len(held)]
            pool.release(block)
            holders[block] -= 1
        elif act == "name" and held:
            block = held[pick % len(held)]
            if all(pool.find(bytes([one])) != block for one in range(number)):
                pool.name(block, bytes([number]))
                assert pool.find(bytes([number])) == block
        elif act == "hold":
            found = pool.find(bytes([pick]))
            if found is not None:
                pool.hold(found)
                holders[found] += 1
        assert pool.available == holders.count(0)
