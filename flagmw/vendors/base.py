"""The protocol of vendors: a name, a cookie rule, and two flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flagmw._cookies.rule import CookieRule as CookieRule
from flagmw.types import Decision, Event, Flow, Outcome, Track, Variant, Visit, VisitorState, empty


@dataclass(frozen=True, slots=True)
class Participation:
    """The aliases for which a conversion or exposure counts, and the cookies that prove it."""

    aliases: tuple[str, ...] = ()
    cookies: Mapping[str, str] = field(default_factory=empty, repr=False)


class Vendor(Protocol):
    """A decisioning service. Implementations are pure: no I/O, no clock, no state of a request.

    A vendor may also have these attributes, which are read once at the start:
        base_url: the address of its service. A vendor without one runs in the request and must not yield a call.
        local: True if it decides without a call although it has a `base_url`.
        shadow: True if it is asked after the response only, and compared with the served decision; see `_shadow`.
        batch_max: the number of events of one visitor that `deliver` takes at once; default 1.
        decides_by: the part of the page's address that a decision depends on: "site" (none), "path", or "url" (with
            the allowed part of the query), which is the default.
        names_visitor: a function of a cookie's name that says whether its value tells visitors apart. Without it, two
            events belong to one visitor if all of `identity` is equal.
        spell_list: a function of the name and the entries of a list in the data of a track or a visit; it returns the
            entries of data that stand for it. Without it, the vendor gets a text with commas between.
        fit_items: a function of a track, called if `participation` raises; it returns the cart lines that the vendor
            takes, and an `ErrorCode` for each change.
        sum_items: a function of cart lines and the track's currency that returns one line for all of them, or None;
            called where a track has more than 100. Without it, further lines are left out.
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
