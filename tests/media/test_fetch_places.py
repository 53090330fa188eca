"""R-17, R-24: how many fetch at once, and whose turn it is."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from quintet.core.errors import Overloaded, ShuttingDown
from quintet.media.places import PlaceLimits, Places

pytestmark = pytest.mark.anyio


class Crowd:
    """Fetches that hold their places until they are told to leave."""

    def __init__(self, places, group):
        self.places, self.group = places, group
        self.entered = []
        self.doors = {}

    def come(self, name, owner, host):
        self.doors[name] = asyncio.Event()

        async def stay():
            async with self.places.hold(owner, host):
                self.entered.append(name)
                await self.doors[name].wait()

        return self.group.create_task(stay())

    async def leave(self, *names):
        for name in names:
            self.doors[name].set()
        await settle()

    async def everybody_leaves(self):
        for door in self.doors.values():
            door.set()


async def settle():
    """Until everything that can happen without waiting has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_so_many_in_all_and_per_host():
    places = Places(PlaceLimits(total=3, per_host=2, per_owner=9))
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(places, group)
        for number in range(3):
            crowd.come(f"a{number}", "", "a")
        for number in range(3):
            crowd.come(f"b{number}", "", "b")
        await settle()
        assert crowd.entered == ["a0", "a1", "b0"], "a2 waits for its host and doesn't hold up b"
        assert (places.running, places.waiting) == (3, 3)
        await crowd.leave("b0")
        assert crowd.entered[3:] == ["b1"]
        await crowd.leave("a0")
        assert crowd.entered[4:] == ["a2"]
        await crowd.everybody_leaves()
        await settle()
        await crowd.everybody_leaves()
    assert (places.running, places.waiting) == (0, 0)
    assert not places._hosts
    assert not places._owners


async def test_owners_take_turns_and_none_takes_all():
    places = Places(PlaceLimits(total=4, per_host=9, per_owner=3))
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(places, group)
        for number in range(6):
            crowd.come(f"m{number}", "mallory", f"h{number}")
        await settle()
        assert crowd.entered == ["m0", "m1", "m2"], "one place is left for others"
        crowd.come("alice", "alice", "x")
        crowd.come("alice2", "alice", "y")
        await settle()
        assert crowd.entered[3:] == ["alice"]
        await crowd.leave("m0")
        assert crowd.entered[4:] == ["alice2"], "she holds fewer, though mallory has waited longer"
        crowd.doors |= {f"m{number}": crowd.doors[f"m{number}"] for number in range(6)}
        await crowd.everybody_leaves()


async def test_those_who_wait_are_few():
    places = Places(PlaceLimits(total=1, per_host=1, per_owner=1, waiting=4))
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(places, group)
        for number in range(3):
            crowd.come(str(number), "mallory", "a")
        await settle()
        with pytest.raises(Overloaded) as error:
            async with places.hold("mallory", "b"):
                pass
        assert (error.value.code, error.value.retry_after) == ("fetch_overloaded", 2)
        crowd.come("3", "alice", "a")
        crowd.come("4", "bob", "a")
        await settle()
        with pytest.raises(Overloaded):
            async with places.hold("carol", "b"):
                pass
        await crowd.everybody_leaves()


async def test_a_fetch_that_goes_on_to_a_full_host_waits_and_holds_none():
    places = Places(PlaceLimits(total=4, per_host=1, per_owner=4))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(places.hold("", "a"))
        second = await stack.enter_async_context(places.hold("", "b"))
        async with asyncio.TaskGroup() as group:
            to_b = group.create_task(places.move(first, "b"))
            await settle()
            assert not to_b.done()
            to_a = group.create_task(places.move(second, "a"))  # a circle, if anybody held on
            await settle()
            assert to_b.done()
            assert to_a.done()
        assert (first.host, second.host) == ("b", "a")
    assert not places._hosts


async def test_cancelling_gives_everything_back_at_any_moment():
    places = Places(PlaceLimits(total=2, per_host=1, per_owner=2))

    async def visit(owner, hosts):
        async with places.hold(owner, hosts[0]) as place:
            for host in hosts[1:]:
                await asyncio.sleep(0)
                await places.move(place, host)
            await asyncio.sleep(0)

    for patience in range(40):
        visits = [asyncio.Task(visit(f"o{number % 3}", ["a", "b", "c"][number % 2 :])) for number in range(8)]
        for turn in range(patience):
            await asyncio.sleep(0)
            if turn % 3 == 0:
                visits[turn % 8].cancel()
        for task in visits:
            task.cancel()
        await asyncio.wait(visits)
        assert (places.running, places.waiting, places._hosts, places._owners) == (0, 0, {}, {})


async def test_closing_sends_those_who_wait_away():
    places = Places(PlaceLimits(total=1, per_host=1, per_owner=1))
    async with places.hold("", "a"):
        waiting = asyncio.Task(places.hold("", "b").__aenter__())
        await settle()
        places.close()
        with pytest.raises(ShuttingDown):
            await waiting
    with pytest.raises(ShuttingDown):
        await places.hold("", "c").__aenter__()
    assert (places.running, places.waiting) == (0, 0)
