"""What people send to a model: messages made of text and pictures. No decoding happens here."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Image:
    """One picture on its way to a model; exactly one of `data` and `url` is filled.

    A dialect may leave a `url`; the service replaces it, and bytes as they came, by a checked PNG before any engine
    sees it.
    """

    data: bytes = b""
    url: str = ""
    field: str = dataclass_field(default="", compare=False)
    """Where it stood in the caller's body, for error messages."""
    is_mask: bool = False
    """It says where another picture may change: white = repaint, black = keep. A transparent part counts as white."""


Part = str | Image
"""One piece of a message: a stretch of text, or a picture."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function that the model asked to be called; `arguments` is a JSON object as text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `parts` keep the order in which text and pictures were sent."""

    role: Role
    parts: tuple[Part, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    """What the assistant asked for in this turn."""
    tool_call_id: str = ""
    """In a tool message: the call that it answers."""
    name: str = ""
    """In a tool message: the function that answered, if the caller said so."""

    @property
    def text(self) -> str:
        """The text of the message without its pictures."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Audio:
    """One recording on its way to a model; exactly one of `data` (encoded file bytes) and `url` is filled."""

    data: bytes = b""
    url: str = ""
