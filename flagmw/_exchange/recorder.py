"""What happened in one exchange, as events for the outbox: the visitor's tracks, and what the view read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from logging import ERROR, WARNING
from typing import Any, Protocol

from flagmw._exchange.context import Context
from flagmw._exchange.exposures import stripped, visitor_of
from flagmw._support.ids import uuid7, visitor_key
from flagmw._support.log import own_words
from flagmw.codes import ErrorCode
from flagmw.flags import testing_hooks
from flagmw.flags.track import make_track
from flagmw.types import Event, Put, Track, Variant, Visit, VisitorState
from flagmw.vendors.base import Participation


class Visitor(Protocol):
    """Whose events they are."""

    @property
    def visit(self) -> Visit: ...

    def jar(self, n: int) -> Mapping[str, str]:
        """Return the cookies of vendor *n* as the visitor has them after this response."""


class Events:
    """Make events and collect them, or put them away at once where there is a *sink*."""

    __slots__ = ("_context", "_pending", "_visitor", "sink")

    def __init__(self, context: Context, visitor: Visitor, sink: Put | None) -> None:
        self._context, self._visitor, self.sink = context, visitor, sink
        self._pending: list[Event] = []

    def __bool__(self) -> bool:
        # What went at once may still be on its way.
        return bool(self._pending) or getattr(self.sink, "last", None) is not None

    def drain(self) -> list[Event]:
        """Return the events collected so far and forget them."""
        events, self._pending = self._pending, []
        return events

    def track(self, metric: str, kept_from: ErrorCode | None, told: Mapping[str, Any]) -> str | None:
        """Make a track of *told*, the arguments of `Flags.track`; return its id, None if it was not taken.

        Args:
            kept_from: why this visitor's tracks are not reported, if they are not.
        """
        try:
            track = make_track(metric, now=self._context.clock(), **told)
        except Exception as error:
            self._refuse("", ErrorCode.BAD_DATA, error)
            return None
        captured = testing_hooks.capture()
        if captured is not None:
            captured.tracks.append(track)
            return track.id
        if kept_from is not None:
            self._context.counts.add("track_dropped", "", kept_from)
            return None
        if not self._within_cap(track.occurred_at):
            return None
        events = self._tracks(track)
        if track.key is not None and events and self._context.reserve is not None:
            events = self._context.reserve(events)
        self._take(events)
        return track.id if events else None

    def expose(self, read: Iterable[Variant], now: float) -> None:
        """Make an event per vendor of the variants that a view has *read*, each once within `exposure_ttl_s`."""
        # Of two requests the one that began first may read last: its own time would look like a clock that went back.
        read_at = max(now, self._context.clock())
        for n, traits in enumerate(self._context.traits):
            vendor = traits.vendor
            own = [variant for variant in read if variant.vendor == vendor.name] if traits.reads else []
            if not own:
                continue
            state = VisitorState(self._visitor.jar(n))
            user_id, ttl_s = self._visitor.visit.user_id, self._context.config.exposure_ttl_s
            identity = vendor.identity(state)
            own = [
                variant
                for variant in own
                if self._context.seen.first(
                    vendor.name,
                    visitor_of(variant, user_id, identity),
                    variant.alias,
                    variant.experiment_id or variant.key,
                    ttl_s,
                    read_at,
                )
            ]
            variants = stripped(own, vendor.prefix)
            part = vendor.exposes(variants, state) if variants else Participation()
            if part.aliases:
                exposed = tuple(variant for variant in variants if variant.alias in part.aliases)
                track = Track(id=uuid7(now), metric="exposure", occurred_at=now)
                self._take([self._event(n, track, part, exposed)])

    def _take(self, events: list[Event]) -> None:
        if events and self.sink is not None:
            self.sink(events)
        else:
            self._pending.extend(events)

    def _within_cap(self, now: float) -> bool:
        """Say whether this visitor may track once more; one without any identity is in no test anyway."""
        visit, context = self._visitor.visit, self._context
        who = visit.user_id or frozenset(visit.cookies.items())
        if not who or context.tracks.take(hash(who), now):
            return True
        context.counts.add("track_dropped", "", ErrorCode.TRACK_CAP)
        context.throttle.log(WARNING, ErrorCode.TRACK_CAP, "a visitor tracks too often")
        return False

    def _tracks(self, track: Track) -> list[Event]:
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
                part = vendor.participation(own, VisitorState(self._visitor.jar(n)))
            except Exception as error:
                # What one vendor does not take, another may.
                self._refuse(vendor.name, ErrorCode.BAD_METRIC, error)
                refused = True
                continue
            if part.aliases:
                events.append(self._event(n, own, part))
        if not events and not refused:
            self._context.counts.add("track_skipped", "", ErrorCode.SKIPPED)
        return events

    def _event(self, n: int, track: Track, part: Participation, exposed: tuple[Variant, ...] = ()) -> Event:
        vendor, visit = self._context.config.vendors[n], self._visitor.visit
        return Event(
            id=uuid7(track.occurred_at),
            vendor=vendor.name,
            kind="exposure" if exposed else "track",
            track=track,
            aliases=part.aliases,
            visit=replace(visit, cookies=part.cookies),
            visitor_key=visitor_key(vendor.name, visit.user_id or self._identity(n), part.cookies),
            exposed=exposed,
            at_most_once=vendor.at_most_once,
        )

    def _identity(self, n: int) -> str | None:
        """Return what vendor *n* knows this visitor by, which changes less often than all of their cookies."""
        identity = getattr(self._context.config.vendors[n], "identity", None)
        return None if identity is None else identity(VisitorState(self._visitor.jar(n))) or None

    def _refuse(self, vendor: str, code: ErrorCode, error: Exception) -> None:
        """Count and log a track that cannot be taken, or raise *error* while debugging."""
        if self._context.config.debug:
            raise error
        self._context.counts.add("track_dropped", vendor, code)
        self._context.throttle.log(ERROR, code, f"a track was dropped: {own_words(error)}")
