"""The contract of an outbox: put, claim with a lease, ack.

At any moment, for every backend: `accepted = delivered + queued + dead + dropped`.

Every *now* is seconds since the epoch, and all callers of one outbox take it from one clock. The best is one
that never jumps, as `Worker.now` is; a store must stand jumps nevertheless: nothing may be stuck for longer
than the longest wait that its policy knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeVar

from flagmw.codes import ErrorCode
from flagmw.types import Event, Outcome

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
NO_COUNTS: Mapping[ErrorCode, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """An event that a process has claimed.

    Attributes:
        attempts: the tries before this one.
        created: when it was accepted, seconds since the epoch.
        refusals: how often the vendor refused it without a verdict.
        refused_at: when it did so first, seconds since the epoch.
    """

    event: Event
    attempts: int = 0
    created: float = 0.0
    refusals: int = 0
    refused_at: float | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on some events of one vendor. Its token fences late answers: a lease that ran out settles nothing."""

    token: str
    vendor: str
    rows: tuple[Leased, ...]

    def part(self, start: int, stop: int | None = None) -> Lease:
        """Return the same claim with only *rows[start:stop]*, to settle or to give back just these."""
        return replace(self, rows=self.rows[start:stop])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was set aside, with the reason and the time (seconds since the epoch)."""

    event: Event
    code: ErrorCode
    attempts: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCounts:
    """Counts of accepted events by their outcome.

    Attributes:
        delivered: taken by the vendor, among them *duplicates* that it said it had before.
        queued: waiting or leased; *leased* is the number of claimed ones.
        dead: dead letters that are kept now. One that is removed for age or room becomes *dropped*.
        oldest_s: the age of the oldest queued event, in seconds.
    """

    accepted: int = 0
    delivered: int = 0
    duplicates: int = 0
    queued: int = 0
    leased: int = 0
    dead: int = 0
    dropped: Mapping[ErrorCode, int] = field(default_factory=lambda: NO_COUNTS)
    oldest_s: float = 0.0

    def balanced(self) -> bool:
        """True when every accepted event is accounted for."""
        return self.accepted == self.delivered + self.queued + self.dead + sum(self.dropped.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStats(EventCounts):
    """One vendor's part of the counts."""

    def plus(self, other: LaneStats) -> LaneStats:
        """Return the sums of both; the older of the two oldest events counts."""
        return LaneStats(
            accepted=self.accepted + other.accepted,
            delivered=self.delivered + other.delivered,
            duplicates=self.duplicates + other.duplicates,
            queued=self.queued + other.queued,
            leased=self.leased + other.leased,
            dead=self.dead + other.dead,
            dropped=MappingProxyType(Counter(self.dropped) + Counter(other.dropped)),
            oldest_s=max(self.oldest_s, other.oldest_s),
        )


NO_LANES: Mapping[str, LaneStats] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStats(EventCounts):
    """Counts since the outbox was opened; a durable store counts on after a restart.

    Attributes:
        refused: events that `put_many` did not store; they are not among *accepted*.
        lanes: the same by vendor, where the store tells them apart.
    """

    refused: Mapping[ErrorCode, int] = field(default_factory=lambda: NO_COUNTS)
    lanes: Mapping[str, LaneStats] = field(default_factory=lambda: NO_LANES)

    @classmethod
    def of(cls, lanes: Mapping[str, LaneStats], refused: Mapping[ErrorCode, int] = NO_COUNTS) -> OutboxStats:
        """Return the sums over *lanes*, which it keeps."""
        parts = list(lanes.values())
        dropped: Counter[ErrorCode] = Counter()
        for part in parts:
            dropped.update(part.dropped)
        return cls(
            accepted=sum(part.accepted for part in parts),
            delivered=sum(part.delivered for part in parts),
            duplicates=sum(part.duplicates for part in parts),
            queued=sum(part.queued for part in parts),
            leased=sum(part.leased for part in parts),
            dead=sum(part.dead for part in parts),
            dropped=MappingProxyType(dict(dropped)),
            refused=MappingProxyType(dict(refused)),
            oldest_s=max((part.oldest_s for part in parts), default=0.0),
            lanes=MappingProxyType(dict(lanes)),
        )

    @classmethod
    def merged(cls, parts: Sequence[OutboxStats], refused: Mapping[ErrorCode, int] = NO_COUNTS) -> OutboxStats:
        """Return the sum of several stores' counts, and of *refused* beside theirs."""
        lanes: dict[str, LaneStats] = {}
        all_refused = Counter(refused)
        for part in parts:
            all_refused.update(part.refused)
            for vendor, lane in part.lanes.items():
                lanes[vendor] = lanes[vendor].plus(lane) if vendor in lanes else lane
        return cls.of(lanes, all_refused)


