"""Business keys of an outbox directory, shared by its processes.

A file of their own, `keys.db`, beside the slots. Whoever tracks with a key reserves it there first, in a transaction
that syncs nothing and takes a fraction of a millisecond. The reservation is pending until the event is in a slot: it
ends with its process, or after a minute, so that an event that was never stored can be told by the next who tries.
The slots are what counts: a slot that is opened enters its keys anew, and gives up an event whose key is another's.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from flagmw.exceptions import OutboxError
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite.database import is_damage
from flagmw.outbox.sqlite.disk import remote_type, sync
from flagmw.outbox.sqlite.key_owners import OwnerLock

PENDING, WAITING, DONE = 0, 1, 2
PENDING_S = 60.0
# Nobody waits longer than this for another process, and hardly at all for a while after that was in vain: it may have
# been stopped in the middle.
BUSY_S, HURRY_S = 0.25, 0.01
_HURRY_FOR_S = 5.0
_AGAIN_S = 0.002
# What is added to the clock at once: it may be set forward, and a process may have been down for a long time.
_STEP_S = 3600.0
_SLACK_S = 3600.0
_TRIM_EVERY = 1024
# Where the policy sets no end.
_WAITING_MAX_S = 14 * 86400.0
_MOST = 100_000
_LOG_BYTES = 1024 * 1024
_NAME = "keys.db"
_TABLES = """
CREATE TABLE IF NOT EXISTS held (key BLOB PRIMARY KEY, id TEXT NOT NULL, state INTEGER NOT NULL, at REAL NOT NULL,
    owner TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_at ON held (state, at);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
_PUT = "REPLACE INTO held (key, id, state, at, owner) VALUES (?, ?, ?, ?, ?)"

_made: weakref.WeakSet[BusinessKeys] = weakref.WeakSet()
_paused: list[threading.Lock] = []


class KeyHolder(NamedTuple):
    """A business key, as a digest, and the event that it is told by."""

    key: bytes
    id: str


class KeyChange(NamedTuple):
    """A key's new state: *state* is WAITING or DONE, or None when it is free again."""

    key: bytes
    id: str | None
    state: int | None


class BusinessKeys:
    """The keys, as one process uses them, from any of its threads. Opens nothing before the first use.

    Args:
        policy: says how long a key is held by an event that waits, and by one that is settled, and how many are kept.
    """

    def __init__(
        self,
        directory: Path,
        policy: Policy,
        *,
        allow_network: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory, self._allow_network, self._clock = directory, allow_network, clock
        done_s = policy.recent_max_age_s
        waiting_s = min(policy.max_age_s, _WAITING_MAX_S) + done_s
        # Settled keys are given up by the slots, by their own clocks; this is for slots that are not there any more.
        self._ages = {PENDING: PENDING_S, WAITING: waiting_s, DONE: done_s + _SLACK_S}
        self._most = policy.recent_max_rows or _MOST
        self._lock = threading.Lock()
        self._owner = OwnerLock(directory)
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._hurry_until = 0.0
        self._changed = 0
        self._todo: list[KeyChange] = []
        # Of the file that is open: slots that have entered their keys in another one do so again.
        self.instance = ""
        _made.add(self)

    def reserve(self, wanted: Sequence[KeyHolder]) -> set[str]:
        """Return the ids whose key another event holds; the other keys are theirs now, for a minute unless kept.

        Raises:
            OutboxError: the file cannot be used.
        """
        with self._transaction() as (connection, at):
            for change in list(self._todo):
                # Committed in a slot, and not noted here so far.
                self._change(connection, change, at)
            return {holder.id for holder in wanted if not self._take(connection, holder, PENDING, at)}

    def enter(self, held: Sequence[KeyHolder]) -> set[str]:
        """As `reserve`, for events that are in a slot: the keys stay theirs."""
        with self._transaction() as (connection, at):
            return {holder.id for holder in held if not self._take(connection, holder, WAITING, at)}

    def apply(self, changes: Sequence[KeyChange] = ()) -> bool:
        """Note what was committed in a slot, and have it on the disk; return whether that is done, or is left to do."""
        self._todo += changes
        if not self._todo:
            return True
        try:
            with self._transaction() as (connection, at):
                for change in self._todo:
                    self._change(connection, change, at)
                self._changed += len(self._todo)
                if self._changed >= _TRIM_EVERY:
                    self._changed = 0
                    self._trim(connection, at)
            if any(change.state == WAITING for change in self._todo):
                # Not within the transaction, which would hold up other processes' requests.
                sync(self._log)
        except (OutboxError, OSError):
            del self._todo[: -self._most]
            return False
        self._todo = []
        return True

    def identity(self) -> str:
        """Return what tells the file from one that replaced it.

        Raises:
            OutboxError: the file cannot be used.
        """
        with self._transaction():
            return self.instance

    def tidy(self) -> None:
        """Write a long log back, over a connection of its own: nobody waits for the disk meanwhile."""
        with contextlib.suppress(OSError, sqlite3.Error):
            if self._log.stat().st_size > _LOG_BYTES:
                with closing(sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)) as connection:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None
            self._owner.close()

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's, whose connection must not even be closed."""
        self._owner.forget()
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None

    @property
    def _path(self) -> Path:
        return self._directory / _NAME

    @property
    def _log(self) -> Path:
        return self._directory / f"{_NAME}-wal"

    # Rows

    def _take(self, connection: sqlite3.Connection, wanted: KeyHolder, state: int, at: float) -> bool:
        """Give the key to *wanted* unless another event holds it; return whether it has it."""
        row = connection.execute("SELECT id, state, at, owner FROM held WHERE key = ?", (wanted.key,)).fetchone()
        if row is not None:
            holder, was, since, owner = row
            if holder == wanted.id and was >= state:
                return True
            over = since <= at - self._ages.get(was, 0.0) or (was == PENDING and not self._owner.lives(owner))
            if holder != wanted.id and not over:
                return False
        owner = self._owner.name() if state == PENDING else ""
        connection.execute(_PUT, (wanted.key, wanted.id, state, at, owner))
        return True

    def _change(self, connection: sqlite3.Connection, change: KeyChange, at: float) -> None:
        if change.state is None:
            connection.execute(
                "DELETE FROM held WHERE key = ?1 AND (id = ?2 OR (?2 IS NULL AND state = ?3))",
                (change.key, change.id, DONE),
            )
            return
        row = connection.execute("SELECT id, state FROM held WHERE key = ?", (change.key,)).fetchone()
        if row is None or row[0] == change.id:
            connection.execute(_PUT, (change.key, change.id, change.state, at, ""))

    def _trim(self, connection: sqlite3.Connection, at: float) -> None:
        for state, age_s in self._ages.items():
            connection.execute("DELETE FROM held WHERE state = ? AND at <= ?", (state, at - age_s))
        (done,) = connection.execute("SELECT count(*) FROM held WHERE state = ?", (DONE,)).fetchone()
        if done > self._most:
            connection.execute(
                "DELETE FROM held WHERE key IN (SELECT key FROM held WHERE state = ? ORDER BY at LIMIT ?)",
                (DONE, done - self._most),
            )

    # The file

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """Give a connection in a transaction, and the time that the file has seen pass.

        Raises:
            OutboxError: see `reserve`.
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


# Connections of a parent process, kept alive for good.
_inherited: list[sqlite3.Connection] = []


def _pause() -> None:
    """Let nobody be inside SQLite at a fork: the child would find SQLite's own locks held for ever."""
    for keys in list(_made):
        if keys._lock.acquire(timeout=1.0):
            _paused.append(keys._lock)


def _go_on() -> None:
    while _paused:
        _paused.pop().release()


def _in_child() -> None:
    for keys in list(_made):
        keys.forget()
    _go_on()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause, after_in_parent=_go_on, after_in_child=_in_child)
