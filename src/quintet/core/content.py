"""What people send to a model: messages made of text and pictures. No decoding happens here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Image:
    """One picture on its way to a model; exactly one of `data` and `url` is filled.

    A dialect may leave a `url`; the service replaces it by checked bytes before any engine sees it.
    """

    data: bytes = b""
    url: str = ""


Part = str | Image
"""One piece of a message: a stretch of text, or a picture."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `parts` keep the order in which text and pictures were sent."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text of the message without its pictures."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Audio:
    """One recording on its way to a model; exactly one of `data` (encoded file bytes) and `url` is filled."""

    data: bytes = b""
    url: str = ""
