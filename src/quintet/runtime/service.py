"""The whole life of a domain request above the workers: resolve, check, admit, run within deadlines, meter.

This is what the server calls. Everything below a yield here is one async generator inside another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from quintet.core.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    NotReady,
    Unsupported,
)
from quintet.core.events import Event, Finished
from quintet.core.identity import Principal
from quintet.core.models import Model, ModelState, ModelStatus, Task
from quintet.core.ports import Backend
from quintet.core.requests import TASKS, AnimationRequest, ImageRequest, Request, TextRequest
from quintet.runtime.admission import Admission
from quintet.runtime.allowance import check_pixel_steps
from quintet.runtime.catalog import Catalog
from quintet.runtime.defaults import with_defaults
from quintet.runtime.merge import merge
from quintet.runtime.meter import Meter
from quintet.runtime.pictures import PictureRoom


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a request may take, in seconds; loading the model is counted by itself."""

    load_seconds: float = 300.0
    first_event_seconds: float = 30.0
    idle_seconds: float = 30.0
    """Between two events."""
    text_seconds: float = 600.0
    media_seconds: float = 300.0
    speech_seconds: float = 1800.0

    def total_seconds(self, task: Task) -> float:
        """From the worker being ready to the end."""
        if task in ("text", "vision"):
            return self.text_seconds
        return self.speech_seconds if task == "speech" else self.media_seconds


class Service:
    """Runs requests for principals. One per gateway, on one event loop."""

    def __init__(
        self,
        catalog: Catalog,
        backend: Backend,
        admission: Admission,
        meter: Meter,
        pictures: PictureRoom,
        deadlines: Deadlines | None = None,
        *,
        pixel_steps: Mapping[str, int] | None = None,
    ) -> None:
        self.catalog = catalog
        self.backend = backend
        self.admission = admission
        self.is_downloading: Callable[[str], bool] = lambda name: False
        """Whether the model of this name is being pulled; the server sets it."""
        self.can_run: Callable[[Model], bool] = _anything
        """Whether there is an engine for a model that could be pulled; the server sets it."""
        self._meter = meter
        self._pictures = pictures
        self._deadlines = deadlines or Deadlines()
        self.pixel_steps = pixel_steps or {}
        """Most that one request for pictures may take, by tier."""

    def resolve(self, name: str) -> Model:
        """The model with this name or alias; raises ModelNotFound."""
        return self.catalog.find(name)

    def models(self) -> list[ModelStatus]:
        """Every model and how it is doing."""
        return [self.status(model) for model in self.catalog.models]

    def status(self, model: Model) -> ModelStatus:
        """How one model is doing, with the requests admitted for it."""
        status = replace(self.backend.status(model), in_flight=self.admission.in_flight(model))
        if status.state is ModelState.ABSENT and self.is_downloading(model.name):
            return replace(status, state=ModelState.DOWNLOADING)
        return status

    async def ensure_ready(self, model: Model) -> None:
        """Load the model if it isn't; raises ModelNotFound if it is not installed, NotReady or LoadFailed."""
        check_installed(model, self.can_run)
        if self.backend.status(model).state is ModelState.READY:
            return
        try:
            async with asyncio.timeout(self._deadlines.load_seconds):
                await self.backend.ensure_ready(model)
        except TimeoutError:
            raise NotReady("The model is still loading; try again later.", retry_after=60) from None

    async def run(
        self, principal: Principal, request: Request, *, request_id: str, dialect: str
    ) -> AsyncGenerator[Event]:
        """Events of one request. Raises QuintetError; closing the generator cancels the work."""
        kind = type(request).__name__
        with self._meter.open(principal, request_id=request_id, dialect=dialect, kind=kind) as entry:
            model, request = self._resolve_adapter(request)
            entry.model = model.name
            check_capability(self.catalog, model, request, self.can_run)
            check_installed(model, self.can_run)
            request = replace(with_defaults(model, request), model=model.name, owner=principal.owner)
            with self.admission.admit(model) as ticket:
                # Before the model is loaded, which may take minutes: pictures that wait for it are counted, too.
                async with self._pictures.resolved(model, request) as request:
                    check_pixel_steps(self.pixel_steps, principal, request)
                    await self.ensure_ready(model)
                    async with aclosing(self._within_deadlines(model, request)) as events:
                        entry.started()
                        async for event in events:
                            entry.saw(event)
                            if type(event) is Finished:
                                # Before the last yield: whoever is answered may come again at once.
                                ticket.release(completed=True)
                            yield event

    async def run_all(
        self, principal: Principal, requests: list[Request], *, request_id: str, dialect: str
    ) -> AsyncGenerator[tuple[int, Event]]:
        """Events of all requests of one call as (index, event), as they come. The first error ends all.

        `requests` is emptied, so that pictures as they came don't outlive their being made anew.
        """
        if len(requests) == 1:
            only = self.run(principal, requests.pop(), request_id=request_id, dialect=dialect)
            async with aclosing(only) as events:
                async for event in events:
                    yield 0, event
            return
        runs = [
            self.run(principal, request, request_id=f"{request_id}.{index}", dialect=dialect)
            for index, request in enumerate(requests)
        ]
        requests.clear()
        async with aclosing(merge(runs)) as merged:
            async for pair in merged:
                yield pair

    def _resolve_adapter(self, request: Request) -> tuple[Model, Request]:
        """The model of a request; `base:adapter` is the model `base` with one of its adapters."""
        base, colon, adapter = request.model.rpartition(":")
        try:
            return self.resolve(request.model), request
        except ModelNotFound:
            # A name may hold a colon of its own, as in qwen3:0.6b, so the whole name goes first.
            if not (
                colon and isinstance(request, TextRequest) and base in self.catalog and not request.adapter
            ):
                raise
            return self.resolve(base), replace(request, adapter=adapter)

    async def close(self, drain_seconds: float) -> None:
        """Take no new work, let work in flight finish for at most so long, stop all workers."""
        self.admission.drain()
        await self.backend.close(drain_seconds)
        await self._pictures.close()

    async def _within_deadlines(self, model: Model, request: Request) -> AsyncGenerator[Event]:
        """The backend's events, or DeadlineExceeded."""
        limits = self._deadlines
        clock = asyncio.get_running_loop().time
        end = clock() + limits.total_seconds(model.task)
        begun = False
        async with aclosing(self.backend.run(model, request)) as events:
            while True:
                patience = limits.idle_seconds if begun else limits.first_event_seconds
                try:
                    # Never held across the yield: it would cancel whatever the caller does meanwhile.
                    async with asyncio.timeout_at(min(end, clock() + patience)):
                        event = await anext(events, None)
                except TimeoutError:
                    raise _late(begun=begun) from None
                if event is None:
                    raise EngineFailed("The engine ended without finishing its answer; try again.")
                yield event
                if type(event) is Finished:
                    return
                begun = True


