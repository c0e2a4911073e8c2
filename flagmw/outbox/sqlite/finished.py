"""Finished rows of one slot: dead letters and settled ids."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from flagmw._support.encryption import Cipher, Unreadable
from flagmw.codes import ErrorCode
from flagmw.outbox.base import DeadLetter
from flagmw.outbox.codec import from_bytes
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite.business_keys import KeyChange
from flagmw.outbox.sqlite.clock import Clock
from flagmw.outbox.sqlite.counters import SlotCounts
from flagmw.outbox.sqlite.rows import SlotRow

_STRIDE = 500
# The time of death on the clock `seen`; rows of an earlier version have only the time `at`.
_DEAD_AT = "coalesce(seen, at)"


class FinishedRows:
    """Bounded in number and age: the oldest go first, dead letters among them counted as dropped."""

    def __init__(
        self, connection: sqlite3.Connection, policy: Policy, seal: Cipher, counts: SlotCounts, clock: Clock
    ) -> None:
        self._connection, self._policy, self._seal, self._counts = connection, policy, seal, counts
        self._clock = clock
        self._known = False
        self._oldest_dead: float | None = None
        self._oldest_done: float | None = None
        self._remembered: list[tuple[str | bytes, float]] = []
        # What has changed of business keys since the last commit.
        self.key_changes: list[KeyChange] = []

    def load(self) -> None:
        """Read from the file what is known in memory."""
        self._remembered, self._known = [], False

    def advance(self) -> None:
        """Forget what is past its age."""
        if not self._known:
            query_row = self._connection.execute
            done = query_row("SELECT at FROM done ORDER BY n LIMIT 1").fetchone()
            dead = query_row(f"SELECT {_DEAD_AT} FROM dead ORDER BY n LIMIT 1").fetchone()  # noqa: S608 - our own names
            self._oldest_done, self._oldest_dead = done and done[0], dead and dead[0]
            self._known = True
        done_until = self._clock.seen - self._policy.recent_max_age_s
        if self._oldest_done is not None and self._oldest_done <= done_until:
            self._forget_done(done_until)
        dead_until = self._clock.seen - self._policy.dead_max_age_s
        if self._oldest_dead is not None and self._oldest_dead <= dead_until:
            self._forget_dead(dead_until)

    def remember(self, what: str | bytes) -> None:
        """Note that an id or a business key is settled; `flush` writes it."""
        self._remembered.append((what, self._clock.seen))
        if self._oldest_done is None:
            self._oldest_done = self._clock.seen

    def flush(self) -> None:
        if self._remembered:
            insert = "INSERT OR IGNORE INTO done (what, at) VALUES (?, ?)"
            self._counts.add("", "recent", self._connection.executemany(insert, self._remembered).rowcount)
            self._remembered = []

    def trim(self) -> None:
        """Let go of settled ids that are more than the policy keeps."""
        excess = self._counts.get("", "recent") - self._policy.recent_max_rows
        if excess > 0:
            query = "DELETE FROM done WHERE n IN (SELECT n FROM done ORDER BY n LIMIT ?) RETURNING what"
            gone = self._connection.execute(query, (excess,)).fetchall()
            if self._policy.recent_max_rows:
                self._free_keys(gone)
            self._counts.add("", "recent", -excess)
            self.load()

    # Dead letters

    def bury(self, row: SlotRow, code: ErrorCode, now: float) -> None:
        """Lay a queued row aside; the caller deletes it."""
        self._connection.execute(
            "INSERT INTO dead (id, vendor, kind, visitor, key, once, attempts, code, at, size, body, seen) "
            "SELECT id, vendor, kind, visitor, key, once, ?, ?, ?, size, body, ? FROM event WHERE seq = ?",
            (row.attempts, code, now, self._clock.seen, row.seq),
        )
        self._counts.add(row.vendor, "dead")
        self._counts.add(row.vendor, "dead_bytes", row.size)
        self._oldest_dead = self._clock.seen if self._oldest_dead is None else self._oldest_dead
        while (
            self._counts.total("dead") > self._policy.dead_max_rows
            or self._counts.total("dead_bytes") > self._policy.dead_max_bytes
        ):
            number, id, vendor, size = self._connection.execute(
                "SELECT n, id, vendor, size FROM dead ORDER BY n LIMIT 1"
            ).fetchone()
            self.drop(number, id, vendor, size, ErrorCode.QUEUE_FULL)

    def letters(self, limit: int) -> list[DeadLetter]:
        """Return dead letters that can be read, newest first."""
        letters: list[DeadLetter] = []
        for attempts, code, at, body in self._connection.execute(
            "SELECT attempts, code, at, body FROM dead ORDER BY n DESC LIMIT ?", (limit,)
        ):
            try:
                event = from_bytes(self._seal.decrypt(body))
                letters.append(DeadLetter(event=event, code=ErrorCode(code), attempts=attempts, at=at))
            except (Unreadable, ValueError):
                continue
        return letters

    def numbers(self, ids: Collection[str] | None) -> list[tuple[int, str, str, bytes | None, int]]:
        """Return (number, id, vendor, key, size) of dead letters, oldest first; of all when *ids* is None."""
        columns = "SELECT n, id, vendor, key, size FROM dead"
        if ids is None:
            return self._connection.execute(f"{columns} ORDER BY n").fetchall()
        letters = [self._connection.execute(f"{columns} WHERE id = ?", (id,)).fetchone() for id in ids]
        return sorted((letter for letter in letters if letter is not None), key=lambda letter: letter[0])

    def delete(self, number: int, vendor: str, size: int) -> None:
        self._connection.execute("DELETE FROM dead WHERE n = ?", (number,))
        self._counts.add(vendor, "dead", -1)
        self._counts.add(vendor, "dead_bytes", -size)

    def drop(self, number: int, id: str, vendor: str, size: int, code: ErrorCode) -> None:
        self.delete(number, vendor, size)
        self._counts.add(vendor, "dropped", 1, code)
        self.remember(id)

    def _forget_done(self, before: float) -> None:
        while True:
            query = "DELETE FROM done WHERE at <= ? AND n IN (SELECT n FROM done ORDER BY n LIMIT ?) RETURNING what"
            gone = self._connection.execute(query, (before, _STRIDE)).fetchall()
            self._free_keys(gone)
            self._counts.add("", "recent", -len(gone))
            if len(gone) < _STRIDE:
                return self.load()

    def _free_keys(self, gone: list[tuple[str | bytes]]) -> None:
        self.key_changes += [KeyChange(what, None, None) for (what,) in gone if isinstance(what, bytes)]

    def _forget_dead(self, before: float) -> None:
        query = f"SELECT n, id, vendor, size FROM dead WHERE {_DEAD_AT} <= ? ORDER BY n"  # noqa: S608 - our own names
        for number, id, vendor, size in self._connection.execute(query, (before,)).fetchall():
            self.drop(number, id, vendor, size, ErrorCode.TOO_OLD)
        self.flush()
        self.load()
