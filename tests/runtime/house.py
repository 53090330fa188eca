"""A small house for runtime tests: a service on real echo workers, and ways to watch it."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from quintet.core.content import Message
from quintet.core.errors import QuintetError
from quintet.core.events import Event, Outcome
from quintet.core.identity import Principal
from quintet.core.models import Model
from quintet.core.requests import Limits, TextRequest
from quintet.media.decoder import Decoder
from quintet.media.fetch import Fetcher
from quintet.runtime.admission import Admission
from quintet.runtime.catalog import make_catalog
from quintet.runtime.local import LocalBackend
from quintet.runtime.meter import Meter, Record
from quintet.runtime.pictures import PictureRoom
from quintet.runtime.service import Deadlines, Service
from quintet.runtime.supervisor import Patience

ALICE = Principal(owner="alice")


def echo(
    name="echo", *, task="text", max_in_flight=100, engine="echo", context_length=8192, **options
) -> Model:
    """An echo model with fault switches."""
    return Model(
        name=name,
        task=task,
        engine=engine,
        context_length=context_length,
        max_in_flight=max_in_flight,
        options={"faults": True, **options},
    )


def ask(words, *, model="echo", most=None, endless=False) -> TextRequest:
    """A text request."""
    return TextRequest(
        model=model,
        messages=(Message("user", (words,)),),
        limits=Limits(max_new_tokens=most, ignore_eos=endless),
    )


class House:
    """A service and what it recorded."""

    def __init__(
        self, models, *, patience: Patience | None = None, deadlines: Deadlines | None = None
    ) -> None:
        self.records: list[Record] = []
        self.backend = LocalBackend(patience=patience)
        self.admission = Admission()
        self.models = models
        self.service = Service(
            make_catalog(models),
            self.backend,
            self.admission,
            Meter(self.records.append),
            PictureRoom(Decoder(), Fetcher()),
            deadlines,
        )
        self._asked = 0

    def stream(self, *requests) -> AsyncGenerator[tuple[int, Event]]:
        """Start asking; the caller iterates and closes."""
        self._asked += 1
        return self.service.run_all(ALICE, list(requests), request_id=f"r{self._asked}", dialect="test")

    async def answer(self, request) -> Outcome:
        """A whole answer."""
        outcome = Outcome()
        async with aclosing(self.stream(request)) as events:
            async for _, event in events:
                outcome.add(event)
        return outcome

    async def ending(self, request, seen: list[Event] | None = None) -> QuintetError | Outcome:
        """A whole answer, or the error instead of it; `seen` gets the events as they come."""
        outcome = Outcome()
        try:
            async with aclosing(self.stream(request)) as events:
                async for _, event in events:
                    outcome.add(event)
                    if seen is not None:
                        seen.append(event)
        except QuintetError as error:
            return error
        return outcome

    @property
    def pid(self) -> int:
        """Process id of the first model's worker."""
        pid = self.backend.worker_pid(self.models[0])
        assert pid
        return pid

    @property
    def in_flight(self) -> int:
        """Requests admitted for the first model, and those open in its worker, must always agree at rest."""
        return self.service.status(self.models[0]).in_flight + self.backend.status(self.models[0]).in_flight


@asynccontextmanager
async def open_house(*models, drain_seconds=0.0, **settings):
    """A house; at the end every worker is gone, every request has one record and no ticket is out."""
    house = House(models, **settings)
    try:
        yield house
    finally:
        pids = [pid for model in models if (pid := house.backend.worker_pid(model))]
        await house.service.close(drain_seconds)
    assert not [pid for pid in pids if is_alive(pid)]
    ids = [record.request_id for record in house.records]
    assert len(ids) == len(set(ids))
    assert house.in_flight == 0


async def until(condition: Callable[[], bool], seconds: float, what: str = "") -> float:
    """Wait for something to become true; fails after so long. Returns the seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.005)
    return time.monotonic() - started


async def within(seconds: float, awaitable: Awaitable):
    """The result, which must come in time."""
    async with asyncio.timeout(seconds):
        return await awaitable


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    return not is_alive(pid)


def signal_worker(pid: int, number: int) -> None:
    """Send a signal."""
    os.kill(pid, number)
