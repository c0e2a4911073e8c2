"""What a visitor carries: the vendors' cookies and flagmw's own, read once for every Cookie header that comes again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Any, NamedTuple

from flagmw._cookies import header as cookie_header
from flagmw._cookies.own import DECISION, RULE
from flagmw._exchange.memory_shares import weight_of
from flagmw._exchange.remembered import Key, RememberedDecision
from flagmw._support.cache import Generations
from flagmw.codes import ErrorCode
from flagmw.types import Variant, VisitorState
from flagmw.vendors.base import Vendor

# Estimates, in bytes: what is kept beside the texts themselves, and what a character of a token unpacks to.
_BESIDE = 1500
_UNPACKED = 24
_KNOWN_BYTES = 400
_READY_BYTES = 1200
# More addresses and hosts than that are not kept ready for one Cookie header; no host's name is as long as that.
_KNOWN_MAX = 16
_HOSTS_MAX = 4
_HOST_CHARS = 300


class CookiesAfter(NamedTuple):
    """What becomes of a visitor's cookies: each vendor's as they are after the response, and the lines for it."""

    now: Sequence[Mapping[str, str]]
    set_cookies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadyFlags:
    """What makes the flags of a visitor again, between two moments in seconds since the epoch.

    Attributes:
        after: what the visitor lacked when they came with this header: the vendors' cookies as they are after the
            response, and the Set-Cookie values that make it so; None for one who has them all.
    """

    since: float
    until: float
    variants: Mapping[str, Variant]
    misses: Mapping[str, ErrorCode]
    notice: ErrorCode | None
    hints: Mapping[str, Mapping[str, Any]]
    after: CookiesAfter | None = None


class IncomingCookies:
    """One Cookie header, taken apart. Shared between requests: nothing in it is changed but what it remembers.

    Attributes:
        states: each vendor's own cookies, in the order of the vendors.
        own: flagmw's own cookies, by name.
        site_bytes: how much of the header belongs to the site.
        rejected: why cookies were left out.
        known: keys of decisions worked out from it, by vendor, address, and whether the visit is counted.
        verified: the host and the decisions in its token, once that was verified.
        given: what the token says of who the visitor is to vendors; see `KnownVisitors`.
        ready: by host and scheme, flags that were made of remembered decisions and may be given again.
        header: the header itself; empty where it is not kept.
        size: about how much memory it takes, in bytes.
        vendor_bytes, token_bytes: how much of the header is the vendors', and the decision token's.
    """

    __slots__ = (
        "given",
        "header",
        "known",
        "own",
        "ready",
        "rejected",
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
    ) -> None:
        self.states, self.own, self.site_bytes, self.rejected, self.header = states, own, site_bytes, rejected, header
        self.size = _BESIDE + getsizeof(header) + weight_of(own) + _UNPACKED * len(own.get(DECISION, ""))
        self.size += sum([weight_of(state.cookies) for state in states])
        self.vendor_bytes = sum(len(n) + len(v) + 3 for state in states for n, v in state.cookies.items())
        self.token_bytes = len(DECISION) + len(own[DECISION]) + 3 if DECISION in own else 0
        self.known: dict[tuple[int, str, bool], tuple[Key, bool]] = {}
        self.ready: dict[tuple[str | None, str], ReadyFlags] = {}
        self.verified: tuple[str | None, Mapping[Key, RememberedDecision]] | None = None
        self.given: Sequence[str] = ()


class CookieReader:
    """Read Cookie headers for a set of vendors.

    Args:
        memory_bytes: how much may be kept of headers already read.
    """

    def __init__(self, vendors: Sequence[Vendor], memory_bytes: int) -> None:
        self._rules = [*(vendor.cookies for vendor in vendors), RULE]
        self._read: Generations[str, IncomingCookies] = Generations(memory_bytes, lambda carried: carried.size)
        self._nothing = IncomingCookies([VisitorState() for _ in vendors], {}, 0, [])

    def __call__(self, headers: Sequence[str]) -> IncomingCookies:
        """Return what the raw Cookie *headers* hold."""
        if not headers:
            return self._nothing
        header = headers[0] if len(headers) == 1 else "; ".join(headers)
        carried = self._read.get(header)
        if carried is not None:
            return carried
        found = cookie_header.read(headers, self._rules)
        *states, own = found.own
        read = [VisitorState(each) for each in states]
        carried = IncomingCookies(read, own, found.site_bytes, found.rejected, header)
        # A header without anything of ours is quickly read again, and there are as many as visitors.
        if carried.vendor_bytes or carried.own:
            self._read.put(header, carried)
        return carried

    def know(self, carried: IncomingCookies, n: int, address: str, recorded: bool, entry: tuple[Key, bool]) -> None:
        """Keep with *carried* what decisions of vendor *n* are kept by at *address*, if there is room."""
        if len(carried.known) < _KNOWN_MAX:
            carried.known[n, address, recorded] = entry
            self._grew(carried, _KNOWN_BYTES + getsizeof(address))

    def make_ready(
        self, carried: IncomingCookies, host: str | None, scheme: str, ready: ReadyFlags, weight: int
    ) -> None:
        """Keep *ready* with *carried* for *host*, as the visitor writes it, if there is room.

        Args:
            weight: what the decisions take that it is made of, in bytes.
        """
        if len(carried.ready) >= _HOSTS_MAX or (host is not None and len(host) > _HOST_CHARS):
            return
        carried.ready[host, scheme] = ready
        weight += _READY_BYTES + getsizeof(host)
        if ready.after is not None:
            weight += sum(map(weight_of, ready.after.now)) + sum(map(getsizeof, ready.after.set_cookies))
        self._grew(carried, weight)

    def _grew(self, carried: IncomingCookies, more: int) -> None:
        carried.size += more
        self._read.grew(carried.header, carried, more)
