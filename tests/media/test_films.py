"""Moving WebP and MP4: right frames, right pace, same bytes."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from quintet.media.mp4 import encode_mp4
from quintet.media.webp import encode_webp
from tests.media.clips import drawing, noisy_drawing, photograph, shown

av = pytest.importorskip("av")


def film(data: bytes) -> tuple[str, float, np.ndarray, dict[str, str]]:
    with av.open(BytesIO(data)) as container:
        stream = container.streams.video[0]
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        return stream.codec_context.name, float(stream.average_rate), frames, dict(container.metadata)


def test_webp_keeps_drawings_exactly_and_photographs_nearly():
    assert np.array_equal(shown(encode_webp(drawing(), 8)), drawing())
    seen = shown(encode_webp(photograph(), 8)).astype(int)
    assert 0 < np.abs(seen - photograph()).mean() < 6


def test_webp_plays_for_ever_at_its_pace():
    with Image.open(BytesIO(encode_webp(drawing(4), 8, comment="rouge é"))) as file:
        assert file.info["loop"] == 0
        assert file.n_frames == 4  # type: ignore[attr-defined]
        file.seek(1)
        file.load()
        assert file.info["duration"] == 125
        assert file.getexif().get_ifd(0x8769)[0x9286] == b"UNICODE\0" + "rouge é".encode("utf-16-be")


def test_webp_bytes_are_the_same_every_time():
    assert encode_webp(photograph(), 8) == encode_webp(photograph(), 8)


def test_mp4_is_h264_with_the_right_frames():
    codec, rate, frames, metadata = film(encode_mp4(noisy_drawing(), 8, comment="a red disc"))
    assert codec in ("h264", "vp9", "mpeg4")
    assert rate == 8
    assert metadata["comment"] == "a red disc"
    assert frames.shape == noisy_drawing().shape
    assert np.abs(frames.astype(int) - noisy_drawing()).mean() < 8


def test_mp4_takes_odd_sizes_and_uneven_rates():
    _, rate, frames, metadata = film(encode_mp4(photograph(3)[:, :31, :33], 23.976))
    assert frames.shape == (3, 32, 34, 3)
    assert abs(rate - 23.976) < 0.001
    assert "comment" not in metadata


def test_mp4_bytes_are_the_same_every_time():
    assert len({encode_mp4(noisy_drawing(), 8) for _ in range(6)}) == 1
