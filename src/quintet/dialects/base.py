"""What a dialect is: operations that parse a wire body into a call, and renderers that answer it.

Dialects know no HTTP server, no clock and no model; the server hands them values and sends the bytes they make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from quintet.core.content import Image, Part
from quintet.core.errors import QuintetError, Unsupported
from quintet.core.events import Event, Media, Outcome
from quintet.core.requests import Request


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a form. Its name is what the sender says; nothing is ever opened by it."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A multipart/form-data body, by the names of its fields; values keep their order."""

    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, Sequence[Upload]] = field(default_factory=dict)


def _keep_private(_: Media) -> str:
    """What publishes nothing."""
    raise Unsupported("This server gives no links to its files. Ask for the bytes.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One request as it came from the wire, already decoded."""

    body: Any
    """What the JSON says; a `Form` if the operation takes forms and one was sent."""
    path: Mapping[str, str] = field(default_factory=dict)
    """Parameters taken from the path, such as the alias in /{alias}/generate."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Those parameters of the URL's query that the operation reads."""
    default_model: str = ""
    """What to run where the wire names no model."""
    default_vision_model: str = ""
    """The same where the prompt holds pictures; empty = the default model."""
    default_image_model: str = ""
    """What draws where the wire names no model."""
    default_animation_model: str = ""
    """What draws moving pictures where the wire names no model."""
    default_upscaler: str = ""
    """What enlarges pictures where the wire names no model."""
    request_id: str = ""
    created: int = 0
    """Unix time at which the request arrived, for bodies that show it."""
    accept: str = ""
    """The Accept header, if the operation reads it."""
    with_metadata: bool = True
    """Whether pictures may say in their file how they were made; the caller or the server may not want it."""
    publish: Callable[[Media], str] = field(default=_keep_private, compare=False)
    """Keeps a finished file for a while and gives its absolute URL. Renderers alone call it."""

    def unnamed_model(self, parts: Iterable[Part] = ()) -> str:
        """What answers a prompt with these parts where the wire names no model."""
        sees = self.default_vision_model and any(isinstance(part, Image) for part in parts)
        return self.default_vision_model if sees else self.default_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer, ready to send."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Renderer(Protocol):
    """Turns the events of one call into wire bytes. One instance serves one call, so it may keep state.

    Invariant, tested for every dialect: the whole answer says the same as the fold of the stream.
    """

    stream_content_type: str

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The whole answer; one outcome per request of the call, in order."""
        ...

    def event(self, index: int, event: Event) -> bytes:
        """Bytes for one event of the `index`-th request; may be empty."""
        ...

    def end(self) -> bytes:
        """Bytes after the last event of all requests, if all went well."""
        ...

    def failure(self, error: QuintetError) -> bytes:
        """Bytes that make a broken stream look broken. b"" = drop the connection without a proper end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A parsed wire request: the work to do, and how to answer."""

    requests: tuple[Request, ...]
    renderer: Renderer
    stream: bool = False
    is_bare: bool = False
    """The stream is text and nothing else, whatever its content type says: no keep-alive may stand in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One path of a dialect that makes a model work."""

    path: str
    """In FastAPI's notation, e.g. /{alias}/generate."""
    parse: Callable[[Incoming], Call]
    """Raises InvalidRequest; pure."""
    refuse: Callable[[QuintetError], Reply]
    """An error before the first byte, in this dialect's words."""
    schema: type[Any] | None = None
    """The pydantic model of the body, for /docs."""
    summary: str = ""
    max_body_bytes: int = 2 * 1024 * 1024
    """Larger bodies are a 413 before they are parsed (reliability 6.10)."""
    token_in_body: bool = False
    """Whether the caller's key may also stand in the body under `token`; the server takes it out before `parse`."""
    max_bytes_before_auth: int = 64 * 1024
    """Of a body that must be read to find the key in it."""
    accepts_form: bool = False
    """Whether the body may also come as multipart/form-data."""
    query: tuple[str, ...] = ()
    """Names of the parameters that it reads from the URL's query."""
    claims: Callable[[Any], bool] | None = None
    """On a path of several dialects: whether this body is meant for this one. The first that claims it gets it; what
    nobody claims, and what is no JSON, goes to the one that has None here."""
    reads_accept: bool = False
    """Whether the Accept header has a say in what comes out."""
