"""Bounded looks ahead for the next event to claim."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from flagmw.exceptions import OutboxError
from flagmw.outbox.base import Lease, Outbox
from flagmw.outbox.worker.batches import by_visitor

# The number of rows asked for when only the newest ones are needed.
_LOT = 64


def claim_newest(outbox: Outbox, now: float, limit: int, lease_s: float, skip: Collection[str]) -> Lease | None:
    """Lease due events as `Outbox.claim` does, of visitors with the newest untried ones; of each the first comes first.

    Stores that have such a claim of their own look at all events, others at the next few dozen.
    """
    native_claim = getattr(outbox, "claim_newest", None)
    if callable(native_claim):
        lease: Lease | None = native_claim(now, limit, lease_s, skip)
        return lease
    lease = outbox.claim(now, _LOT, lease_s, skip)
    if lease is None or len(lease.rows) == 1:
        return lease
    queues = by_visitor(lease, 0.0)
    newest = max(queues, key=lambda queue: (not queue.left.rows[0].attempts, queue.left.rows[0].created))
    kept_ids = {row.event.id for row in newest.left.rows[:limit]}
    outbox.release(others(lease, kept_ids), now)
    return replace(lease, rows=newest.left.rows[:limit])


def others(lease: Lease, kept_ids: Collection[str]) -> Lease:
    """Return the part of *lease* whose events are not among *kept_ids*."""
    return replace(lease, rows=tuple(row for row in lease.rows if row.event.id not in kept_ids))


def is_empty(outbox: Outbox, now: float) -> bool:
    """True when *outbox* has no event in any state; False also if that is unknown."""
    try:
        # Counts may be a moment old where a store is busy, so it is asked for its events, too.
        if outbox.stats(now).queued or outbox.next_due(now) is not None:
            return False
        adopt = getattr(outbox, "adopt", None)
        if callable(adopt) and adopt():
            return False
        return not outbox.stats(now).queued
    except OutboxError:
        return False
