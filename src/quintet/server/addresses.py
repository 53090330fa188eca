"""Who is at the other end: the peer, or what a configured proxy says of its own peer."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_HOPS = 32


class AddressBook:
    """Knows the trusted proxies."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        """Each entry is an IP address or network."""
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in trusted_proxies)

    def is_trusted(self, address: str) -> bool:
        """Whether this address is one of the trusted proxies."""
        if not self._networks:
            return False
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def resolve(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The client's address: the right-most untrusted hop, believing nobody but the trusted proxies.

        `forwarded_for` holds the values of all X-Forwarded-For lines in their order.
        """
        if not forwarded_for or not self.is_trusted(peer):
            return peer
        client = peer
        hops = [hop for line in forwarded_for for hop in line.split(",")]
        for hop in reversed(hops[-MAX_HOPS:]):
            parsed = parse_address(hop.strip())
            if parsed is None:
                return client
            client = str(parsed)
            if not self.is_trusted(client):
                return client
        return client


@lru_cache(4096)
def parse_address(text: str) -> Address | None:
    """An address as proxies write it: with or without a port, IPv4-mapped ones folded; None if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
