"""Which addresses a caller's link may lead to: public unicast ones, no other. Nothing is connected to here.

Python's `ipaddress.is_global` differs between releases and calls some addresses global that a cloud uses inside
its machines, so the rule is a table of our own and `is_global` only a second opinion. Addresses that carry another
one (IPv4-mapped, NAT64, 6to4, Teredo, ISATAP) are refused whatever they carry: no public server has one.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # "this" network; Linux takes 0.0.0.0 for itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT, and Alibaba's metadata service 100.100.100.200; not `is_private`
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent; `is_global`
        "169.254.0.0/16",  # link-local: metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
"""All that has been given out. Outside: ::1, mapped and compatible IPv4, NAT64, unique local, link-local, fec0::/10."""
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3ffe::/16",  # the former 6bone
        "3fff::/20",  # documentation
    )
)
_ISATAP = (0x00005EFE, 0x02005EFE)
"""Upper half of an interface id whose lower half is an IPv4 address."""


class AddressRules:
    """Judges single addresses; one per policy."""

    def __init__(
        self,
        *,
        permitted: Iterable[str] = (),
        refused_networks: Iterable[str] = (),
        is_own: Callable[[Address], bool] | None = None,
    ) -> None:
        """`permitted` are exact ip:port pairs that pass every other rule. Raises ValueError for what is none."""
        self._permitted = frozenset(_read_pair(pair) for pair in permitted)
        self._refused = tuple(ipaddress.ip_network(network) for network in refused_networks)
        self._is_own = is_own or is_own_address
        self.permitted_ports = frozenset(port for _, port in self._permitted)

    def permits(self, address: str, port: int) -> bool:
        """Whether the operator named this very address and port."""
        try:
            return (ipaddress.ip_address(address), port) in self._permitted
        except ValueError:
            return False

    def is_public(self, address: str) -> bool:
        """Whether this is a public unicast address that is neither the operator's nor this machine's own."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return (
            is_public_unicast(parsed)
            and not any(parsed in network for network in self._refused)
            and not self._is_own(parsed)
        )


def is_public_unicast(address: Address) -> bool:
    """Whether packets to this address go to one machine on the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _REFUSED_V4)
    return (
        address in _PUBLIC_V6
        and address.is_global
        and address.scope_id is None
        and not any(address in network for network in _REFUSED_V6)
        and (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP
    )


def is_own_address(address: Address) -> bool:
    """Whether this machine itself has the address: only then may a socket be bound to it.

    False where the kernel binds to any address (`ip_nonlocal_bind`, on some load balancers), as it tells nothing.
    """
    stranger = "192.0.2.1" if address.version == 4 else "2001:db8::1"
    return _can_bind(str(address), address.version) and not _can_bind(stranger, address.version)


def _can_bind(address: str, version: int) -> bool:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _read_pair(pair: str) -> tuple[Address, int]:
    """192.168.1.20:9000 or [fd00::1]:9000."""
    host, colon, port = pair.rpartition(":")
    bare = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host
    address = ipaddress.ip_address(bare)
    if not colon or (address.version == 6) == (bare == host) or not (port.isascii() and port.isdigit()):
        raise ValueError("an address must be written as ip:port, such as 192.168.1.20:9000 or [fd00::1]:9000")
    if not 1 <= int(port) <= 65535:
        raise ValueError("a port must be from 1 to 65535")
    return address, int(port)
