"""R-17, R-19, R-24, F-29: what the one function that fetches asks, what it tells, and many at once."""

import asyncio
import contextlib
import socket
import statistics
import time

import pytest
import uvloop

from quintet.core.errors import Overloaded, ShuttingDown
from quintet.media.fetch import FetchPolicy
from quintet.media.places import PlaceLimits
from quintet.media.resolver import SystemResolver
from tests.media.web import (
    PICTURE,
    PUBLIC,
    PUBLIC_V6,
    Inside,
    Web,
    answer,
    assert_fails,
    get,
    redirect,
    refusal,
    stay_silent,
    until,
)

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------------------------------------- what works


@pytest.mark.parametrize(
    "said",
    [
        answer(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n108\r\n" + PICTURE + b"\r\n0\r\n\r\n",
        b"HTTP/1.0 200 Fine\r\n\r\n" + PICTURE,
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(),
        answer(PICTURE, "Content-Encoding: identity", "Set-Cookie: a=b", "Content-Type: text/html"),
        answer(PICTURE, "Refresh: 0; url=http://127.0.0.1/"),
    ],
    ids=["length", "chunked", "until the end", "early hints", "odd headers", "R-07 Refresh is ignored"],
)
async def test_a_picture_is_fetched(said):
    async with Web.open() as web:
        web.answers["/x"] = said
        fetcher = web.fetcher()
        assert await get(fetcher) == PICTURE
        assert web.dialled == [(PUBLIC, 80)]
        assert fetcher.outcomes == {"fetched": 1}


async def test_the_question_tells_nothing_of_us_and_asks_for_plain_bytes():
    async with Web.open() as web:
        web.answers["/x"] = answer(b"", "Location: /y", "Set-Cookie: session=1", status="302 Found")
        assert await get(web.fetcher(), "http://A.example:80/x?q=%20#part") == PICTURE
        assert web.answers.keys() == {"/x"}
    async with Web.open() as web:
        web.answers["/x"] = answer(b"", "Location: /y", "Set-Cookie: session=1", status="302 Found")
        await get(web.fetcher(), "http://A.example:80/x")
        for head, target in zip(web.requests, ("/x", "/y"), strict=True):
            lines = head.decode().split("\r\n")
            assert lines[0] == f"GET {target} HTTP/1.1"
            assert sorted(line.lower() for line in lines[1:-2]) == [
                *("accept-encoding: identity", "accept: */*", "connection: close"),
                *("host: a.example", "user-agent: quintet"),
            ]


async def test_a_second_address_is_tried():
    async with Web.open() as web:
        web.names["a.example"] = [PUBLIC_V6, PUBLIC]
        web.closed = {PUBLIC_V6}
        assert await get(web.fetcher()) == PICTURE
        assert web.dialled == [(PUBLIC_V6, 80), (PUBLIC, 80)]


async def test_works_on_the_loop_that_serves():
    def run() -> bytes:
        async def main() -> bytes:
            async with Web.open() as web:
                return await get(web.fetcher())

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())

    assert await asyncio.to_thread(run) == PICTURE


# ------------------------------------------------------------------------------------------- what is told


async def test_r19_no_failure_can_be_told_from_another_by_its_time():
    async with Inside.open() as inside, Web.open() as web:
        port = inside.port
        web.names |= {"open.example": ["127.0.0.1"], "none.example": [], "closed.example": [PUBLIC_V6]}
        web.closed = {PUBLIC_V6}
        web.answers["b.example/late"] = redirect("http://10.0.0.1/")
        fetcher = web.fetcher(ports=frozenset((port, 80)), floor_seconds=FetchPolicy().floor_seconds)
        urls = {
            "open, inside": f"http://127.0.0.1:{port}/",
            "closed, inside": "http://127.0.0.1/",
            "open, inside, by name": f"http://open.example:{port}/",
            "closed, public": "http://closed.example/",
            "no such name": "http://none.example/",
            "redirected inside": "http://b.example/late",
            "name of the inside": "http://redis.local/",
        }
        took: dict[str, list[float]] = {kind: [] for kind in urls}

        async def measure(kind, url):
            start = time.perf_counter()
            await refusal(fetcher, url)
            took[kind].append(time.perf_counter() - start)

        for _ in range(3):
            await asyncio.gather(*(measure(kind, url) for kind, url in urls.items()))
    best = {kind: min(times) for kind, times in took.items()}  # a busy machine only ever adds to the others
    assert max(best.values()) - min(best.values()) < 0.05, best
    assert min(best.values()) >= 0.24
    assert inside.connections == 0


async def test_r19_a_redirect_at_a_chosen_moment_does_not_outwait_the_floor():
    async def late(reader, writer):
        await asyncio.sleep(0.15)
        writer.write(redirect("http://none.example/"))

    async with Web.open() as web:
        web.names["none.example"] = []
        web.answers["/x"] = late
        start = time.perf_counter()
        await assert_fails(web.fetcher(floor_seconds=0.15))
        assert time.perf_counter() - start >= 0.295


# ------------------------------------------------------------------------------------------- many at once


async def test_r17_so_many_per_host_and_in_all():
    async def slowly(reader, writer):
        await asyncio.sleep(0.01)
        writer.write(answer())

    async with Web.open() as web:
        web.answers["/x"] = slowly
        fetcher = web.fetcher()
        urls = ["http://same.example/x"] * 8 + [f"http://h{number % 20}.example/x" for number in range(60)]
        fetched = await asyncio.gather(*(get(fetcher, url) for url in urls))
        assert set(fetched) == {PICTURE}
        assert max(count for host, count in web.most_at_once.items() if host) == 2
        assert web.most_at_once[""] == 16


