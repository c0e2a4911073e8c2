"""What all exchanges of one `Flagmw` share: its options, its counters, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flagmw._exchange.exposures import MemoryExposures, ReportedExposures
from flagmw._exchange.incoming_cookies import CookieReader
from flagmw._exchange.known import KnownVisitors
from flagmw._exchange.memory_shares import MemoryShares
from flagmw._exchange.remembered import Key, RememberedDecision, ReuseKey, memory
from flagmw._support.cache import Generations
from flagmw._support.counters import Counts
from flagmw._support.limits import PerMinute
from flagmw._support.log import Throttle
from flagmw.config.config import Config
from flagmw.types import Event, Put
from flagmw.vendors.base import Vendor

REFRESH_S = 86_400.0


class Refreshed:
    """Remember when a cookie with this very value was last sent, to send it again only once a day."""

    def __init__(self, size: int = 50_000) -> None:
        self._sent: Generations[int, float] = Generations(size, lambda _: 1)

    def due(self, name: str, value: str, now: float, life_s: int) -> bool:
        """Say whether it is time to send the cookie again; one that lives but hours is sent at half its life."""
        sent = self._sent.get(hash((name, value)))
        # A clock that went back must not keep a cookie from being renewed.
        return sent is None or not 0 <= now - sent < min(REFRESH_S, life_s / 2)

    def sent(self, name: str, value: str, now: float) -> None:
        """Note that the cookie is sent now."""
        self._sent.put(hash((name, value)), now)


class VendorTraits:
    """What a vendor's optional parts say, looked up once.

    Attributes:
        binder: what its decisions are bound to; None for one whose decisions cost nothing to make again.
        reads: whether it is told of what views read.
    """

    __slots__ = ("binder", "prefix", "reads", "vendor")

    def __init__(self, n: int, vendor: Vendor) -> None:
        remote = getattr(vendor, "base_url", None) is not None and not getattr(vendor, "local", False)
        self.vendor, self.prefix = vendor, vendor.prefix
        self.binder = ReuseKey(n, vendor) if remote and hasattr(vendor, "identity") else None
        self.reads = getattr(vendor, "exposure", "off") == "read" and hasattr(vendor, "exposes")


@dataclass(slots=True)
class Context:
    """What all exchanges of one `Flagmw` share."""

    config: Config
    counts: Counts
    throttle: Throttle
    clock: Callable[[], float]
    open_sink: Callable[[], Put] | None = None
    reserve: Callable[[Sequence[Event]], list[Event]] | None = None
    shares: MemoryShares = field(init=False)
    tracks: PerMinute = field(init=False)
    refreshed: Refreshed = field(init=False)
    seen: ReportedExposures = field(init=False)
    known: KnownVisitors | None = field(init=False)
    read: CookieReader = field(init=False)
    memory: Generations[Key, RememberedDecision] = field(init=False)
    traits: tuple[VendorTraits, ...] = field(init=False)
    reads: bool = field(init=False)
    same_everywhere: bool = field(init=False)
    on_server: bool = field(init=False)

    def __post_init__(self) -> None:
        self.traits = tuple(VendorTraits(n, vendor) for n, vendor in enumerate(self.config.vendors))
        self.reads = any(traits.reads for traits in self.traits)
        self.shares = shares = MemoryShares.of(
            self.config.memory_mb, seen=self.reads, known=self.config.new_visitors_per_s is not None
        )
        self.known = KnownVisitors(self.config.vendors, shares.known) if shares.known else None
        self.read, self.memory = CookieReader(self.config.vendors, shares.headers), memory(shares.decisions)
        self.tracks = PerMinute(self.config.tracks_per_visitor, shares.tracks)
        self.refreshed, self.seen = Refreshed(shares.refreshed), MemoryExposures(shares.seen)
        # A visitor without an identity of the site's gets the same on every page, while decisions are remembered.
        self.on_server = self.config.visitor_store is not None
        self.same_everywhere = (
            not self.on_server
            and self.config.identify is None
            and all(traits.binder is not None and traits.binder.by == "site" for traits in self.traits)
        )
