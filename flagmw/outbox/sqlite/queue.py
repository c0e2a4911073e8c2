"""The queue in one slot's file, as SQL inside transactions.

Whoever calls these holds the one connection. Nothing here commits; after a rollback `load` brings the mirror in
memory back to what the file says.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Collection, Sequence

from flagmw._support.encryption import Cipher, Unreadable
from flagmw.codes import ErrorCode
from flagmw.outbox.base import DeadLetter, Lease, OutboxStats
from flagmw.outbox.codec import from_bytes
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite.business_keys import WAITING, KeyChange
from flagmw.outbox.sqlite.clock import Clock
from flagmw.outbox.sqlite.counters import SlotCounts
from flagmw.outbox.sqlite.due import DueRows
from flagmw.outbox.sqlite.finished import FinishedRows
from flagmw.outbox.sqlite.leases import Leases
from flagmw.outbox.sqlite.pending import PendingRows
from flagmw.outbox.sqlite.recovery import Recovery
from flagmw.outbox.sqlite.rows import COLUMNS, PackedEvent, SlotLimits, SlotRow
from flagmw.outbox.sqlite.settlement import Settlement
from flagmw.outbox.sqlite.slot_keys import SlotKeys
from flagmw.types import Event, Outcome

# Rows that one call of `purge` looks at.
_STRIDE = 500


class SlotQueue:
    """All that is known of one file.

    Args:
        tag: goes before every lease token, to find the book of a lease.
        owner: whether this process has the slot. Another one's book changes only what it is asked to change: no
            lease runs out in it, nothing grows old, and the file's clock stays as it is.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        tag: str,
        policy: Policy,
        limits: SlotLimits,
        seal: Cipher,
        rng: random.Random,
        *,
        owner: bool = True,
    ) -> None:
        self.connection, self._policy, self._seal, self._rng = connection, policy, seal, rng
        self._owner = owner
        self._counts = SlotCounts()
        self._clock = Clock(self._counts)
        self._past = FinishedRows(connection, policy, seal, self._counts, self._clock)
        self._queue = PendingRows(connection, policy, limits, self._counts, self._clock)
        self._leases = Leases(connection, tag, seal, self._clock, owner=owner)
        self._settlement = Settlement(connection, policy, seal, self._counts, self._past, self._queue, self._clock)
        self._due = DueRows(connection, policy, seal, self._counts, self._leases, self._clock, self._bury)

        self.keys = SlotKeys(connection, self._drop_duplicate, self._flush)
        self._queue.key_changes = self._settlement.key_changes = self._past.key_changes = self.keys.changes

    # Its own life

    def load(self) -> None:
        """Read the mirror from the file."""
        self._counts.load(self.connection)
        self._clock.load()
        for part in (self._queue, self._past, self._due, self._leases, self._settlement):
            part.load()

    @property
    def now(self) -> float:
        """The time of the last call, or of the last change of the file."""
        return self._clock.now

    def adopt(self, *, orphaned: bool) -> None:
        """Make the file of an earlier process one's own: nothing is parked, and what a dead process held is free."""
        self._due.unpark()
        if orphaned:
            self._leases.end_all()

    def save(self) -> None:
        """Write counters and trim what is bounded, at the end of a transaction."""
        self._past.trim()
        if self._owner:
            self._clock.note(waiting=self._queue.rows > 0)
        self._counts.save(self.connection)

    def advance(self, now: float) -> None:
        """Set the clock, take back what leases that ran out held, and forget what is past its age."""
        if not self._owner:
            return self._clock.look(now)
        first, behind_s = not self._clock.started, self._clock.advance(now)
        if behind_s:
            self._follow_clock(behind_s)
        if first or behind_s:
            # Leases end by the clock that is counted with from now on.
            self._leases.clip(self.now)
            self._counts.save(self.connection)
            self.load()
        if self._leases:
            for row, leased in self._leases.take_back_over(self.now):
                # Due as before: it was claimed first, so it comes first again.
                self._settlement.settle(row, leased, self._policy.doubt(leased, self.now, due_at=row.due), self.now)
            self._flush()
        self._past.advance()

    # What a store does

    def put(self, batch: Sequence[PackedEvent], now: float) -> set[str]:
        """Store *batch*; return the ids that are safe, those that were known before too."""
        self.advance(now)
        return self._queue.put(batch)

    def refuse(self, vendor: str, code: ErrorCode) -> None:
        self._queue.refuse(vendor, code)

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str]) -> Lease | None:
        self.advance(now)
        passed = set(skip)
        while limit > 0 and (vendor := self._due.vendor(passed, self.now)) is not None:
            rows = self._due.rows(vendor, limit, self.now)
            self._flush()
            if rows:
                return self._leases.take(vendor, rows, lease_s, self.now)
            passed.add(vendor)
        return None

    def claim_newest(self, now: float, limit: int, lease_s: float, skip: Collection[str]) -> Lease | None:
        self.advance(now)
        for vendor in self._counts.vendors("queued"):
            rows = [] if vendor in skip or limit < 1 else self._due.newest(vendor, limit, self.now)
            if rows:
                return self._leases.take(vendor, rows, lease_s, self.now)
        return None

    def ack(self, lease: Lease, outcomes: Sequence[Outcome], now: float) -> None:
        self.advance(now)
        rulings = [
            self._policy.rule(outcome, leased, self.now, self._rng)
            for leased, outcome in zip(lease.rows, outcomes, strict=True)
        ]
        for leased, ruling in zip(lease.rows, rulings, strict=True):
            taken = self._leases.take_back(lease.token, leased.event.id)
            if taken is not None:
                self._settlement.settle(*taken, ruling, self.now)
        self._flush()

    def release(self, lease: Lease, now: float) -> None:
        self.advance(now)
        for leased in lease.rows:
            self._leases.take_back(lease.token, leased.event.id)
        self._flush()

    def dead(self, limit: int) -> list[DeadLetter]:
        return self._past.letters(limit)

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        self.advance(now)
        revived = 0
        for number, id, vendor, key, size in self._past.numbers(ids):
            if not self.keys.taken(key, id) and self._queue.revive(number, vendor, key, size):
                self._past.delete(number, vendor, size)
                if key is not None:
                    self.keys.changes.append(KeyChange(key, id, WAITING))
                revived += 1
        return revived

    def forget(self, ids: Collection[str] | None) -> int:
        letters = self._past.numbers(ids)
        for number, id, vendor, _, size in letters:
            self._past.drop(number, id, vendor, size, ErrorCode.DISCARDED)
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
        for number, id, vendor, body in rows:
            try:
                if not matches(from_bytes(self._seal.decrypt(body))):
                    continue
            except Unreadable:
                continue
            gone += 1
            if table == "dead":
                size = self.connection.execute("SELECT size FROM dead WHERE n = ?", (number,)).fetchone()[0]
                self._past.drop(number, id, vendor, size, ErrorCode.PURGED)
                continue
            self._drop(number, id, ErrorCode.PURGED)
        self._flush()
        return gone, rows[-1][0] if len(rows) == _STRIDE else None

    def next_due(self, now: float, skip: Collection[str]) -> float | None:
        self.advance(now)
        times = self._leases.ends(skip)
        for vendor in self._counts.vendors("queued"):
            if vendor not in skip and (due := self._due.first_at(vendor)) is not None:
                times.append(due)
        return max(0.0, min(times) - self.now) if times else None

    def stats(self, now: float) -> OutboxStats:
        self.advance(now)
        oldest = {vendor: self._queue.oldest_s(vendor) for vendor in self._counts.vendors("queued")}
        return self._counts.stats(self._leases.by_vendor(), oldest)

    @property
    def unreadable(self) -> int:
        """The number of queued events that claims met and could not decode or decrypt."""
        return self._due.unreadable

    def took_proof(self) -> bool:
        """True when an event that must not be sent twice was handed out since this was last asked."""
        taken, self._leases.handed_out_once = self._leases.handed_out_once, False
        return taken

    def salvaged(self, salvage: Recovery) -> bool:
        """Take some more rows of a damaged file; return whether that was the end."""
        done = salvage.step(self.connection, self._counts)
        self._queue.load()
        self._past.load()
        return done

    def stood_still(self, seconds: float) -> None:
        """Let every lease run longer by the time in which its holder could not do anything."""
        self._leases.extend(seconds)

    def shortest_lease_s(self) -> float | None:
        """Return the length of the shortest lease in seconds; None when nothing is leased."""
        return self._leases.shortest_s()

    def idle(self) -> bool:
        """True when nothing is left that this process could deliver."""
        return self._queue.rows <= self.unreadable

    # Parts

    def _drop(self, number: int, id: str, code: ErrorCode) -> None:
        """Remove row *number*, event *id*, also out of a lease."""
        self._leases.take_from_all(id)
        row = self._row(number)
        if row is not None:
            self._settlement.remove(row, remember_key=False)
            self._counts.add(row.vendor, "dropped", 1, code)

    def _drop_duplicate(self, id: str) -> None:
        number = self.connection.execute("SELECT seq FROM event WHERE id = ?", (id,)).fetchone()[0]
        self._drop(number, id, ErrorCode.DUPLICATE_KEY)

    def _flush(self) -> None:
        """Write what the settling of rows has collected."""
        self._leases.flush()
        self._settlement.flush()

    def holds(self, token: str) -> bool:
        """True when the slot has lease *token*."""
        return self._leases.holds(token)

    def _bury(self, row: SlotRow, code: ErrorCode) -> None:
        self._settlement.bury(row, code, self.now)

    def _follow_clock(self, behind_s: float) -> None:
        """Follow a clock that is *behind_s* behind: everything waits as long as it would have."""
        self.connection.execute(
            "UPDATE event SET due = min(due - ?, ?)", (behind_s, self._policy.clamp(float("inf"), self.now))
        )

    def _row(self, seq: int) -> SlotRow | None:
        values = self.connection.execute(
            f"SELECT {COLUMNS} FROM event WHERE seq = ?",  # noqa: S608 - our own names
            (seq,),
        ).fetchone()
        return None if values is None else SlotRow(*values)
