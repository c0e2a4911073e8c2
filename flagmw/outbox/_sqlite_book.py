"""The account of one slot's file: what a store does, as statements inside the transaction that its writer opened.

Whoever calls these holds the one connection. Nothing here commits; after a rollback `load` brings the mirror in
memory back to what the file says.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.outbox._events import Unreadable, from_bytes, to_bytes
from flagmw.outbox._seal import Seal
from flagmw.outbox._sqlite_counts import Counts
from flagmw.outbox._sqlite_past import Past
from flagmw.outbox._sqlite_rows import (
    CHUNK,
    COLUMNS,
    DUE,
    FIRST,
    KEY_TAKEN,
    KNOWN,
    OLDEST,
    ROW_BYTES,
    UNPARK,
    WAITING,
    Limits,
    Packed,
    Row,
    insert,
)
from flagmw.outbox.base import DeadLetter, Lease, Leased, OutboxStats
from flagmw.outbox.policy import Bury, Discard, Disposition, Policy, Requeue, Settle
from flagmw.types import Event, Outcome

# As in memory: only more than this is a jump of the clock that due times must follow.
_JUMP_S = 60.0
# Rows looked at in one go when a claim has to pass over many.
_STRIDE = 500
# Why a row is not among those that claims look at.
_BUSY, _UNREADABLE = 1, 2


@dataclass(slots=True)
class _Held:
    vendor: str
    lease_s: float
    until: float
    rows: dict[str, tuple[Row, Leased]]


class Book:
    """All that is known of one file.

    Args:
        tag: goes before every lease token, to find the book of a lease.
    """

    def __init__(
        self, connection: sqlite3.Connection, tag: str, policy: Policy, limits: Limits, seal: Seal, rng: random.Random
    ) -> None:
        self.connection, self._tag, self._policy, self._limits = connection, tag, policy, limits
        self._seal, self._rng = seal, rng
        self.now = 0.0
        self._numbers = 0
        self.counts = Counts()
        self.past = Past(connection, policy, seal, self.counts)
        self._rows = self._bytes = 0
        self._held: dict[str, _Held] = {}
        self._busy: dict[str, Counter[str]] = {}
        self._oldest: dict[str, tuple[int, float]] = {}
        self._checked_clock = False
        self._ghosts: set[str] = set()
        self._parked: set[tuple[str, str]] = set()
        self._unleased: list[tuple[int]] = []
        self._removed: list[tuple[int]] = []
        self.unreadable = 0

    # Its own life

    def load(self) -> None:
        """Read the mirror from the file."""
        self.counts.load(self.connection)
        self._rows, self._bytes = self.counts.total("queued"), self.counts.total("bytes")
        self._held, self._busy, self._oldest = {}, {}, {}
        self._unleased, self._removed = [], []
        self._parked = set(
            self.connection.execute("SELECT DISTINCT vendor, visitor FROM event WHERE parked = ?", (_BUSY,)).fetchall()
        )
        self.past.load()
        self.unreadable = self.connection.execute(
            "SELECT count(*) FROM event WHERE parked = ?", (_UNREADABLE,)
        ).fetchone()[0]
        # A lease without its event, as salvage or a person may leave it, would hide the next event with that number.
        self.connection.execute("DELETE FROM lease WHERE seq NOT IN (SELECT seq FROM event)")
        columns = ", ".join(f"event.{name}" for name in COLUMNS.split(", "))
        found = self.connection.execute(
            f"SELECT token, until, lease_s, {columns} FROM lease JOIN event USING (seq)"  # noqa: S608 - our own names
        ).fetchall()
        for token, until, lease_s, *values in found:
            row = Row(*values)
            try:
                leased = row.read(self._seal)
            except Unreadable:
                # In the hands of one who could read it: it stays there until such a one looks at the file again.
                continue
            held = self._held.setdefault(token, _Held(row.vendor, lease_s, until, {}))
            held.rows[row.id] = (row, leased)
            self._busy.setdefault(row.vendor, Counter())[row.visitor] += 1

    def adopt(self, *, orphaned: bool) -> None:
        """Make the file of an earlier process one's own: nothing is parked, and what a dead process held is free."""
        self.connection.execute("UPDATE event SET parked = NULL WHERE parked IS NOT NULL")
        self.unreadable = 0
        if orphaned:
            self._ghosts = set(self._held)

    def save(self) -> None:
        """Write counters and trim what is bounded, at the end of a transaction."""
        self.past.trim()
        self.counts.put_clock(self.now)
        self.counts.save(self.connection)

    def advance(self, now: float) -> None:
        """Set the clock, take back what leases that ran out held, and forget what is past its age."""
        if now < self.now - _JUMP_S or not self._checked_clock:
            self._follow_clock(now)
        self.now = max(self.now, now)
        if self._held:
            for token in [t for t, held in self._held.items() if held.until <= self.now or t in self._ghosts]:
                for id in list(self._held[token].rows):
                    taken = self.take_back(token, id)
                    if taken is not None:
                        row, leased = taken
                        # Due as before: it was claimed first, so it comes first again.
                        self._settle(row, leased, self._policy.doubt(leased, self.now, due_at=row.due))
            self._ghosts = set()
            self._flush()
        self.past.advance(self.now)

    # What a store does

    def put(self, batch: Sequence[Packed], now: float) -> set[str]:
        """Store *batch*; return the ids that are safe, those that were known before too."""
        self.advance(now)
        if self._fits(batch):
            self._insert(batch)
            return {row.id for row in batch}
        safe = set[str]()
        for row in batch:
            if self._fits([row]):
                self._insert([row])
            elif self._known(row):
                self.refuse(row.vendor, ErrorCode.DUPLICATE_KEY)
            else:
                self.refuse(row.vendor, ErrorCode.QUEUE_FULL)
                continue
            safe.add(row.id)
        return safe

    def refuse(self, vendor: str, code: ErrorCode, n: int = 1) -> None:
        self.counts.add(vendor, "refused", n, code)

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str]) -> Lease | None:
        self.advance(now)
        passed = set(skip)
        while limit > 0 and (vendor := self._next_vendor(passed)) is not None:
            rows = self._due(vendor, limit)
            self._flush()
            if rows:
                return self._lease(vendor, rows, lease_s)
            passed.add(vendor)
        return None

    def ack(self, lease: Lease, outcomes: Sequence[Outcome], now: float) -> None:
        self.advance(now)
        rulings = [
            self._policy.rule(outcome, leased, self.now, self._rng)
            for leased, outcome in zip(lease.rows, outcomes, strict=True)
        ]
        for leased, ruling in zip(lease.rows, rulings, strict=True):
            taken = self.take_back(lease.token, leased.event.id)
            if taken is not None:
                self._settle(*taken, ruling)
        self._flush()

    def release(self, lease: Lease, now: float) -> None:
        self.advance(now)
        for leased in lease.rows:
            self.take_back(lease.token, leased.event.id)
        self._flush()

    def dead(self, limit: int) -> list[DeadLetter]:
        return self.past.letters(limit)

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        self.advance(now)
        revived = 0
        for n, _, vendor, key, size in self.past.numbers(ids):
            full = self._rows + 1 > self._limits.max_rows or self._bytes + size > self._limits.max_bytes
            if full or (key is not None and self.connection.execute(KEY_TAKEN, (key,)).fetchone()[0]):
                continue
            self.connection.execute(
                "INSERT INTO event (id, vendor, kind, visitor, key, once, created, due, attempts, size, body) "
                "SELECT id, vendor, kind, visitor, key, once, ?1, ?1, attempts, size, body FROM dead WHERE n = ?2",
                (self.now, n),
            )
            self.past.delete(n, vendor, size)
            self._count_row(vendor, size, 1)
            revived += 1
        return revived

    def forget(self, ids: Collection[str] | None) -> int:
        letters = self.past.numbers(ids)
        for n, id, vendor, _, size in letters:
            self.past.drop(n, id, vendor, size, ErrorCode.DISCARDED, self.now)
        self._flush()
        return len(letters)

    def purge(self, matches: Callable[[Event], bool], now: float, after: int, table: str) -> tuple[int, int | None]:
        """Purge among the next rows of *table* after number *after*; return how many, and the last number or None."""
        self.advance(now)
        number = "seq" if table == "event" else "n"
        rows = self.connection.execute(
            f"SELECT {number}, id, vendor, body FROM {table} WHERE {number} > ? ORDER BY {number} LIMIT ?",  # noqa: S608
            (after, _STRIDE),
        ).fetchall()
        gone = 0
        for n, id, vendor, body in rows:
            try:
                if not matches(from_bytes(self._seal.open(body))):
                    continue
            except Unreadable:
                continue
            gone += 1
            if table == "dead":
                size = self.connection.execute("SELECT size FROM dead WHERE n = ?", (n,)).fetchone()[0]
                self.past.drop(n, id, vendor, size, ErrorCode.PURGED, self.now)
                continue
            for token in [token for token, held in self._held.items() if id in held.rows]:
                self.take_back(token, id)
            row = self._row(n)
            if row is not None:
                self._remove(row, remember_key=False)
                self.counts.add(vendor, "dropped", 1, ErrorCode.PURGED)
        self._flush()
        return gone, rows[-1][0] if len(rows) == _STRIDE else None

    def next_due(self, now: float, skip: Collection[str]) -> float | None:
        self.advance(now)
        times = [held.until for held in self._held.values() if held.vendor not in skip]
        for vendor in self.counts.vendors("queued"):
            if vendor not in skip and (due := self._first_due(vendor)) is not None:
                times.append(due)
        return max(0.0, min(times) - self.now) if times else None

    def stats(self, now: float) -> OutboxStats:
        self.advance(now)
        leased: Counter[str] = Counter()
        for held in self._held.values():
            leased[held.vendor] += len(held.rows)
        oldest = {vendor: self._oldest_s(vendor) for vendor in self.counts.vendors("queued")}
        return self.counts.stats(leased, oldest)

    def idle(self) -> bool:
        """Say whether nothing is left that this process could deliver."""
        return self._rows <= self.unreadable

    def take_back(self, token: str, id: str) -> tuple[Row, Leased] | None:
        """Take a row out of the hands of lease *token*; None if that does not hold it."""
        held = self._held.get(token)
        taken = held.rows.pop(id, None) if held else None
        if held and not held.rows:
            del self._held[token]
        if taken is not None:
            row = taken[0]
            self._unleased.append((row.seq,))
            busy = self._busy[row.vendor]
            busy[row.visitor] -= 1
            if busy[row.visitor] <= 0:
                del busy[row.visitor]
                if (row.vendor, row.visitor) in self._parked:
                    self._parked.discard((row.vendor, row.visitor))
                    self.connection.execute(UNPARK, (row.vendor, row.visitor))
        return taken

    # Parts of putting

    def _flush(self) -> None:
        """Write what the settling of rows has collected: one statement for many of them is a third of the work."""
        if self._unleased:
            self.connection.executemany("DELETE FROM lease WHERE seq = ?", self._unleased)
            self._unleased = []
        if self._removed:
            self.connection.executemany("DELETE FROM event WHERE seq = ?", self._removed)
            self._removed = []
        self.past.flush()

    def _fits(self, batch: Sequence[Packed]) -> bool:
        share = self._policy.exposure_share if any(row.kind == "exposure" for row in batch) else 1.0
        size = sum(row.size for row in batch)
        return (
            self._rows + len(batch) <= self._limits.max_rows * share
            and self._bytes + size <= self._limits.max_bytes * share
        )

    def _insert(self, batch: Sequence[Packed]) -> None:
        """Insert what is new in *batch*, and count the rest as known."""
        for start in range(0, len(batch), CHUNK):
            self._insert_chunk(batch[start : start + CHUNK])

    def _insert_chunk(self, batch: Sequence[Packed]) -> None:
        values = [value for row in batch for value in row.values(self.now)]
        done = self.connection.execute(insert(len(batch)), values)
        new = batch
        if done.rowcount < len(batch):
            # The new ones have the numbers up to the last one, without a gap.
            last = done.lastrowid or 0
            query = "SELECT id FROM event WHERE seq BETWEEN ? AND ?"
            ids = {id for (id,) in self.connection.execute(query, (last - done.rowcount + 1, last))}
            new = [row for row in {row.id: row for row in reversed(batch)}.values() if row.id in ids]
            for vendor, n in (Counter(row.vendor for row in batch) - Counter(row.vendor for row in new)).items():
                self.refuse(vendor, ErrorCode.DUPLICATE_KEY, n)
        for vendor, n in Counter(row.vendor for row in new).items():
            size = sum(row.size for row in new if row.vendor == vendor)
            self.counts.add(vendor, "accepted", n)
            self.counts.add(vendor, "queued", n)
            self.counts.add(vendor, "bytes", size)
            self._rows += n
            self._bytes += size

    def _known(self, row: Packed) -> bool:
        one = self.connection.execute
        return bool(one(KNOWN, (row.id,)).fetchone()[0]) or (
            row.key is not None and bool(one(KEY_TAKEN, (row.key,)).fetchone()[0])
        )

    # Parts of claiming

    def _next_vendor(self, passed: Collection[str]) -> str | None:
        """Return the vendor with the oldest due row that nobody holds."""
        best: tuple[float, int, str] | None = None
        for vendor in self.counts.vendors("queued"):
            if vendor in passed:
                continue
            first = self.connection.execute(FIRST, (vendor, self.now)).fetchone()
            if first is not None and (best is None or first < best[:2]):
                best = (*first, vendor)
        return None if best is None else best[2]

    def _due(self, vendor: str, limit: int) -> list[tuple[Row, Leased]]:
        """Return up to *limit* rows for one lease; park, on the way, those that cannot be had, and bury old ones."""
        busy = self._busy.get(vendor, Counter())
        stride = limit
        while True:
            chosen: list[tuple[Row, Leased]] = []
            passed = seen = 0
            for values in self.connection.execute(DUE, (vendor, self.now, stride)).fetchall():
                seen += 1
                row = Row(*values)
                if self._policy.too_old(row.created, self.now):
                    self._bury(row, ErrorCode.TOO_OLD)
                elif busy.get(row.visitor):
                    self._park(row.seq, _BUSY)
                    self._parked.add((vendor, row.visitor))
                else:
                    try:
                        leased = row.read(self._seal)
                    except Unreadable:
                        self._park(row.seq, _UNREADABLE)
                        self.unreadable += 1
                    else:
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

    def _lease(self, vendor: str, rows: list[tuple[Row, Leased]], lease_s: float) -> Lease:
        self._numbers += 1
        token, until = f"{self._tag}{self._numbers}", self.now + lease_s
        self.connection.executemany(
            "REPLACE INTO lease (seq, token, until, lease_s) VALUES (?, ?, ?, ?)",
            [(row.seq, token, until, lease_s) for row, _ in rows],
        )
        # Only now: events of one visitor may share a lease, whose holder sends them one after the other.
        self._busy.setdefault(vendor, Counter()).update(row.visitor for row, _ in rows)
        self._held[token] = _Held(vendor, lease_s, until, {row.id: (row, leased) for row, leased in rows})
        return Lease(token, vendor, tuple(leased for _, leased in rows))

    def _park(self, seq: int, why: int) -> None:
        self.connection.execute("UPDATE event SET parked = ? WHERE seq = ?", (why, seq))

    def _first_due(self, vendor: str) -> float | None:
        busy = self._busy.get(vendor, Counter())
        stride = 1
        while True:
            parked = False
            rows = self.connection.execute(WAITING, (vendor, stride)).fetchall()
            for seq, due, visitor in rows:
                if not busy.get(visitor):
                    return float(due)
                self._park(seq, _BUSY)
                self._parked.add((vendor, visitor))
                parked = True
            if not parked or len(rows) < stride:
                return None
            stride += _STRIDE

    # Parts of settling

    def _settle(self, row: Row, leased: Leased, ruling: Disposition) -> None:
        match ruling:
            case Requeue():
                self._requeue(row, leased, ruling)
            case Settle():
                self._remove(row, remember_key=True)
                self.counts.add(row.vendor, "delivered")
                if ruling.duplicate:
                    self.counts.add(row.vendor, "duplicates")
            case Discard():
                # The vendor may have the one that is in doubt: its key must not be sent again either.
                self._remove(row, remember_key=ruling.code is ErrorCode.AMBIGUOUS)
                self.counts.add(row.vendor, "dropped", 1, ruling.code)
            case Bury():
                row.attempts += 1
                self._bury(row, ruling.code)

    def _requeue(self, row: Row, leased: Leased, ruling: Requeue) -> None:
        body, size = row.body, row.size
        if ruling.aliases is not None:
            body = self._seal.close(to_bytes(replace(leased.event, aliases=ruling.aliases)))
            size = len(body) + ROW_BYTES
        refused_at = row.refused_at
        if ruling.refused and refused_at is None:
            refused_at = self.now
        self.connection.execute(
            "UPDATE event SET due = ?, attempts = ?, refusals = ?, refused_at = ?, size = ?, body = ? WHERE seq = ?",
            (
                self._policy.clamp(ruling.due_at, self.now),
                row.attempts + ruling.counted,
                row.refusals + ruling.refused,
                refused_at,
                size,
                body,
                row.seq,
            ),
        )
        self.counts.add(row.vendor, "bytes", size - row.size)
        self._bytes += size - row.size

    def _remove(self, row: Row, *, remember_key: bool) -> None:
        self._removed.append((row.seq,))
        self._count_row(row.vendor, row.size, -1)
        self.past.remember(row.id, self.now)
        if remember_key and row.key is not None:
            self.past.remember(row.key, self.now)

    def _bury(self, row: Row, code: ErrorCode) -> None:
        self.past.bury(row, code, self.now)
        self.connection.execute("DELETE FROM event WHERE seq = ?", (row.seq,))
        self._count_row(row.vendor, row.size, -1)

    def _count_row(self, vendor: str, size: int, sign: int) -> None:
        self._rows += sign
        self._bytes += sign * size
        self.counts.add(vendor, "queued", sign)
        self.counts.add(vendor, "bytes", sign * size)
        if sign < 0 and self.counts.get(vendor, "queued") == 0:
            # Numbers begin anew in an empty table.
            self._oldest.pop(vendor, None)

    # Time

    def _oldest_s(self, vendor: str) -> float:
        seq, created = self._oldest.get(vendor, (-1, 0.0))
        if seq < 0 or self._row(seq) is None:
            found = self.connection.execute(OLDEST, (seq, vendor)).fetchone()
            if found is None:
                found = self.connection.execute(OLDEST, (-1, vendor)).fetchone() or (-1, self.now)
            self._oldest[vendor] = seq, created = found
        return max(0.0, self.now - created)

    def _follow_clock(self, now: float) -> None:
        """Follow a clock that jumped back to *now*, or had done so when the file was opened: nothing waits longer
        than it would have, and nothing is younger.
        """
        if not self._checked_clock:
            self._checked_clock = True
            if now >= self.counts.get("", "now") - _JUMP_S:
                return self._clip_leases(now)
        self.now = now
        latest = self._policy.clamp(float("inf"), now)
        self.connection.execute(
            "UPDATE event SET created = min(created, ?1), refused_at = min(refused_at, ?1), "
            "due = CASE WHEN attempts OR refusals THEN min(due, ?2) ELSE min(due, ?1) END",
            (now, latest),
        )
        self.connection.execute("UPDATE done SET at = min(at, ?)", (now,))
        return self._clip_leases(now)

    def _clip_leases(self, now: float) -> None:
        self.connection.execute("UPDATE lease SET until = min(until, ? + lease_s)", (now,))
        ghosts = self._ghosts
        self.counts.save(self.connection)
        self.load()
        self._ghosts = ghosts

    def _row(self, seq: int) -> Row | None:
        values: tuple[Any, ...] | None = self.connection.execute(
            f"SELECT {COLUMNS} FROM event WHERE seq = ?",  # noqa: S608 - our own names
            (seq,),
        ).fetchone()
        return None if values is None else Row(*values)
