"""State shared by all exchanges of one `Flagmw`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from logging import WARNING

from flagmw._cookies.own import PURPOSES, RULE
from flagmw._exchange.event_sink import EventSink
from flagmw._exchange.exposures import MemoryExposures, ReportedExposures
from flagmw._exchange.incoming_cookies import CookieReader
from flagmw._exchange.known import KnownVisitors
from flagmw._exchange.memory_shares import MemoryShares
from flagmw._exchange.remembered import Key, RememberedDecision, ReuseKey, memory
from flagmw._support.cache import TwoGenerationCache
from flagmw._support.counters import Counters
from flagmw._support.limits import PerMinute
from flagmw._support.log import Throttle
from flagmw.config.config import Config
from flagmw.flags.fit import Changes
from flagmw.types import Event
from flagmw.vendors.base import VendorTraits

REFRESH_S = 86_400.0


class Refreshed:
    """Remember when a cookie with this very value was last sent, to send it again only once a day."""

    def __init__(self, size: int = 50_000) -> None:
        self._sent: TwoGenerationCache[int, float] = TwoGenerationCache(size, lambda _: 1)

    def due(self, name: str, value: str, now: float, life_s: int) -> bool:
        """Say whether it is time to send the cookie again; one with a lifetime of hours is sent again at half of it."""
        sent = self._sent.get(hash((name, value)))
        # A clock that went back must not keep a cookie from being renewed.
        return sent is None or not 0 <= now - sent < min(REFRESH_S, life_s / 2)

    def sent(self, name: str, value: str, now: float) -> None:
        """Note that the cookie is sent now."""
        self._sent.put(hash((name, value)), now)


@dataclass(slots=True)
class Context:
    """The state that all exchanges of one `Flagmw` share.

    Attributes:
        clock: seconds since the epoch.
        open_sink: opens one request's way to the outbox; None where events are only collected.
        reserve: returns those of some events whose business key is free; None where keys are not checked.
        traits: one per configured vendor, in order; so are *reuse_keys*.
        reuse_keys: the keys of remembered decisions; None for a vendor whose decisions cost no call.
        exposures: the exposures that were reported.
        known_visitors: the visitors that vendors know; None if new visitors are not limited.
        memory: remembered decisions.
        reports_reads: whether any vendor gets exposures for what views read.
        same_everywhere: whether a visitor without an id gets the same decision on every page.
        on_server: whether visitors' cookies are kept in a visitor store.
    """

    config: Config
    counts: Counters
    throttle: Throttle
    clock: Callable[[], float]
    open_sink: Callable[[], EventSink] | None = None
    reserve: Callable[[Sequence[Event]], list[Event]] | None = None
    shares: MemoryShares = field(init=False)
    tracks: PerMinute = field(init=False)
    refreshed: Refreshed = field(init=False)
    exposures: ReportedExposures = field(init=False)
    known_visitors: KnownVisitors | None = field(init=False)
    cookie_reader: CookieReader = field(init=False)
    memory: TwoGenerationCache[Key, RememberedDecision] = field(init=False)
    traits: tuple[VendorTraits, ...] = field(init=False)
    reuse_keys: tuple[ReuseKey | None, ...] = field(init=False)
    reports_reads: bool = field(init=False)
    same_everywhere: bool = field(init=False)
    on_server: bool = field(init=False)

    def __post_init__(self) -> None:
        self.traits = tuple(VendorTraits.of(vendor) for vendor in self.config.vendors)
        self.reuse_keys = tuple(
            ReuseKey(place, traits) if traits.remote and traits.identity is not None else None
            for place, traits in enumerate(self.traits)
        )
        self.reports_reads = any(traits.reports_reads for traits in self.traits)
        self.shares = shares = MemoryShares.of(
            self.config.memory_mb, seen=self.reports_reads, known=self.config.new_visitors_per_s is not None
        )
        self.known_visitors = KnownVisitors(self.traits, shares.known) if shares.known else None
        own_rule = replace(RULE, newness=self._newness_of_own)
        self.cookie_reader = CookieReader(self.config.vendors, shares.headers, own_rule)
        self.memory = memory(shares.decisions)
        self.tracks = PerMinute(self.config.tracks_per_visitor, shares.tracks)
        self.refreshed, self.exposures = Refreshed(shares.refreshed), MemoryExposures(shares.seen)
        self.on_server = self.config.visitor_store is not None
        self.same_everywhere = (
            not self.on_server
            and self.config.identify is None
            and all(key is not None and key.by == "site" for key in self.reuse_keys)
        )

    def fitted(self, what: str, vendor: str, changes: Changes) -> None:
        """Count and log what was changed in the details of a track or an identity."""
        for (code, argument), times in changes.items():
            self.counts.add(f"{what}_fitted", vendor, code, times)
            where = {"vendor": vendor} if vendor else {}
            self.throttle.log(WARNING, code, f"a detail of {what} was changed or left out", argument=argument, **where)

    def _newness_of_own(self, name: str, value: str) -> float | None:
        """Return when one of flagmw's own cookies was signed; None if it does not hold."""
        purpose = PURPOSES.get(name)
        if purpose is None or not self.config.signing_keys:
            return 0.0
        claims = self.config.signing_keys.read(purpose, value, self.clock())
        return None if claims is None else float(claims["iat"])

    def gate_failed(self, option: str, error: Exception) -> None:
        """Count and log that the site's own function for consent or bots has failed."""
        self.counts.add("gate_failed")
        self.throttle.failed("GATE", f"{option} failed", error)

    def bots_failed(self, error: Exception) -> None:
        """Count and log that the site's `bots` has failed."""
        self.gate_failed("bots", error)

    def identity_failed(self, error: Exception) -> None:
        """Count and log that the site's `identify` has failed."""
        self.counts.add("identify_failed")
        self.throttle.failed("IDENTIFY", "identify failed, no identity", error)
