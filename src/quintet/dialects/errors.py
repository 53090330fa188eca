"""Domain errors → wire bodies: one shape that the clients of all dialects understand, in two flavours.

The flavours differ in `error.code`: OpenAI's clients expect a word, the /generate family expects the status as
a number. `error_type` (TGI's clients) and `detail` (FastAPI-style clients) are present in both.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from quintet.core import errors
from quintet.core.errors import QuintetError
from quintet.dialects.base import Reply

Style = Literal["openai", "native"]

MAX_RETRY_SECONDS = 60
"""Clients stop obeying Retry-After above this, so a longer wait would make them retry sooner."""
MAX_BAN_SECONDS = 300

_DEFAULT_WAIT_SECONDS: tuple[tuple[type[QuintetError], int], ...] = (
    (errors.StoreUnavailable, 2),
    (errors.NotReady, 1),
    (errors.RateLimited, 1),
    (errors.Overloaded, 1),
    (errors.RequestTimeout, 1),
    (errors.WorkerLost, 1),
    (errors.DeadlineExceeded, 1),
)


def error_reply(error: QuintetError, style: Style) -> Reply:
    """The answer to a request that failed before its first byte."""
    body = {
        "error": error_object(error, style),
        "error_type": error.tgi_type,
        "detail": error.message,
    }
    return Reply(body=msgspec.json.encode(body), status=error.status, headers=error_headers(error))


def rename_fields(error: QuintetError, names: Mapping[str, str]) -> QuintetError:
    """The error with a dialect's own names for fields, where they differ from the house's."""
    if error.code == "unknown_parameter":
        return error  # it names what the caller sent
    renamed = copy.copy(error)
    renamed.param = names.get(error.param or "", error.param)
    for ours, theirs in names.items():
        renamed.message = renamed.message.replace(f"`{ours}`", f"`{theirs}`")
    return renamed


def error_object(error: QuintetError, style: Style) -> dict[str, Any]:
    """What stands under the key `error`."""
    code: str | int = error.code if style == "openai" else error.status
    return {"message": error.message, "type": error.kind, "param": error.param, "code": code}


def error_headers(error: QuintetError) -> tuple[tuple[str, str], ...]:
    """Headers that go with an error of any dialect."""
    headers = [
        ("cache-control", "no-store"),
        ("x-should-retry", "true" if error.should_retry else "false"),
    ]
    wait = wait_seconds(error)
    if wait is not None:
        headers.append(("retry-after", str(wait)))
    if error.status == 401:
        headers.append(("www-authenticate", "Bearer"))
    return tuple(headers)


def wait_seconds(error: QuintetError) -> int | None:
    """Retry-After in whole seconds, or None where waiting doesn't help."""
    wait = error.retry_after
    if wait is None or not math.isfinite(wait):
        wait = next((seconds for kind, seconds in _DEFAULT_WAIT_SECONDS if isinstance(error, kind)), None)
    if wait is None:
        return None
    whole = max(1, math.ceil(wait))
    if isinstance(error, errors.Banned):
        return min(whole, MAX_BAN_SECONDS)
    if error.should_retry:
        return min(whole, MAX_RETRY_SECONDS)
    return whole
