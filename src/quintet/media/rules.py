"""What a picture must be to be taken, and the words for each rule it can break. Standard library only."""

from __future__ import annotations

from enum import IntEnum

MAX_FILE_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 4096 * 4096
MIN_SIDE_PIXELS = 8
MAX_RATIO = 100
"""Of the longer side to the shorter. Screenshots of whole web pages reach 1:30; a model that scales pictures down
to 800 pixels still sees 8 of the shorter side."""


class Rule(IntEnum):
    """Why a picture is refused. Only these numbers cross from the decoding process, never words."""

    UNSUPPORTED = 1
    FILE_TOO_LARGE = 2
    TOO_MANY_PIXELS = 3
    TOO_SMALL = 4
    TOO_NARROW = 5
    DAMAGED = 6
    TOO_SLOW = 7
    TOO_MUCH_MEMORY = 8
    CRASHED = 9


WORDS = {
    Rule.UNSUPPORTED: "must hold a JPEG, PNG or WebP picture. Convert it first.",
    Rule.FILE_TOO_LARGE: f"holds a picture of more than {MAX_FILE_BYTES // 2**20} MiB. Send a smaller one.",
    Rule.TOO_MANY_PIXELS: "holds a picture of more than 4096 × 4096 pixels (16 megapixels). Scale it down first.",
    Rule.TOO_SMALL: f"holds a picture less than {MIN_SIDE_PIXELS} pixels wide or high. Send a larger one.",
    Rule.TOO_NARROW: f"holds a picture whose sides differ more than 1:{MAX_RATIO}. Cut it into pieces first.",
    Rule.DAMAGED: "holds a picture that is damaged or incomplete. Save it again, as PNG or as plain JPEG.",
    Rule.TOO_SLOW: "holds a picture that takes too long to decode. Save it again, as PNG or as plain JPEG.",
    Rule.TOO_MUCH_MEMORY: "holds a picture that takes too much memory to decode. Scale it down first.",
    Rule.CRASHED: "holds a picture that can't be decoded. Save it again, as PNG or as plain JPEG.",
}
"""Each continues a sentence that begins with the name of the field."""


class Refused(Exception):
    """The picture breaks a rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.name)
        self.rule = rule


def check_size(width: int, height: int) -> None:
    """Raise Refused unless a picture of so many pixels is taken."""
    if min(width, height) < MIN_SIDE_PIXELS:
        raise Refused(Rule.TOO_SMALL)
    if width * height > MAX_PIXELS:
        raise Refused(Rule.TOO_MANY_PIXELS)
    if max(width, height) > MAX_RATIO * min(width, height):
        raise Refused(Rule.TOO_NARROW)
