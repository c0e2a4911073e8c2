"""Leases of one slot, mirrored in memory."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from flagmw._support.encryption import Cipher, Unreadable
from flagmw.outbox.base import Lease, Leased
from flagmw.outbox.sqlite.clock import Clock
from flagmw.outbox.sqlite.rows import BUSY, COLUMNS, HAND_OUT, PARK, TAKE_BACK, UNPARK, SlotRow


@dataclass(slots=True)
class _Held:
    vendor: str
    lease_s: float
    until: float
    rows: dict[str, tuple[SlotRow, Leased]]


class Leases:
    """Leased rows. Rows that are taken back are free for others after `flush`.

    Args:
        tag: goes before every token, to find the book of a lease.
    """

    def __init__(self, connection: sqlite3.Connection, tag: str, seal: Cipher, clock: Clock, *, owner: bool) -> None:
        self._connection, self._tag, self._seal, self._clock, self._owner = connection, tag, seal, clock, owner
        self._numbers = 0
        self._held: dict[str, _Held] = {}
        self._busy: dict[str, Counter[str]] = {}
        self._parked: set[tuple[str, str]] = set()
        self._ghosts: set[str] = set()
        self._unleased: list[tuple[int]] = []
        self._unsent: list[tuple[int]] = []
        # Whether an event that must not be sent twice was handed out since this was last asked.
        self.handed_out_once = False

    def __bool__(self) -> bool:
        return bool(self._held)

    def holds(self, token: str) -> bool:
        """True when lease *token* is in the file and its holder is not known to be gone."""
        return token in self._held and token not in self._ghosts

    def load(self) -> None:
        """Read from the file what is known in memory."""
        self._held, self._busy, self._unleased, self._unsent = {}, {}, [], []
        parked = self._connection.execute("SELECT DISTINCT vendor, visitor FROM event WHERE parked = ?", (BUSY,))
        self._parked = set(parked.fetchall())
        if self._owner:
            # A lease without its event, as salvage or a person may leave it, would hide the next one with that number.
            self._connection.execute("DELETE FROM lease WHERE seq NOT IN (SELECT seq FROM event)")
        columns = ", ".join(f"event.{name}" for name in COLUMNS.split(", "))
        rows = self._connection.execute(
            f"SELECT token, until, lease_s, {columns} FROM lease JOIN event USING (seq)"  # noqa: S608 - our own names
        ).fetchall()
        for token, until, lease_s, *values in rows:
            row = SlotRow(*values)
            try:
                leased = row.read(self._seal, self._clock)
            except Unreadable:
                # Leased by a process that could read it: it stays leased until such a process reads the file again.
                continue
            held = self._held.setdefault(token, _Held(row.vendor, lease_s, until, {}))
            held.rows[row.id] = (row, leased)
            self._busy.setdefault(row.vendor, Counter())[row.visitor] += 1

    def end_all(self) -> None:
        """Note that a dead process held the current leases, which it cannot give back."""
        self._ghosts = set(self._held)

    def clip(self, now: float) -> None:
        """Let no lease run longer than it may, after the clock was set to *now*; the caller loads the file again."""
        self._connection.execute("UPDATE lease SET until = min(until, ? + lease_s)", (now,))

    def extend(self, seconds: float) -> None:
        """Let every lease that a living process holds end later."""
        living = [held for token, held in self._held.items() if token not in self._ghosts]
        if living:
            self._connection.execute("UPDATE lease SET until = until + ?", (seconds,))
        for held in living:
            held.until += seconds

    def shortest_s(self) -> float | None:
        """Return the length of the shortest lease in seconds; None when there is none."""
        return min((held.lease_s for held in self._held.values()), default=None)

    def take(self, vendor: str, rows: Sequence[tuple[SlotRow, Leased]], lease_s: float, now: float) -> Lease:
        self._numbers += 1
        token, until = f"{self._tag}{self._numbers}", now + lease_s
        self._connection.executemany(
            "REPLACE INTO lease (seq, token, until, lease_s) VALUES (?, ?, ?, ?)",
            [(row.seq, token, until, lease_s) for row, _ in rows],
        )
        once = [(row.seq,) for row, _ in rows if row.once]
        if once:
            self._connection.executemany(HAND_OUT, once)
            self.handed_out_once = True
        # Only now: events of one visitor may share a lease, whose holder sends them one after the other.
        self._busy.setdefault(vendor, Counter()).update(row.visitor for row, _ in rows)
        self._held[token] = _Held(vendor, lease_s, until, {row.id: (row, leased) for row, leased in rows})
        return Lease(token, vendor, tuple(leased for _, leased in rows))

    def take_back(self, token: str, id: str) -> tuple[SlotRow, Leased] | None:
        """Take a row out of lease *token*; None if that does not hold it."""
        held = self._held.get(token)
        taken = held.rows.pop(id, None) if held else None
        if held and not held.rows:
            del self._held[token]
        if taken is not None:
            row = taken[0]
            self._unleased.append((row.seq,))
            if row.once:
                self._unsent.append((row.seq,))
            busy = self._busy[row.vendor]
            busy[row.visitor] -= 1
            if busy[row.visitor] <= 0:
                del busy[row.visitor]
                if (row.vendor, row.visitor) in self._parked:
                    self._parked.discard((row.vendor, row.visitor))
                    self._connection.execute(UNPARK, (row.vendor, row.visitor))
        return taken

    def take_back_over(self, now: float) -> list[tuple[SlotRow, Leased]]:
        """Take back what leases that have run out hold."""
        over = [token for token, held in self._held.items() if held.until <= now or token in self._ghosts]
        self._ghosts = set()
        taken = [self.take_back(token, id) for token in over for id in list(self._held[token].rows)]
        return [row for row in taken if row is not None]

    def take_from_all(self, id: str) -> None:
        """Take a row out of the lease that holds it, if any."""
        for token in [token for token, held in self._held.items() if id in held.rows]:
            self.take_back(token, id)

    def flush(self) -> None:
        if self._unleased:
            self._connection.executemany("DELETE FROM lease WHERE seq = ?", self._unleased)
            self._unleased = []
        if self._unsent:
            # Rows that were settled for good are deleted: there is nothing to mark.
            self._connection.executemany(TAKE_BACK, self._unsent)
            self._unsent = []

    def is_busy(self, vendor: str, visitor: str) -> bool:
        """True when an event of *visitor* is leased, so that no later one may be."""
        busy = self._busy.get(vendor)
        return busy is not None and visitor in busy

    def park(self, row: int, vendor: str, visitor: str) -> None:
        """Keep row number *row* from all claims until its visitor is free."""
        self._connection.execute(PARK, (BUSY, row))
        self._parked.add((vendor, visitor))

    def ends(self, skip: Collection[str]) -> list[float]:
        """Return the ends of the leases on events of vendors that are not in *skip*."""
        return [held.until for held in self._held.values() if held.vendor not in skip]

    def by_vendor(self) -> Counter[str]:
        """Return the number of leased rows by vendor."""
        leased: Counter[str] = Counter()
        for held in self._held.values():
            leased[held.vendor] += len(held.rows)
        return leased
