"""What one endpoint holds while it reads and parses."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from quintet.config import Echo, Settings
from quintet.core.errors import InvalidRequest, QuintetError
from quintet.dialects.base import Call, Incoming, Operation, Reply
from quintet.log import LineWriter, Logger
from quintet.server.app import build
from quintet.server.asgi import Message
from quintet.server.endpoint import ALONE_BYTES, House, OperationEndpoint
from quintet.server.exchange import begin
from quintet.store.keys import open_key_store


@pytest.fixture
def house(tmp_path: Path) -> House:
    settings = Settings(home=tmp_path, echo=Echo(enabled=True), default_model="echo")
    store = open_key_store(settings.database_path, settings.pepper_path)
    with Path("/dev/null").open("w") as nowhere:
        gateway = build(settings, store, Logger(LineWriter(nowhere.fileno())))
    endpoints = (getattr(route, "app", None) for route in gateway.app.router.routes)
    (found, *_) = (endpoint for endpoint in endpoints if isinstance(endpoint, OperationEndpoint))
    store.database.close()
    return found._house


class Parser:
    """A dialect that looks at the house while it parses, and refuses everything."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.seen: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def parse(self, incoming: Incoming) -> Call:
        alone = self._lock.acquire(blocking=False)
        try:
            self.seen.append((self.house.budget.held_bytes, int(alone)))
            raise InvalidRequest("no")
        finally:
            if alone:
                self._lock.release()

    def refuse(self, error: QuintetError) -> Reply:
        return Reply(body=b"", status=error.status)


def test_bodies_count_until_they_are_parsed_and_large_ones_are_parsed_alone(house: House) -> None:
    body = json.dumps({"x": "y" * ALONE_BYTES}).encode()
    parser = Parser(house)
    operation = Operation(path="/x", parse=parser.parse, refuse=parser.refuse, max_body_bytes=2 * len(body))
    endpoint = OperationEndpoint(operation, "test", house)

    async def ask() -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            assert message.get("status", 400) == 400

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/x",
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "headers": [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")],
        }
        house.gate.identify(begin(scope))
        await endpoint(scope, receive, send)

    async def go() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(ask())

    asyncio.run(go())
    assert len(parser.seen) == 4
    assert all(alone and held >= len(body) for held, alone in parser.seen)
    assert house.budget.held_bytes == 0