def _anything(model: Model) -> bool:
    return True


def check_installed(model: Model, can_run: Callable[[Model], bool] = _anything) -> None:
    """Raise ModelNotFound, saying how to get it if it can be run, if the model's weights were never pulled."""
    if model.is_installed:
        return
    if can_run(model):
        message = f"The model {model.name} is known but not installed. Run: quintet pull {model.name}"
    else:
        message = (
            f"The model {model.name} is known, but this version of Quintet can't run it. "
            "Choose another; GET /v1/models lists those that are installed."
        )
    raise ModelNotFound(message, param="model", code="model_not_installed")


def check_capability(
    catalog: Catalog, model: Model, request: Request, can_run: Callable[[Model], bool] = _anything
) -> None:
    """Raise Unsupported, naming a model that can, if this one can't do what is asked."""
    tasks = TASKS[type(request)]
    if model.task not in tasks:
        raise Unsupported(
            f"This model is for {model.task}, not for {tasks[0]}; {advise(catalog, tasks, can_run)}",
            param="model",
        )
    if isinstance(request, TextRequest) and not model.can_see and request.pictures:
        raise Unsupported(
            f"This model reads text only; leave the pictures out, or {advise(catalog, ('vision',), can_run)}",
            param="model",
        )
    if isinstance(request, ImageRequest | AnimationRequest) and any(
        lora.name not in model.loras for lora in request.loras
    ):
        has = f"it has: {', '.join(sorted(model.loras))}" if model.loras else "it has none"
        raise InvalidRequest(
            f"`loras` names one that {model.name} does not have; {has}.", param="loras", code="lora_not_found"
        )


def advise(catalog: Catalog, tasks: Sequence[Task], can_run: Callable[[Model], bool] = _anything) -> str:
    """Which model to use for one of these tasks, or how to get one."""
    known = catalog.for_tasks(tasks)
    if not known:
        return f"no model here is for {tasks[0]}, add one to the catalog."
    able = [model for model in known if model.is_installed or can_run(model)]
    if not able:
        return f"this version of Quintet runs none for {tasks[0]}."
    if not able[0].is_installed:
        return f"none for {tasks[0]} is installed, get one with: quintet pull {able[0].name}"
    return f"use {able[0].name} instead."


def _late(*, begun: bool) -> DeadlineExceeded:
    what = "go on" if begun else "begin"
    return DeadlineExceeded(f"The answer did not {what} in time; try again, or ask for less.", retry_after=1)
