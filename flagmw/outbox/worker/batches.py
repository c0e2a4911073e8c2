"""Batches of a lease, by visitor and by call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flagmw.outbox.base import Lease, Leased


@dataclass(slots=True, eq=False)
class VisitorBatch:
    """The events of one visitor in a lease, in order; one attempt after the other is made for them.

    Attributes:
        left: those that were not begun.
        until: when the lease runs out, seconds on the monotonic clock.
    """

    left: Lease
    until: float

    @property
    def visitor(self) -> str:
        return self.left.rows[0].event.visitor_key

    def take(self, size: int) -> Lease:
        """Take the first *size* rows out."""
        taken, self.left = self.left.part(0, size), self.left.part(size)
        return taken


def by_visitor(lease: Lease, until: float) -> list[VisitorBatch]:
    """Split *lease* into queues, visitors in the order of their first event."""
    rows: dict[str, list[Leased]] = {}
    for row in lease.rows:
        rows.setdefault(row.event.visitor_key, []).append(row)
    return [VisitorBatch(replace(lease, rows=tuple(visitor_rows)), until) for visitor_rows in rows.values()]


def parcel_size(rows: Sequence[Leased], batch_max: int) -> int:
    """Return the number of *rows*, from the first on, that go into one attempt.

    An event that must not arrive twice goes alone, so that only its own answer decides; so does one that the vendor
    refused before, for it may be what spoils the others' answer. Repeats are not mixed with what is sent first. What
    failed together goes again in quarters, and after that alone, so that one bad event is found and the others pass.
    """
    first = rows[0]
    if _alone(first):
        return 1
    most = max(1, batch_max if not first.attempts else batch_max // 4)
    size = 1
    while size < min(len(rows), most):
        row = rows[size]
        if _alone(row) or bool(row.attempts) is not bool(first.attempts):
            break
        size += 1
    return size


def _alone(row: Leased) -> bool:
    return row.event.at_most_once or row.refusals > 0 or row.attempts > 1
