"""Requests through the whole runtime on real workers: cancel, overload, drain, metering, several at once."""

import asyncio
import random
from contextlib import aclosing

import pytest

from quintet.core.content import Image
from quintet.core.errors import (
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    RequestTimeout,
    ShuttingDown,
    Unsupported,
)
from quintet.core.events import Finished, Outcome, Token
from quintet.core.requests import ImageRequest, TextRequest, TokenizeRequest
from quintet.runtime.mailbox import MAX_WAITING_EVENTS
from tests.runtime.house import House, ask, echo, open_house, until, within

pytestmark = pytest.mark.anyio


async def first(house: House, request) -> None:
    """Take one event, then leave."""
    async with aclosing(house.stream(request)) as events:
        assert await anext(events)


async def drink(events, seen: list) -> None:
    """Take all that comes."""
    async for event in events:
        seen.append(event)


async def test_leaving_frees_the_worker_at_once():
    async with open_house(echo(tokens_per_second=20, max_sequences=1)) as house:
        model = house.models[0]
        running, queued = (
            house.stream(ask("running", endless=True)),
            house.stream(ask("queued", endless=True)),
        )
        await anext(running)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(anext(queued))
            await until(
                lambda: house.backend.status(model).in_flight == 2, 1, "the second waits in the worker"
            )
            third = group.create_task(house.answer(ask("third")))
            await until(lambda: house.backend.status(model).in_flight == 3, 1, "the third as well")
            waiting.cancel()  # a caller that leaves while queued
            await asyncio.wait({waiting})
            assert house.backend.status(model).in_flight == 2
            await running.aclose()  # a caller that leaves in mid-stream
            outcome = await within(1, third)
        assert outcome.choices[0].text == "third"
        await queued.aclose()
        assert [record.ending for record in house.records] == ["cancelled", "cancelled", "ok"]
        assert house.records[1].usage.completion_tokens == 1


