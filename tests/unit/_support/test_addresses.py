"""Addresses that stand for other addresses: none is a way around what is asked of the plain form."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from flagmw._support.addresses import anonymised, is_forbidden, is_loopback, network, parsed
from flagmw.exceptions import ConfigError
from flagmw.vendors.common.options import leaves_machine_unencrypted

METADATA = "169.254.169.254"


def forms(ipv4: str) -> dict[str, str]:
    """Return the ways in which an IPv6 address can carry *ipv4*, by name."""
    n = int(ipaddress.IPv4Address(ipv4))
    made = {
        "mapped": 0xFFFF << 32 | n,
        "compatible": n,
        "translated": 0xFFFF << 48 | n,
        "nat64": 0x64FF9B << 96 | n,
        "local nat64 /96": 0x64FF9B0001 << 80 | n,
        "local nat64 /64": 0x64FF9B0001 << 80 | n << 24,
        "local nat64 /56": 0x64FF9B0001 << 80 | n >> 24 << 64 | (n & 0xFFFFFF) << 32,
        "local nat64 /48": 0x64FF9B0001 << 80 | n >> 16 << 64 | (n & 0xFFFF) << 40,
        "6to4": 0x2002 << 112 | n << 80 | 1,
        "teredo client": 0x20010000 << 96 | 0x01010101 << 64 | (n ^ 0xFFFFFFFF),
        "teredo server": 0x20010000 << 96 | n << 64 | 0x01010101,
        "isatap": 0x20010DB8 << 96 | 0x5EFE << 32 | n,
        "isatap, global": 0xFD00 << 112 | 0x02005EFE << 32 | n,
    }
    return {name: str(ipaddress.IPv6Address(bits)) for name, bits in made.items()}


@pytest.mark.parametrize("form", forms(METADATA))
@pytest.mark.parametrize("ipv4", [METADATA, "169.254.170.2", "100.100.100.200"])
def test_every_form_of_a_forbidden_address_is_forbidden(form: str, ipv4: str) -> None:
    """As is the plain one; the same form of a vendor's address is not."""
    assert is_forbidden(ipv4)
    assert is_forbidden(forms(ipv4)[form])
    assert is_forbidden(forms(ipv4)[form].upper())
    assert not is_forbidden(forms("203.0.113.7")[form])


@pytest.mark.parametrize("text", ["fe80::1", "fe80::1%eth0", "fd00:ec2::254", "192.0.0.192", "fd20:ce::254"])
def test_other_places_of_credentials(text: str) -> None:
    """Link-local addresses with or without a zone, and those that clouds use beside them."""
    assert is_forbidden(text)


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "10.0.0.1", "192.168.0.1", "2606:4700::1111", "8.8.8.8", "::"])
def test_addresses_that_may_be_called(text: str) -> None:
    """Those of vendors, of test servers, and of proxies inside."""
    assert not is_forbidden(text)


LOCAL = ["localhost", "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "::FFFF:7f00:1"]
REMOTE = [
    *(form for name, form in forms("127.0.0.1").items() if name != "mapped"),
    *("localhost.", "127.0.0.1.", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.nip.io", "0.0.0.0"),
]


@pytest.mark.parametrize("host", LOCAL)
def test_this_machine(host: str) -> None:
    """Calls that the system keeps on this machine may be unencrypted."""
    assert is_loopback(host)
    assert not leaves_machine_unencrypted(f"http://{'[' + host + ']' if ':' in host else host}:8765/x")


@pytest.mark.parametrize("host", REMOTE)
def test_what_only_looks_like_this_machine(host: str) -> None:
    """Forms that are sent through a gateway or to a name server are not on this machine, nor are odd spellings."""
    assert not is_loopback(host)
    assert leaves_machine_unencrypted(f"http://{'[' + host + ']' if ':' in host else host}:8765/x")


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("::ffff:10.0.0.0/104", "10.1.2.3"),
        ("::ffff:10.0.0.0/104", "::ffff:a01:203"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fd00::/8", "fd00::1"),
    ],
)
def test_network_and_peer_in_either_form(text: str, peer: str) -> None:
    """A proxy's network counts whichever way it, or the proxy's address, is written."""
    found: Any = parsed(peer)
    assert found in network(text)


@pytest.mark.parametrize("form", [form for name, form in forms("10.1.2.3").items() if name != "mapped"])
def test_network_does_not_hold_what_is_another_address(form: str) -> None:
    """A visitor whose own address only carries a proxy's is no proxy."""
    found: Any = parsed(form)
    assert found not in network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3::4", "2001:db8:1::"),
        ("2002:cb00:714d::1", "2002:cb00:7100::"),
    ],
)
def test_anonymised(text: str, kept: str) -> None:
    """The last octet of an IPv4 address goes, also where the first 48 bits of an IPv6 address hold it whole."""
    address = parsed(text)
    assert address is not None
    assert str(anonymised(address)) == kept


def test_no_network() -> None:
    """What is none is refused at the start."""
    from flagmw import Flagmw

    with pytest.raises(ConfigError, match="is no network"):
        Flagmw(trusted_proxies=["10.0.0.0/33"])
