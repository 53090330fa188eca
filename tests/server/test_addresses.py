"""Whose address counts: the peer's, or the right-most hop that is no proxy of ours."""

from __future__ import annotations

import pytest

from quintet.server.addresses import AddressBook


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ((), "9.9.9.9", ["1.2.3.4"], "9.9.9.9"),
        (("10.0.0.0/8",), "9.9.9.9", ["1.2.3.4"], "9.9.9.9"),
        (("10.0.0.0/8",), "10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", [], "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["unknown"], "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["1.2.3.4, nonsense"], "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        (("10.0.0.0/8",), "10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4"),
        (("::1",), "::1", ["[2001:db8::1]:443"], "2001:db8::1"),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", ["::ffff:1.2.3.4"], "1.2.3.4"),
    ],
)
def test_resolve(trusted: tuple[str, ...], peer: str, forwarded: list[str], client: str) -> None:
    assert AddressBook(trusted).resolve(peer, forwarded) == client
