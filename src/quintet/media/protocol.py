"""The frames between the gateway and a decoding process: one picture there, one picture or one refusal back."""

from __future__ import annotations

import struct

READY = b"\x01"
"""The first byte from a process: it has loaded all it needs and limited itself."""
ACCEPTED = b"\x02"
"""Sent once the whole file is there: from now on it is to blame for what happens to the process."""
REQUEST = struct.Struct(">H?I")
"""The wanted longest side in pixels, whether it is a mask, and the length of the file that follows."""
REPLY = struct.Struct(">BI")
"""0 or the rule that was broken, and the length of the picture that follows."""
TAKEN = 0


def max_reply_bytes(max_side: int) -> int:
    """What a PNG of this size may take at most: its pixels uncompressed, a filter byte per row, and its frame."""
    pixels = 3 * max_side * max_side + max_side
    return pixels + pixels // 1000 + 4096