class Outbox(Protocol):
    """Store of events. Every method may be called from any thread.

    A forked child begins with a store of its own: it neither sees nor delivers what its parent holds.

    A store may also have `reserve(events)`: it returns the ids of those whose business key another event holds, and
    keeps the other keys for a minute, within some hundredths of a second. Without it a key holds within one process.
    """

    def put_many(self, events: Sequence[Event], now: float) -> Sequence[str]:
        """Store *events*, all that fit; return the ids that are safely stored.

        An id that is known already, or an event whose vendor and business key (`track.key`) wait or were
        delivered lately, is accepted once: it counts as refused with `DUPLICATE_KEY` and its id is returned as
        safe. What does not fit counts as refused with `QUEUE_FULL` or `DISK_FULL`; exposures give way before tracks do.

        Raises:
            OutboxError: nothing can be stored at all.
        """

    def submit(self, events: Sequence[Event], now: float) -> Future[Sequence[str]]:
        """As `put_many`, without waiting: the future is done when the events are safely stored, or cannot be.

        Many callers at once share one write of the store. It raises nothing: what `put_many` would raise is in
        the future.
        """

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str] = ()) -> Lease | None:
        """Lease up to *limit* due events of one vendor that is not in *skip*, oldest first; None if none is due.

        Events of one visitor are never in two live leases and are first leased in the order of their making.
        An at-most-once event gets a lease of its own: when the holder dies, only that one is in doubt.
        Events past the age limit become dead letters instead.

        Args:
            lease_s: seconds; afterwards the events can be claimed again, with the attempt counted. An
                at-most-once event may have been sent by then, so it is dropped as `AMBIGUOUS`.
        """

    def ack(self, lease: Lease, outcomes: Sequence[Outcome], now: float) -> None:
        """Settle the rows of *lease*, or of a part of it, by one outcome each, as `Policy.rule` says.

        Rows that this lease no longer holds are passed over, so that late and repeated calls do nothing.

        Raises:
            ValueError: there is not one outcome per row; nothing was settled.
        """

    def release(self, lease: Lease, now: float) -> None:
        """Give back a lease, or a part of it, without an attempt: the events are due as before."""

    def dead(self, limit: int = 100) -> Sequence[DeadLetter]:
        """Return dead letters, newest first."""

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        """Queue dead letters anew, all when *ids* is None; return how many.

        They are due at once and as old as new ones, with their attempts kept. A letter stays dead while the queue
        has no room, or while another event with its business key waits or was delivered lately.
        """

    def forget(self, ids: Collection[str] | None) -> int:
        """Drop dead letters for good, all when *ids* is None, counted with `DISCARDED`; return how many."""

    def purge(self, matches: Callable[[Event], bool], now: float) -> int:
        """Drop every queued and dead event for which *matches* is true, counted with `PURGED`; return how many.

        A claimed event is dropped as well; it may still reach the vendor. This looks at all
        events. *matches* must not use the store.
        """

    def next_due(self, now: float, skip: Collection[str] = ()) -> float | None:
        """Return the seconds until a claim is worth while, 0 when it is now, None when nothing waits.

        A claimed event counts from the end of its lease.
        """

    def stats(self, now: float) -> OutboxStats: ...

    def close(self) -> None:
        """Free what is held. A second call does nothing; afterwards nothing can be put or claimed."""
