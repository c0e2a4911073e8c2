"""Due rows of one slot, in the order of claims."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from dataclasses import replace

from flagmw._support.encryption import Cipher, Unreadable
from flagmw.codes import ErrorCode
from flagmw.outbox.base import Leased
from flagmw.outbox.policy import Discard, Policy
from flagmw.outbox.sqlite.clock import Clock
from flagmw.outbox.sqlite.counters import SlotCounts
from flagmw.outbox.sqlite.leases import Leases
from flagmw.outbox.sqlite.rows import DUE, FIRST, HANDED_OUT, NEWEST, PARK, UNREADABLE, VISITORS_FIRST, WAITING, SlotRow

# Rows looked at in one go when a claim has to pass over many.
_STRIDE = 500


class DueRows:
    """The search for rows to claim. Rows that cannot be claimed are parked, so that later claims skip them.

    Args:
        bury: makes a row a dead letter, with the reason passed to it.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        policy: Policy,
        seal: Cipher,
        counts: SlotCounts,
        leases: Leases,
        clock: Clock,
        bury: Callable[[SlotRow, ErrorCode], None],
    ) -> None:
        self._connection, self._policy, self._seal = connection, policy, seal
        self._counts, self._leases, self._clock, self._bury = counts, leases, clock, bury
        self.unreadable = 0

    def load(self) -> None:
        """Read from the file what is known in memory."""
        cursor = self._connection.execute("SELECT count(*) FROM event WHERE parked = ?", (UNREADABLE,))
        self.unreadable = cursor.fetchone()[0]

    def unpark(self) -> None:
        """Look at everything again: this process may be able to read it."""
        self._connection.execute("UPDATE event SET parked = NULL WHERE parked IS NOT NULL")
        self.unreadable = 0

    def vendor(self, passed: Collection[str], now: float) -> str | None:
        """Return the vendor that is not in *passed* with the oldest due row that nobody holds."""
        best: tuple[float, int, str] | None = None
        for vendor in self._counts.vendors("queued"):
            if vendor in passed:
                continue
            first = self._connection.execute(FIRST, (vendor, now)).fetchone()
            if first is not None and (best is None or first < best[:2]):
                best = (*first, vendor)
        return None if best is None else best[2]

    def rows(self, vendor: str, limit: int, now: float) -> list[tuple[SlotRow, Leased]]:
        """Return up to *limit* rows for one lease; those past their age are buried on the way."""
        stride = limit
        while True:
            chosen: list[tuple[SlotRow, Leased]] = []
            passed = seen = 0
            for values in self._connection.execute(DUE, (vendor, now, stride)).fetchall():
                seen += 1
                row = SlotRow(*values)
                # An earlier version could leave 0 for the time: the age of such a row is unknown.
                if row.created > 0 and self._policy.too_old(row.created, self._clock.seen):
                    self._bury(row, ErrorCode.TOO_OLD)
                elif self._leases.is_busy(vendor, row.visitor):
                    self._leases.park(row.seq, vendor, row.visitor)
                else:
                    try:
                        leased = row.read(self._seal, self._clock)
                    except Unreadable:
                        self._connection.execute(PARK, (UNREADABLE, row.seq))
                        self.unreadable += 1
                    else:
                        if row.once == HANDED_OUT and isinstance(self._policy.doubt(leased, now, row.due), Discard):
                            # It was leased, and the lease is lost: it may have been sent.
                            self._bury(row, ErrorCode.AMBIGUOUS)
                            passed += 1
                            continue
                        if row.once == HANDED_OUT:
                            # A store that only forwards: the server has to check whether it knows the event.
                            leased = replace(leased, attempts=max(1, leased.attempts))
                        if chosen and row.once:
                            return chosen
                        chosen.append((row, leased))
                        if row.once or len(chosen) == limit:
                            return chosen
                        continue
                passed += 1
            if chosen or not passed or seen < stride:
                return chosen
            stride += _STRIDE

    def newest(self, vendor: str, limit: int, now: float) -> list[tuple[SlotRow, Leased]]:
        """Return up to *limit* rows for one lease, the first one of each visitor with the newest untried rows."""
        chosen: list[tuple[SlotRow, Leased]] = []
        passed: set[str] = set()
        for values in self._connection.execute(NEWEST, (vendor, now, 4 * limit)).fetchall():
            visitor = SlotRow(*values).visitor
            if visitor in passed or self._leases.is_busy(vendor, visitor):
                continue
            passed.add(visitor)
            row = SlotRow(*self._connection.execute(VISITORS_FIRST, (vendor, now, visitor)).fetchone())
            old = row.created > 0 and self._policy.too_old(row.created, self._clock.seen)
            if old or row.once == HANDED_OUT or (chosen and row.once):
                continue  # left to the claims that go by age, and to one of its own
            try:
                chosen.append((row, row.read(self._seal, self._clock)))
            except Unreadable:
                continue
            if row.once or len(chosen) == limit:
                break
        return chosen

    def first_at(self, vendor: str) -> float | None:
        """Return the due time of the first row that a claim could take; None when there is none."""
        stride = 1
        while True:
            parked = False
            rows = self._connection.execute(WAITING, (vendor, stride)).fetchall()
            for seq, due, visitor in rows:
                if not self._leases.is_busy(vendor, visitor):
                    return float(due)
                self._leases.park(seq, vendor, visitor)
                parked = True
            if not parked or len(rows) < stride:
                return None
            stride += _STRIDE
