"""Server-sent events: framing, and text that no client's line splitter can tear apart."""

from __future__ import annotations

import msgspec

CONTENT_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"

encode_json = msgspec.json.Encoder().encode

_LINE_BREAKS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def encode_text(text: str) -> bytes:
    """`text` as a JSON string; line separators that some clients split at are escaped too."""
    encoded = encode_json(text)
    if text.isascii():
        return encoded
    if "\u2028" in text or "\u2029" in text or "\x85" in text:
        return encoded.decode().translate(_LINE_BREAKS).encode()
    return encoded


def data(value: object) -> bytes:
    """One event that carries `value` as JSON."""
    return b"data: " + escape_breaks(encode_json(value)) + b"\n\n"


def event(name: str, value: object) -> bytes:
    """The same under a name."""
    return b"event: " + name.encode("ascii") + b"\n" + data(value)


def escape_breaks(encoded: bytes) -> bytes:
    """Encoded JSON with Unicode line separators escaped."""
    if encoded.isascii():
        return encoded
    return encoded.decode().translate(_LINE_BREAKS).encode()
