"""The text engine: requests in, events out, one step at a time.

A step = plan (scheduler), run (executor), choose (sampler), take (answers). One thread calls `step`; another may
call `prepare`, which touches no engine state.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence as Listed
from dataclasses import replace
from pathlib import Path

import openvino as ov

from quintet.core.errors import InvalidRequest, ModelNotFound
from quintet.core.events import Finished, Prefill, PromptToken, Tokenized
from quintet.core.models import Model
from quintet.core.ports import EngineInfo, Output
from quintet.core.requests import Request, TextRequest
from quintet.engines.text.adapters import Adapters
from quintet.engines.text.answers import Answers
from quintet.engines.text.blocks import BlockPool
from quintet.engines.text.detokenize import Detokenizer
from quintet.engines.text.executor import Chunk, Executor, Logits
from quintet.engines.text.eyes import check_fit, open_eyes
from quintet.engines.text.figures import show_figures
from quintet.engines.text.grammar import Grammars
from quintet.engines.text.prompts import Prompt, Prompts
from quintet.engines.text.sampling import Drawn, Report, Sampler, Want, seeded
from quintet.engines.text.scheduler import Batch, Scheduler
from quintet.engines.text.sequence import Answer, Job, Penalized, Sequence
from quintet.engines.text.settings import Settings, context_of
from quintet.engines.text.template import ChatTemplate
from quintet.engines.text.tools import Toolbox
from quintet.engines.text.vision.sight import Sight
from quintet.engines.text.vocabulary import Vocabulary, read_json


def open_engine(model: Model) -> TextEngine:
    """Load a model directory; the engine room's one door. Raises LoadFailed."""
    return TextEngine(model, Settings.of(model))


