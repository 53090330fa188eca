"""Ways to fail on purpose, for tests: words of the prompt such as `!crash@5`. Off unless options say `faults = true`.

`kind@k` strikes before unit k (token, step, segment) of the answer; k defaults to 0. `hang` stops the worker,
`stall` only the one answer, `stuck` its preparation; `error` breaks the engine, `refuse` fails the one request.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from quintet.core.errors import EngineFailed
from quintet.core.events import Event
from quintet.core.requests import (
    AnimationRequest,
    EmbeddingRequest,
    ImageRequest,
    Request,
    TextRequest,
    TranscriptionRequest,
)

_SWITCH = re.compile(r"!(crash|oom|hang|stuck|stall|slow|frame|leak|error|refuse)(?:@(\d+))?(?!\S)")
_LEAK_BYTES = 1024 * 1024
_SLOW_SECONDS = 0.2

_leaked: list[bytes] = []


@dataclass(frozen=True, slots=True)
class Switch:
    """One fault: what happens, and before which unit of the answer."""

    kind: str
    unit: int


def switches(request: Request) -> list[Switch]:
    """The faults a request asks for; does not return if that is to be stuck."""
    found = [Switch(match[1], int(match[2] or 0)) for match in _SWITCH.finditer(_words_of(request))]
    if any(switch.kind == "stuck" for switch in found):
        time.sleep(3600)
    return found


def with_faults(
    job: Iterator[list[Event]], found: list[Switch], options: Mapping[str, object]
) -> Iterator[list[Event]]:
    """The same job, failing where the switches say so. `stall` yields empty steps without end."""
    unit = 0
    while True:
        for switch in found:
            if switch.unit == unit and switch.kind == "stall":
                while True:
                    yield []
            if switch.unit == unit or (unit > switch.unit and switch.kind in ("leak", "slow")):
                _strike(switch.kind, options)
        try:
            events = next(job)
        except StopIteration:
            return
        yield events
        unit += 1


def load_fault(options: Mapping[str, object]) -> None:
    """Fail at load time if the option `load_fault` says so."""
    match options.get("load_fault"):
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "error":
            raise RuntimeError("echo was told not to load")
        case "hang":
            time.sleep(3600)


def _strike(kind: str, options: Mapping[str, object]) -> None:
    match kind:
        case "crash":
            os._exit(139)
        case "oom":  # what the kernel does when memory runs out
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(3600)
        case "slow":
            time.sleep(_SLOW_SECONDS)
        case "frame":
            descriptor = options.get("frame_fd")
            if isinstance(descriptor, int):
                os.write(descriptor, b"\xff\xff\xff\xffgarbage")
        case "leak":
            _leaked.append(b"x" * _LEAK_BYTES)
        case "error":
            raise RuntimeError("echo was told to fail")
        case "refuse":
            raise EngineFailed("Echo was told to fail on this request.")


def _words_of(request: Request) -> str:
    match request:
        case TextRequest():
            parts = [part for message in request.messages for part in message.parts] + list(request.prompt)
            return " ".join(part for part in parts if isinstance(part, str))
        case ImageRequest():
            return " ".join(request.prompts)
        case EmbeddingRequest():
            return " ".join(request.texts)
        case AnimationRequest() | TranscriptionRequest():
            return request.prompt
        case _:
            return ""
