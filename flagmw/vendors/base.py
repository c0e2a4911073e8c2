"""The protocol of vendors, and the description of their abilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from flagmw._cookies.rule import CookieRule as CookieRule
from flagmw.codes import ErrorCode
from flagmw.types import Decision, Event, Flow, Outcome, Scalar, Track, Variant, Visit, VisitorState, empty


@dataclass(frozen=True, slots=True)
class Participation:
    """The aliases for which a conversion or exposure counts, and the cookies that prove it."""

    aliases: tuple[str, ...] = ()
    cookies: Mapping[str, str] = field(default_factory=empty, repr=False)


class Vendor(Protocol):
    """A decisioning service. Implementations are pure: no I/O, no clock, no state of a request.

    A vendor may also have these attributes, which `VendorTraits` reads once at the start:
        base_url: the address of its service. A vendor without one runs in the request and must not yield a call.
        local: True if it decides without a call although it has a `base_url`.
        shadow: True if it is asked after the response only, and compared with the served decision; see `_shadow`.
        batch_max: the number of events of one visitor that `deliver` takes at once; default 1.
        decides_by: the part of the page's address that a decision depends on: "site" (none), "path", or "url" (with
            the allowed part of the query), which is the default.
        names_visitor: a function of a cookie's name that says whether its value tells visitors apart. Without it, two
            events belong to one visitor if all of `identity` is equal.
        refresh: a function of the time that returns a flow. The flow fetches in the background the rules that the
            vendor decides by, and returns the seconds until the next refresh.
        refresh_fault: the code of the last refresh's failure; None if it worked.
        debug: True if it asks its service for a log of the evaluation.
        staging: True if it decides by tests that are not live.
        spell_list: a function of the name and the entries of a list in the data of a track or a visit; it returns the
            entries of data that stand for it. Without it, the vendor gets a text with commas between.
        fit_items: a function of a track, called if `participation` raises; it returns the cart lines that the vendor
            takes, and an `ErrorCode` for each change.
        sum_items: a function of cart lines and the track's currency that returns one line for all of them, or None;
            called where a track has more than 100. Without it, further lines are left out.
        records_decisions: True if it keeps a record of every decision, whatever the visit asks.
        __fingerprint__: a method that returns the options that decisions depend on, as a mapping. Decisions in cookies
            are read only under equal options. Without it, all attributes of the vendor count as options.
    """

    @property
    def name(self) -> str:
        """The vendor's name in flags, events, counters and logs; unique among the configured vendors."""

    @property
    def cookies(self) -> CookieRule:
        """The rule for the visitor's cookies that belong to this vendor."""

    @property
    def prefix(self) -> str:
        """Text before every alias of this vendor, for distinction from other vendors; usually empty."""

    @property
    def at_most_once(self) -> bool:
        """Whether an event is never sent again once the vendor may have received it."""

    @property
    def exposure(self) -> str:
        """The report of exposures: "decide" with every decision, "read" by events of kind "exposure" for the aliases
        that the view read, "off" none."""

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask for the variants of this visit. Raises nothing; a failure is a Decision with `error`.

        The vendor counts nothing if `visit.record` is False.
        """

    def identity(self, state: VisitorState) -> str:
        """Return a text that is equal as long as earlier decisions are still valid for this visitor.

        It is derived from the vendor's cookies, and empty for an unknown visitor.
        """

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Return the aliases for which *track* can count, given the cookies in *state*; empty for none.

        Raises:
            ValueError: the vendor does not take the metric or the data.
        """

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return those of *variants* whose exposure can be reported, and the cookies that prove it.

        All variants are of this vendor. The method is called only if `exposure` is "read".
        """

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Report *batch*, tracks and exposures of one visitor; return one outcome per event, in order."""


class RefreshingVendor(Protocol):
    """The part of a vendor that fetches in the background what it decides by."""

    @property
    def refresh_fault(self) -> ErrorCode | None:
        """The code of the last refresh's failure; None if it worked."""

    def refresh(self, now: float) -> Flow[float]:
        """Fetch new rules; return the seconds until the next refresh."""


