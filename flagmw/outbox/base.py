"""What an outbox is: events go in, are claimed with a lease, and leave only after a verdict.

At any moment, for every backend: `accepted = delivered + queued + dead + dropped`.

Every *now* is seconds since the epoch, and all callers of one outbox take it from one clock. The best is one
that never jumps, as `Worker.now` is; a store must stand jumps nevertheless: nothing may be stuck for longer
than the longest wait that its policy knows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from flagmw.codes import ErrorCode
from flagmw.types import Event, Outcome

T = TypeVar("T")
NO_COUNTS: Mapping[ErrorCode, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """An event in somebody's hands.

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
    """An event that was laid aside, with why and when (seconds since the epoch)."""

    event: Event
    code: ErrorCode
    attempts: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStats:
    """One vendor's part of the counts; see `OutboxStats`."""

    accepted: int = 0
    delivered: int = 0
    duplicates: int = 0
    queued: int = 0
    leased: int = 0
    dead: int = 0
    dropped: Mapping[ErrorCode, int] = field(default_factory=lambda: NO_COUNTS)
    oldest_s: float = 0.0

    def balanced(self) -> bool:
        """Say whether every accepted event is accounted for."""
        return self.accepted == self.delivered + self.queued + self.dead + sum(self.dropped.values())


NO_LANES: Mapping[str, LaneStats] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStats:
    """Counts since the outbox was opened.

    Attributes:
        delivered: taken by the vendor, among them *duplicates* that it said it had before.
        queued: waiting or leased; *leased* is how many of them are in somebody's hands.
        dead: dead letters that are kept now. One that is removed for age or room becomes *dropped*.
        refused: events that `put_many` did not store; they are not among *accepted*.
        oldest_s: the age of the oldest queued event, in seconds.
        lanes: the same by vendor, where the store tells them apart.
    """

    accepted: int = 0
    delivered: int = 0
    duplicates: int = 0
    queued: int = 0
    leased: int = 0
    dead: int = 0
    dropped: Mapping[ErrorCode, int] = field(default_factory=lambda: NO_COUNTS)
    refused: Mapping[ErrorCode, int] = field(default_factory=lambda: NO_COUNTS)
    oldest_s: float = 0.0
    lanes: Mapping[str, LaneStats] = field(default_factory=lambda: NO_LANES)

    def balanced(self) -> bool:
        """Say whether every accepted event is accounted for."""
        return self.accepted == self.delivered + self.queued + self.dead + sum(self.dropped.values())


class Outbox(Protocol):
    """Store of events. Every method may be called from any thread.

    A forked child begins with a store of its own: it neither sees nor delivers what its parent holds.
    """

    def put_many(self, events: Sequence[Event], now: float) -> Sequence[str]:
        """Store *events*, all that fit; return the ids that are safely stored.

        An id that is known already, or an event whose vendor and business key (`track.key`) wait or were
        delivered lately, is accepted once: it counts as refused with `DUPLICATE_KEY` and its id is returned as
        safe. What does not fit counts as refused with `QUEUE_FULL`; exposures give way before tracks do.

        Raises:
            OutboxError: nothing can be stored at all.
        """

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str] = ()) -> Lease | None:
        """Lease up to *limit* due events of one vendor that is not in *skip*, oldest first; None if none is due.

        Events of one visitor are never in two live leases and are first leased in the order of their making.
        An at-most-once event gets a lease of its own: when the holder dies, only that one is in doubt.
        Events past the age limit are laid aside instead of being leased.

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
        """Give a lease, or a part of it, back untried: due again as before and no attempt counted."""

    def dead(self, limit: int = 100) -> Sequence[DeadLetter]:
        """Return dead letters, newest first."""

    def next_due(self, now: float, skip: Collection[str] = ()) -> float | None:
        """Return the seconds until a claim is worth while, 0 when it is now, None when nothing waits.

        An event in somebody's hands counts from the moment its lease would run out.
        """

    def stats(self, now: float) -> OutboxStats: ...

    def close(self) -> None:
        """Free what is held. A second call does nothing; afterwards nothing can be put or claimed."""


class PerProcess(Generic[T]):
    """A value that every process makes for itself, so that a forked child never meets its parent's locks."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_pid: dict[int, T] = {}

    def get(self) -> T:
        """Return this process's value, made at the first call."""
        pid = os.getpid()
        value = self._by_pid.get(pid)
        if value is None:
            # setdefault is atomic: threads that race here in a fresh child agree on one value without a lock,
            # and any lock of ours might have been held by another thread at the moment of the fork.
            value = self._by_pid.setdefault(pid, self._make())
            for other in [known for known in self._by_pid if known != pid]:
                self._by_pid.pop(other, None)
        return value
