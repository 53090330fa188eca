"""R-01 … R-14, R-18, R-20, R-30 through the one function that fetches: where it goes, and where it never does."""

import asyncio
import os
import socket

import pytest

from quintet.core.errors import InvalidRequest
from quintet.media.addresses import AddressRules
from quintet.media.fetch import Fetcher, FetchPolicy, open_pinned
from tests.media import test_fetch_addresses as addresses
from tests.media.web import (
    PICTURE,
    PUBLIC,
    PUBLIC_V6,
    Inside,
    Web,
    answer,
    assert_fails,
    get,
    header,
    redirect,
    refusal,
    until,
)

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------------------------------------- addresses


BAD_ADDRESSES = [address for rule in ("R-01", "R-02", "R-04", "R-05") for address in addresses.REFUSED[rule]]


async def test_r01_to_r05_addresses_in_links_are_never_connected_to():
    async with Web.open() as web:
        fetcher = web.fetcher()
        for address in BAD_ADDRESSES:
            if "%" not in address:
                host = f"[{address}]" if ":" in address else address
                await assert_fails(fetcher, f"http://{host}/x", "refused_address")
        assert not web.dialled
        assert not web.lookups


@pytest.mark.parametrize(
    "found",
    [
        *([address] for address in BAD_ADDRESSES[::4]),
        [PUBLIC, "127.0.0.1"],
        ["10.0.0.1", PUBLIC],
        [PUBLIC, PUBLIC_V6, "fd00::1"],
        ["::1", PUBLIC],
        [PUBLIC] * 40 + ["169.254.169.254"],
    ],
    ids=lambda found: f"R-06 R-10 R-11 {','.join(found)[-40:]}",
)
async def test_names_with_an_address_inside_are_never_connected_to(found):
    async with Web.open() as web:
        web.names["a.example"] = found
        await assert_fails(web.fetcher(), reason="refused_address")
        assert not web.dialled


async def test_r06_names_of_the_inside_are_not_even_looked_up():
    async with Web.open() as web:
        fetcher = web.fetcher()
        for host in ("localhost", "a.localhost", "metadata.google.internal", "redis", "nas.local"):
            await assert_fails(fetcher, f"http://{host}/x", "refused_host")
        assert not web.lookups
        assert not web.dialled


async def test_r08_r09_rebinding_a_thousand_times():
    asked = 0

    async def rebind(name):
        nonlocal asked
        asked += 1
        return [PUBLIC] if asked % 2 else ["127.0.0.1"]

    async def connect(address, port, tls, name):
        if address == PUBLIC:  # out of this machine's reach, and it must stay at that
            raise ConnectionRefusedError
        return await open_pinned(address, port, tls, name)

    async with Inside.open() as inside:
        policy = FetchPolicy(ports=frozenset((inside.port,)), floor_seconds=0)
        fetcher = Fetcher(policy, resolver=rebind, connect=connect)
        for _ in range(1000):
            with pytest.raises(InvalidRequest):
                await get(fetcher, f"http://rebind.example:{inside.port}/x")
        assert asked == 1000, "one look-up for one fetch"
        assert fetcher.outcomes == {"no_connection": 500, "refused_address": 500}
        await asyncio.sleep(0)
        assert inside.connections == 0
        _, writer = await open_pinned("127.0.0.1", inside.port, None, "")
        await until(lambda: inside.connections == 1)  # the listener does count
        writer.close()


async def test_r09_the_connection_is_made_to_the_address_that_was_judged(monkeypatch):
    """With the real connection, and a name that would lead elsewhere."""
    looked_up = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(type(loop), "getaddrinfo", lambda *_, **__: looked_up.append(1))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: looked_up.append(1))
    async with Web.open() as web:
        origin = f"127.0.0.1:{web.port}"
        fetcher = web.fetcher(permitted_addresses=frozenset((origin,)), connect=open_pinned)
        web.names["a.example"] = ["127.0.0.1"]
        assert await get(fetcher, f"http://a.example:{web.port}/x") == PICTURE
        assert header(web.requests[0], "host") == f"a.example:{web.port}"
    assert not looked_up


async def test_r14_ports():
    async with Web.open() as web:
        for port in (22, 25, 6379, 5432, 8265, 8000, web.port):
            error = await refusal(web.fetcher(), f"http://a.example:{port}/x")
            assert error.code == "invalid_link"
            assert "80, 443" in error.message
        assert not web.dialled
        assert await get(web.fetcher(ports=frozenset((80, 8265))), "http://a.example:8265/x") == PICTURE


async def test_a_permitted_address_is_permitted_with_its_port_only():
    async with Web.open() as web:
        fetcher = web.fetcher(permitted_addresses=frozenset(("192.168.1.20:9000",)))
        assert await get(fetcher, "http://192.168.1.20:9000/x") == PICTURE
        for origin in ("192.168.1.20", "192.168.1.21:9000", "a.example:9000", f"{PUBLIC}:9000"):
            await assert_fails(fetcher, f"http://{origin}/x", "refused_address")
        assert web.dialled == [("192.168.1.20", 9000)]


