"""What every engine promises (core.ports.Engine), as functions to call on a real one."""

import math
import struct
import time
from collections.abc import Callable, Sequence

import pytest

from quintet.core.errors import QuintetError, Unsupported
from quintet.core.events import Embedding, Event, Finished, Outcome, Prefill, Stopped, Token, collect
from quintet.core.ports import Engine
from quintet.core.requests import EmbeddingRequest, Request, TextRequest

PATIENCE_SECONDS = 60.0


def drive(engine: Engine, requests: Sequence[Request]) -> list[list[Event]]:
    """Run requests together to their ends; the events of each. An error of any is raised."""
    for number, request in enumerate(requests, 1):
        engine.submit(number, engine.prepare(request))
    found: list[list[Event]] = [[] for _ in requests]
    until = time.monotonic() + PATIENCE_SECONDS
    while engine.busy():
        assert time.monotonic() < until, "the engine does not come to an end"
        for number, output in engine.step():
            if isinstance(output, QuintetError):
                raise output
            found[number - 1].append(output)
    return found


def answers(outcome: Outcome) -> list[tuple[list[int], str]]:
    """Ids and text of every choice."""
    return [([token.id for token in choice.tokens], choice.text) for choice in outcome.choices]


def check_grammar(engine: Engine, request: Request) -> list[Event]:
    """Any events, then one Finished; for text also the order and fill of its events."""
    (events,) = drive(engine, [request])
    assert [type(event) for event in events].count(Finished) == 1
    assert type(events[-1]) is Finished
    assert not engine.busy()
    if isinstance(request, TextRequest):
        _check_text(engine, request, events)
    if isinstance(request, EmbeddingRequest):
        _check_vectors(request, events)
    return events


def _check_text(engine: Engine, request: TextRequest, events: list[Event]) -> None:
    tokens = [event for event in events if isinstance(event, Token)]
    assert [type(event) for event in events].count(Prefill) == int(request.detail.prefill)
    if request.detail.prefill:
        assert isinstance(events[0], Prefill)
        assert events[0].tokens[0].logprob is None
        assert all(token.logprob is not None for token in events[0].tokens[1:])
    ended: set[int] = set()
    for event in events:
        if isinstance(event, Token):
            assert event.choice not in ended
        if isinstance(event, Stopped):
            assert event.choice not in ended
            ended.add(event.choice)
    assert ended == set(range(request.n))
    size = engine.info().vocabulary_size
    for token in tokens:
        assert 0 <= token.id < size
        assert (token.logprob is not None) == (request.detail.logprobs or request.detail.top_logprobs > 0)
        assert len(token.top) == request.detail.top_logprobs
    most = request.limits.max_new_tokens
    outcome = collect(events)
    assert outcome.finished.usage.completion_tokens >= len(tokens)
    assert outcome.finished.usage.prompt_tokens > 0
    assert most is None or all(len(choice.tokens) <= most for choice in outcome.choices)


def _check_vectors(request: EmbeddingRequest, events: list[Event]) -> None:
    found = [event for event in events if isinstance(event, Embedding)]
    assert sorted(one.index for one in found) == list(range(len(request.texts or request.ids)))
    numbers = [struct.unpack(f"<{len(one.vector) // 4}f", one.vector) for one in found]
    assert {len(vector) for vector in numbers} == {request.dimensions or len(numbers[0])}
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-5) for vector in numbers)
    usage = collect(events).finished.usage
    assert usage.prompt_tokens >= sum(map(len, request.ids)) + len(request.texts)
    assert usage.completion_tokens == 0


def check_seed(engine: Engine, request: TextRequest, others: Sequence[Request]) -> None:
    """A seeded answer is the same again, and the same among others."""
    assert request.sampling.seed is not None
    alone = collect(drive(engine, [request])[0])
    again = collect(drive(engine, [request])[0])
    crowded = collect(drive(engine, [*others, request])[-1])
    assert answers(alone) == answers(again) == answers(crowded)
    assert alone.finished.seed in (None, request.sampling.seed)


def check_cancel(engine: Engine, request: Request) -> None:
    """A cancelled request is silent from the next step on, whether it ran or waited; its id may come back."""
    engine.submit(1, engine.prepare(request))
    engine.submit(2, engine.prepare(request))
    engine.step()
    engine.cancel(1)
    engine.cancel(2)
    engine.cancel(2)
    engine.cancel(99)
    assert engine.step() == [] if engine.busy() else True
    assert not engine.busy()
    check_grammar(engine, request)


def check_cancel_spares_others(engine: Engine, request: TextRequest) -> None:
    """Cancelling one leaves the answer of another as it would have been."""
    (expected,) = drive(engine, [request])
    engine.submit(1, engine.prepare(request))
    engine.submit(2, engine.prepare(request))
    found = [output for number, output in engine.step() if number == 2]
    engine.cancel(1)
    while engine.busy():
        outputs = engine.step()
        assert all(number == 2 for number, _ in outputs)
        found.extend(output for _, output in outputs)
    events = [output for output in found if not isinstance(output, QuintetError)]
    assert answers(collect(events)) == answers(collect(expected))


def check_close(open_again: Callable[[], Engine]) -> None:
    """Closing twice is fine, also with work under way."""
    engine = open_again()
    engine.close()
    engine.close()


def check_unsupported(engine: Engine, request: Request) -> None:
    """What the engine can't do is refused in `prepare`, in words for people."""
    with pytest.raises(Unsupported) as refusal:
        engine.prepare(request)
    assert refusal.value.message.endswith((".", "?"))
    assert not engine.busy()