async def test_cancelled_task_cleans_up():
    async with open_house(echo(tokens_per_second=20)) as house:
        seen = []
        task = asyncio.get_running_loop().create_task(house.ending(ask("on", endless=True), seen))
        await until(lambda: len(seen) > 0, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert house.in_flight == 0
        assert [record.ending for record in house.records] == ["cancelled"]


async def test_leaving_while_the_model_loads():
    async with open_house(echo()) as house:
        task = asyncio.get_running_loop().create_task(house.answer(ask("early")))
        await until(lambda: house.service.status(house.models[0]).in_flight == 1, 1)
        task.cancel()
        await asyncio.wait({task})
        assert house.in_flight == 0
        assert (await within(10, house.answer(ask("later")))).choices[0].text == "later"


async def test_overload_serves_exactly_the_limit():
    async with open_house(echo(max_in_flight=10, tokens_per_second=50)) as house:
        await house.service.ensure_ready(house.models[0])
        endings = await asyncio.gather(
            *(house.ending(ask(f"number {number}", most=10, endless=True)) for number in range(15))
        )
        refused = [ending for ending in endings if isinstance(ending, Overloaded)]
        assert len(refused) == 5
        assert all(1 <= refusal.retry_after <= 60 for refusal in refused)
        assert all(len(ending.choices[0].tokens) == 10 for ending in endings if isinstance(ending, Outcome))
        assert max(record.run_ms for record in house.records if record.ending == "refused") < 50
        assert isinstance(await house.ending(ask("room again")), Outcome)


async def test_whoever_is_answered_may_come_again_at_once():
    async with open_house(echo(max_in_flight=1)) as house, aclosing(house.stream(ask("one"))) as events:
        async for _, event in events:
            if isinstance(event, Finished):
                assert isinstance(await house.ending(ask("two")), Outcome)


async def test_every_request_has_one_record_in_chaos():
    chance = random.Random(5)
    words = ["plain words here", "!refuse@1 a b", "a !stall@1", "x", "n " * 9000]
    async with open_house(echo(max_in_flight=12, tokens_per_second=200)) as house:
        await house.service.ensure_ready(house.models[0])

        async def visit(number):
            await asyncio.sleep(chance.random() * 0.5)
            asked = house.ending(ask(f"{number} {chance.choice(words)}", most=10))
            try:
                async with asyncio.timeout(chance.choice([0.02, 0.2, 5])):
                    return await asked
            except TimeoutError:
                return None

        endings = await within(30, asyncio.gather(*(visit(number) for number in range(120))))
        told = [type(ending).__name__ for ending in endings]
        kinds = [record.ending for record in house.records]
        assert len(kinds) == 120
        assert kinds.count("ok") == told.count("Outcome")
        assert kinds.count("cancelled") == told.count("NoneType")
        assert kinds.count("refused") == told.count("Overloaded")
        assert kinds.count("client_error") == told.count("ContextTooLong")
        assert kinds.count("failed") == told.count("EngineFailed")
        assert {"ok", "cancelled", "refused", "client_error", "failed"} == set(kinds)
        await until(lambda: house.in_flight == 0, 1)


async def test_streams_are_not_mixed_up():
    async with open_house(echo(numbered=True, tokens_per_second=200)) as house:
        outcomes = await asyncio.gather(*(house.answer(ask(f"r{number}", most=30)) for number in range(40)))
        for number, outcome in enumerate(outcomes):
            assert outcome.choices[0].text.split() == [f"r{number}:{position}" for position in range(30)]


async def test_slow_reader_is_given_up():
    async with open_house(echo(context_length=100_000)) as house:
        async with aclosing(house.stream(ask("much", endless=True))) as events:
            await anext(events)
            await until(
                lambda: house.backend.status(house.models[0]).in_flight == 0, 30, "the worker is told"
            )
            left: list[object] = []
            with pytest.raises(RequestTimeout, match="slowly"):
                await drink(events, left)
            assert len(left) < MAX_WAITING_EVENTS
        assert (await within(1, house.answer(ask("next")))).choices[0].text == "next"


async def test_drain_lets_work_in_flight_finish():
    async with open_house(echo(tokens_per_second=50)) as house:
        seen = []
        async with asyncio.TaskGroup() as group:
            stream = group.create_task(house.ending(ask("to the end", most=20, endless=True), seen))
            await until(lambda: len(seen) > 0, 5)
            closing = group.create_task(house.service.close(5))
            await until(lambda: house.admission.is_draining, 1)
            late = await house.ending(ask("too late"))
            assert isinstance(late, ShuttingDown)
        assert len(stream.result().choices[0].tokens) == 20
        assert closing.done()


async def test_drain_ends_in_time():
    async with open_house(echo(tokens_per_second=20)) as house:
        seen = []
        async with asyncio.TaskGroup() as group:
            stream = group.create_task(house.ending(ask("endless", endless=True), seen))
            await until(lambda: len(seen) > 0, 5)
            await within(2, house.service.close(0.3))
        assert isinstance(stream.result(), ShuttingDown)


async def test_several_requests_of_one_call():
    async with open_house(echo()) as house:
        outcomes = [Outcome(), Outcome(), Outcome()]
        requests = [ask("first one"), TokenizeRequest(model="echo", prompt="a b"), ask("third")]
        async with aclosing(house.stream(*requests)) as events:
            async for index, event in events:
                outcomes[index].add(event)
        assert outcomes[0].choices[0].text == "first one"
        assert len(outcomes[1].tokenized.tokens) == 2
        assert outcomes[2].choices[0].text == "third"
        assert sorted(record.request_id for record in house.records) == ["r1.0", "r1.1", "r1.2"]


async def test_first_error_of_a_call_ends_its_others():
    async with open_house(echo(tokens_per_second=50)) as house:
        async with aclosing(house.stream(ask("on", endless=True), ask("x", model="nobody"))) as events:
            with pytest.raises(ModelNotFound):
                await drink(events, [])
        assert sorted(record.ending for record in house.records) == ["cancelled", "client_error"]
        assert house.in_flight == 0


async def test_leaving_a_call_of_several_requests():
    async with open_house(echo(tokens_per_second=50)) as house:
        await first(house, ask("warm"))
        async with aclosing(house.stream(ask("a", endless=True), ask("b", endless=True))) as events:
            await anext(events)
        assert house.in_flight == 0
        assert [record.ending for record in house.records] == ["cancelled"] * 3


async def test_what_a_model_cannot_do_names_one_that_can():
    models = echo(), echo("seer", task="vision"), echo("painter", task="image")
    async with open_house(*models) as house:
        ending = await house.ending(ImageRequest(model="echo", prompts=("red",)))
        assert isinstance(ending, Unsupported)
        assert "painter" in ending.message
        picture = TextRequest(model="echo", prompt=(Image(data=b"x"),))
        ending = await house.ending(picture)
        assert isinstance(ending, Unsupported)
        assert "seer" in ending.message
        ending = await house.ending(ask("x", model="secret-name"))
        assert isinstance(ending, ModelNotFound)
        assert "secret-name" not in ending.message
        assert house.backend.worker_pid(models[0]) is None, "refused before any worker was started"


async def test_status():
    async with open_house(echo(), echo("other")) as house:
        assert [status.state.value for status in house.service.models()] == ["installed", "installed"]
        await house.service.ensure_ready(house.models[0])
        assert [status.state.value for status in house.service.models()] == ["ready", "installed"]
        assert [status.device for status in house.service.models()] == ["CPU", ""]


async def test_usage_and_times_are_recorded():
    async with open_house(echo()) as house:
        await house.answer(ask("one two three"))
        (record,) = house.records
        assert (record.owner, record.model, record.dialect, record.kind) == (
            "alice",
            "echo",
            "test",
            "TextRequest",
        )
        assert record.usage.completion_tokens == 3
        assert 0 <= record.queue_ms <= record.first_event_ms <= record.run_ms


async def test_broken_sink_does_not_break_requests():
    async with open_house(echo()) as house:

        def refuse(record):
            raise OSError("disk full")

        house.service._meter._sink = refuse
        assert isinstance(await house.ending(ask("fine")), Outcome)


async def test_deadline_leaves_the_callers_own_waiting_alone():
    """A timer that is held across a yield would cancel the caller in the middle of something else."""
    async with open_house(echo()) as house:
        house.service._deadlines = type(house.service._deadlines)(idle_seconds=0.2, first_event_seconds=0.2)
        await house.service.ensure_ready(house.models[0])
        tokens = 0
        async with aclosing(house.stream(ask("one two three"))) as events:
            async for _, event in events:
                tokens += isinstance(event, Token)
                await asyncio.sleep(0.3)
        assert tokens == 3
        assert not any(record.code == DeadlineExceeded.code for record in house.records)
