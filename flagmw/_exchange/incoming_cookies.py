"""Incoming cookies: parsed Cookie headers, cached."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Any, NamedTuple

from flagmw._cookies import header as cookie_header
from flagmw._cookies.own import DECISION, RULE
from flagmw._cookies.rule import CookieRule
from flagmw._exchange.memory_shares import weight_of
from flagmw._exchange.remembered import Key, RememberedDecision
from flagmw._support.cache import TwoGenerationCache
from flagmw.codes import ErrorCode
from flagmw.types import Variant, VisitorState
from flagmw.vendors.base import Vendor

# Estimates, in bytes: the objects around the texts, and one character of a token when it is unpacked.
_OBJECTS = 1500
_UNPACKED = 24
_KEY_BYTES = 400
_READY_BYTES = 1200
# More addresses and hosts than that are not kept ready for one Cookie header; no host's name is as long as that.
_KEYS_MAX = 16
_HOSTS_MAX = 4
_HOST_CHARS = 300


class CookiesAfter(NamedTuple):
    """Each vendor's cookies after the response, and the Set-Cookie values for that."""

    now: Sequence[Mapping[str, str]]
    set_cookies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadyFlags:
    """The content of flags that are served again between two moments, in seconds since the epoch.

    Attributes:
        after: the cookies to set again; None if the visitor has them all.
    """

    since: float
    until: float
    variants: Mapping[str, Variant]
    misses: Mapping[str, ErrorCode]
    notice: ErrorCode | None
    hints: Mapping[str, Mapping[str, Any]]
    after: CookiesAfter | None = None


class IncomingCookies:
    """One parsed Cookie header. Requests share it: only its caches change.

    Attributes:
        states: each vendor's own cookies, in the order of the vendors.
        own: flagmw's own cookies, by name.
        site_bytes: how much of the header belongs to the site.
        rejected: why cookies were left out.
        repeated: the place of the vendor and the name of each cookie that was sent more than once; flagmw's own cookies
            have the place after the last vendor.
        keys: keys of remembered decisions, by vendor's place, address, and whether the visit is counted.
        verified: the host and the decisions in its token, once that was verified.
        given: digests of the vendors' names for the visitor, from the token; see `KnownVisitors`.
        ready: by host and scheme, flags that were made of remembered decisions and may be given again.
        header: the header itself; empty where it is not kept.
        size: about how much memory it takes, in bytes.
        vendor_bytes, token_bytes: how much of the header is the vendors', and the decision token's.
    """

    __slots__ = (
        "given",
        "header",
        "keys",
        "own",
        "ready",
        "rejected",
        "repeated",
        "site_bytes",
        "size",
        "states",
        "token_bytes",
        "vendor_bytes",
        "verified",
    )

    def __init__(
        self,
        states: list[VisitorState],
        own: dict[str, str],
        site_bytes: int,
        rejected: list[ErrorCode],
        header: str = "",
        repeated: Collection[tuple[int, str]] = (),
    ) -> None:
        self.repeated = repeated
        self.states, self.own, self.site_bytes, self.rejected, self.header = states, own, site_bytes, rejected, header
        self.size = _OBJECTS + getsizeof(header) + weight_of(own) + _UNPACKED * len(own.get(DECISION, ""))
        self.size += sum([weight_of(state.cookies) for state in states])
        self.vendor_bytes = sum(len(name) + len(value) + 3 for state in states for name, value in state.cookies.items())
        self.token_bytes = len(DECISION) + len(own[DECISION]) + 3 if DECISION in own else 0
        self.keys: dict[tuple[int, str, bool], tuple[Key, bool]] = {}
        self.ready: dict[tuple[str | None, str], ReadyFlags] = {}
        self.verified: tuple[str | None, Mapping[Key, RememberedDecision]] | None = None
        self.given: Sequence[str] = ()


class CookieReader:
    """Read Cookie headers for a set of vendors.

    Args:
        memory_bytes: how much may be kept of headers already read.
    """

    def __init__(self, vendors: Sequence[Vendor], memory_bytes: int, own_rule: CookieRule = RULE) -> None:
        self._rules = [*(vendor.cookies for vendor in vendors), own_rule]
        self._cache: TwoGenerationCache[str, IncomingCookies] = TwoGenerationCache(
            memory_bytes, lambda incoming: incoming.size
        )
        self._nothing = IncomingCookies([VisitorState() for _ in vendors], {}, 0, [])

    def __call__(self, headers: Sequence[str]) -> IncomingCookies:
        """Return the cookies in the raw Cookie *headers*."""
        if not headers:
            return self._nothing
        header = headers[0] if len(headers) == 1 else "; ".join(headers)
        incoming = self._cache.get(header)
        if incoming is not None:
            return incoming
        parsed = cookie_header.read(headers, self._rules)
        *states, own = parsed.own
        vendor_states = [VisitorState(cookies) for cookies in states]
        incoming = IncomingCookies(vendor_states, own, parsed.site_bytes, parsed.rejected, header, parsed.repeated)
        # A header without vendors' cookies is not kept: it is quickly read again, and each visitor has another one.
        if incoming.vendor_bytes or incoming.own:
            self._cache.put(header, incoming)
        return incoming

    def keep_key(
        self, incoming: IncomingCookies, place: int, address: str, recorded: bool, entry: tuple[Key, bool]
    ) -> None:
        """Keep the key of a vendor's decision at *address* with *incoming*, if there is room."""
        if len(incoming.keys) < _KEYS_MAX:
            incoming.keys[place, address, recorded] = entry
            self._grew(incoming, _KEY_BYTES + getsizeof(address))

    def keep_ready(
        self, incoming: IncomingCookies, host: str | None, scheme: str, ready: ReadyFlags, weight: int
    ) -> None:
        """Keep *ready* with *incoming* for *host*, as the visitor writes it, if there is room.

        Args:
            weight: the memory that its decisions take, in bytes.
        """
        if len(incoming.ready) >= _HOSTS_MAX or (host is not None and len(host) > _HOST_CHARS):
            return
        incoming.ready[host, scheme] = ready
        weight += _READY_BYTES + getsizeof(host)
        if ready.after is not None:
            weight += sum(map(weight_of, ready.after.now)) + sum(map(getsizeof, ready.after.set_cookies))
        self._grew(incoming, weight)

    def _grew(self, incoming: IncomingCookies, more_bytes: int) -> None:
        incoming.size += more_bytes
        self._cache.grew(incoming.header, incoming, more_bytes)
