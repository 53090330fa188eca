"""One tiny Llama for all tests of the text engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from quintet.core.events import Event, Finished, Outcome
from quintet.core.models import Model
from quintet.core.requests import Request
from quintet.engines.text.engine import TextEngine, open_engine
from tests.conftest import TinyModel


@dataclass
class Driver:
    """Runs an engine by hand, as a worker would."""

    engine: TextEngine
    events: dict[int, list[Event]] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    """Requests in the order in which they finished."""
    next_id: int = 0

    def submit(self, request: Request) -> int:
        self.next_id += 1
        self.engine.submit(self.next_id, self.engine.prepare(request))
        self.events[self.next_id] = []
        return self.next_id

    def step(self) -> None:
        for id, output in self.engine.step():
            assert not isinstance(output, Exception), output
            self.events[id].append(output)
            if isinstance(output, Finished):
                self.ended.append(id)

    def finish(self) -> None:
        while self.engine.busy():
            self.step()

    def run(self, *requests: Request) -> list[Outcome]:
        ids = [self.submit(request) for request in requests]
        self.finish()
        return [self.outcome(id) for id in ids]

    def outcome(self, id: int) -> Outcome:
        outcome = Outcome()
        for event in self.events[id]:
            outcome.add(event)
        return outcome


Open = Callable[..., Driver]


@pytest.fixture
def drive(tiny: TinyModel) -> Iterator[Open]:
    """Open engines over the tiny model in float32; options as in the catalog."""
    opened: list[TextEngine] = []

    def make(**options: Any) -> Driver:
        options = {"precision": "f32", "kv_precision": "f32", "kv_cache_mb": 8, **options}
        model = Model(
            name="tiny",
            task="text",
            engine="text",
            path=str(tiny.directory),
            context_length=512,
            options=options,
        )
        engine = open_engine(model)
        opened.append(engine)
        return Driver(engine)

    yield make
    for engine in opened:
        engine.close()


@pytest.fixture(scope="module")
def shared(tiny: TinyModel) -> Iterator[Driver]:
    """One engine for all tests of a file that leave nothing behind."""
    options = {"precision": "f32", "kv_precision": "f32", "kv_cache_mb": 8}
    model = Model(
        name="tiny", task="text", engine="text", path=str(tiny.directory), context_length=512, options=options
    )
    engine = open_engine(model)
    yield Driver(engine)
    assert engine.scheduler.pool.available == engine.scheduler.pool.total
    assert not engine.busy()
    engine.close()
