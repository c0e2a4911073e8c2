"""The file of business keys in an outbox directory."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite.database import is_damage
from flagmw.outbox.sqlite.disk import remote_type
from flagmw.outbox.sqlite.key_owners import OwnerLock

# The longest wait for another process, which may have been stopped; after a vain wait the next ones are much shorter
# for a while.
BUSY_S, HURRY_S = 0.25, 0.01
_HURRY_FOR_S = 5.0
_AGAIN_S = 0.002
# What is added to the clock at once: it may be set forward, and a process may have been down for a long time.
_STEP_S = 3600.0
_LOG_BYTES = 1024 * 1024
_NAME = "keys.db"
_TABLES = """
CREATE TABLE IF NOT EXISTS held (key BLOB PRIMARY KEY, id TEXT NOT NULL, state INTEGER NOT NULL, at REAL NOT NULL,
    owner TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_at ON held (state, at);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""

_files: weakref.WeakSet[KeysFile] = weakref.WeakSet()
_paused: list[threading.Lock] = []
# Connections of a parent process, kept alive for good.
_inherited: list[sqlite3.Connection] = []


class KeysFile:
    """The file `keys.db`, as one process uses it, from any of its threads. Opens nothing before the first use.

    Attributes:
        owner: the lock that shows other processes that this one lives.
        instance: which file is open: it tells one from a file that replaced it.
    """

    def __init__(self, directory: Path, *, allow_network: bool, clock: Callable[[], float]) -> None:
        self._directory, self._allow_network, self._clock = directory, allow_network, clock
        self._lock = threading.Lock()
        self.owner = OwnerLock(directory)
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._hurry_until = 0.0
        self.instance = ""
        _files.add(self)

    @property
    def _path(self) -> Path:
        return self._directory / _NAME

    @property
    def log(self) -> Path:
        return self._directory / f"{_NAME}-wal"

    @contextmanager
    def transaction(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """Return a connection in a transaction, and the file's own time.

        Raises:
            OutboxError: the file cannot be used.
        """
        with self._lock:
            try:
                connection = self._begin()
                yield connection, self._advance(connection)
                connection.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                self._mend(error)
                raise OutboxError("the file of business keys cannot be used") from error
            except BaseException:
                self._roll_back()
                raise

    def tidy(self) -> None:
        """Write a long log back, over a connection of its own: nobody waits for the disk meanwhile."""
        with contextlib.suppress(OSError, sqlite3.Error):
            if self.log.stat().st_size > _LOG_BYTES:
                with closing(sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)) as connection:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None
            self.owner.close()

    def forget(self) -> None:
        """In a forked child: drop the parent's connection without closing it."""
        self.owner.forget()
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None

    def _begin(self) -> sqlite3.Connection:
        """Begin a transaction; what is in the way is most likely another process, for some microseconds."""
        now = time.monotonic()
        end = now + (HURRY_S if now < self._hurry_until else BUSY_S)
        while True:
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
                return connection
            except sqlite3.OperationalError:
                if time.monotonic() >= end:
                    self._hurry_until = time.monotonic() + _HURRY_FOR_S
                    raise
            time.sleep(_AGAIN_S)

    def _advance(self, connection: sqlite3.Connection) -> float:
        now = self._clock()
        known = dict(connection.execute("SELECT name, value FROM meta WHERE name IN ('clock', 'wall')"))
        wall, clock = known.get("wall", now), known.get("clock", 0.0)
        if now != wall:
            clock += min(max(now - wall, 0.0), _STEP_S)
        if not known or abs(now - wall) >= 1.0:
            connection.execute("REPLACE INTO meta VALUES ('clock', ?), ('wall', ?)", (clock, now))
        return float(clock)

    def _open(self) -> sqlite3.Connection:
        connection = self._connection
        if connection is not None:
            try:
                if os.stat(self._path).st_ino == self._inode:  # noqa: PTH116 - at every call
                    return connection
            except OSError:
                pass
            connection.close()  # somebody has removed it
            self._connection = None
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._allow_network and remote_type(self._directory) is not None:
            raise OutboxError("business keys cannot be kept on a network file system")
        try:
            return self._connect()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._set_aside()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        # Made by us first: SQLite would use the umask alone. One that is there is not opened beside SQLite: closing it
        # would drop the locks of this process ("How To Corrupt An SQLite Database File", section 2.2).
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        status = self._path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise OutboxError("the file of business keys is something else, such as a link; remove it")
        inode = status.st_ino
        connection = sqlite3.connect(self._path, timeout=_AGAIN_S, isolation_level=None, check_same_thread=False)
        try:
            self._settle(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, inode
        return connection

    def _settle(self, connection: sqlite3.Connection) -> None:
        # Making the file syncs nothing either: what a power cut leaves of it is set aside, and the slots know the keys.
        connection.execute("PRAGMA synchronous = OFF")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise OutboxError("the directory does not support SQLite's write-ahead log")
        # A commit syncs nothing: `apply` does, when the event is in its slot. Nor does anybody write back by the way.
        for pragma in ("synchronous = NORMAL", "wal_autocheckpoint = 0", "mmap_size = 0", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN IMMEDIATE")
        for statement in _TABLES.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('instance', ?)", (os.urandom(8).hex(),))
        self.instance = connection.execute("SELECT value FROM meta WHERE name = 'instance'").fetchone()[0]
        connection.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _mend(self, error: Exception) -> None:
        """Go back, and set a destroyed file aside: the slots know its keys."""
        self._roll_back()
        if isinstance(error, sqlite3.Error) and is_damage(error):
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None
            self._set_aside()

    def _set_aside(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        with contextlib.suppress(OSError):
            self._path.rename(self._path.with_name(f"{_NAME}.damaged-{stamp}"))
            for name in (f"{_NAME}-wal", f"{_NAME}-shm"):
                (self._directory / name).unlink(missing_ok=True)


def _pause() -> None:
    """Keep all threads out of SQLite during a fork: the child would find SQLite's locks held for ever."""
    for file in list(_files):
        if file._lock.acquire(timeout=1.0):
            _paused.append(file._lock)


def _go_on() -> None:
    while _paused:
        _paused.pop().release()


def _in_child() -> None:
    for file in list(_files):
        file.forget()
    _go_on()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause, after_in_parent=_go_on, after_in_child=_in_child)
