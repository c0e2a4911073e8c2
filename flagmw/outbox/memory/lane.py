"""One vendor's rows in memory, with their counts."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import MappingProxyType

from flagmw.codes import ErrorCode
from flagmw.outbox.base import LaneStats, Leased
from flagmw.types import Event


@dataclass(slots=True, eq=False)
class MemoryRow:
    """An event that waits or is leased, with its due time and its past."""

    event: Event
    seq: int
    size: int
    created: float
    due: float
    attempts: int = 0
    refusals: int = 0
    refused_at: float | None = None

    def leased(self) -> Leased:
        return Leased(
            event=self.event,
            attempts=self.attempts,
            created=self.created,
            refusals=self.refusals,
            refused_at=self.refused_at,
        )


@dataclass(slots=True)
class LaneRows:
    """One vendor's rows and counts.

    Attributes:
        rows: all that are not settled, leased ones too, by id and in the order of their acceptance.
        waiting: a heap by due time, then by age.
        busy: by visitor, how many of their events are leased.
        parked: rows taken from the heap because their visitor is busy, so that no claim looks at them again.
    """

    rows: OrderedDict[str, MemoryRow] = field(default_factory=OrderedDict)
    waiting: list[tuple[float, int, MemoryRow]] = field(default_factory=list)
    busy: Counter[str] = field(default_factory=Counter)
    parked: dict[str, list[MemoryRow]] = field(default_factory=dict)
    accepted: int = 0
    delivered: int = 0
    duplicates: int = 0
    dead: int = 0
    dropped: Counter[ErrorCode] = field(default_factory=Counter)

    def push(self, row: MemoryRow) -> None:
        heapq.heappush(self.waiting, (row.due, row.seq, row))

    def head(self) -> MemoryRow | None:
        """Return the first row whose visitor is free; rows of busy visitors are parked on the way."""
        while self.waiting:
            row = self.waiting[0][2]
            if not self.busy[row.event.visitor_key]:
                return row
            heapq.heappop(self.waiting)
            self.parked.setdefault(row.event.visitor_key, []).append(row)
        return None

    def newest_first(self, count: int, now: float) -> list[MemoryRow]:
        """Return the first due row of each of the *count* free visitors with the newest untried ones, newest first."""
        first: dict[str, tuple[float, int, MemoryRow]] = {}
        last: dict[str, tuple[float, int, MemoryRow]] = {}
        for entry in self.waiting:
            if entry[0] <= now:
                visitor = entry[2].event.visitor_key
                if visitor not in first or entry < first[visitor]:
                    first[visitor] = entry
                if not entry[2].attempts and (visitor not in last or entry > last[visitor]):
                    last[visitor] = entry
        newest = heapq.nlargest(count, (entry for visitor, entry in last.items() if visitor not in self.busy))
        return [first[entry[2].event.visitor_key][2] for entry in newest]

    def take(self, rows: Collection[MemoryRow]) -> None:
        """Take *rows* out of those that wait."""
        taken = {row.seq for row in rows}
        self.waiting = [entry for entry in self.waiting if entry[1] not in taken]
        heapq.heapify(self.waiting)

    def free(self, visitor: str) -> None:
        """Note that one leased event of *visitor* is back."""
        self.busy[visitor] -= 1
        if self.busy[visitor] <= 0:
            del self.busy[visitor]
            for row in self.parked.pop(visitor, ()):
                self.push(row)

    def take_out(self, matches: Callable[[Event], bool]) -> list[MemoryRow]:
        """Take every matching row that nobody holds out of heap and parking, which looks at all of them."""
        out = [row for *_, row in self.waiting if matches(row.event)]
        out += [row for rows in self.parked.values() for row in rows if matches(row.event)]
        gone = {row.event.id for row in out}
        self.waiting = [entry for entry in self.waiting if entry[2].event.id not in gone]
        heapq.heapify(self.waiting)
        for visitor, rows in self.parked.items():
            self.parked[visitor] = [row for row in rows if row.event.id not in gone]
        return out

    def reorder(self) -> None:
        """Sort the heap anew, after due times have changed."""
        self.waiting = [(row.due, row.seq, row) for *_, row in self.waiting]
        heapq.heapify(self.waiting)

    def stats(self, now: float) -> LaneStats:
        oldest = next(iter(self.rows.values()), None)
        return LaneStats(
            accepted=self.accepted,
            delivered=self.delivered,
            duplicates=self.duplicates,
            queued=len(self.rows),
            leased=self.busy.total(),
            dead=self.dead,
            dropped=MappingProxyType(dict(self.dropped)),
            oldest_s=0.0 if oldest is None else max(0.0, now - oldest.created),
        )

    def lose_all(self) -> None:
        """Let go of every row at the end of the process, counted."""
        if self.rows:
            self.dropped[ErrorCode.LOST_AT_EXIT] += len(self.rows)
        for table in (self.rows, self.waiting, self.busy, self.parked):
            table.clear()