# ------------------------------------------------------------------------------------------- redirects


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.1/", "refused_address"),
        ("http://[::ffff:169.254.169.254]/latest", "refused_address"),
        ("//10.0.0.1/", "refused_address"),
        ("http://inside.example/", "refused_address"),
        ("http://localhost/", "refused_host"),
        ("http://a.example:22/", "refused_redirect"),
        ("http://user:pass@b.example/", "refused_redirect"),
        ("file:///etc/passwd", "refused_redirect"),
        ("http://127.1/", "refused_redirect"),
        ("/x", "redirect_loop"),
        ("x", "redirect_loop"),
        ("/x#again", "redirect_loop"),
        ("", "redirect_loop"),
        ("http://b.example/ x", "refused_redirect"),
    ],
)
async def test_r07_every_redirect_is_checked_like_the_first_link(location, reason):
    async with Web.open() as web:
        web.names["inside.example"] = [PUBLIC, "192.168.0.1"]
        for status in (301, 302, 303, 307, 308):
            web.answers["/x"] = redirect(location, status)
            await assert_fails(web.fetcher(), reason=reason)
        assert web.dialled == [(PUBLIC, 80)] * 5


@pytest.mark.parametrize(
    ("hops", "works"),
    [
        (["/1", "//b.example/2", "https://c.example/3"], True),
        (["/1", "/2", "/3", "/4"], False),
        (["/1", "/2", "/1"], False),
    ],
    ids=["three hops", "four hops", "a loop"],
)
async def test_r07_three_hops_at_most(hops, works):
    async with Web.open() as web:
        for start, goal in zip(["/x", "/1", "/2", "/3"], hops, strict=False):
            web.answers[start] = redirect(goal.replace("https", "http"))
        if works:
            assert await get(web.fetcher()) == PICTURE
            assert [header(head, "host") for head in web.requests] == [
                *("a.example", "a.example", "b.example", "c.example"),
            ]
            assert sum(web.lookups.values()) == 4, "every hop is looked up and judged anew"
        else:
            await assert_fails(web.fetcher())
            assert len(web.requests) <= 4


async def test_r07_a_redirect_with_two_goals_or_none_is_refused():
    async with Web.open() as web:
        web.answers["/x"] = answer(b"", "Location: /a", "Location: /b", status="302 Found")
        web.answers["/y"] = answer(PICTURE, status="302 Found")
        await assert_fails(web.fetcher(), reason="redirect")
        await assert_fails(web.fetcher(), "http://a.example/y", "redirect")


# ------------------------------------------------------------------------------------------- policy


async def test_r18_links_to_this_server_come_to_nothing():
    async with Web.open() as web:
        fetcher = web.fetcher(own_origins=frozenset(("Models.example:443", f"{PUBLIC}:80")))
        web.answers["/x"] = redirect("https://models.example/v1/models")
        for url in ("https://models.example/x", f"http://{PUBLIC}/x", "http://a.example/x"):
            await assert_fails(fetcher, url, "refused_host")
        assert web.dialled == [(PUBLIC, 80)], "only the host that redirected"
        mine = web.fetcher(rules=AddressRules(is_own=lambda address: str(address) == PUBLIC))
        await assert_fails(mine, "http://other-name.example/", "refused_address")


async def test_r30_only_hosts_on_the_list_by_their_exact_names():
    async with Web.open() as web:
        fetcher = web.fetcher(hosts=frozenset(("allowed.example", "store.internal")))
        web.names["store.internal"] = ["10.0.0.7"]
        assert await get(fetcher, "http://ALLOWED.example/x") == PICTURE
        for host in (
            *(
                "evil.com.allowed.example",
                "allowed.example.evil.com",
                "sub.allowed.example",
                "notallowed.example",
            ),
            *("allowed.exampl", PUBLIC, "allowed.example%2eevil.com", "allowed.example@evil.com"),
        ):
            assert (await refusal(fetcher, f"http://{host}/x")).code == "invalid_link"
        web.answers["/x"] = redirect("http://evil.com/")
        await assert_fails(fetcher, "http://allowed.example/x", "refused_redirect")
        await assert_fails(fetcher, "http://store.internal/x", "refused_address")  # the list is no permission
        assert set(web.lookups) == {"allowed.example", "store.internal"}


async def test_fetching_can_be_switched_off():
    async with Web.open() as web:
        error = await refusal(web.fetcher(enabled=False))
        assert error.code == "fetch_disabled"
        assert "data URL" in error.message
        assert not web.lookups


async def test_r20_proxies_of_the_environment_are_ignored(monkeypatch):
    async with Web.open() as proxy, Web.open() as web:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setitem(os.environ, name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setitem(os.environ, name.upper(), f"http://127.0.0.1:{proxy.port}")
        origin = f"127.0.0.1:{web.port}"
        fetcher = Fetcher(FetchPolicy(permitted_addresses=frozenset((origin,))))
        assert await get(fetcher, f"http://{origin}/x") == PICTURE
        assert not proxy.requests
        assert len(web.requests) == 1


def test_own_origins_without_a_port_are_a_mistake_that_is_told():
    """They would match no link, and the server's own name would be fetched all the same."""
    for origin in ("models.example", "https://models.example", "models.example:443/", "::1:80", ":80", ""):
        with pytest.raises(ValueError, match="host:port"):
            Fetcher(FetchPolicy(own_origins=frozenset((origin,))))
    Fetcher(FetchPolicy(own_origins=frozenset(("[::1]:80", "0.0.0.0:0", "Models.example:443"))))
