"""Moving WebP pictures: without loss for drawings, nearly so for photographs."""

from __future__ import annotations

import itertools
from io import BytesIO

from PIL import Image

from quintet.media.palette import Frames, is_flat

MIME = "image/webp"
_QUALITY = 90
_USER_COMMENT, _EXIF_FOLDER = 0x9286, 0x8769


def encode_webp(frames: Frames, frames_per_second: float, *, comment: str = "") -> bytes:
    """The clip as a WebP that plays for ever. The same clip gives the same bytes; frames that repeat may be merged."""
    pictures = [Image.fromarray(frame) for frame in frames]
    ends = [round(1000 * number / frames_per_second) for number in range(len(pictures) + 1)]
    out = BytesIO()
    pictures[0].save(
        out,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=[end - start for start, end in itertools.pairwise(ends)],
        loop=0,
        lossless=is_flat(frames),
        quality=_QUALITY,
        method=4,
        exif=_exif(comment) if comment else b"",
    )
    return out.getvalue()


def _exif(comment: str) -> bytes:
    """The comment where programs for generated pictures look for it: EXIF's UserComment."""
    exif = Image.Exif()
    exif.get_ifd(_EXIF_FOLDER)[_USER_COMMENT] = b"UNICODE\0" + comment.encode("utf-16-be")
    return exif.tobytes()
