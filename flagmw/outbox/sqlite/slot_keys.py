"""The business keys in one slot's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite.business_keys import DONE, DirectoryKeys, KeyChange, KeyHolder
from flagmw.outbox.sqlite.rows import PackedEvent

# Keys that are entered in one transaction: other processes' requests wait for it.
_STRIDE = 500
# Rows that a process may have accepted at most before it was killed, and not noted where all look for keys.
_LATEST = 20_000


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

    def any(self) -> bool:
        """True when an event of the file, waiting or settled lately, has a business key."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM event WHERE key IS NOT NULL) "
            "OR EXISTS (SELECT 1 FROM done WHERE typeof(what) = 'blob')"
        )
        return bool(self._connection.execute(query).fetchone()[0])

    def enter(self, keys: DirectoryKeys, *, all: bool) -> None:
        """Enter the business keys of the file where all processes look; an event whose key is another's goes.

        Args:
            all: everything, where that place may know nothing of this file; else what was accepted last.

        Raises:
            OutboxError: that place cannot be used.
        """
        keys_cursor = self._connection.execute(
            "SELECT key, id FROM event WHERE key IS NOT NULL AND (? OR seq > (SELECT max(seq) FROM event) - ?)",
            (all, _LATEST),
        )
        while held := [KeyHolder(*fields) for fields in keys_cursor.fetchmany(_STRIDE)]:
            for id in keys.enter(held):
                self._drop(id)
        self._flush()
        if all:
            done = self._connection.execute("SELECT what FROM done WHERE typeof(what) = 'blob'")
            self.changes += [KeyChange(what, "", DONE) for (what,) in done]

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
