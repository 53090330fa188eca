"""R-02, R-04, R-05, R-18, F-29: which addresses may be connected to."""

import ipaddress
import random

import pytest

from quintet.media.addresses import AddressRules, is_own_address, is_public_unicast

REFUSED = {
    "R-01": ("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3"),
    "R-02": (
        *("10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
        *("100.64.0.0", "100.127.255.255", "100.100.100.200", "169.254.0.1", "169.254.169.254", "192.0.0.1"),
        *("192.0.0.192", "192.0.0.255", "192.0.2.1", "198.18.0.0", "198.19.255.255", "198.51.100.1"),
        *("203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
        "192.88.99.1",
    ),
    "R-04": ("::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::7f00:1", "::ffff:8.8.8.8", "::8.8.8.8"),
    "R-05": (
        *("64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::", "64:ff9b:1:ffff::1", "2002:7f00:1::"),
        *("2002:808:808::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fe80::1", "fe80::1%eth0"),
        *("fc00::1", "fd12:3456::1", "fd00:ec2::254", "fec0::1", "ff00::1", "ff02::1", "2001:db8::1"),
        *(
            "3fff::1",
            "100::1",
            "5f00::1",
            "4000::1",
            "2001:10::1",
            "2001:2::1",
            "2606:2800:220:1:0:5efe:7f00:1",
        ),
        *("2606:2800:220:1:200:5efe:a00:1", "2606:4700::1%eth0"),
    ),
    "none": ("", "a.example", "127.1", "0x7f000001", "1.2.3.4.5", "[::1]", "8.8.8.8:80", "8.8.8.8 "),
}
PUBLIC = (
    *("8.8.8.8", "93.184.216.34", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"),
    *("192.0.1.1", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15", "168.63.129.17"),
    *("2606:4700:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "2400:cb00::1"),
)
CASES = [
    pytest.param(address, id=f"{rule}-{address}") for rule, found in REFUSED.items() for address in found
]


@pytest.mark.parametrize("address", CASES)
def test_addresses_that_are_never_connected_to(address):
    assert not AddressRules().is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address):
    assert AddressRules().is_public(address)


def test_every_ipv4_address_inside_an_ipv6_one_is_refused():
    drawn = random.Random(9)
    prefixes = ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::")
    for prefix in prefixes:
        start = int(ipaddress.IPv6Address(prefix))
        for _ in range(50):
            assert not is_public_unicast(ipaddress.IPv6Address(start + drawn.getrandbits(32)))
    for _ in range(50):
        inner = drawn.getrandbits(32)
        assert not is_public_unicast(ipaddress.IPv6Address((0x2002 << 112) + (inner << 80) + 1))
        assert not is_public_unicast(ipaddress.IPv6Address((0x2001 << 112) + drawn.getrandbits(96)))


def test_our_table_is_no_laxer_than_the_standard_library():
    drawn = random.Random(7)
    for _ in range(3000):
        address = ipaddress.IPv4Address(drawn.getrandbits(32))
        if is_public_unicast(address):
            is_special = (address.is_private, address.is_multicast, address.is_reserved, address.is_loopback)
            assert not any(is_special)


def test_r18_addresses_of_this_machine_are_its_own():
    assert is_own_address(ipaddress.ip_address("127.0.0.1"))
    assert not is_own_address(ipaddress.ip_address("198.51.100.7"))
    mine = AddressRules(is_own=lambda address: str(address) == "93.184.216.34")
    assert not mine.is_public("93.184.216.34")
    assert mine.is_public("93.184.216.35")


def test_an_operator_permits_one_address_with_one_port():
    rules = AddressRules(permitted=("192.168.1.20:9000", "[fd00::1]:80"))
    assert rules.permits("192.168.1.20", 9000)
    assert rules.permits("fd00::1", 80)
    assert rules.permitted_ports == {80, 9000}
    for address, port in (
        ("192.168.1.20", 80),
        ("192.168.1.21", 9000),
        ("x", 9000),
        ("::ffff:192.168.1.20", 9000),
    ):
        assert not rules.permits(address, port)


@pytest.mark.parametrize(
    "pair", ["192.168.1.20", "nas:80", "fd00::1:80", "192.168.1.20:0", "1.2.3.4:99999", "[1.2.3.4]:80", ""]
)
def test_a_permission_that_is_no_address_and_port_is_an_error(pair):
    with pytest.raises(ValueError, match=r"\w"):
        AddressRules(permitted=(pair,))


def test_an_operator_refuses_networks_of_the_house():
    rules = AddressRules(refused_networks=("93.184.216.0/24", "2606:4700::/32"))
    assert not rules.is_public("93.184.216.34")
    assert not rules.is_public("2606:4700:4700::1111")
    assert rules.is_public("93.184.217.34")