@dataclass(frozen=True, slots=True)
class VendorTraits:
    """The abilities of one vendor, looked up once at the start.

    Attributes:
        prefix: put before every alias of the vendor.
        base_url: where its service is; None for a vendor without one.
        remote: whether it decides by calls to a service. One that does not must never yield a call.
        shadow: whether it is asked after the response only.
        debug: whether it asks its service for a log of the evaluation.
        staging: whether it decides by tests that are not live.
        reports_reads: whether it gets an exposure for every variant that a view reads.
        decides_by: the part of the page's address that a decision depends on.
        batch_max: the most events of one visitor that `deliver` takes at once.
        identity: returns the vendor's name for a visitor, by the cookies; None if the vendor has no such names.
        names_visitor: says whether a cookie of this name tells visitors apart; None if all of `identity` does.
        refresh: the vendor as one that is refreshed in the background; None if there is nothing to refresh.
        spell_list: returns entries of data for a list in data; None if the vendor takes commas between.
        fit_items: returns the cart lines of a track that the vendor takes, and the codes of the changes.
        sum_items: returns one cart line for many.
        records_decisions: whether it keeps a record of every decision, whatever the visit asks.
    """

    vendor: Vendor
    prefix: str
    base_url: str | None
    remote: bool
    shadow: bool
    debug: bool
    staging: bool
    reports_reads: bool
    decides_by: Literal["site", "path", "url"]
    batch_max: int
    identity: Callable[[VisitorState], str] | None
    names_visitor: Callable[[str], bool] | None
    refresh: RefreshingVendor | None
    spell_list: Callable[[str, Sequence[str]], Mapping[str, Scalar]] | None
    fit_items: Callable[[Track], tuple[tuple[Mapping[str, Scalar], ...], Sequence[ErrorCode]]] | None
    sum_items: Callable[[Sequence[Mapping[str, Scalar]], str | None], Mapping[str, Scalar] | None] | None
    records_decisions: bool

    @classmethod
    def of(cls, vendor: Vendor) -> VendorTraits:
        """Return the abilities of *vendor*."""
        base_url = getattr(vendor, "base_url", None)
        return cls(
            vendor=vendor,
            prefix=vendor.prefix,
            base_url=base_url,
            remote=base_url is not None and not getattr(vendor, "local", False),
            shadow=bool(getattr(vendor, "shadow", False)),
            debug=bool(getattr(vendor, "debug", False)),
            staging=bool(getattr(vendor, "staging", False)),
            reports_reads=getattr(vendor, "exposure", "off") == "read" and hasattr(vendor, "exposes"),
            decides_by=getattr(vendor, "decides_by", "url"),
            batch_max=batch_max_of(vendor),
            identity=getattr(vendor, "identity", None),
            names_visitor=getattr(vendor, "names_visitor", None),
            refresh=_refreshing(vendor),
            spell_list=getattr(vendor, "spell_list", None),
            fit_items=getattr(vendor, "fit_items", None),
            sum_items=getattr(vendor, "sum_items", None),
            records_decisions=bool(getattr(vendor, "records_decisions", False)),
        )

    def identity_of(self, state: VisitorState) -> str:
        """Return the vendor's name for the visitor with these cookies; empty if there is none."""
        return "" if self.identity is None else self.identity(state)


def batch_max_of(vendor: object) -> int:
    """Return the most events of one visitor that *vendor*, which needs to deliver only, takes at once."""
    batch_max: int = getattr(vendor, "batch_max", 1)
    return batch_max


def _refreshing(vendor: Any) -> RefreshingVendor | None:
    if not hasattr(vendor, "refresh"):
        return None
    refreshing: RefreshingVendor = vendor if hasattr(vendor, "refresh_fault") else _WithoutFault(vendor.refresh)
    return refreshing


@dataclass(frozen=True, slots=True)
class _WithoutFault:
    """A vendor with a refresh and without a code for its failure."""

    refresh: Callable[[float], Flow[float]]
    refresh_fault: ErrorCode | None = None
