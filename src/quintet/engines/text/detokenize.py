"""Token ids to readable text, one token at a time: never half a character, never a cut stop string too late.

Bytes are decoded as they come; what is not yet a whole character waits. With stop strings, text that may be
the beginning of one waits too, so a stop string is found across token boundaries and can be cut off whole.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from quintet.engines.text.vocabulary import Vocabulary


@dataclass(slots=True)
class Readable:
    """What one token added: text to show now, and whether a stop string was completed."""

    text: str
    stopped: bool = False


class Detokenizer:
    """Decoding state of one answer."""

    __slots__ = ("_decode", "_held", "_keep_stop", "_skip_special", "_started", "_stop", "_vocabulary")

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        stop: tuple[str, ...],
        keep_stop: bool,
        skip_special: bool,
        continues: bool = False,
    ) -> None:
        """`keep_stop` leaves the stop string in the text; `skip_special` leaves special tokens out of it.

        `continues` is for answers that go on where a raw prompt ended, and so keep the space before their first word.
        """
        self._vocabulary = vocabulary
        self._stop = tuple(filter(None, stop))
        self._keep_stop = keep_stop
        self._skip_special = skip_special
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._held = ""
        """Text that is the beginning of a stop string, maybe."""
        self._started = continues or not vocabulary.strips_first_space

    def add(self, id: int) -> Readable:
        """Take one more token."""
        if id in self._vocabulary.special and self._skip_special:
            return Readable("")
        text = self._decode(self._vocabulary.raw(id))
        if not self._started and text:
            self._started = True
            text = text.removeprefix(" ")
        return self._match(text) if self._stop else Readable(text)

    def finish(self) -> str:
        """The text still held when the answer ends otherwise; bytes of an unfinished character are dropped."""
        text = "" if self._keep_stop else self._held
        self._held = ""
        return text

    def _match(self, text: str) -> Readable:
        """Look for a stop string that ends in `text`; `_held` is what came before it and still matters."""
        window = self._held + text
        shown = len(self._held) if self._keep_stop else 0
        hits = [(at, len(stop)) for stop in self._stop if (at := window.find(stop)) >= 0]
        if hits:
            at, length = min(hits)
            self._held = ""
            return Readable(window[shown : at + length if self._keep_stop else at], stopped=True)
        wait = max(_overlap(window, stop) for stop in self._stop)
        self._held = window[len(window) - wait :]
        return Readable(window[shown:] if self._keep_stop else window[: len(window) - wait])


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
