"""What the dialect tests share: finding an operation by a concrete path, asking it, reading streams back."""

from __future__ import annotations

import json
import re
from typing import Any

from quintet.core.events import Event
from quintet.dialects import imagine, krutrim, manager, openai, tgi, visioncraft
from quintet.dialects.base import Call, Incoming, Operation

OPERATIONS: tuple[Operation, ...] = (
    openai.OPERATIONS
    + tgi.OPERATIONS
    + krutrim.OPERATIONS
    + manager.OPERATIONS
    + visioncraft.OPERATIONS
    + imagine.OPERATIONS
)
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def find(path: str, body: Any = None) -> tuple[Operation, dict[str, str]]:
    """The operation that serves `path` and is meant by `body`, and the parameters in the path."""
    found: list[tuple[Operation, dict[str, str]]] = []
    for operation in sorted(OPERATIONS, key=lambda operation: operation.path.count("{")):
        pattern = PLACEHOLDER.sub(r"(?P<\1>[^/]+)", operation.path)
        match = re.fullmatch(pattern, path)
        if match and (not found or found[0][0].path == operation.path):
            found.append((operation, match.groupdict()))
    for operation, parameters in found:
        if operation.claims is not None and operation.claims(body):
            return operation, parameters
    for operation, parameters in found:
        if operation.claims is None:
            return operation, parameters
    raise LookupError(path)


def ask(path: str, body: Any, *, default_model: str = "starter", query: dict[str, str] | None = None) -> Call:
    """Parse `body` as if it had been posted to `path`."""
    operation, parameters = find(path, body)
    return operation.parse(
        Incoming(
            body=body,
            path=parameters,
            query=query or {},
            default_model=default_model,
            default_image_model="painter",
            default_animation_model="animator",
            default_upscaler="enlarger",
            publish=lambda media: f"http://host/files/{len(media.data)}",
            request_id="req1",
            created=1_700_000_000,
        )
    )


def stream(call: Call, events: list[tuple[int, Event]]) -> bytes:
    """All bytes of a stream that went well."""
    return b"".join(call.renderer.event(index, event) for index, event in events) + call.renderer.end()


def read_stream(raw: bytes) -> list[Any]:
    """The JSON values of a stream's events; "[DONE]" as it is. Checks the framing."""
    assert raw.endswith(b"\n\n")
    values: list[Any] = []
    for block in raw.decode().removesuffix("\n\n").split("\n\n"):
        # str.splitlines knows more line ends than the protocol; clients that use it must survive.
        lines = block.splitlines()
        assert len(lines) == 1, block
        assert lines[0].startswith("data: ")
        text = lines[0].removeprefix("data: ")
        values.append("[DONE]" if text == "[DONE]" else json.loads(text))
    return values
