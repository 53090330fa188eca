"""MP4 films: H.264 as every browser plays it, or the next best that the codec library has."""

from __future__ import annotations

from fractions import Fraction
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np

from quintet.core.errors import Unsupported
from quintet.media.palette import Frames

MIME = "video/mp4"
CODECS = ("libx264", "libvpx-vp9", "mpeg4")
"""The best first."""
_OPTIONS = {
    # Without `cpu-independent` its quickest routines give other bytes now and then, even on the same machine.
    "libx264": {"crf": "18", "preset": "medium", "x264-params": "cpu-independent=1"},
    "libvpx-vp9": {"crf": "24", "b": "0", "row-mt": "0"},
    "mpeg4": {"qscale": "3"},
}


HINT = 'MP4 needs PyAV on the server: pip install "quintet[images]"; GIF and WebP work without.'


def is_possible() -> bool:
    """Whether the codec library is there."""
    return find_spec("av") is not None


def encode_mp4(frames: Frames, frames_per_second: float, *, comment: str = "") -> bytes:
    """The clip as a film. The same clip gives the same bytes.

    Sides are even in this format: an odd one repeats its last line. Raises Unsupported without the codec library.
    """
    av = _codec_library()
    codec = next(name for name in CODECS if name in av.codecs_available)
    height, width = frames.shape[1:3]
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    out = BytesIO()
    options = {"fflags": "+bitexact"}
    with av.open(out, "w", format="mp4", options=options) as container:
        container.metadata["comment"] = comment
        stream = container.add_stream(codec, rate=Fraction(frames_per_second).limit_denominator(1001))
        stream.width, stream.height = even.shape[2], even.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.options = _OPTIONS[codec]
        stream.thread_count = 1  # how the work is divided shows in the bytes
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def _codec_library() -> Any:
    """PyAV; it comes with the extra for pictures, and takes its time to load."""
    try:
        import av
    except ImportError:
        raise Unsupported(HINT, param="format") from None
    return av
