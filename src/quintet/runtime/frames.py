"""The words between gateway and worker, and how they are framed on their socket. No I/O happens here.

A frame is a big-endian 32-bit length and one msgpack value. Whatever comes out of `FrameBuffer` and the
decoders was checked against a closed set of types; anything else is a `FrameError`, after which the
connection must be thrown away.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec

from quintet.core import errors, events
from quintet.core import requests as domain
from quintet.core.models import Model
from quintet.core.ports import EngineInfo, Output

MAX_FRAME_BYTES = 128 * 1024 * 1024
"""Larger than any admitted request or answer of one step; a longer length means that the stream is corrupt."""

RawValue = msgspec.Raw
"""A value not decoded yet."""

_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The peer sent bytes that are no frame of ours."""


class Open(msgspec.Struct, frozen=True, array_like=True, tag="open"):
    """First frame to a worker: the model, and "module:function" of its engine's factory."""

    model: Model
    factory: str
    prepare_seconds: float
    """A preparation that takes longer hangs, and the worker gives up."""


class Submit(msgspec.Struct, frozen=True, array_like=True, tag="submit"):
    """Start a request; `kind` indexes `REQUEST_TYPES`."""

    request_id: int
    kind: int
    request: msgspec.Raw


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Forget a request."""

    request_id: int


class Quit(msgspec.Struct, frozen=True, array_like=True, tag="quit"):
    """Free everything and exit."""


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """A domain error on its way; `name` is its class in core.errors."""

    name: str
    message: str
    code: str
    param: str | None = None
    retry_after: float | None = None
    facts: dict[str, int] = {}


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="opened"):
    """The engine is loaded."""

    info: EngineInfo


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The engine could not be loaded; the worker exits."""

    fault: Fault


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """All that one step brought, as (request id, index into `EVENT_TYPES`, value); empty = a sign of life."""

    outputs: list[tuple[int, int, msgspec.Raw]]


class Broken(msgspec.Struct, frozen=True, array_like=True, tag="broken"):
    """The engine failed in a way that leaves its state unknown; the worker exits."""


class Gauges(msgspec.Struct, frozen=True, array_like=True, tag="gauges"):
    """The engine's own metrics, sent when they have changed."""

    text: str


ToWorker = Open | Submit | Cancel | Quit
FromWorker = Opened | Refused | Batch | Broken | Gauges

REQUEST_TYPES: tuple[type[Any], ...] = (
    domain.TextRequest,
    domain.TokenizeRequest,
    domain.ImageRequest,
    domain.AnimationRequest,
    domain.UpscaleRequest,
    domain.TranscriptionRequest,
    domain.EmbeddingRequest,
)
EVENT_TYPES: tuple[type[Any], ...] = (
    events.Token,
    events.Stopped,
    events.Finished,
    Fault,
    events.Prefill,
    events.Tokenized,
    events.Progress,
    events.Media,
    events.Segment,
    events.ToolCallPart,
    events.Embedding,
)
TOKEN_KIND, FAULT_KIND = (EVENT_TYPES.index(kind) for kind in (events.Token, Fault))

_ENCODER = msgspec.msgpack.Encoder()
_TO_WORKER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_FROM_WORKER: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_REQUEST_DECODERS = [msgspec.msgpack.Decoder(kind) for kind in REQUEST_TYPES]
_EVENT_DECODERS = [msgspec.msgpack.Decoder(kind) for kind in EVENT_TYPES]
WHOLE_KINDS = frozenset(
    EVENT_TYPES.index(kind) for kind in (events.Media, events.Prefill, events.Tokenized, events.Embedding)
)
"""Large events that come once a request, or once for each of its inputs, as an index into `EVENT_TYPES`."""
_EVENT_KINDS = {kind: index for index, kind in enumerate(EVENT_TYPES)}
_ERRORS = {error.__name__: error for error in errors.all_errors()}


def frame(message: ToWorker | FromWorker) -> bytes:
    """One message as the bytes to send."""
    body = _ENCODER.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError("a message is larger than a frame may be")
    return _LENGTH.pack(len(body)) + body


def submit_frame(request_id: int, request: domain.Request) -> bytearray:
    """The frame that starts a request. Its pictures are copied once, as they may be a hundred megabytes."""
    kind = REQUEST_TYPES.index(type(request))
    data = bytearray(_LENGTH.size)
    # A request where its encoding is expected is encoded in place, to the same bytes.
    _ENCODER.encode_into(Submit(request_id, kind, cast("msgspec.Raw", request)), data, _LENGTH.size)
    if len(data) - _LENGTH.size > MAX_FRAME_BYTES:
        raise FrameError("a message is larger than a frame may be")
    _LENGTH.pack_into(data, 0, len(data) - _LENGTH.size)
    return data


def batch_frame(outputs: Iterable[tuple[int, Output]]) -> bytes:
    """The frame that carries everything one step brought."""
    packed: list[tuple[int, int, msgspec.Raw]] = []
    for request_id, output in outputs:
        value = fault_of(output) if isinstance(output, errors.QuintetError) else output
        packed.append((request_id, _EVENT_KINDS[type(value)], encode_value(value)))
    return frame(Batch(packed))


def encode_value(value: object) -> msgspec.Raw:
    """A domain value as msgpack; the same value always gives the same bytes."""
    return msgspec.Raw(_ENCODER.encode(value))


def decode_to_worker(body: bytes) -> ToWorker:
    """The gateway's message in a frame."""
    try:
        return _TO_WORKER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameError("not a message of the gateway") from error


def decode_from_worker(body: bytes) -> FromWorker:
    """The worker's message in a frame."""
    try:
        return _FROM_WORKER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameError("not a message of a worker") from error


def decode_request(message: Submit) -> domain.Request:
    """The request inside a `Submit`."""
    try:
        request: domain.Request = _REQUEST_DECODERS[message.kind].decode(message.request)
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError) as error:
        raise FrameError("not a request") from error
    return request


def decode_output(kind: int, value: msgspec.Raw) -> Output:
    """One entry of a `Batch`: an event, or the error that ends the request."""
    try:
        if kind < 0:
            raise IndexError(kind)
        decoded = _EVENT_DECODERS[kind].decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError) as error:
        raise FrameError("not an event") from error
    if kind == FAULT_KIND:
        return error_of(decoded)
    output: Output = decoded
    return output


def fault_of(error: errors.QuintetError) -> Fault:
    """A domain error as a value."""
    name = type(error).__name__
    return Fault(name, error.message, error.code, error.param, error.retry_after, dict(error.facts))


def error_of(fault: Fault) -> errors.QuintetError:
    """The domain error that a value stands for; an unknown class becomes `EngineFailed`."""
    kind = _ERRORS.get(fault.name, errors.EngineFailed)
    return kind(
        fault.message,
        code=fault.code,
        param=fault.param,
        retry_after=fault.retry_after,
        facts=fault.facts,
    )


class FrameBuffer:
    """Cuts a stream of bytes into frame bodies."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take more bytes; yields the bodies that are now complete."""
        pending = self._pending
        pending += data
        start = 0
        try:
            while len(pending) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(pending, start)
                if length > MAX_FRAME_BYTES:
                    raise FrameError("a frame is longer than allowed")
                end = start + _LENGTH.size + length
                if len(pending) < end:
                    break
                body = bytes(memoryview(pending)[start + _LENGTH.size : end])
                start = end
                yield body
        finally:
            del pending[:start]
