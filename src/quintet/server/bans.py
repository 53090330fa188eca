"""Bans of addresses that guess keys. Pure: the clock is given, nothing is awaited, nothing is logged.

The 5th failure bans for 300 s; failures are forgotten 1800 s after the last one or by a success; attempts during
a ban neither count nor extend it. Memory is bounded: the least recently seen addresses go first.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Record:
    failures: int = 0
    last_failure: float = 0.0
    banned_until: float | None = None


class Bans:
    """Failed attempts by address. One instance per server."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        failures: int = 5,
        ban_seconds: float = 300,
        forget_seconds: float = 1800,
        capacity: int = 100_000,
    ) -> None:
        """`clock` is monotonic, in seconds, so that changing the time of day changes no ban."""
        self._clock = clock
        self._failures = failures
        self._ban_seconds = ban_seconds
        self._forget_seconds = forget_seconds
        self._capacity = capacity
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def configure(self, *, failures: int, ban_seconds: float, forget_seconds: float) -> None:
        """Change the rules for failures to come; bans that run keep their end."""
        self._failures, self._ban_seconds, self._forget_seconds = failures, ban_seconds, forget_seconds

    def seconds_left(self, address: str) -> float:
        """How long this address stays banned; 0 if it isn't."""
        if not self._records:
            return 0.0
        group = group_address(address)
        record = self._records.get(group)
        if record is None or record.banned_until is None:
            return 0.0
        left = record.banned_until - self._clock()
        if left > 0:
            return left
        del self._records[group]  # the ban is over, and with it the count
        return 0.0

    def fail(self, address: str) -> bool:
        """Count a wrong credential; True if this one set a ban."""
        if self.seconds_left(address) > 0:
            return False
        now = self._clock()
        self._sweep(now)
        group = group_address(address)
        record = self._records.setdefault(group, _Record())
        self._records.move_to_end(group)
        if now - record.last_failure > self._forget_seconds:
            record.failures = 0
        record.failures += 1
        record.last_failure = now
        while len(self._records) > self._capacity:
            self._records.popitem(last=False)
        if record.failures >= self._failures:
            record.banned_until = now + self._ban_seconds
            return True
        return False

    def succeed(self, address: str) -> None:
        """Forget the failures of an address that has shown a valid credential."""
        if self._records and self.seconds_left(address) == 0:
            self._records.pop(group_address(address), None)

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._records)

    def _sweep(self, now: float) -> None:
        """Drop what is stale at the old end of the table."""
        while self._records:
            group, record = next(iter(self._records.items()))
            fresh_until = max(record.last_failure + self._forget_seconds, record.banned_until or 0.0)
            if now <= fresh_until:
                return
            del self._records[group]


def group_address(address: str) -> str:
    """What is banned as one: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address