async def test_r17_a_redirect_counts_for_its_new_host():
    async def slowly(reader, writer):
        await asyncio.sleep(0.01)
        writer.write(answer())

    async with Web.open() as web:
        web.answers = {"/x": redirect("http://victim.example/y"), "/y": slowly}
        fetcher = web.fetcher()
        await asyncio.gather(*(get(fetcher, f"http://h{number}.example/x") for number in range(12)))
        assert web.most_at_once["victim.example"] == 2


async def test_r24_a_hundred_slow_links_hold_up_nobody():
    lags: list[float] = []

    async def beat():
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - before)

    async with Web.open() as web:
        web.answers["/slow"] = stay_silent
        fetcher = web.fetcher(total_seconds=30)
        heart = asyncio.Task(beat())
        slow = [
            asyncio.Task(get(fetcher, f"http://slow{number}.example/slow", "mallory"))
            for number in range(100)
        ]
        await until(lambda: web.open_now[""] == 8)
        start = time.perf_counter()
        assert await get(fetcher, "http://fast.example/x", "alice") == PICTURE
        assert time.perf_counter() - start < 5, "the slow ones are given up after 30 seconds"
        assert web.most_at_once[""] == 9, "one owner has half of the places"
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
        heart.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await heart
        assert statistics.median(lags) < 0.05
        assert (fetcher._places.running, fetcher._places.waiting, fetcher._budget.held_bytes) == (0, 0, 0)


async def test_more_than_can_wait_is_an_overload():
    async with Web.open() as web:
        web.answers["/slow"] = stay_silent
        fetcher = web.fetcher(places=PlaceLimits(total=1, waiting=2))
        held = [asyncio.Task(get(fetcher, f"http://h{number}.example/slow")) for number in range(3)]
        await until(lambda: fetcher._places.waiting == 2)
        with pytest.raises(Overloaded) as error:
            await get(fetcher)
        assert error.value.retry_after
        await fetcher.close()
        held[0].cancel()
        done = await asyncio.gather(*held, return_exceptions=True)
        assert [type(result) for result in done] == [asyncio.CancelledError, ShuttingDown, ShuttingDown]
        with pytest.raises(ShuttingDown):
            await get(fetcher)


async def test_bodies_under_way_share_one_budget_of_memory():
    started = asyncio.Event()

    async def hold(reader, writer):
        writer.write(answer(PICTURE + bytes(40_000), length=90_000))
        started.set()
        await reader.read()

    async with Web.open() as web:
        web.answers |= {"/held": hold, "/big": answer(PICTURE + bytes(60_000))}
        fetcher = web.fetcher(max_held_bytes=80_000)
        held = asyncio.Task(get(fetcher, "http://h.example/held"))
        await until(lambda: fetcher._budget.held_bytes > 40_000)
        with pytest.raises(Overloaded):
            await get(fetcher, "http://b.example/big")
        assert await get(fetcher) == PICTURE
        held.cancel()
        await asyncio.wait([held])
        assert fetcher._budget.held_bytes == 0
        assert len(await get(fetcher, "http://b.example/big")) > 60_000


# ------------------------------------------------------------------------------------------- names


async def test_f29_a_name_server_that_never_answers_costs_no_more_than_the_time_to_connect():
    async def never(name):
        await asyncio.Event().wait()

    async with Web.open() as web:
        start = time.perf_counter()
        await assert_fails(web.fetcher(resolver=never, connect_seconds=0.1), reason="too_slow")
        assert time.perf_counter() - start < 1


async def test_f29_the_systems_resolver_has_its_own_threads(monkeypatch):
    import threading

    hang = threading.Event()

    def look_up(host, *_, **__):
        if host == b"slow.example":
            hang.wait(20)
        if host == b"many.example":
            return [(socket.AF_INET, 0, 0, "", (f"8.8.{n // 256}.{n % 256}", 0)) for n in range(1000)]
        if host == b"none.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, 0, 0, "", (PUBLIC, 0))] * 3

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    resolve = SystemResolver(max_lookups=3)
    assert await resolve("a.example") == [PUBLIC]
    for name in ("many.example", "none.example"):
        with pytest.raises(OSError, match=r"\w"):
            await resolve(name)
    stuck = [asyncio.Task(resolve("slow.example")) for _ in range(2)]
    await asyncio.sleep(0)
    assert await resolve("b.example") == [PUBLIC]
    third = asyncio.Task(resolve("slow.example"))
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many"):
        await resolve("c.example")
    third.cancel()
    hang.set()
    assert await asyncio.gather(*stuck) == [[PUBLIC], [PUBLIC]]


async def test_nobody_waits_for_a_place_without_end():
    """R-17, R-24: many links to one slow host, each with its ten seconds, would add up."""
    async with Web.open() as web:
        web.answers["/slow"] = stay_silent
        fetcher = web.fetcher(places=PlaceLimits(per_host=1), waiting_seconds=0.1, total_seconds=0.4)
        holding = asyncio.get_running_loop().create_task(refusal(fetcher, "http://a.example/slow"))
        await until(lambda: bool(web.requests))
        with pytest.raises(Overloaded) as caught:
            await get(fetcher, "http://a.example/x")
        assert caught.value.code == "fetch_overloaded"
        assert (await holding).code == "fetch_failed"
        assert await get(fetcher) == PICTURE, "who gave up waiting holds nothing"
