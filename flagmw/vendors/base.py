"""What a vendor is to the rest of flagmw: a name, a rule for cookies, and two flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flagmw._cookies.rule import CookieRule as CookieRule
from flagmw.types import Decision, Event, Flow, Outcome, Track, Variant, Visit, VisitorState, empty


@dataclass(frozen=True, slots=True)
class Participation:
    """Where a visitor's conversion counts: the aliases, and the cookies that prove it."""

    aliases: tuple[str, ...] = ()
    cookies: Mapping[str, str] = field(default_factory=empty, repr=False)


class Vendor(Protocol):
    """A decisioning service. Implementations are pure: no I/O, no clock, no state of a request.

    A vendor may also have, looked up once at the start:
        base_url: where its service is; a vendor without one is run where it stands, and must not yield a call.
        local: True when it decides without a call although it has a `base_url`.
        shadow: True when it is asked after the response only, and compared with what was served; see `_shadow`.
        batch_max: how many events of one visitor `deliver` takes at once; 1 if there is no such attribute.
        decides_by: what part of the page's address a decision depends on: "site" (none), "path", or "url" (without the
            query, but for what may be sent of it), as where there is no such attribute.
        names_visitor: a function of a cookie's name that says whether its value tells visitors apart; where it is
            missing, all of `identity` has to be equal for two events to be of one visitor.
    """

    @property
    def name(self) -> str:
        """Unique among the configured vendors; names the vendor in flags, events, counters and logs."""

    @property
    def cookies(self) -> CookieRule:
        """Which of the visitor's cookies are its own."""

    @property
    def prefix(self) -> str:
        """Put before every alias of this vendor, to tell it from another vendor's; usually empty."""

    @property
    def at_most_once(self) -> bool:
        """Whether an event is never sent again once the vendor may have received it."""

    @property
    def exposure(self) -> str:
        """How the vendor learns what visitors saw: "decide" with every decision, "read" by events of kind "exposure"
        for the aliases that the view read, "off" not at all."""

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask which variants this visit gets. Raises nothing; a failure is a Decision with `error`.

        Nothing is counted at the vendor where `visit.record` is False.
        """

    def identity(self, state: VisitorState) -> str:
        """Return a text that is equal as long as decisions made for this visitor before are still theirs.

        Derived from the vendor's own cookies; empty where there is nothing to know the visitor by.
        """

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Say for which aliases *track* can count, given the cookies in *state*; empty when for none.

        Raises:
            ValueError: the track itself (metric, data) is nothing that this vendor takes.
        """

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Say which of *variants*, all of this vendor, can be reported as seen, and the cookies that prove it.

        Asked only where `exposure` is "read".
        """

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Tell the vendor of *batch*, tracks and exposures of one visitor; return one outcome per event, in order."""
