"""The one place that opens a link given by a caller, with everything that may be done with such a link.

What a caller can learn from it is that a link could be fetched, or that it could not: one code and one sentence for
every failure that depends on a network, and never sooner than `floor_seconds` after the last hop began. An address
that is refused is never connected to, so open and closed ports of an inside host look the same. What stays visible is
time beyond the floor: a host that swallows packets takes longer than one that says no (that tells of public hosts
only), and so does a name that the name server takes longer than the floor to know or not to know.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from quintet.core.budget import Budget
from quintet.core.errors import InvalidRequest
from quintet.media.addresses import AddressRules
from quintet.media.exchange import Body, FetchFailed, Redirect, exchange
from quintet.media.links import Link, LinkRefused, parse_link
from quintet.media.places import Place, PlaceLimits, Places, too_many
from quintet.media.resolver import Resolver, SystemResolver

log = logging.getLogger(__name__)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[str, int, ssl.SSLContext | None, str], Awaitable[Streams]]
"""(IP address, port, TLS or None, name to check the certificate against) -> an open connection; raises OSError."""
MAX_ADDRESSES_TRIED = 3
_ORIGIN = re.compile(r"(\[[0-9a-f:.]+\]|[^\s/:\[\]]+):[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """What may be fetched, and what it may cost."""

    enabled: bool = True
    """False refuses every link."""
    ports: frozenset[int] = frozenset((80, 443))
    """Ports that a link may name."""
    hosts: frozenset[str] = frozenset()
    """If not empty: the only hosts that links may lead to, by their exact names. Their addresses are still checked."""
    own_origins: frozenset[str] = frozenset()
    """host:port pairs of this very server, such as its public name; links to them would come back here."""
    permitted_addresses: frozenset[str] = frozenset()
    """Exact ip:port pairs that pass the address rules, for an operator's own picture server; the port need not be
    among `ports`. Everybody who may send a link can then ask that server for anything."""
    refused_networks: tuple[str, ...] = ()
    """More networks that are never connected to, for operators who use public addresses inside."""
    max_bytes: int = 20 * 1024 * 1024
    """Of one body."""
    max_held_bytes: int = 128 * 1024 * 1024
    """Of all bodies under way together."""
    max_redirects: int = 3
    waiting_seconds: float = 30.0
    """For a place; a link that has none by then is refused as one too many."""
    connect_seconds: float = 5.0
    """For name, connection and TLS of one hop."""
    total_seconds: float = 10.0
    """For all hops together, from the moment the fetch has its place."""
    floor_seconds: float = 0.25
    """A failure is never told sooner than so long after its last hop began."""
    places: PlaceLimits = field(default_factory=PlaceLimits)


@dataclass(slots=True)
class _Trip:
    """One fetch over all its hops."""

    place: Place
    wanted: Callable[[bytes], bool]
    hop_started: float = field(default_factory=lambda: asyncio.get_running_loop().time())


class Fetcher:
    """One per gateway, on one event loop. It keeps no connection, so a fetch leaves nothing behind."""

    def __init__(
        self,
        policy: FetchPolicy | None = None,
        *,
        resolver: Resolver | None = None,
        connect: Connect | None = None,
        tls: ssl.SSLContext | None = None,
        rules: AddressRules | None = None,
    ) -> None:
        """All but `policy` are for tests. Raises ValueError for a policy whose addresses or origins are none."""
        self._policy = policy = policy or FetchPolicy()
        self._rules = rules or AddressRules(
            permitted=policy.permitted_addresses, refused_networks=policy.refused_networks
        )
        self._ports = policy.ports | self._rules.permitted_ports
        self._hosts = _lower(policy.hosts)
        self._own_origins = _lower(policy.own_origins)
        if not all(_ORIGIN.fullmatch(origin) for origin in self._own_origins):
            raise ValueError("an origin must be written as host:port, such as pictures.example.org:443")
        self._resolve = resolver or SystemResolver()
        self._connect = connect or open_pinned
        self._tls = tls
        self._tls_lock = asyncio.Lock()
        self._places = Places(policy.places)
        self._budget = Budget(policy.max_held_bytes, too_many)
        self.outcomes: Counter[str] = Counter()
        """How many fetches ended how; for the operator."""

    async def fetch(self, url: str, *, field: str, wanted: Callable[[bytes], bool], owner: str = "") -> bytes:
        """The bytes that a caller's link leads to; raises InvalidRequest, Overloaded or ShuttingDown.

        `field` is named in errors. `wanted` gets the first SNIFFED_BYTES of the body, or all if it is shorter.
        `owner` lets links of several callers take turns.
        """
        link = self._read(url, field)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._policy.waiting_seconds):
                    place = await stack.enter_async_context(self._places.hold(owner, link.host))
            except TimeoutError:
                raise too_many() from None
            trip = _Trip(place, wanted)
            try:
                async with asyncio.timeout(self._policy.total_seconds):
                    data = await self._follow(link, trip)
            except (FetchFailed, LinkRefused, OSError) as failure:  # TimeoutError is an OSError
                reason = _name(failure)
            else:
                self.outcomes["fetched"] += 1
                return data
        self.outcomes[reason] += 1
        log.info("a link could not be fetched: %s", reason)
        await asyncio.sleep(trip.hop_started + self._policy.floor_seconds - asyncio.get_running_loop().time())
        raise InvalidRequest(
            f"`{field}` holds a link that could not be fetched. It must be public, answer 200 with an accepted kind of "
            f"file of at most {self._policy.max_bytes // 2**20} MiB within {self._policy.total_seconds:g} seconds. "
            "Or send the data itself as a data URL.",
            param=field,
            code="fetch_failed",
        )

    async def close(self) -> None:
        """Let no more fetches begin. Those under way belong to their callers, and end with them."""
        self._places.close()

    def _read(self, url: str, field: str) -> Link:
        """What can be told from the text and the settings alone, in words that help."""
        if not self._policy.enabled:
            raise InvalidRequest(
                f"`{field}` holds a link, and this server fetches none. Send the data itself as a data URL.",
                param=field,
                code="fetch_disabled",
            )
        try:
            link = parse_link(url)
            if link.port not in self._ports:
                named = ", ".join(str(port) for port in sorted(self._policy.ports))
                raise LinkRefused(f"must not name this port in its link; these are open to links: {named}.")
            if not self._is_listed(link):
                raise LinkRefused(
                    "holds a link to a host that is not on this server's list. Send a data URL."
                )
        except LinkRefused as refusal:
            raise InvalidRequest(f"`{field}` {refusal}", param=field, code="invalid_link") from None
        return link

    def _is_listed(self, link: Link) -> bool:
        return not self._hosts or link.host in self._hosts

    async def _follow(self, link: Link, trip: _Trip) -> bytes:
        seen = {(link.origin, link.target)}
        for _ in range(self._policy.max_redirects + 1):
            self._check(link)
            body = Body(trip.wanted, self._policy.max_bytes, self._budget)
            reader, writer = await self._open(link)
            try:
                answer = await exchange(reader, writer, link, body)
            finally:
                body.release()
                writer.transport.abort()
            if not isinstance(answer, Redirect):
                return answer
            trip.hop_started = asyncio.get_running_loop().time()
            link = link.follow(answer.location)
            if (link.origin, link.target) in seen:
                raise FetchFailed("redirect_loop")
            seen.add((link.origin, link.target))
            await self._places.move(trip.place, link.host)
        raise FetchFailed("too_many_redirects")

    def _check(self, link: Link) -> None:
        """Rules for every hop that need no address."""
        if link.port not in self._ports or not self._is_listed(link):
            raise FetchFailed("refused_redirect")
        if link.origin in self._own_origins or (link.is_inside_name and link.host not in self._hosts):
            raise FetchFailed("refused_host")

    async def _open(self, link: Link) -> Streams:
        async with asyncio.timeout(self._policy.connect_seconds):
            if link.address is not None:
                addresses: Sequence[str] = (link.address,)
            else:
                addresses = await self._resolve(link.host)
            # Every answer must pass, even those that would not be tried: a mixed answer is an attempt at something.
            if not addresses or not all(self._may_connect(address, link.port) for address in addresses):
                raise FetchFailed("refused_address")
            tls = await self._tls_context() if link.scheme == "https" else None
            return await self._open_one(link, addresses[:MAX_ADDRESSES_TRIED], tls)

    def _may_connect(self, address: str, port: int) -> bool:
        if self._rules.permits(address, port):
            return True
        return port in self._policy.ports and self._rules.is_public(address)

    async def _open_one(self, link: Link, addresses: Sequence[str], tls: ssl.SSLContext | None) -> Streams:
        """The first of these addresses that answers; each gets its share of the time."""
        share = self._policy.connect_seconds / len(addresses)
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(share):
                    return await self._connect(address, link.port, tls, link.host)
            except ssl.SSLError:
                raise
            except OSError:
                continue
        return await self._connect(addresses[-1], link.port, tls, link.host)

    async def _tls_context(self) -> ssl.SSLContext:
        async with self._tls_lock:
            if self._tls is None:
                self._tls = await asyncio.to_thread(_make_tls_context)
            return self._tls


async def open_pinned(address: str, port: int, tls: ssl.SSLContext | None, name: str) -> Streams:
    """Connect to an IP address, whatever `name` may resolve to by now; `name` is for TLS alone. Raises OSError."""
    reader, writer = await asyncio.open_connection(
        address, port, ssl=tls, server_hostname=name if tls else None
    )
    peer = writer.get_extra_info("peername")
    if peer is None or ipaddress.ip_address(peer[0]) != ipaddress.ip_address(address):
        writer.transport.abort()
        raise ConnectionError("connected to another address")
    return reader, writer


def _make_tls_context() -> ssl.SSLContext:
    """The system's certificates, or those that come with the HTTP client where the system has none."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        return ssl.create_default_context()
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _name(failure: Exception) -> str:
    """A word for the operator, of a small set."""
    if isinstance(failure, FetchFailed):
        return str(failure)
    if isinstance(failure, LinkRefused):
        return "refused_redirect"
    if isinstance(failure, TimeoutError):
        return "too_slow"
    return "tls" if isinstance(failure, ssl.SSLError) else "no_connection"
