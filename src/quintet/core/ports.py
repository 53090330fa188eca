"""The doors between rooms: what the runtime needs from engines, and what the server needs from the runtime."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from quintet.core.errors import QuintetError
from quintet.core.events import Event
from quintet.core.models import Model, ModelStatus
from quintet.core.requests import Request

Output = Event | QuintetError
"""What a step yields for one request: an event, or the error that ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What a loaded engine says of itself."""

    context_length: int = 0
    vocabulary_size: int = 0
    device: str = "CPU"
    version: str = ""


class Engine(Protocol):
    """One loaded model inside its worker process. Synchronous, driven by one thread that calls `step`.

    `prepare` runs on another thread, so that slow prompts don't stop the steps of others; everything else
    is called by the stepping thread alone. After `Finished` or an error the engine has forgotten the id.
    """

    def info(self) -> EngineInfo:
        """Facts fixed at load time."""
        ...

    def prepare(self, request: Request) -> object:
        """Do what needs no engine state (template, tokenisation, checks); raises InvalidRequest. Thread-safe."""
        ...

    def submit(self, request_id: int, prepared: object) -> None:
        """Queue prepared work under an id; raises a QuintetError to refuse it."""
        ...

    def cancel(self, request_id: int) -> None:
        """Forget a request and free what it holds before the next step; unknown ids are ignored."""
        ...

    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        ...

    def step(self) -> Sequence[tuple[int, Output]]:
        """Do one unit of work for everybody whose turn it is, and return what came of it, in order per request."""
        ...

    def close(self) -> None:
        """Free everything; safe to call twice."""
        ...


@runtime_checkable
class Measured(Protocol):
    """An engine that has metrics of its own, as those of a foreign server do."""

    def metrics(self) -> str:
        """Prometheus text as last seen, every sample labelled with the model's name; called by the stepping thread."""
        ...


class Backend(Protocol):
    """The one port to workers, on this machine or on many."""

    def run(self, model: Model, request: Request) -> AsyncGenerator[Event]:
        """Events of one request; closing the generator cancels the work. Raises QuintetError."""
        ...

    async def ensure_ready(self, model: Model) -> None:
        """Load the model if it isn't; raises NotReady or LoadFailed."""
        ...

    def status(self, model: Model) -> ModelStatus:
        """How the model is doing now."""
        ...

    def forget(self, model: Model) -> None:
        """Let go of a model whose files are gone or new: work under way is finished, the next loads it anew."""
        ...

    def metrics(self) -> Sequence[str]:
        """Prometheus texts of the engines that have metrics of their own."""
        ...

    async def close(self, drain_seconds: float) -> None:
        """Stop all workers, letting work in flight finish for at most so long."""
        ...
