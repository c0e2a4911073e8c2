"""Visitors' cookies in a SQLite file that processes share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_BUSY_S = 0.25
_SWEEP_EVERY = 1000
_LOAD = "SELECT value FROM visitor WHERE key = ? AND until > ?"
_SAVE = "INSERT OR REPLACE INTO visitor (key, value, until) VALUES (?, ?, ?)"


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
        self._local = threading.local()
        self._saves = 0

    def load(self, key: str) -> bytes | None:
        row = self._here().execute(_LOAD, (key, self._clock())).fetchone()
        return None if row is None else bytes(row[0])

    def save(self, key: str, value: bytes, ttl_s: float) -> None:
        connection, now = self._here(), self._clock()
        connection.execute(_SAVE, (key, value, now + ttl_s))
        self._saves += 1
        if self._saves % _SWEEP_EVERY == 0:
            connection.execute("DELETE FROM visitor WHERE until <= ?", (now,))

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and self._local.pid == os.getpid():
            connection.close()
        self._local.connection = None

    def _here(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None or self._local.pid != os.getpid():
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
            self._local.connection, self._local.pid = connection, os.getpid()
        return connection
