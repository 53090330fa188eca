"""From chosen tokens to events: readable text, stop rules, best-of ranking, the final count."""

from __future__ import annotations

import time
from dataclasses import replace

from quintet.core.events import (
    Alternative,
    Finished,
    FinishReason,
    Stopped,
    Timings,
    Token,
    ToolCallPart,
    Usage,
)
from quintet.core.ports import Output
from quintet.engines.text.detokenize import Readable
from quintet.engines.text.sampling import Drawn
from quintet.engines.text.sequence import Answer, Job
from quintet.engines.text.tools import CallReader, Toolbox
from quintet.engines.text.vocabulary import Vocabulary


class Answers:
    """Turns each drawn token into what the caller sees."""

    def __init__(self, vocabulary: Vocabulary, toolbox: Toolbox) -> None:
        """The vocabulary spells tokens and knows which end an answer; the toolbox knows which mark tool calls."""
        self._vocabulary = vocabulary
        self._toolbox = toolbox

    def take(self, job: Job, answer: Answer, drawn: Drawn) -> list[Output]:
        """Add one token to an answer; returns the events that follow from it."""
        answer.generated += 1
        if drawn.logprob is not None:
            answer.sum_logprob += drawn.logprob
            answer.judged = True
        marker = "" if answer.calls is None else self._toolbox.marker(drawn.id)
        # A special token stands between texts, so nothing goes on after it that began before it.
        spelling = answer.detokenizer
        readable = Readable(spelling.finish()) if marker else spelling.add(drawn.id)
        answer.reason = self._judge(job, answer, drawn.id, readable.stopped)
        text = readable.text
        if answer.reason is not None and not readable.stopped:
            text += spelling.finish()
        parts: list[ToolCallPart] = []
        if answer.calls is not None:
            text, parts = self._read_calls(answer, answer.calls, text, marker)
        token = self._token(job, answer, drawn, text)
        if job.ranks:
            answer.held += [token, *parts]
            return self._rank(job) if job.done else []
        events: list[Output] = [token, *parts]
        if answer.reason is not None:
            events.append(self._stopped(answer, answer.sequence.choice))
            if job.done:
                events.append(self._finished(job))
        return events

    def _read_calls(
        self, answer: Answer, calls: CallReader, text: str, marker: str
    ) -> tuple[str, list[ToolCallPart]]:
        """What a token adds to text and calls; an answer that calls ends in order to have that done."""
        shown, parts = calls.feed(text)
        if marker:
            more, later = calls.feed(marker, is_marker=True)
            shown, parts = shown + more, parts + later
        if answer.reason is not None:
            more, later = calls.finish()
            shown, parts = shown + more, parts + later
        if calls.complete or (calls.begun and answer.reason in ("eos", "stop")):
            answer.reason = "tool_calls"
        return shown, parts

    def _judge(self, job: Job, answer: Answer, id: int, stopped: bool) -> FinishReason | None:
        """Why the answer ends here, if it does. Length is asked first, as in TGI."""
        if answer.generated >= job.max_new_tokens:
            return "length"
        if id in self._vocabulary.eos and not job.request.limits.ignore_eos:
            return "eos"
        if answer.guide is not None and answer.guide.ended:
            return "eos"  # the text is complete and nothing can follow
        return "stop" if stopped else None

    def _token(self, job: Job, answer: Answer, drawn: Drawn, text: str) -> Token:
        detail = job.request.detail
        special = drawn.id in self._vocabulary.special
        if not (detail.logprobs or detail.top_logprobs):
            return Token(answer.sequence.choice, drawn.id, text, special)
        raw = self._vocabulary.raw
        top = tuple(Alternative(id, raw(id), logprob) for id, logprob in drawn.top[: detail.top_logprobs])
        return Token(answer.sequence.choice, drawn.id, text, special, drawn.logprob, raw(drawn.id), top)

    def _rank(self, job: Job) -> list[Output]:
        """The best `n` of all answers, renumbered from 0."""
        ranked = sorted(job.answers, key=lambda answer: -answer.sum_logprob / answer.generated)
        events: list[Output] = []
        for choice, answer in enumerate(ranked[: job.request.n]):
            events.extend(replace(event, choice=choice) for event in answer.held)
            events.append(self._stopped(answer, choice))
        events.append(self._finished(job))
        return events

    def _stopped(self, answer: Answer, choice: int) -> Stopped:
        mean = answer.sum_logprob / answer.generated if answer.judged else None
        return Stopped(choice, answer.reason or "length", mean)

    def _finished(self, job: Job) -> Finished:
        now = time.monotonic()
        started = job.started_at if job.started_at is not None else now
        first = job.first_token_at if job.first_token_at is not None else now
        sampling = job.request.sampling
        return Finished(
            usage=Usage(
                prompt_tokens=len(job.prompt),
                cached_tokens=job.answers[0].sequence.cached,
                completion_tokens=sum(answer.generated for answer in job.answers),
            ),
            timings=Timings(queue=started - job.arrived_at, prefill=first - started, decode=now - first),
            seed=job.seed if sampling.temperature > 0 and sampling.top_k != 1 else None,
        )
