"""Moving GIFs: one palette, no flicker, true pace, a size that is kept."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from quintet.media.gif import encode_gif, frame_delays
from quintet.media.palette import index_clip, is_flat
from tests.media.clips import BACKGROUND, drawing, noisy_drawing, photograph, shown


def tables(data: bytes) -> tuple[bool, list[bool]]:
    """Whether the file has a colour table for all frames, and which frames have one of their own."""
    at = 13 + (3 << (data[10] & 7) + 1)
    own = []
    while data[at] != 0x3B:
        if data[at] == 0x21:
            at += 2
        else:
            own.append(bool(data[at + 9] & 0x80))
            at += 11
        while data[at]:
            at += data[at] + 1
        at += 1
    return bool(data[10] & 0x80), own


def delays(data: bytes) -> list[int]:
    with Image.open(BytesIO(data)) as file:
        found = []
        for number in range(file.n_frames):  # type: ignore[attr-defined]
            file.seek(number)
            found.append(file.info["duration"] // 10)
    return found


def test_a_drawing_with_few_colours_is_kept_exactly():
    clip = drawing()
    assert np.array_equal(shown(encode_gif(clip, 8)), clip)


def test_all_frames_share_one_palette():
    for clip in (drawing(), noisy_drawing(), photograph()):
        assert tables(encode_gif(clip, 8)) == (True, [False] * len(clip))


def test_it_plays_for_ever_and_says_what_it_is():
    with Image.open(BytesIO(encode_gif(drawing(), 8, comment="a red disc\nSeed: 5 é"))) as file:
        assert file.info["loop"] == 0
        assert file.info["comment"].decode() == "a red disc\nSeed: 5 é"
    with Image.open(BytesIO(encode_gif(drawing(), 8))) as file:
        assert "comment" not in file.info


@pytest.mark.parametrize(("rate", "expected"), [(8, [12, 13, 12, 13]), (10, [10] * 4), (30, [3, 4, 3, 3])])
def test_a_clip_lasts_as_long_as_it_should(rate, expected):
    found = frame_delays(4, rate)
    assert sorted(found) == sorted(expected)
    assert abs(sum(found) - 400 / rate) <= 0.5
    assert delays(encode_gif(drawing(4), rate)) == found


def test_no_frame_is_shown_more_briefly_than_viewers_manage():
    assert frame_delays(3, 240) == [2, 2, 2]
    assert frame_delays(1, 0.001) == [0xFFFF]


def test_equal_frames_are_all_there():
    still = np.repeat(drawing(1), 5, axis=0)
    assert np.array_equal(shown(encode_gif(still, 5)), still)
    assert delays(encode_gif(still, 5)) == [20] * 5


def test_a_single_frame_and_odd_sizes():
    clip = photograph(1, 62)[:, :31, :17]
    assert shown(encode_gif(clip, 8)).shape == clip.shape


def test_the_same_clip_gives_the_same_bytes():
    assert encode_gif(photograph(), 8) == encode_gif(photograph(), 8)


def test_a_painted_drawing_keeps_its_background_still_and_its_colours_true():
    clip = noisy_drawing()
    seen = shown(encode_gif(clip, 8)).astype(int)
    corner = seen[:, :8, :8]
    assert (corner == corner[0]).all()
    assert np.abs(corner - BACKGROUND).max() <= 8
    assert np.abs(seen - clip.astype(int)).mean() < 3


def test_drawings_are_not_dithered_and_photographs_are():
    assert is_flat(noisy_drawing())
    assert not is_flat(photograph())
    few = index_clip(photograph(), 8)
    used = [len(np.unique(few.indices[0, y : y + 8, x : x + 8])) for y in (0, 24) for x in (0, 16)]
    assert max(used) >= 3, "no pattern"
    flat = index_clip(noisy_drawing(), 8)
    assert np.ptp(flat.palette[flat.indices[:, :8, :8]].astype(int), axis=(0, 1, 2)).max() <= 4


def test_what_stands_still_in_a_photograph_does_not_flicker():
    seen = shown(encode_gif(photograph(), 8))
    half = seen.shape[2] // 2
    assert (seen[:, :, :half] == seen[0, :, :half]).all()
    assert not (seen[:, :, half:] == seen[0, :, half:]).all()


def test_the_same_colour_at_the_same_place_has_the_same_number():
    clip = photograph()
    clip = np.concatenate([clip, clip[::-1]])
    indices = index_clip(clip).indices
    assert np.array_equal(indices[len(indices) // 2 - 1], indices[len(indices) // 2])


def test_a_clip_that_is_too_large_loses_colours_and_then_pixels():
    clip = photograph(6, 96)
    whole = encode_gif(clip, 8)
    fewer = encode_gif(clip, 8, max_bytes=len(whole) - 1)
    assert len(fewer) < len(whole)
    assert shown(fewer).shape == clip.shape
    assert len(np.unique(shown(fewer).reshape(-1, 3), axis=0)) <= 128
    smaller = encode_gif(clip, 8, max_bytes=len(whole) // 4)
    assert len(smaller) <= len(whole) // 4
    assert shown(smaller).shape[1] < 96
    assert min(shown(encode_gif(clip, 8, max_bytes=1)).shape[1:3]) >= 32
