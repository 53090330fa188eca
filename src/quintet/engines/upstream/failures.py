"""What a foreign server's refusals and broken connections mean in the words of the house. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from quintet.core.errors import (
    ContextTooLong,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    LoadFailed,
    NotReady,
    Overloaded,
    QuintetError,
    WorkerLost,
)

MAX_BODY_BYTES = 64 * 1024
"""More of a refusal is not read."""
_MAX_MESSAGE = 300
_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}")
_CONTEXT = re.compile(
    r"context (length|size|window)|maximum (context|model) len|max_model_len", re.IGNORECASE
)
_HIDDEN = re.compile(
    r"[a-z][a-z0-9+.-]*://\S+|(?<![\w/])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:'\"]+[/\\])+[^\s:'\"]*", re.IGNORECASE
)
_SHORT_RETRY_SECONDS, _USUAL_RETRY_SECONDS, _LONG_RETRY_SECONDS = 1.0, 5.0, 60.0
_INVALID = (400, 413, 422)


def error_of_status(status: int, headers: Mapping[str, str], body: bytes) -> QuintetError:
    """The error that a refusal stands for."""
    wait = _retry_after(headers.get("retry-after", ""))
    if status in _INVALID:
        return _invalid(_error_object(body))
    if status in (401, 403):
        return EngineFailed(
            "The server behind this model refused our key; this server's operator must correct it.",
            code="upstream_refused_key",
        )
    if status == 404:
        return LoadFailed(
            "The server behind this model does not know it, or has no such API; this server's operator must "
            "correct the catalog.",
            code="upstream_model_not_found",
            retry_after=_LONG_RETRY_SECONDS,
        )
    if status == 429:
        return Overloaded(
            "The server behind this model has as much to do as it takes; try again after the time in Retry-After.",
            retry_after=wait or _SHORT_RETRY_SECONDS,
        )
    if status == 503:
        return NotReady(
            "The server behind this model is not ready; try again later.",
            code="upstream_not_ready",
            retry_after=wait or _USUAL_RETRY_SECONDS,
        )
    if status in (408, 504):
        return late()
    return EngineFailed(
        f"The server behind this model answered with status {status}; try again, and tell its operator if it stays.",
        code="upstream_failed",
    )


def error_in_stream(error: object) -> QuintetError:
    """The error that a stream reports after it began."""
    fields = error if isinstance(error, dict) else {"message": error}
    code = fields.get("code")
    if code in _INVALID or fields.get("type") in ("invalid_request_error", "exceed_context_size_error"):
        return _invalid(fields)
    if code in (429, 503):
        return error_of_status(code, {}, b"")
    return EngineFailed("The server behind this model failed before its answer was complete; try again.")


def error_of_transport(error: httpx.HTTPError, *, begun: bool) -> QuintetError:
    """The error for a connection that could not be made, was too slow, or broke."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return unreachable()
    if isinstance(error, httpx.TimeoutException):
        return late()
    return broken() if begun or not isinstance(error, httpx.UnsupportedProtocol) else unreachable()


def unreachable() -> NotReady:
    """Nobody is there."""
    return NotReady(
        "The server behind this model can't be reached; try again later.",
        code="upstream_unreachable",
        retry_after=_USUAL_RETRY_SECONDS,
    )


def late() -> DeadlineExceeded:
    """It took too long."""
    return DeadlineExceeded("The server behind this model did not answer in time; try again.", retry_after=1)


def broken() -> WorkerLost:
    """The answer ended before its end."""
    return WorkerLost(
        "The connection to the server behind this model broke before the answer was complete; try again.",
        retry_after=1,
    )


def _invalid(fields: Mapping[str, Any]) -> InvalidRequest:
    said = fields.get("message")
    text = sanitised(said) if isinstance(said, str) else ""
    param = fields.get("param")
    param = param if isinstance(param, str) and _PARAM.fullmatch(param) else None
    message = f"The server behind this model refused the request: {text or 'it did not say why.'}"
    kinds = (fields.get("type"), fields.get("code"))
    if "exceed_context_size_error" in kinds or "context_length_exceeded" in kinds or _CONTEXT.search(text):
        return ContextTooLong(message, param=param)
    return InvalidRequest(message, param=param)


def sanitised(text: str) -> str:
    """One short line of somebody else's words, without addresses, paths and control characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 8 * _MAX_MESSAGE])
    line = " ".join(_HIDDEN.sub("…", line).split())
    return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + "…"


def _error_object(body: bytes) -> dict[str, Any]:
    """The error in a refusal's body, as OpenAI, FastAPI and simpler servers write it; empty if there is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    error = value.get("error", value)
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return {}
    if "message" not in error and isinstance(error.get("detail"), str):
        return {"message": error["detail"]}
    return error


def _retry_after(text: str) -> float:
    """Whole seconds, at most a minute, as clients give up on more; 0 if it doesn't say."""
    return (
        min(float(text), _LONG_RETRY_SECONDS) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
    )
