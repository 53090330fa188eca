"""Which file a moving picture comes in: by name, or as the Accept header prefers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintet.dialects.formats import MAX_RANGES, animation_format


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "gif"),
        ("*/*", "gif"),
        ("image/*", "gif"),
        ("image/gif", "gif"),
        ("image/webp", "webp"),
        ("IMAGE/WebP", "webp"),
        ("video/mp4", "mp4"),
        ("video/*", "mp4"),
        ("video/mp4, */*", "mp4"),
        ("image/webp,*/*;q=0.8", "webp"),
        ("image/webp;q=0.5, image/gif;q=0.6", "gif"),
        ("image/webp;q=0.5, image/gif; q=0.4", "webp"),
        ("image/gif;q=0, */*", "webp"),
        ("image/*;q=0, */*", "mp4"),
        ("image/png, video/mp4;q=0.1", "mp4"),
        ("image/webp;level=1;q=1.0", "webp"),
        # What browsers send for pages and for pictures.
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "webp"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "webp"),
        # None of ours is as good as none at all.
        ("application/json", "gif"),
        ("image/gif;q=0", "gif"),
        # Nonsense counts as little as it says.
        ("image/webp;q=much", "gif"),
        ("image/webp;q=٣", "gif"),
        (";;,=,q=;q=1", "gif"),
        ("x/y," * MAX_RANGES + "video/mp4", "gif"),
    ],
)
def test_by_header(accept: str, expected: str) -> None:
    assert animation_format(None, accept) == expected


def test_a_name_wins() -> None:
    assert animation_format("mp4", "image/webp") == "mp4"


@given(st.text(alphabet="imagevdo/*gfwbp4,;=q. 01", max_size=60))
def test_any_header_gives_a_format(accept: str) -> None:
    assert animation_format(None, accept) in ("gif", "webp", "mp4")
