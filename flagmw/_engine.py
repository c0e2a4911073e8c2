"""One request's exchange with the vendors, without any I/O: settle what they decided, collect what happened.

Settling means: variants by precedence, cookies checked and cut to the budget, and the flags. Collecting means:
each track becomes one event per vendor, with the cookies that the visitor has after this very response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from logging import ERROR, WARNING
from typing import Any

from flagmw import _override, _saved
from flagmw._ids import uuid7, visitor_key
from flagmw._jars import Context, Jars
from flagmw._log import own_words
from flagmw._tracks import make_track
from flagmw.codes import ErrorCode, Reason
from flagmw.flags import Flags
from flagmw.types import Decision, Event, Track, Variant, Visit, VisitorState

__all__ = ["Context", "Exchange", "failed"]


class Exchange:
    """What one request and the vendors have to say to each other.

    Args:
        states: each configured vendor's own cookies of this visitor, in the order of the vendors.
        sink: where events go at once; None collects them until `drain`.
    """

    def __init__(
        self,
        context: Context,
        visit: Visit,
        states: Sequence[VisitorState],
        sink: Callable[[Sequence[Event]], None] | None = None,
    ) -> None:
        self.visit = visit
        self.states = states
        self.sink = sink
        self.kept_from: ErrorCode | None = None
        self._context = context
        self._jars = Jars(context, visit, states)
        self._events: list[Event] = []

    # Settle

    def undecided(self, code: ErrorCode) -> Flags:
        """Return flags for a request that no vendor is asked about, for *code* or for what kept it from that."""
        override = _override.override()
        if override is not None:
            return self.overridden(override)
        config = self._context.config
        return Flags(defaults=config.defaults, error_code=self.kept_from or code, on=config.on, recorder=self)

    def overridden(self, override: _override.Override) -> Flags:
        """Return the flags that a test has put in place."""
        config = self._context.config
        variants = {
            alias: Variant(alias=alias, key=key, reason=Reason.STATIC) for alias, key in override.variants.items()
        }
        return Flags(variants, defaults=config.defaults, on=config.on, recorder=self, strict=override.strict)

    def settle(self, decisions: Sequence[Decision]) -> Flags:
        """Return the flags that *decisions* (one per vendor, in order) make together."""
        config = self._context.config
        variants: dict[str, Variant] = {}
        owners: dict[str, int] = {}
        misses: dict[str, ErrorCode] = {}
        error: ErrorCode | None = None
        notice: ErrorCode | None = None
        for n, (vendor, decision) in enumerate(zip(config.vendors, decisions, strict=True)):
            error, notice = error or decision.error, notice or decision.notice
            for alias, variant in decision.variants.items():
                flag = vendor.prefix + alias
                if flag not in variants:
                    variants[flag] = variant if not vendor.prefix else replace(variant, alias=flag)
                    owners[flag] = n
            for alias, miss in decision.misses.items():
                misses.setdefault(vendor.prefix + alias, miss)
            for rejected in decision.rejected:
                self._context.counts.add("answer_rejected", vendor.name, rejected)
        for n, alias in self._jars.change(decisions):
            flag = config.vendors[n].prefix + alias
            if owners.get(flag) == n:
                del variants[flag]
                misses[flag] = ErrorCode.COOKIE_BUDGET
        return Flags(
            variants,
            defaults=config.defaults,
            misses=misses,
            error_code=error,
            notice=notice,
            on=config.on,
            recorder=self,
        )

    # What `Flags` reports

    @property
    def set_cookies(self) -> tuple[str, ...]:
        """Set-Cookie values that are due for this visitor."""
        return self._jars.set_cookies

    def mismatch(self, alias: str) -> None:
        self._context.counts.add("type_mismatch", "", ErrorCode.TYPE_MISMATCH)

    def save(self) -> bytes:
        return _saved.dump(self.visit, self._jars.now)

    def track(
        self,
        metric: str,
        *,
        data: Mapping[str, Any] | None,
        aliases: Iterable[str] | None,
        vendors: Iterable[str] | None,
        key: str | None,
        value: float | None,
        currency: str | None,
        items: Sequence[Mapping[str, Any]] | None,
    ) -> str | None:
        try:
            track = make_track(
                metric,
                data=data,
                aliases=aliases,
                vendors=vendors,
                key=key,
                value=value,
                currency=currency,
                items=items,
                now=self._context.clock(),
            )
        except Exception as error:
            self._refuse("", ErrorCode.BAD_DATA, error)
            return None
        if not self._within_cap(track.occurred_at):
            return None
        captured = _override.capture()
        if captured is not None:
            captured.tracks.append(track)
            return track.id
        events = self._events_of(track)
        if not events:
            return None
        if self.sink is not None:
            self.sink(events)
        else:
            self._events.extend(events)
        return track.id

    def _within_cap(self, now: float) -> bool:
        """Say whether this visitor may track once more; one without any identity is in no test anyway."""
        visit, context = self.visit, self._context
        who = visit.user_id or frozenset(visit.cookies.items())
        if not who or context.tracks.take(hash(who), now):
            return True
        context.counts.add("track_dropped", "", ErrorCode.TRACK_CAP)
        context.throttle.log(WARNING, ErrorCode.TRACK_CAP, "a visitor tracks too often")
        return False

    def _events_of(self, track: Track) -> list[Event]:
        """Return one event for each vendor that *track* counts for; count why there is none."""
        events: list[Event] = []
        refused = False
        for n, vendor in enumerate(self._context.config.vendors):
            if track.vendors is not None and vendor.name not in track.vendors:
                continue
            own = track
            if vendor.prefix and track.aliases is not None:
                stripped = tuple(a.removeprefix(vendor.prefix) for a in track.aliases if a.startswith(vendor.prefix))
                own = replace(track, aliases=stripped)
            try:
                part = vendor.participation(own, VisitorState(self._jars.now[n]))
            except Exception as error:
                # What one vendor does not take, another may.
                self._refuse(vendor.name, ErrorCode.BAD_METRIC, error)
                refused = True
                continue
            if not part.aliases:
                continue
            events.append(
                Event(
                    id=uuid7(track.occurred_at),
                    vendor=vendor.name,
                    kind="track",
                    track=own,
                    aliases=part.aliases,
                    visit=replace(self.visit, cookies=part.cookies),
                    visitor_key=visitor_key(vendor.name, self.visit.user_id, part.cookies),
                    at_most_once=vendor.at_most_once,
                )
            )
        if not events and not refused:
            self._context.counts.add("track_skipped", "", ErrorCode.SKIPPED)
        return events

    def _refuse(self, vendor: str, code: ErrorCode, error: Exception) -> None:
        """Count and log a track that cannot be taken, or raise *error* while debugging."""
        if self._context.config.debug:
            raise error
        self._context.counts.add("track_dropped", vendor, code)
        self._context.throttle.log(ERROR, code, f"a track was dropped: {own_words(error)}")

    def drain(self) -> list[Event]:
        """Return the events collected so far and forget them."""
        events, self._events = self._events, []
        return events

    @property
    def pending(self) -> bool:
        """Whether events are waiting to be drained."""
        return bool(self._events)


def failed(vendor: str, code: ErrorCode, *, trips: bool = False) -> Decision:
    """Return the decision of a vendor that was not asked, or did not answer."""
    return Decision(vendor=vendor, error=code, trips=trips)
