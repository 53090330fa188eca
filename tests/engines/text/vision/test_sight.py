"""The queue in front of the vision encoder: what is looked at when, by whom it is known, and what is forgotten."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import pytest

from quintet.engines.text.pictures import Placed
from quintet.engines.text.vision.family import Layout, Positions, Rows, Tile
from quintet.engines.text.vision.sight import READ_PIXELS, TURN_PIXELS, Embeddings, Sight

WIDTH = 4


class Eye:
    """A family whose pictures are cut into squares of 256 pixels; a tile's only row says its mean."""

    token, markup, axes = 9, "<image>", 1

    def __init__(self) -> None:
        self.turns: list[int] = []
        """Tiles of every run of the encoder."""
        self.seconds = 1.0
        self.now = 0.0

    def layout(self, width: int, height: int) -> Layout:
        return Layout((self.token,) * (width // 256))

    def tiles(self, picture: PIL.Image.Image) -> list[Tile]:
        pixels = np.asarray(picture)
        return [pixels[:, left : left + 256] for left in range(0, pixels.shape[1], 256)]

    def encode(self, tiles: Sequence[Tile]) -> list[Rows]:
        assert len({tile.shape for tile in tiles}) == 1
        self.turns.append(len(tiles))
        self.now += self.seconds
        return [np.full((1, WIDTH), tile.mean(), np.float32) for tile in tiles]

    def join(self, rows: Sequence[Rows], width: int, height: int) -> Rows:
        assert len(rows) == width // 256
        return np.concatenate(list(rows))

    def positions(self, ids: Sequence[int], layouts: Sequence[Layout]) -> Positions:
        raise NotImplementedError


def sight_of(eye: Eye, cache_bytes: int = 1 << 20) -> Sight:
    return Sight(eye, lambda: eye.now, cache_bytes=cache_bytes)


def picture(shade: int, tiles: int = 1, height: int = 256) -> Placed:
    file = io.BytesIO()
    PIL.Image.new("RGB", (256 * tiles, height), (shade, shade, shade)).save(file, "PNG")
    layout = Layout((9,) * tiles)
    digest = bytes([shade, tiles])
    return Placed(digest, file.getvalue(), (256 * tiles, height), layout, 0, np.arange(tiles), "messages[0]")


def seen(sight: Sight) -> list[int]:
    """Look until nothing waits; requests in the order in which they had all their pictures."""
    ready: list[int] = []
    while sight.busy:
        found, broken = sight.look()
        assert not broken
        ready += found
    return ready


def test_a_picture_is_looked_at_once_for_all_who_show_it() -> None:
    eye = Eye()
    sight = sight_of(eye)
    first, second = picture(7), picture(7)
    assert not sight.show(1, "ann", [first])
    assert not sight.show(2, "ann", [second])
    assert seen(sight) == [1, 2]
    assert first.rows is not None
    assert first.rows is second.rows
    assert first.rows.tolist() == [[7.0] * WIDTH]
    later = picture(7)
    assert sight.show(3, "ann", [later])
    assert later.rows is first.rows
    assert (sight.encoded, sight.reused, eye.turns) == (1, 1, [1])


def test_what_one_owner_showed_is_new_from_another() -> None:
    eye = Eye()
    sight = sight_of(eye)
    sight.show(1, "ann", [picture(7)])
    seen(sight)
    assert not sight.show(2, "bob", [picture(7)])
    assert seen(sight) == [2]
    assert sight.encoded == 2


def test_a_request_waits_for_all_its_pictures_even_twice_the_same() -> None:
    sight = sight_of(Eye())
    places = [picture(1), picture(2), picture(1)]
    assert not sight.show(1, "ann", places)
    assert seen(sight) == [1]
    assert [one.rows[0, 0] for one in places if one.rows is not None] == [1, 2, 1]
    assert sight.encoded == 2


def test_small_tiles_share_a_turn_and_large_pictures_take_several() -> None:
    eye = Eye()
    sight = sight_of(eye)
    per_turn = TURN_PIXELS // 256**2
    sight.show(1, "ann", [picture(shade) for shade in range(1, per_turn + 2)])
    seen(sight)
    assert eye.turns == [per_turn, 1]
    eye.turns.clear()
    sight.show(2, "ann", [picture(99, tiles=2 * per_turn + 1)])
    seen(sight)
    assert eye.turns == [per_turn, per_turn, 1]
    eye.turns.clear()
    sight.show(3, "ann", [picture(50), picture(51, height=128), picture(52)])
    seen(sight)
    assert eye.turns == [1, 1, 1], "tiles of different sizes can't share a run"


def test_a_tile_larger_than_a_turn_is_looked_at_alone() -> None:
    eye = Eye()
    sight = sight_of(eye)
    sight.show(
        1, "ann", [picture(1, height=TURN_PIXELS // 256 + 256), picture(2, height=TURN_PIXELS // 256 + 256)]
    )
    seen(sight)
    assert eye.turns == [1, 1]


def test_a_turn_reads_few_large_files_however_small_their_tiles() -> None:
    class Shrinking(Eye):
        def tiles(self, picture: PIL.Image.Image) -> list[Tile]:
            return [np.asarray(picture.resize((16, 16)))]

        def join(self, rows: Sequence[Rows], width: int, height: int) -> Rows:
            return rows[0]

    eye = Shrinking()
    sight = sight_of(eye)
    many = [picture(shade, tiles=READ_PIXELS // 256**2, height=256) for shade in range(1, 4)]
    sight.show(1, "ann", [*many, *(picture(shade) for shade in range(4, 9))])
    assert seen(sight) == [1]
    assert eye.turns == [1, 1, 1, 5]


def test_what_is_kept_of_a_picture_is_its_own_rows_alone() -> None:
    class Whole(Eye):
        def encode(self, tiles: Sequence[Tile]) -> list[Rows]:
            return list(np.zeros((len(tiles), 1, WIDTH), np.float32))

        def join(self, rows: Sequence[Rows], width: int, height: int) -> Rows:
            return rows[0]

    sight = sight_of(Whole())
    pictures = [picture(1), picture(2)]
    sight.show(1, "ann", pictures)
    seen(sight)
    for one in pictures:
        assert one.rows is not None
        assert one.rows.base is None, "else it keeps the rows of everything that was encoded with it"


def test_a_request_with_two_broken_pictures_ends_once() -> None:
    sight = sight_of(Eye())
    bad = [picture(3), picture(4)]
    for one in bad:
        one.data = one.data[:40]
    sight.show(1, "ann", bad)
    assert [number for number, _ in sight.look()[1]] == [1]
    assert not sight.busy


def test_owners_take_turns() -> None:
    sight = sight_of(Eye())
    per_turn = TURN_PIXELS // 256**2
    for number in range(3):
        sight.show(number, "ann", [picture(10 + number * per_turn + one) for one in range(per_turn)])
    sight.show(9, "bob", [picture(200)])
    assert seen(sight).index(9) <= 1, "one who shows one picture does not wait for all of another's"


def test_texts_lose_at_most_half_of_the_time() -> None:
    eye = Eye()
    sight = sight_of(eye)
    sight.show(1, "ann", [picture(1, tiles=12)])
    assert sight.may_look(others_wait=True)
    sight.look()
    assert not sight.may_look(others_wait=True), "the encoder had a second, so the others have one now"
    assert sight.may_look(others_wait=False)
    sight.repay(0.6)
    assert not sight.may_look(others_wait=True)
    sight.repay(0.4)
    assert sight.may_look(others_wait=True)


def test_nobody_looks_for_those_who_left() -> None:
    eye = Eye()
    sight = sight_of(eye)
    sight.show(1, "ann", [picture(1), picture(2)])
    sight.show(2, "ann", [picture(2)])
    sight.forget(1)
    sight.forget(1)
    assert seen(sight) == [2]
    assert sight.encoded == 1
    sight.show(3, "ann", [picture(3)])
    sight.forget(3)
    assert not sight.busy


def test_a_file_that_is_no_picture_ends_its_requests_and_no_others() -> None:
    sight = sight_of(Eye())
    bad = picture(3)
    bad.data = bad.data[:40]
    sight.show(1, "ann", [bad, picture(4)])
    sight.show(2, "ann", [picture(5)])
    ready, broken = sight.look()
    assert ready == [2]
    ((number, error),) = broken
    assert number == 1
    assert error.param == "messages[0]"
    assert not sight.busy


@pytest.mark.parametrize("size", [3, 1, 0])
def test_the_cache_keeps_what_was_used_last(size: int) -> None:
    rows = np.zeros((1, WIDTH), np.float32)
    cache = Embeddings(size * rows.nbytes)
    for number in range(5):
        cache.put(("ann", bytes([number])), rows)
        cache.get(("ann", b"\0"))
    known = [number for number in range(5) if cache.get(("ann", bytes([number]))) is not None]
    assert known == {3: [0, 3, 4], 1: [4], 0: []}[size]
    assert cache.held_bytes == len(known) * rows.nbytes
