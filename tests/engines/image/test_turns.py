"""Whose turn it is."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from quintet.engines.image.turns import Turns


@dataclass(eq=False)
class Piece:
    owner: str
    turns: int
    name: str = ""


def drain(turns: Turns[Piece]) -> list[str]:
    taken = []
    while turns:
        piece, turn = turns.take()
        taken.append(f"{piece.name}{turn}")
    return taken


def test_owners_alternate_and_each_ones_work_stays_in_order() -> None:
    turns: Turns[Piece] = Turns()
    for piece in (Piece("ann", 3, "a"), Piece("ann", 1, "b"), Piece("bob", 2, "c")):
        turns.add(piece)
    assert drain(turns) == ["a0", "c0", "a1", "c1", "a2", "b0"]


def test_who_comes_late_waits_for_one_turn_of_each() -> None:
    turns: Turns[Piece] = Turns()
    turns.add(Piece("ann", 100, "a"))
    turns.take()
    turns.add(Piece("bob", 1, "b"))
    assert [turns.take()[0].name for _ in range(2)] == ["a", "b"]


def test_removed_work_gets_no_turn() -> None:
    turns: Turns[Piece] = Turns()
    first, second = Piece("ann", 2, "a"), Piece("ann", 1, "b")
    for piece in (first, second):
        turns.add(piece)
    turns.take()
    turns.remove(first)
    turns.remove(first)
    turns.remove(Piece("nobody", 1))
    assert drain(turns) == ["b0"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=12))
def test_every_turn_is_taken_once(pieces: list[tuple[str, int]]) -> None:
    turns: Turns[Piece] = Turns()
    for number, (owner, count) in enumerate(pieces):
        turns.add(Piece(owner, count, f"{number}."))
    expected = sorted(f"{number}.{turn}" for number, (_, count) in enumerate(pieces) for turn in range(count))
    assert sorted(drain(turns)) == expected
