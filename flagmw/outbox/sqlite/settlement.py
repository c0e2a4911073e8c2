"""Settle rows of one slot: retry, delete or bury."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from flagmw._support.encryption import Cipher
from flagmw.codes import ErrorCode
from flagmw.outbox.base import Leased
from flagmw.outbox.codec import to_bytes
from flagmw.outbox.policy import Bury, Discard, Disposition, Policy, Requeue, Settle
from flagmw.outbox.sqlite.business_keys import DONE, KeyChange
from flagmw.outbox.sqlite.clock import Clock
from flagmw.outbox.sqlite.counters import SlotCounts
from flagmw.outbox.sqlite.finished import FinishedRows
from flagmw.outbox.sqlite.pending import PendingRows
from flagmw.outbox.sqlite.rows import ROW_BYTES, SlotRow


class Settlement:
    """Applies rulings. Removed rows are deleted together at `flush`: one statement is a third of the work."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        policy: Policy,
        seal: Cipher,
        counts: SlotCounts,
        past: FinishedRows,
        queue: PendingRows,
        clock: Clock,
    ) -> None:
        self._connection, self._policy, self._seal = connection, policy, seal
        self._counts, self._past, self._queue, self._clock = counts, past, queue, clock
        self._removed: list[tuple[int]] = []
        # What has changed of business keys since the last commit.
        self.key_changes: list[KeyChange] = []

    def load(self) -> None:
        """Forget what was not written."""
        self._removed = []

    def settle(self, row: SlotRow, leased: Leased, ruling: Disposition, now: float) -> None:
        """Apply *ruling* to *row*, which no lease holds any more."""
        match ruling:
            case Requeue():
                self._requeue(row, leased, ruling, now)
            case Settle():
                self.remove(row, remember_key=True)
                self._counts.add(row.vendor, "delivered")
                if ruling.duplicate:
                    self._counts.add(row.vendor, "duplicates")
            case Discard():
                # The vendor may have the one that is in doubt: its key must not be sent again either.
                self.remove(row, remember_key=ruling.code is ErrorCode.AMBIGUOUS)
                self._counts.add(row.vendor, "dropped", 1, ruling.code)
            case Bury():
                row.attempts += 1
                self.bury(row, ruling.code, now)

    def remove(self, row: SlotRow, *, remember_key: bool) -> None:
        self._removed.append((row.seq,))
        self._queue.left(row.vendor, row.size)
        self._past.remember(row.id)
        if row.key is not None:
            self.key_changes.append(KeyChange(row.key, row.id, DONE if remember_key else None))
            if remember_key:
                self._past.remember(row.key)

    def bury(self, row: SlotRow, code: ErrorCode, now: float) -> None:
        self._past.bury(row, code, now)
        if row.key is not None and code is not ErrorCode.AMBIGUOUS:
            # An event in doubt may have been delivered, and keeps its key.
            self.key_changes.append(KeyChange(row.key, row.id, None))
        self._connection.execute("DELETE FROM event WHERE seq = ?", (row.seq,))
        self._queue.left(row.vendor, row.size)

    def flush(self) -> None:
        if self._removed:
            self._connection.executemany("DELETE FROM event WHERE seq = ?", self._removed)
            self._removed = []
        self._past.flush()

    def _requeue(self, row: SlotRow, leased: Leased, ruling: Requeue, now: float) -> None:
        body, size = row.body, row.size
        if ruling.aliases is not None:
            body = self._seal.encrypt(to_bytes(replace(leased.event, aliases=ruling.aliases)))
            size = len(body) + ROW_BYTES
        refused_at = row.refused_at
        if ruling.refused and refused_at is None:
            refused_at = self._clock.seen
        self._connection.execute(
            "UPDATE event SET due = ?, attempts = ?, refusals = ?, refused_at = ?, size = ?, body = ? WHERE seq = ?",
            (
                self._policy.clamp(ruling.due_at, now),
                row.attempts + ruling.counted,
                row.refusals + ruling.refused,
                refused_at,
                size,
                body,
                row.seq,
            ),
        )
        self._queue.grew(row.vendor, size - row.size)
