"""The business keys in one slot's file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable

from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite.business_keys import DONE, DirectoryKeys, KeyChange, KeyHolder
from flagmw.outbox.sqlite.rows import PackedEvent

# Keys that are entered in one transaction: other processes' requests wait for it.
_STRIDE = 500
# Rows that a process may have accepted at most before it was killed, and not noted where all look for keys.
_LATEST = 20_000
# The keys that are entered at once where there may be many, and the seconds after which that is enough for a while:
# whoever stores an event waits.
_NEXT = "SELECT key, id FROM event WHERE key IS NOT NULL AND key > ? ORDER BY key LIMIT 100"
_STEP_S = 0.01


class SlotKeys:
    """The keys of a slot's events, and what changes of them.

    Args:
        drop: removes an event, by id, whose key is another's.
        flush: writes what *drop* has collected.

    Attributes:
        changes: what has changed since the last commit, in order.
        shared: the keys of all slots.
    """

    def __init__(self, connection: sqlite3.Connection, drop: Callable[[str], None], flush: Callable[[], None]) -> None:
        self._connection, self._drop, self._flush = connection, drop, flush
        self.changes: list[KeyChange] = []
        self.shared: DirectoryKeys | None = None
        # The last key that `enter_all` has entered, and into which file.
        self._entered, self._entered_in = b"", ""

    def any(self) -> bool:
        """True when an event of the file, waiting or settled lately, has a business key."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM event WHERE key IS NOT NULL) "
            "OR EXISTS (SELECT 1 FROM done WHERE typeof(what) = 'blob')"
        )
        return bool(self._connection.execute(query).fetchone()[0])

    def enter_latest(self, keys: DirectoryKeys) -> None:
        """Enter the business keys of what was accepted last where all processes look.

        An event whose key is another's goes.

        Raises:
            OutboxError: that place cannot be used.
        """
        keys_cursor = self._connection.execute(
            "SELECT key, id FROM event WHERE key IS NOT NULL AND seq > (SELECT max(seq) FROM event) - ?", (_LATEST,)
        )
        while held := [KeyHolder(*fields) for fields in keys_cursor.fetchmany(_STRIDE)]:
            for id in keys.enter(held):
                self._drop(id)
        self._flush()

    def enter_all(self, keys: DirectoryKeys) -> bool:
        """Enter some more of all keys, where that place may know nothing of this file; return whether that was the end.

        Raises:
            OutboxError: that place cannot be used.
        """
        end = time.monotonic() + _STEP_S
        if keys.instance != self._entered_in:
            self._entered, self._entered_in = b"", keys.instance
        while held := [KeyHolder(*fields) for fields in self._connection.execute(_NEXT, (self._entered,)).fetchall()]:
            for id in keys.enter(held):
                self._drop(id)
            self._entered = held[-1].key
            if time.monotonic() >= end:
                self._flush()
                return False
        self._flush()
        self._entered = b""
        done = self._connection.execute("SELECT what FROM done WHERE typeof(what) = 'blob'")
        self.changes += [KeyChange(what, "", DONE) for (what,) in done]
        return True

    def undone(self) -> None:
        """Begin again, after a transaction that failed: events that had to go because of their keys are back."""
        self.changes.clear()
        self._entered = b""

    def give_up(self, rows: Iterable[PackedEvent]) -> None:
        """Let others have the business keys of *rows*, which are not stored."""
        self.changes += [KeyChange(row.key, row.id, None) for row in rows if row.key is not None]

    def taken(self, key: bytes | None, id: str) -> bool:
        """True when another event than dead letter *id* holds its key, in this slot or another."""
        if key is None or self.shared is None:
            return False
        try:
            return bool(self.shared.reserve([KeyHolder(key, id)]))
        except OutboxError:
            return False
