"""Pending rows of one slot: admission, size and age."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from flagmw.codes import ErrorCode
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite.business_keys import WAITING, KeyChange
from flagmw.outbox.sqlite.clock import Clock
from flagmw.outbox.sqlite.counters import SlotCounts
from flagmw.outbox.sqlite.rows import CHUNK, KEY_TAKEN, KNOWN, OLDEST, PackedEvent, SlotLimits, insert


class PendingRows:
    """Rows that wait or are leased, within limits."""

    def __init__(
        self, connection: sqlite3.Connection, policy: Policy, limits: SlotLimits, counts: SlotCounts, clock: Clock
    ) -> None:
        self._connection, self._policy, self._limits, self._counts = connection, policy, limits, counts
        self._clock = clock
        self.rows = self._bytes = 0
        self._oldest: dict[str, tuple[int, float]] = {}
        # What has changed of business keys since the last commit.
        self.key_changes: list[KeyChange] = []

    def load(self) -> None:
        """Read from the file's counts what is known in memory."""
        self.rows, self._bytes = self._counts.total("queued"), self._counts.total("bytes")
        self._oldest = {}

    def put(self, batch: Sequence[PackedEvent]) -> set[str]:
        """Store *batch*; return the ids that are safe, those that were known before too."""
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

    def refuse(self, vendor: str, code: ErrorCode, count: int = 1) -> None:
        self._counts.add(vendor, "refused", count, code)

    def revive(self, number: int, vendor: str, key: bytes | None, size: int) -> bool:
        """Queue dead letter *n* anew; return whether there is room and its business key is free."""
        full = self.rows + 1 > self._limits.max_rows or self._bytes + size > self._limits.max_bytes
        if full or (key is not None and self._connection.execute(KEY_TAKEN, (key, key)).fetchone()[0]):
            return False
        self._connection.execute(
            "INSERT INTO event (id, vendor, kind, visitor, key, once, created, due, attempts, size, body) "
            "SELECT id, vendor, kind, visitor, key, min(once, 1), ?, ?, attempts, size, body FROM dead WHERE n = ?",
            (self._clock.seen, self._clock.now, number),
        )
        self._count(vendor, 1, size)
        return True

    def left(self, vendor: str, size: int) -> None:
        """Note that a row is no longer in the queue."""
        self._count(vendor, -1, -size)
        if self._counts.get(vendor, "queued") == 0:
            # Numbers begin anew in an empty table.
            self._oldest.pop(vendor, None)

    def grew(self, vendor: str, size: int) -> None:
        """Note that a row takes *size* bytes more than before."""
        self._count(vendor, 0, size)

    def oldest_s(self, vendor: str) -> float:
        """Return the age of the oldest row."""
        seq, created = self._oldest.get(vendor, (-1, 0.0))
        if seq < 0 or self._connection.execute("SELECT 1 FROM event WHERE seq = ?", (seq,)).fetchone() is None:
            oldest = self._connection.execute(OLDEST, (seq, vendor)).fetchone()
            if oldest is None:
                oldest = self._connection.execute(OLDEST, (-1, vendor)).fetchone() or (-1, self._clock.seen)
            self._oldest[vendor] = seq, created = oldest
        return max(0.0, self._clock.seen - (created or self._clock.seen))

    def _fits(self, batch: Sequence[PackedEvent]) -> bool:
        share = self._policy.exposure_share if any(row.kind == "exposure" for row in batch) else 1.0
        size = sum(row.size for row in batch)
        return (
            self.rows + len(batch) <= self._limits.max_rows * share
            and self._bytes + size <= self._limits.max_bytes * share
        )

    def _insert(self, batch: Sequence[PackedEvent]) -> None:
        """Insert what is new in *batch*, and count the rest as known."""
        for start in range(0, len(batch), CHUNK):
            self._insert_chunk(batch[start : start + CHUNK])

    def _insert_chunk(self, batch: Sequence[PackedEvent]) -> None:
        seen, now = self._clock.seen, self._clock.now
        values = [value for row in batch for value in row.values(seen, now)]
        done = self._connection.execute(insert(len(batch)), values)
        new = batch
        if done.rowcount < len(batch):
            # The new ones have the numbers up to the last one, without a gap.
            last = done.lastrowid or 0
            query = "SELECT id FROM event WHERE seq BETWEEN ? AND ?"
            ids = {id for (id,) in self._connection.execute(query, (last - done.rowcount + 1, last))}
            new = [row for row in {row.id: row for row in reversed(batch)}.values() if row.id in ids]
            for vendor, count in (Counter(row.vendor for row in batch) - Counter(row.vendor for row in new)).items():
                self.refuse(vendor, ErrorCode.DUPLICATE_KEY, count)
        self.key_changes += [KeyChange(row.key, row.id, WAITING) for row in new if row.key is not None]
        for vendor, count in Counter(row.vendor for row in new).items():
            self._counts.add(vendor, "accepted", count)
            self._count(vendor, count, sum(row.size for row in new if row.vendor == vendor))

    def _known(self, row: PackedEvent) -> bool:
        execute = self._connection.execute
        return bool(execute(KNOWN, (row.id, row.id, row.id)).fetchone()[0]) or (
            row.key is not None and bool(execute(KEY_TAKEN, (row.key, row.key)).fetchone()[0])
        )

    def _count(self, vendor: str, rows: int, size: int) -> None:
        self.rows += rows
        self._bytes += size
        self._counts.add(vendor, "queued", rows)
        self._counts.add(vendor, "bytes", size)
