"""Checks of IP addresses that no call may reach, in all their forms."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Where the last 32 bits of an address are an IPv4 address that a gateway or the system itself sends to.
_IPV4_AT_THE_END = tuple(
    ipaddress.IPv6Network(prefix)
    for prefix in (
        "::ffff:0:0/96",  # mapped (RFC 4291)
        "::/96",  # compatible (RFC 4291)
        "::ffff:0:0:0/96",  # translated (RFC 2765)
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # NAT64 of a network's own (RFC 8215)
    )
)
_MAPPED, _LOCAL_NAT64 = _IPV4_AT_THE_END[0], _IPV4_AT_THE_END[4]
_6TO4 = ipaddress.IPv6Network("2002::/16")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
# Where clouds serve credentials outside of the link-local ranges: AWS and Google by IPv6, Alibaba, Oracle.
_CREDENTIALS = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192")
)


def parsed(text: str) -> Address | None:
    """Return the address that *text* spells, IPv4 where the system itself takes it for that; None if it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket for both protocols shows IPv4 peers as ::ffff:10.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_loopback(text: str) -> bool:
    """Say whether *text* spells an address of this machine alone, or is "localhost"."""
    address = parsed(text)
    return text == "localhost" if address is None else address.is_loopback


def is_forbidden(text: str) -> bool:
    """Say whether a call to the address *text* could reach a cloud's credentials service, in any form."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return any(each.is_link_local or each in _CREDENTIALS for each in _meanings(address))


def network(text: str) -> Network:
    """Return the network that *text* spells; one of mapped addresses as the IPv4 network that it means.

    Raises:
        ValueError: it spells none.
    """
    found = ipaddress.ip_network(text, strict=False)
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        low = int(found.network_address) & 0xFFFFFFFF
        return IPv4Network((low, found.prefixlen - 96))
    return found


def anonymised(address: Address) -> Address:
    """Return *address* with its last bits set to 0: 8 bits of IPv4, also of a mapped one, and 80 bits of IPv6."""
    if isinstance(address, IPv4Address):
        return IPv4Address(int(address) >> 8 << 8)
    kept = 40 if address in _6TO4 else 48
    return IPv6Address(int(address) >> 128 - kept << 128 - kept)


def _meanings(address: Address) -> Iterator[Address]:
    """Yield *address*, and the IPv4 addresses that it may be turned into on its way."""
    yield address
    if isinstance(address, IPv4Address):
        return
    bits = int(address)
    if any(address in prefix for prefix in _IPV4_AT_THE_END):
        yield IPv4Address(bits & 0xFFFFFFFF)
    if address in _LOCAL_NAT64:
        # RFC 6052 section 2.2: after a prefix of 48, 56 or 64 bits the octet at bit 64 is left out.
        joined = (bits >> 64) << 56 | (bits & ((1 << 56) - 1))
        for prefix in (48, 56, 64):
            yield IPv4Address(joined >> (120 - prefix - 32) & 0xFFFFFFFF)
    if address in _6TO4:
        yield IPv4Address(bits >> 80 & 0xFFFFFFFF)
    if address.teredo is not None:
        yield from address.teredo
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(bits & 0xFFFFFFFF)