class TextEngine:
    """Continuous batching over one executor; implements core.ports.Engine."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Load weights, tokenizer and template of `model`."""
        directory = Path(model.path)
        vocabulary = Vocabulary(directory)
        self._grammars = Grammars(vocabulary)
        config = read_json(directory / "config.json")
        context_length = context_of(model, config)
        family = open_eyes(
            model, config, vocabulary, settings
        )  # first, as the KV cache is sized by what is left
        self.executor = Executor(
            directory,
            device=settings.device,
            cache=settings.cache(context_length),  # one whole context always fits
            properties=settings.properties,
            takes_adapters=bool(settings.adapters),
        )
        inputs = self.executor.adapter_inputs
        self._adapters = Adapters(Path(settings.adapters), inputs) if inputs is not None else None
        pool = BlockPool(self.executor.blocks, self.executor.block_size)
        self.scheduler = Scheduler(
            pool, max_batch_tokens=settings.max_batch_tokens, max_sequences=settings.max_sequences
        )
        template = ChatTemplate.of_directory(directory, vocabulary.config, override=model.chat_template)
        self.sight: Sight | None = None
        if family is not None:
            check_fit(family, self.executor)
            template.learn_pictures(family.markup)
            self.sight = Sight(family, time.monotonic, cache_bytes=settings.picture_cache_mb * 1024 * 1024)
        self._toolbox = Toolbox(template, vocabulary, model=model.name, named=model.tool_format)
        self.prompts = Prompts(
            vocabulary,
            self._toolbox,
            model=model.name,
            vocabulary_size=self.executor.vocabulary_size,
            context_length=context_length,
            max_input_tokens=model.max_input_tokens,
            family=family,
        )
        self.steps = 0
        self._name = model.name
        self._vocabulary = vocabulary
        self._context_length = context_length
        self._sampler = Sampler()
        self._answers = Answers(vocabulary, self._toolbox)
        self._jobs: dict[int, Job] = {}
        self._owner_of: dict[Sequence, tuple[Job, Answer, Want]] = {}
        self._ready: list[tuple[int, Output]] = []
        self._arrivals = 0
        self._warm_up()

    def info(self) -> EngineInfo:
        """Facts fixed at load time."""
        return EngineInfo(
            context_length=self._context_length,
            vocabulary_size=self.executor.vocabulary_size,
            device=self.executor.device,
            version=f"openvino {ov.__version__.split('-')[0]}",
        )

    def prepare(self, request: Request) -> Prompt | Tokenized:
        """Template, tokenisation and checks; raises InvalidRequest. Thread-safe."""
        prepared = self.prompts.prepare(request)
        if isinstance(prepared, Prompt):
            blueprint = self._toolbox.blueprint(prepared.request, self._grammars)
            if blueprint is None and prepared.request.grammar is not None:
                blueprint = self._grammars.compile(prepared.request.grammar)
            prepared = replace(prepared, blueprint=blueprint)
        if isinstance(request, TextRequest) and isinstance(prepared, Prompt) and request.adapter:
            if self._adapters is None:
                raise ModelNotFound("This model has no adapters; ask for the model itself.", param="model")
            return replace(prepared, adapter=self._adapters.read(request.adapter))
        return prepared

    def submit(self, request_id: int, prepared: object) -> None:
        """Queue prepared work under an id."""
        if isinstance(prepared, Tokenized):
            self._ready += [(request_id, prepared), (request_id, Finished())]
            return
        if not isinstance(prepared, Prompt):
            raise TypeError("submit takes what prepare returned")
        request = prepared.request
        adapter = prepared.adapter
        if self._adapters is not None and adapter is not None:
            adapter = self._adapters.acquire(adapter, self.executor.request)
        seed = request.sampling.seed if request.sampling.seed is not None else secrets.randbits(63)
        job = Job(
            id=request_id,
            request=request,
            prompt=prepared.ids,
            max_new_tokens=prepared.max_new_tokens,
            seed=seed,
            adapter=adapter,
            blueprint=prepared.blueprint,
            pictures=prepared.pictures,
            positions=prepared.positions,
            arrived_at=time.monotonic(),
        )
        self._jobs[request_id] = job
        if self.sight is None or self.sight.show(request_id, request.owner, job.pictures):
            self._begin(job)

    def _begin(self, job: Job) -> None:
        """Let the language model read a prompt whose pictures were looked at."""
        request = job.request
        # The prompt is reported before the first token of any choice, so the other choices come after that.
        for choice in range(1 if request.detail.prefill else request.best_of):
            self._add_choice(job, choice)

    def cancel(self, request_id: int) -> None:
        """Forget a request; its blocks are free before the next step."""
        self._ready = [output for output in self._ready if output[0] != request_id]
        job = self._forget(request_id)
        if job is None:
            return
        if self.sight is not None:
            self.sight.forget(request_id)
        for answer in job.answers:
            if answer.reason is None:
                self._drop(answer.sequence)

    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._ready) or self.scheduler.busy or (self.sight is not None and self.sight.busy)

    def step(self) -> Listed[tuple[int, Output]]:
        """One pass of the model over the next batch; before it, a look at pictures if it is their turn."""
        outputs, self._ready = self._ready, []
        if self.sight is None:
            return self._pass(outputs)
        if self.sight.may_look(others_wait=self.scheduler.busy) and not self._has_enough_to_read(self.sight):
            self._look(self.sight, outputs)
        began = time.monotonic()
        outputs = self._pass(outputs)
        self.sight.repay(time.monotonic() - began)
        return outputs

    def _has_enough_to_read(self, sight: Sight) -> bool:
        """Whether embeddings of prompts that still wait for the language model fill as much memory as the cache may."""
        held = {
            id(one.rows): one.rows.nbytes
            for job in self._jobs.values()
            if job.started_at is None and job.answers
            for one in job.pictures
            if one.rows is not None
        }
        return sum(held.values()) > sight.cache_bytes

    def _look(self, sight: Sight, outputs: list[tuple[int, Output]]) -> None:
        """Let the encoder take a turn, and begin what has all its pictures now."""
        ready, broken = sight.look()
        for request_id in ready:
            self._begin(self._jobs[request_id])
        for request_id, error in broken:
            self.cancel(request_id)
            outputs.append((request_id, error))

    def _pass(self, outputs: list[tuple[int, Output]]) -> list[tuple[int, Output]]:
        """One pass of the language model over the next batch; returns `outputs` with what came of it."""
        batch = self.scheduler.plan()
        if not batch.chunks:
            return outputs
        self.steps += 1
        self._note_start(batch)
        chunks = [self._chunk(sequence, count) for sequence, count in batch.chunks]
        logits = self.executor.run(chunks)
        ends = [sequence for sequence, count in batch.chunks if sequence.pending == count]
        if any(sequence.wants_prompt_rows for sequence, _ in batch.chunks):
            logits = self._report_prompts(batch, chunks, logits, outputs)
        self.scheduler.advance(batch)
        if ends:
            wants = [self._owner_of[sequence][2] for sequence in ends]
            for sequence, drawn in zip(ends, self._sampler.choose(logits, wants), strict=True):
                if sequence in self._owner_of:  # else another choice has ended the request with an error
                    self._take(sequence, drawn, outputs)
        return outputs

    def metrics(self) -> str:
        """What was done since the load, as Prometheus text; implements core.ports.Measured."""
        return show_figures(self._name, self.scheduler, self.sight)

    def close(self) -> None:
        """Free everything; safe to call twice."""
        self._ready.clear()
        for request_id in list(self._jobs):
            self.cancel(request_id)
        self._grammars.close()
        self.executor.close()
        if self.sight is not None:
            self.sight.close()

    def _take(self, sequence: Sequence, drawn: Drawn, outputs: list[tuple[int, Output]]) -> None:
        """Add one drawn token to its sequence, and what follows from it to `outputs`."""
        job, answer, _ = self._owner_of[sequence]
        job.first_token_at = job.first_token_at or time.monotonic()
        if answer.guide is not None:
            try:
                answer.guide.take(drawn.id)
            except InvalidRequest as error:
                self.cancel(job.id)
                outputs.append((job.id, error))
                return
        sequence.tokens.append(drawn.id)
        if answer.penalized is not None:
            answer.penalized.add(drawn.id)
        outputs.extend((job.id, event) for event in self._answers.take(job, answer, drawn))
        if answer.reason is not None:
            self._drop(sequence)
            if job.done:
                self._forget(job.id)

    def _forget(self, request_id: int) -> Job | None:
        job = self._jobs.pop(request_id, None)
        if job is not None and job.adapter is not None and self._adapters is not None:
            self._adapters.release(job.adapter)
        return job

    def _add_choice(self, job: Job, choice: int) -> None:
        request = job.request
        sampling = request.sampling
        self._arrivals += 1
        sequence = Sequence(
            owner=request.owner,
            adapter=job.adapter.digest if job.adapter is not None else "",
            tokens=list(job.prompt),
            prompt_length=len(job.prompt),
            choice=choice,
            arrival=self._arrivals,
            pictures=job.pictures,
            positions=job.positions,
            wants_prompt_rows=request.detail.prefill and choice == 0,
        )
        detokenizer = Detokenizer(
            self._vocabulary,
            stop=request.limits.stop,
            keep_stop=request.limits.keep_stop,
            skip_special=request.skip_special_tokens,
            continues=not request.messages,
        )
        answer = Answer(sequence, detokenizer, random=seeded(job.seed, choice))
        answer.calls = self._toolbox.reader(request, choice)
        if job.blueprint is not None:
            answer.guide = job.blueprint.start(
                self.executor.vocabulary_size, ignore_eos=request.limits.ignore_eos
            )
        penalties = (sampling.repetition_penalty - 1, sampling.presence_penalty, sampling.frequency_penalty)
        if any(penalties):
            answer.penalized = Penalized(job.prompt, job.max_new_tokens)
        want = Want(
            answer,
            sampling,
            logprob=request.detail.logprobs or request.best_of > 1,
            top=request.detail.top_logprobs,
        )
        job.answers.append(answer)
        self._owner_of[sequence] = (job, answer, want)
        self.scheduler.add(sequence)

    def _drop(self, sequence: Sequence) -> None:
        self.scheduler.remove(sequence)
        del self._owner_of[sequence]

    def _note_start(self, batch: Batch) -> None:
        for sequence, _ in batch.chunks:
            job = self._owner_of[sequence][0]
            if job.started_at is None:
                job.started_at = time.monotonic()

    def _chunk(self, sequence: Sequence, count: int) -> Chunk:
        past = sequence.computed
        ids = sequence.tokens[past : past + count]
        if sequence.wants_prompt_rows:
            rows: Listed[int] = range(count)
        else:
            rows = [count - 1] if sequence.pending == count else []
        adapter = self._owner_of[sequence][0].adapter
        slot = (
            self._adapters.slots[adapter.name] if self._adapters is not None and adapter is not None else None
        )
        parts = [part for one in sequence.pictures if (part := one.part(past, count)) is not None]
        return Chunk(ids, past, sequence.blocks, rows, slot, parts, sequence.places(past, count))

    def _report_prompts(
        self, batch: Batch, chunks: list[Chunk], logits: Logits, outputs: list[tuple[int, Output]]
    ) -> Logits:
        """Give prompt tokens their log-probabilities; returns the rows [R', V] that are left to sample."""
        sampled: list[int] = []
        begin = 0
        for (sequence, count), chunk in zip(batch.chunks, chunks, strict=True):
            end = begin + len(chunk.rows)
            if sequence.pending == count and end > begin:
                sampled.append(end - 1)
            job = self._owner_of[sequence][0]
            if sequence.wants_prompt_rows:
                self._report_chunk(job, chunk, logits[begin:end])
                if chunk.past + count == len(job.prompt):
                    # Once is enough: after a preemption the prompt may come from the cache.
                    sequence.wants_prompt_rows = False
                    outputs.append((job.id, Prefill(tuple(job.prompt_rows))))
                    for choice in range(1, job.request.best_of):
                        self._add_choice(job, choice)
            begin = end
        return logits[sampled]

    def _report_chunk(self, job: Job, chunk: Chunk, logits: Logits) -> None:
        """Row i of `logits` [count, V] judges the token after position past + i."""
        text = self._vocabulary.text
        if chunk.past == 0:
            job.prompt_rows = [PromptToken(job.prompt[0], text(job.prompt[0]))]
        report = Report(logits, list(range(len(logits))), keep=False)
        for row in range(len(chunk.rows)):
            position = chunk.past + row + 1
            if position < len(job.prompt):
                id = job.prompt[position]
                job.prompt_rows.append(PromptToken(id, text(id), report.logprob(row, id)))

    def _warm_up(self) -> None:
        """Let the first caller not pay for the first pass: compile what is compiled lazily."""
        table = self.scheduler.pool.take()
        blocks = Sequence(owner="", tokens=[], prompt_length=0).blocks
        blocks.append(table)
        self.executor.run([Chunk([0, 0], 0, blocks, [1])])
        self._grammars.wait()
        self.scheduler.pool.release(table)
