"""The embedding engine: requests in, vectors out, one batch at a time.

A step = plan (batches), run (encoder), emit. One thread calls `step`; others may call `prepare`, which touches
no engine state.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Listed
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import openvino as ov

from quintet.core.errors import EngineFailed
from quintet.core.events import Embedding, Finished, Timings, Usage
from quintet.core.models import Model
from quintet.core.ports import EngineInfo, Output
from quintet.core.requests import EmbeddingRequest, Request
from quintet.engines.embed.batches import Batch, Batches, Work
from quintet.engines.embed.encoder import Encoder
from quintet.engines.embed.inputs import Inputs, Reader
from quintet.engines.embed.pooling import Vectors, unit
from quintet.engines.embed.settings import Settings

PART_SECONDS = 0.2
"""A step waits so long for the model at most, so that a long text delays neither signs of life nor cancels."""


def open_engine(model: Model) -> EmbeddingEngine:
    """Load a model directory; the engine room's one door. Raises LoadFailed."""
    return EmbeddingEngine(model, Settings.of(model))


@dataclass(slots=True)
class _Job:
    """What of a request is still owed to its caller."""

    request: EmbeddingRequest
    tokens: int
    work: Work
    arrived_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None


class EmbeddingEngine:
    """Batches the inputs of all requests over one encoder; implements core.ports.Engine."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Load weights and tokenizer of `model`."""
        directory = Path(model.path)
        self.encoder = Encoder(
            directory,
            pooling=settings.pooling,
            device=settings.device,
            properties=settings.properties,
        )
        self._context_length = min(model.context_length, self.encoder.positions or model.context_length)
        self._reader = Reader(
            directory,
            model=model.name,
            vocabulary_size=self.encoder.vocabulary_size,
            # Nothing is generated, so the inputs may fill the whole context.
            max_input_tokens=min(model.max_input_tokens or self._context_length, self._context_length),
            dimensions=self.encoder.dimensions,
        )
        self._batches = Batches(settings.max_batch_tokens)
        self._jobs: dict[int, _Job] = {}
        self._reading: Batch = []
        """What the model is at."""
        self.steps = 0

    def info(self) -> EngineInfo:
        """Facts fixed at load time."""
        return EngineInfo(
            context_length=self._context_length,
            vocabulary_size=self.encoder.vocabulary_size,
            device=self.encoder.device,
            version=f"openvino {ov.__version__.split('-')[0]}",
        )

    def prepare(self, request: Request) -> Inputs:
        """Tokenisation and checks; raises InvalidRequest. Thread-safe."""
        return self._reader.prepare(request)

    def submit(self, request_id: int, prepared: object) -> None:
        """Queue prepared work under an id."""
        if not isinstance(prepared, Inputs):
            raise TypeError("submit takes what prepare returned")
        work = Work(request_id, prepared.request.owner, prepared.ids)
        self._jobs[request_id] = _Job(prepared.request, sum(map(len, prepared.ids)), work)
        self._batches.add(work)

    def cancel(self, request_id: int) -> None:
        """Forget a request; what is read for it alone is not read to the end."""
        self._jobs.pop(request_id, None)
        self._batches.remove(request_id)
        if self._reading and not any(self._job_of(work) for work, _ in self._reading):
            self._reading = []
            self.encoder.abort()

    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._reading) or self._batches.busy

    def step(self) -> Listed[tuple[int, Output]]:
        """One pass of the model over the next batch, or a part of one that takes long."""
        if not self._reading:
            self._reading = self._start()
        if not self._reading:
            return []
        vectors = self.encoder.take(PART_SECONDS)
        if vectors is None:
            return []
        batch, self._reading = self._reading, []
        outputs: list[tuple[int, Output]] = []
        for (work, index), vector in zip(batch, vectors, strict=True):
            outputs.extend((work.id, output) for output in self._take(work, index, vector))
        return outputs

    def close(self) -> None:
        """Free everything; safe to call twice."""
        for request_id in list(self._jobs):
            self.cancel(request_id)
        self.encoder.close()

    def _start(self) -> Batch:
        """Let the model begin with the next batch."""
        batch = self._batches.plan()
        if batch:
            self.steps += 1
            now = time.monotonic()
            for work, _ in batch:
                job = self._jobs[work.id]
                job.started_at = job.started_at or now
            self.encoder.start([work.inputs[index] for work, index in batch])
        return batch

    def _job_of(self, work: Work) -> _Job | None:
        """The job that still wants this work; the id alone may belong to another one by now."""
        job = self._jobs.get(work.id)
        return job if job is not None and job.work is work else None

    def _take(self, work: Work, index: int, vector: Vectors) -> list[Output]:
        """What one vector [H] means to its request: the vector, and the end if it was the last; or a failure."""
        job = self._job_of(work)
        if job is None:
            return []  # cancelled meanwhile, or failed by another vector of this batch
        if not np.isfinite(vector).all():
            self.cancel(work.id)
            return [
                EngineFailed(
                    "The model's numbers overflowed on this input; run it with a higher precision.",
                    param="input",
                )
            ]
        if job.request.dimensions is not None:
            vector = unit(vector[: job.request.dimensions])
        outputs: list[Output] = [Embedding(index, vector.astype("<f4").tobytes())]
        work.unanswered -= 1
        if not work.unanswered:
            del self._jobs[work.id]
            outputs.append(self._finished(job))
        return outputs

    def _finished(self, job: _Job) -> Finished:
        now = time.monotonic()
        started_at = job.started_at or now
        timings = Timings(queue=started_at - job.arrived_at, prefill=now - started_at)
        return Finished(usage=Usage(prompt_tokens=job.tokens), timings=timings)
