"""The recorder of one request: reads and tracks as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from logging import ERROR, WARNING
from typing import Any

from flagmw._exchange import saved_visitor
from flagmw._exchange.context import Context
from flagmw._exchange.event_sink import EventSink
from flagmw._exchange.exposures import stripped, visitor_of
from flagmw._exchange.visitor import SILENT, RequestVisitor
from flagmw._support.ids import uuid7, visitor_key
from flagmw._support.log import own_words
from flagmw.codes import ErrorCode
from flagmw.flags import testing_hooks
from flagmw.flags.fit import Changes, fit_items, fit_track, spelled
from flagmw.flags.flags import Flags, exposed_of
from flagmw.flags.track import ITEMS, make_track
from flagmw.types import EMPTY, Event, Track, Variant, VisitorState
from flagmw.vendors.base import Participation, VendorTraits


class EventRecorder:
    """Record what a view reads and tracks; see `flags.Recorder`.

    Events are collected until the delivery drains them. Once the response has begun, or where there is a *sink* from
    the start, they go to the outbox at once. The recorder knows the visitor and not the exchange, so that flags make no
    reference circle. The optional parts are class attributes: most requests record nothing.

    Attributes:
        answered: whether the response has begun.
    """

    answered = False
    _sink: EventSink | None = None
    _events: Sequence[Event] = ()
    # The flags' own table of variants that were read; it grows while the view reads.
    _exposed: Mapping[str, Variant] = EMPTY
    _reported = 0

    def __init__(self, context: Context, visitor: RequestVisitor) -> None:
        self._context, self._visitor = context, visitor

    # For the flags

    def mismatch(self, alias: str) -> None:
        self._context.counts.add("type_mismatch", "", ErrorCode.TYPE_MISMATCH)

    def identified_late(self) -> None:
        self._context.counts.add("identify_ignored", "", ErrorCode.LOADED_ALREADY)

    def save(self) -> bytes:
        return saved_visitor.dump(self._visitor.visit, self._visitor.all_cookies_after())

    @property
    def set_cookies(self) -> tuple[str, ...]:
        return self._visitor.set_cookies

    def track(self, metric: str, **arguments: Any) -> str | None:
        """Make events of a track; return its id, None if no vendor takes it."""
        track = self._made(metric, arguments)
        if track is None:
            return None
        silenced_by = self._silenced_by()
        if silenced_by is not None:
            self._context.counts.add("track_dropped", "", silenced_by)
            return None
        capture = testing_hooks.capture()
        if capture is not None:
            capture.tracks.append(track)
            return track.id
        if not self._within_cap(track.occurred_at):
            return None
        events = self._events_of(track)
        if track.key is not None and events and self._context.reserve is not None:
            events = self._context.reserve(events)
        self._take(events)
        return track.id if events else None

    # For the exchange and the delivery

    def watch(self, flags: Flags) -> None:
        """Report from now on what the view reads of *flags*."""
        # Only their table: the flags know this recorder, and a circle would be left to the collector.
        self._exposed = exposed_of(flags)

    def collect_only(self) -> None:
        """Collect events until `drain`, whatever the sink."""
        self._sink = None

    def send_to(self, sink: EventSink) -> None:
        """Put events in *sink* at once from now on."""
        self._sink = sink

    def open_sink(self) -> EventSink:
        """Return this request's sink, opened at first use; after that, events are put in it at once."""
        if self._sink is None:
            assert self._context.open_sink is not None
            self._sink = self._context.open_sink()
        return self._sink

    @property
    def pending(self) -> bool:
        """Whether there is something for the delivery to take or to wait for."""
        # Events in the sink may not be stored yet.
        if self._events or (self._sink is not None and self._sink.last is not None):
            return True
        return self._context.reports_reads and len(self._exposed) > self._reported

    @property
    def has_reads(self) -> bool:
        """Whether the view has read variants that are not reported yet."""
        return self._context.reports_reads and len(self._exposed) > self._reported

    def drain(self, *, expose: bool = True) -> list[Event]:
        """Return the events collected so far and forget them; with *expose*, reads are reported first."""
        if expose:
            self.expose()
        events, self._events = [*self._events], ()
        return events

    def expose(self) -> None:
        """Make an event per vendor of the variants that the view has read, each once within `exposure_ttl_s`."""
        read = [*self._exposed.values()][self._reported :]
        if not read:
            return
        self._reported += len(read)
        visitor = self._visitor
        silent = visitor.kept_from is not None or visitor.override is not None
        if silent or not self._context.reports_reads or not visitor.recorded:
            return
        # The earlier of two requests may read last: its start time would look like a clock that went back.
        read_at = max(visitor.now, self._context.clock())
        for place, traits in enumerate(self._context.traits):
            if traits.reports_reads:
                self._expose_to(place, [v for v in read if v.vendor == traits.vendor.name], read_at)

    # Inside

    def _made(self, metric: str, arguments: dict[str, Any]) -> Track | None:
        """Return the track, with its details made fit where they are not; None if it is refused."""
        names = arguments.get("aliases"), arguments.get("vendors")
        if names != (None, None):
            # The check below would use an iterator up.
            arguments |= {
                n: [*v] for n, v in zip(("aliases", "vendors"), names, strict=True) if isinstance(v, Iterator)
            }
        now = self._context.clock()
        try:
            return make_track(metric, now=now, **arguments)
        except Exception as error:
            changes = Changes()
            try:
                if self._context.config.debug:
                    raise
                track = fit_track(metric, changes, now=now, **arguments)
            except Exception:
                self._refuse("", ErrorCode.BAD_DATA, error)
                return None
            self._context.fitted("track", "", changes)
            return track

    def _expose_to(self, place: int, read: Sequence[Variant], read_at: float) -> None:
        if not read:
            return
        traits, visitor, context = self._context.traits[place], self._visitor, self._context
        vendor, state = traits.vendor, VisitorState(visitor.cookies_after(place))
        user_id, identity = visitor.visit.user_id, traits.identity_of(state)
        unreported = [
            variant
            for variant in read
            if context.exposures.first(
                vendor.name,
                visitor_of(variant, user_id, identity),
                variant.alias,
                variant.experiment_id or variant.key,
                context.config.exposure_ttl_s,
                read_at,
            )
        ]
        variants = stripped(unreported, traits.prefix)
        part = vendor.exposes(variants, state) if variants else Participation()
        if part.aliases:
            exposed = tuple(variant for variant in variants if variant.alias in part.aliases)
            track = Track(id=uuid7(visitor.now), metric="exposure", occurred_at=visitor.now)
            self._take([self._event(place, track, part, exposed)])

    def _take(self, events: list[Event]) -> None:
        if not events:
            return
        if self._sink is None and self.answered and self._context.open_sink is not None:
            self.open_sink()
        if self._sink is not None:
            self._sink(events)
        else:
            self._events = [*self._events, *events]

    def _silenced_by(self) -> ErrorCode | None:
        """Return why this visitor's tracks are not reported, None if they are."""
        visitor = self._visitor
        if visitor.kept_from in SILENT:
            return visitor.kept_from
        if not visitor.recorded:
            return ErrorCode.NO_CONSENT
        return None if visitor.override is None else ErrorCode.OVERRIDDEN

    def _within_cap(self, now: float) -> bool:
        """Say whether this visitor may track once more; one without any identity is in no test anyway."""
        visit, context = self._visitor.visit, self._context
        identity = visit.user_id or frozenset(visit.cookies.items())
        if not identity or context.tracks.take(hash(identity), now):
            return True
        context.counts.add("track_dropped", "", ErrorCode.TRACK_CAP)
        context.throttle.log(WARNING, ErrorCode.TRACK_CAP, "a track was dropped: tracks_per_visitor is reached")
        return False

    def _events_of(self, track: Track) -> list[Event]:
        """Return one event for each vendor that *track* counts for; count why there is none."""
        events: list[Event] = []
        refused = False
        for place, vendor in enumerate(self._context.config.vendors):
            if track.vendors is not None and vendor.name not in track.vendors:
                continue
            vendor_track = track
            if vendor.prefix and track.aliases is not None:
                aliases = tuple(a.removeprefix(vendor.prefix) for a in track.aliases if a.startswith(vendor.prefix))
                vendor_track = replace(track, aliases=aliases)
            state = VisitorState(self._visitor.cookies_after(place))
            try:
                vendor_track, part = self._taken(self._context.traits[place], vendor_track, state)
            except Exception as error:
                # A metric that one vendor does not take, another may take.
                self._refuse(vendor.name, ErrorCode.BAD_METRIC, error)
                refused = True
                continue
            if part.aliases:
                events.append(self._event(place, vendor_track, part))
        if not events and not refused:
            self._context.counts.add("track_skipped", "", ErrorCode.SKIPPED)
        return events

    def _taken(self, traits: VendorTraits, track: Track, state: VisitorState) -> tuple[Track, Participation]:
        """Return *track* as the vendor takes it, and for what it counts.

        Raises:
            ValueError: the vendor does not take it.
        """
        vendor = traits.vendor
        changes: Changes | None = None
        if len(track.items) > ITEMS:
            changes = Changes()
            track = fit_items(track, traits.sum_items, changes)
        try:
            part = vendor.participation(track, state)
        except ValueError:
            if traits.fit_items is None or self._context.config.debug:
                raise
            items, codes = traits.fit_items(track)
            track = replace(track, items=items)
            part = vendor.participation(track, state)
            changes = changes or Changes()
            changes.update((code, "items") for code in codes)
        if changes and part.aliases:
            self._context.fitted("track", vendor.name, changes)
        return track, part

    def _event(self, place: int, track: Track, part: Participation, exposed: tuple[Variant, ...] = ()) -> Event:
        traits, visit = self._context.traits[place], self._visitor.visit
        vendor = traits.vendor
        if traits.spell_list is not None:
            track, visit = spelled(track, traits.spell_list), spelled(visit, traits.spell_list)
        # The vendor's name for the visitor changes less often than all of their cookies.
        who = visit.user_id or traits.identity_of(VisitorState(self._visitor.cookies_after(place))) or None
        return Event(
            id=uuid7(track.occurred_at),
            vendor=vendor.name,
            kind="exposure" if exposed else "track",
            track=track,
            aliases=part.aliases,
            visit=replace(visit, cookies=part.cookies),
            visitor_key=visitor_key(vendor.name, who, part.cookies),
            exposed=exposed,
            at_most_once=vendor.at_most_once,
        )

    def _refuse(self, vendor: str, code: ErrorCode, error: Exception) -> None:
        """Count and log a track that cannot be taken, or raise *error* while debugging."""
        if self._context.config.debug:
            raise error
        self._context.counts.add("track_dropped", vendor, code)
        self._context.throttle.log(ERROR, code, f"a track was dropped: {own_words(error)}")
