"""Sums of the server's counts and the machine's.

The server counts what it has accepted, per vendor, and what became of it; the machine's store counts
what it has accepted, and calls "delivered" what the server confirmed. The sums are therefore
`accepted = server.accepted + local.accepted - local.delivered`, and `queued`, `dead` and `dropped` of both: each side
balances by itself, so the sum does at any moment. Counters of the server are those of all machines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from flagmw.codes import ErrorCode
from flagmw.outbox.base import LaneStats, OutboxStats

_NONE = LaneStats()


def total(server: OutboxStats, local: OutboxStats) -> OutboxStats:
    """Add up: what the local store calls delivered is what the server has accepted."""
    names = sorted(server.lanes.keys() | local.lanes.keys())
    lanes = {name: _lane(server.lanes.get(name, _NONE), local.lanes.get(name, _NONE)) for name in names}
    return OutboxStats.of(lanes, _sum(server.refused, local.refused))


def _lane(server: LaneStats, local: LaneStats) -> LaneStats:
    return LaneStats(
        accepted=server.accepted + local.accepted - local.delivered,
        delivered=server.delivered,
        duplicates=server.duplicates,
        queued=server.queued + local.queued,
        leased=server.leased,
        dead=server.dead + local.dead,
        dropped=_sum(server.dropped, local.dropped),
        oldest_s=max(server.oldest_s, local.oldest_s),
    )


def _sum(left: Mapping[ErrorCode, int], right: Mapping[ErrorCode, int]) -> Mapping[ErrorCode, int]:
    counts = Counter(left)
    counts.update(right)
    return MappingProxyType({code: count for code, count in counts.items() if count})
