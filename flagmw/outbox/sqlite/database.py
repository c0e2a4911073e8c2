"""Open and check one slot's database."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite.disk import log_bytes
from flagmw.outbox.sqlite.header import fits
from flagmw.outbox.sqlite.identity import FileIdentity
from flagmw.outbox.sqlite.log import lost_commits
from flagmw.outbox.sqlite.rows import DOUBT_ALL, TAKE_BACK, UNSENT

SCHEMA = 1
_NOBODY = 1 << 30
BUSY_S = 5.0
CHECK_S = 0.2
_PAGE_BYTES = 4096

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE counts (vendor TEXT, what TEXT, code TEXT, n INTEGER NOT NULL, PRIMARY KEY (vendor, what, code))
    WITHOUT ROWID;
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, vendor TEXT NOT NULL, kind TEXT NOT NULL, visitor TEXT NOT NULL,
    key BLOB, once INTEGER NOT NULL, created REAL NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0, refused_at REAL, parked INTEGER, size INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX event_due ON event (vendor, due) WHERE parked IS NULL;
CREATE INDEX event_parked ON event (parked, vendor, visitor) WHERE parked IS NOT NULL;
CREATE UNIQUE INDEX event_key ON event (key) WHERE key IS NOT NULL;
CREATE TABLE lease (seq INTEGER PRIMARY KEY, token TEXT NOT NULL, until REAL NOT NULL, lease_s REAL NOT NULL);
CREATE TABLE dead (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, vendor TEXT NOT NULL, kind TEXT NOT NULL, visitor TEXT NOT NULL,
    key BLOB, once INTEGER NOT NULL, attempts INTEGER NOT NULL, code TEXT NOT NULL, at REAL NOT NULL,
    size INTEGER NOT NULL, body BLOB NOT NULL, seen REAL);
CREATE TABLE done (n INTEGER PRIMARY KEY, what NOT NULL UNIQUE, at REAL NOT NULL);
"""


class Damaged(Exception):
    """The file is no database, or parts of it are destroyed."""


class NotOurs(OutboxError):
    """The file must be left alone: another machine's, a copy, or of a later version."""


def open_file(path: Path, *, adopt_copies: bool = False, full_sync: bool = True) -> sqlite3.Connection:
    """Open the database at *path*; an empty file is made one.

    Raises:
        Damaged: see there.
        NotOurs: see there; *adopt_copies* takes what was copied or came from another machine all the same.
        sqlite3.Error, OSError: it cannot be opened or written.
    """
    new = path.lstat().st_size == 0
    if new and _size(path.with_name(f"{path.name}-wal")):
        # SQLite would remove the log, and with it all that was not written back.
        raise Damaged
    identity = FileIdentity.of(path)
    connection = connect(path)
    try:
        _settle(connection, full_sync=full_sync, new=new, log=log_bytes(path.parent))
        tables = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'").fetchone()[0] != 0
        # Looked at before anything is written, which might begin the log anew.
        doubtful = tables and lost_commits(connection, path)
        if not tables:
            _create(connection, identity)
        elif "seen" not in {name for _, name, *_ in connection.execute("PRAGMA table_info(dead)")}:
            connection.execute("ALTER TABLE dead ADD COLUMN seen REAL")
        _check_meta(connection, path, identity, adopt_copies)
        if doubtful:
            connection.execute(DOUBT_ALL)
        end = time.monotonic() + CHECK_S
        if not new and sound(connection, lambda: time.monotonic() < end) is False:
            raise Damaged
        return connection
    except sqlite3.DatabaseError as error:
        connection.close()
        if is_damage(error) or not fits(path):
            raise Damaged from error
        raise
    except BaseException:
        connection.close()
        raise


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def is_damage(error: sqlite3.Error) -> bool:
    """True when *error* means that the file is destroyed, rather than busy, full or out of reach."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def lacks_room(error: sqlite3.Error) -> bool:
    """True when *error* may mean that the disk has no room: that of the index is told as a failure to write."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def sound(connection: sqlite3.Connection, go_on: Callable[[], bool]) -> bool | None:
    """True when the file's structure holds; None when *go_on* ended the search before anything was found."""
    connection.set_progress_handler(lambda: not go_on(), 10_000)
    try:
        verdict: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_INTERRUPT:
            raise
        return None
    finally:
        connection.set_progress_handler(None, 0)
    return verdict == "ok"


def mark(connection: sqlite3.Connection, name: str, value: object) -> None:
    connection.execute("REPLACE INTO meta VALUES (?, ?)", (name, value))


def marks(connection: sqlite3.Connection) -> dict[str, object]:
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def _settle(connection: sqlite3.Connection, *, full_sync: bool, new: bool, log: int) -> None:
    """Set what must be set on every connection ("PRAGMA Statements", sqlite.org)."""
    if new:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise OutboxError("the directory does not support SQLite's write-ahead log; choose one on a local disk")
    for pragma in (
        # In WAL mode only FULL syncs the log at every commit; NORMAL may lose the last ones at a power cut.
        f"synchronous = {'FULL' if full_sync else 'NORMAL'}",
        f"wal_autocheckpoint = {log // _PAGE_BYTES}",
        f"journal_size_limit = {log}",
        "mmap_size = 0",
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "secure_delete = FAST",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _create(connection: sqlite3.Connection, identity: FileIdentity) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)
    # `reader` is the oldest code that can use this file: it grows only with changes that old code would break.
    for name, value in (("schema", SCHEMA), ("reader", SCHEMA), ("instance", os.urandom(8).hex())):
        mark(connection, name, value)
    _own(connection, identity)
    connection.execute("COMMIT")


def _own(connection: sqlite3.Connection, identity: FileIdentity) -> None:
    for name, value in identity.marks().items():
        mark(connection, name, value)


def mark_moved(connection: sqlite3.Connection) -> None:
    """Lock the file for all processes, also of earlier versions: its content was copied to another file."""
    connection.execute("BEGIN IMMEDIATE")
    mark(connection, "moved", 1)
    mark(connection, "reader", _NOBODY)
    connection.execute("COMMIT")


def undoubt(copy: sqlite3.Connection, original: sqlite3.Connection) -> None:
    """Note in *copy* which events nobody was given, as far as *original* says so."""
    unsent = original.execute("SELECT seq FROM event WHERE once = ?", (UNSENT,)).fetchall()
    copy.execute("BEGIN IMMEDIATE")
    copy.executemany(TAKE_BACK, unsent)
    copy.execute("COMMIT")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _check_meta(connection: sqlite3.Connection, path: Path, identity: FileIdentity, adopt_copies: bool) -> None:
    known = marks(connection)
    reader = known.get("reader")
    if not isinstance(reader, int):
        raise Damaged
    if known.get("moved"):
        raise NotOurs(f"{path.name} was left behind when its directory was moved: its events are elsewhere; remove it")
    if reader > SCHEMA:
        raise NotOurs(f"{path.name} was written by a later version of flagmw; it is left alone")
    if known.items() >= identity.marks().items():
        return
    if not identity.is_of(known) and not adopt_copies:
        raise NotOurs(
            f"{path.name} is a copy or another machine's: its events may have been delivered there, so it waits; "
            "add ?copies=adopt to the outbox to deliver them here, or remove the file"
        )
    connection.execute("BEGIN IMMEDIATE")
    if not identity.is_of(known):
        # What must not be sent twice may have been sent by whoever has, or had, the other copy.
        connection.execute(DOUBT_ALL)
    _own(connection, identity)
    connection.execute("COMMIT")
