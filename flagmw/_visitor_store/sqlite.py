"""Visitors' cookies in a SQLite file that processes share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flagmw._support.forksafe import PerProcess

if TYPE_CHECKING:
    import sqlite3

_BUSY_S = 0.25
_SWEEP_EVERY = 1000
_LOAD = "SELECT value FROM visitor WHERE key = ? AND until > ?"
_SAVE = "INSERT OR REPLACE INTO visitor (key, value, until) VALUES (?, ?, ?)"


class _Thread(threading.local):
    """One thread's connection."""

    connection: sqlite3.Connection | None = None


class SqliteVisitors:
    """Visitors in `visitors.db` in a directory; the next call after a fork opens a connection of its own.

    A power cut may lose the last moments' visitors, who are then new to the vendors; the file itself stays sound.

    Args:
        directory: made where it is missing, for this user alone.
        clock: seconds since the epoch.
    """

    def __init__(self, directory: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(directory) / "visitors.db"
        self._clock = clock
        # A connection per thread and process: SQLite's own locks keep them apart, and none of ours is held in a fork.
        # In a child the parent's connections are kept unused: SQLite must not close them there.
        self._inherited: list[_Thread] = []
        self._threads = PerProcess(_Thread, self._inherited.append)
        self._saves = 0

    def load(self, key: str) -> bytes | None:
        row = self._connection().execute(_LOAD, (key, self._clock())).fetchone()
        return None if row is None else bytes(row[0])

    def save(self, key: str, value: bytes, ttl_s: float) -> None:
        connection, now = self._connection(), self._clock()
        connection.execute(_SAVE, (key, value, now + ttl_s))
        self._saves += 1
        if self._saves % _SWEEP_EVERY == 0:
            connection.execute("DELETE FROM visitor WHERE until <= ?", (now,))

    def close(self) -> None:
        """Close this thread's connection."""
        thread = self._threads.get()
        if thread.connection is not None:
            thread.connection.close()
        thread.connection = None

    def _connection(self) -> sqlite3.Connection:
        thread = self._threads.get()
        connection = thread.connection
        if connection is None:
            import sqlite3

            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._path.exists():
                self._path.touch(0o600)
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS visitor (key TEXT PRIMARY KEY, value BLOB NOT NULL, until REAL NOT NULL)"
                " WITHOUT ROWID"
            )
            connection.execute("CREATE INDEX IF NOT EXISTS visitor_until ON visitor (until)")
            thread.connection = connection
        return connection
