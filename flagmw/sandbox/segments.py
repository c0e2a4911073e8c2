"""Segments: conditions on visitors that several emulated vendors share."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flagmw.exceptions import ConfigError

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A condition on the visitor; everything that is given must hold.

    Attributes:
        data: values that the request's `data` must have.
        user_agent: a regular expression searched in the User-Agent.
        ip: networks, one of which must hold the client's address.
        referer: a regular expression searched in the referrer.
    """

    data: Mapping[str, Scalar] = field(default_factory=dict)
    user_agent: str | None = None
    ip: tuple[str, ...] = ()
    referer: str | None = None

    def __post_init__(self) -> None:
        for name in ("user_agent", "referer"):
            check_regex(name, getattr(self, name))
        for network in self.ip:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                raise ConfigError(f"ip: {network!r} is no address or network; write it as 192.0.2.0/24") from None


@dataclass(frozen=True, slots=True)
class VisitFacts:
    """The facts of one request that segments can test."""

    url: str
    data: Mapping[str, Scalar] = field(default_factory=dict)
    user_agent: str = ""
    ip: str = ""
    referer: str = ""


def in_segments(segments: Iterable[Segment], facts: VisitFacts) -> bool:
    """True when any segment matches; no segments match everybody."""
    segments = tuple(segments)
    return not segments or any(_matches(segment, facts) for segment in segments)


def _matches(segment: Segment, facts: VisitFacts) -> bool:
    if segment.user_agent is not None and not re.search(segment.user_agent, facts.user_agent):
        return False
    if segment.referer is not None and not re.search(segment.referer, facts.referer):
        return False
    return has_data(facts.data, segment.data) and (not segment.ip or _within(facts.ip, segment.ip))


def _within(address: str, networks: Iterable[str]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in ipaddress.ip_network(network, strict=False) for network in networks)


def has_data(data: Mapping[str, Scalar], wanted: Mapping[str, Scalar]) -> bool:
    """True when *data* has all values *wanted*."""
    return all(key in data and _word(data[key]) == _word(value) for key, value in wanted.items())


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_regex(name: str, pattern: str | None) -> None:
    """Check that *pattern* is a regular expression."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(f"{name}: not a regular expression ({error})") from None
