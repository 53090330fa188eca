"""The engine itself: turns requests into jobs and moves all of them on by one unit per step.

Options of a model: `tokens_per_second` paces every answer (0 = as fast as possible), `first_token_seconds` delays
its first unit, `max_sequences` bounds how many run at once, `cycle` repeats the words until the length limit,
`numbered` says `mark:0 mark:1 …` with the prompt's first word as mark, `faults` enables faults.py.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from quintet.core.errors import QuintetError, Unsupported
from quintet.core.events import Event, Finished
from quintet.core.models import Model
from quintet.core.ports import EngineInfo, Output
from quintet.core.requests import (
    TASKS,
    AnimationRequest,
    EmbeddingRequest,
    ImageRequest,
    Request,
    TextRequest,
    TokenizeRequest,
    TranscriptionRequest,
    UpscaleRequest,
)
from quintet.engines.echo import faults
from quintet.engines.echo.pictures import animation_job, image_job, upscale_job
from quintet.engines.echo.speech import speech_job
from quintet.engines.echo.text import text_job, tokenize_job
from quintet.engines.echo.vectors import embedding_job
from quintet.engines.echo.words import VOCABULARY_SIZE

_NAP_SECONDS = 0.0005
"""How long a paced step sleeps at most when nothing is due, so that new work and cancels come in quickly."""


def open_engine(model: Model) -> EchoEngine:
    """The engine for one catalog entry."""
    if model.options.get("faults") is True:
        faults.load_fault(model.options)
    return EchoEngine(model)


@dataclass(slots=True)
class _Running:
    """A job that has its turn."""

    job: Iterator[list[Event]]
    due: float
    """When its next unit may come out (monotonic seconds)."""


@dataclass(slots=True)
class EchoEngine:
    """Implements core.ports.Engine."""

    model: Model
    _waiting: deque[tuple[int, Iterator[list[Event]]]] = field(default_factory=deque)
    _running: dict[int, _Running] = field(default_factory=dict)

    def info(self) -> EngineInfo:
        """Facts fixed at load time."""
        return EngineInfo(
            context_length=self.model.context_length, vocabulary_size=VOCABULARY_SIZE, version="1"
        )

    def prepare(self, request: Request) -> Iterator[list[Event]]:
        """The job of a request, checked."""
        if self.model.task not in TASKS[type(request)]:
            raise Unsupported(
                f"This model is for {self.model.task}; choose one for what you ask.", param="model"
            )
        job = self._job(request)
        if self.model.options.get("faults") is True and (found := faults.switches(request)):
            return faults.with_faults(job, found, self.model.options)
        return job

    def submit(self, request_id: int, prepared: object) -> None:
        """Queue a job."""
        self._waiting.append((request_id, cast("Iterator[list[Event]]", prepared)))

    def cancel(self, request_id: int) -> None:
        """Forget a job."""
        self._running.pop(request_id, None)
        self._waiting = deque(entry for entry in self._waiting if entry[0] != request_id)

    def busy(self) -> bool:
        """Whether any job is left."""
        return bool(self._running or self._waiting)

    def step(self) -> Sequence[tuple[int, Output]]:
        """Move on every job whose next unit is due; naps shortly if none is."""
        now = time.monotonic()
        self._admit(now)
        due = [number for number, running in self._running.items() if running.due <= now]
        if not due:
            nearest = min((running.due for running in self._running.values()), default=now)
            time.sleep(min(_NAP_SECONDS, max(0.0, nearest - now)))
            return []
        outputs: list[tuple[int, Output]] = []
        for number in due:
            outputs.extend((number, output) for output in self._advance(number, now))
        return outputs

    def close(self) -> None:
        """Forget everything."""
        self._running.clear()
        self._waiting.clear()

    def _job(self, request: Request) -> Iterator[list[Event]]:
        match request:
            case TextRequest():
                return text_job(request, self.model)
            case TokenizeRequest():
                return tokenize_job(request)
            case EmbeddingRequest():
                return embedding_job(request, self.model)
            case ImageRequest():
                return image_job(request)
            case AnimationRequest():
                return animation_job(request)
            case UpscaleRequest():
                return upscale_job(request)
            case TranscriptionRequest():
                return speech_job(request)

    def _admit(self, now: float) -> None:
        """Let waiting jobs start while there is room."""
        room = int(self.model.options.get("max_sequences", 256)) - len(self._running)
        delay = float(self.model.options.get("first_token_seconds", 0.0))
        while self._waiting and room > 0:
            number, job = self._waiting.popleft()
            self._running[number] = _Running(job, now + delay)
            room -= 1

    def _advance(self, number: int, now: float) -> list[Output]:
        """The next unit of one job."""
        running = self._running[number]
        try:
            events = next(running.job)
        except QuintetError as error:
            del self._running[number]
            return [error]
        running.due = self._next_tick(now)
        if events and isinstance(events[-1], Finished):
            del self._running[number]
        return list(events)

    def _next_tick(self, now: float) -> float:
        """The next tick of a clock all jobs share, as one real step serves all sequences."""
        rate = float(self.model.options.get("tokens_per_second", 0.0))
        return (int(now * rate) + 1) / rate if rate > 0 else now
