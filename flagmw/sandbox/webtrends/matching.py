"""Does a location match a URL, does a segment match a visitor. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flagmw.sandbox.webtrends.model import Location, Scalar, Segment

_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?([^/?#]*)(.*)", re.S)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a vendor sees of a visitor in one request."""

    url: str
    data: Mapping[str, Scalar] = field(default_factory=dict)
    user_agent: str = ""
    ip: str = ""
    referer: str = ""


def located(locations: Iterable[Location], sight: Sight) -> bool:
    """Tell whether any location matches; none at all match everything."""
    locations = tuple(locations)
    return not locations or any(_at(location, sight) for location in locations)


def in_segments(segments: Iterable[Segment], sight: Sight) -> bool:
    """Tell whether any segment matches; none at all match everybody."""
    segments = tuple(segments)
    return not segments or any(_in(segment, sight) for segment in segments)


def _at(location: Location, sight: Sight) -> bool:
    if not _has(sight.data, location.data):
        return False
    if location.match == "regex":
        return re.search(location.url, sight.url) is not None
    wanted, actual = _plain(location.url), _plain(sight.url)
    if location.match == "prefix":
        return actual.startswith(wanted)
    # Undocumented whether queries count for an exact match; they do only when the location has one.
    return wanted == (actual if "?" in wanted else re.split(r"[?#]", actual, maxsplit=1)[0])


def _in(segment: Segment, sight: Sight) -> bool:
    if segment.user_agent is not None and not re.search(segment.user_agent, sight.user_agent):
        return False
    if segment.referer is not None and not re.search(segment.referer, sight.referer):
        return False
    return _has(sight.data, segment.data) and (not segment.ip or _within(sight.ip, segment.ip))


def _within(address: str, networks: Iterable[str]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in ipaddress.ip_network(network, strict=False) for network in networks)


def _has(data: Mapping[str, Scalar], wanted: Mapping[str, Scalar]) -> bool:
    return all(key in data and _word(data[key]) == _word(value) for key, value in wanted.items())


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(url: str) -> str:
    """Drop the scheme and lower the host's case: a location may be written with or without a scheme."""
    match = _URL.fullmatch(url)
    assert match is not None  # the pattern matches every text
    return match[1].lower() + match[2]
