"""The file of one slot: opened for use, and replaced by a new one when it is damaged or gone."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flagmw._log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox import _slots
from flagmw.outbox._disk import Reserve, is_low
from flagmw.outbox._keys import Keys
from flagmw.outbox._seal import Seal
from flagmw.outbox._sqlite_book import Book
from flagmw.outbox._sqlite_file import Damaged, mark, marks, open_file
from flagmw.outbox._sqlite_rows import Limits
from flagmw.outbox._sqlite_salvage import copy_from, copy_from_file, set_aside
from flagmw.outbox.policy import Policy

# How often one looks whether the files are still there.
_LOOK_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a directory is used; see `SqliteOutbox`."""

    directory: Path
    policy: Policy
    limits: Limits
    seal: Seal
    rng: random.Random
    required: bool = False
    allow_network: bool = False
    adopt_copies: bool = False
    full_sync: bool = True
    disk_is_low: Callable[[Path], bool] = is_low
    on_work: Callable[[], None] = field(default=lambda: None)


@dataclass(slots=True)
class Open:
    """A slot that this process has, with its file."""

    slot: _slots.Slot
    connection: sqlite3.Connection
    book: Book
    reserve: Reserve
    inode: int
    version: int = -1
    begun: bool = False
    used: bool = False
    checked: bool = False
    reserved: bool = False
    file: str = ""
    log: str = ""
    seen_at: float = 0.0
    keys_in: str = ""

    def __post_init__(self) -> None:
        self.file, self.log = str(self.slot.path), f"{self.slot.path}-wal"


class Opener:
    """Open slots' files and replace them. What was lost by that is told once."""

    def __init__(self, options: Options, throttle: Throttle, keys: Keys) -> None:
        self._options, self._throttle, self._keys = options, throttle, keys
        self._left_alone: set[int] = set()

    def open(self, slot: _slots.Slot) -> Open:
        """Return *slot* with its file, which is replaced if it is damaged.

        Raises:
            NotOurs: it must be left alone.
            sqlite3.Error, OSError: it cannot be opened.
        """
        options = self._options
        try:
            connection = open_file(slot.path, adopt_copies=options.adopt_copies, full_sync=options.full_sync)
        except Damaged:
            connection = self._replacement(slot.path, None, "a file of the outbox is damaged")
        try:
            one = self._opened(slot, connection)
        except BaseException:
            connection.close()
            raise
        return one

    def tell_left(self, number: int, error: Exception) -> None:
        """Say once why slot *number* is left alone."""
        if number not in self._left_alone:
            self._left_alone.add(number)
            self._throttle.change(logging.ERROR, ErrorCode.OUTBOX_FAILED, told(error))

    def _opened(self, slot: _slots.Slot, connection: sqlite3.Connection) -> Open:
        options = self._options
        slot.connection = connection
        tag = f"{slot.number}.{os.urandom(4).hex()}."
        book = Book(connection, tag, options.policy, options.limits, options.seal, options.rng)
        book.keys = self._keys
        connection.execute("BEGIN IMMEDIATE")
        book.load()
        # A process that ended without closing holds nothing any more: its leases are over.
        clean = marks(connection).get("clean") == 1
        book.adopt(orphaned=not clean)
        mark(connection, "clean", 0)
        reserve = Reserve(slot.path.with_suffix(".reserve"))
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        one = Open(slot, connection, book, reserve, slot.path.stat().st_ino, version, used=True)
        self.enter_keys(one, closed_well=clean)
        book.save()
        connection.execute("COMMIT")
        self._keys.apply(book.key_changes)
        book.key_changes.clear()
        return one

    def enter_keys(self, one: Open, *, closed_well: bool = False) -> None:
        """Enter the slot's business keys where all processes look, unless that was done and cannot have been undone."""
        try:
            if one.book.has_keys():
                instance = self._keys.identity()
                known = marks(one.connection).get("keys") == instance
                if not closed_well or not known:
                    one.book.enter_keys(self._keys, all=not known)
                    mark(one.connection, "keys", instance)
        except OutboxError:
            return  # tried again with the next look for slots of dead processes
        one.keys_in = self._keys.instance

    def refile(self, one: Open, why: str) -> None:
        """Set the file of *one* aside and go on with a new one that holds what can be saved."""
        source = None if "damaged" in why else one.connection
        with contextlib.suppress(sqlite3.Error):
            if one.connection.in_transaction:
                one.connection.execute("ROLLBACK")
        one.begun = False
        fresh = self._replacement(one.slot.path, source, why)
        with contextlib.suppress(sqlite3.Error):
            one.connection.close()
        new = self._opened(one.slot, fresh)
        one.connection, one.book, one.inode, one.version = fresh, new.book, new.inode, new.version
        one.checked = True

    def _replacement(self, path: Path, source: sqlite3.Connection | None, why: str) -> sqlite3.Connection:
        aside = set_aside(path)
        fresh = open_file(path, full_sync=self._options.full_sync)
        saved = 0
        try:
            if source is not None:
                saved = copy_from(source, fresh)
            elif aside is not None:
                saved = copy_from_file(aside, fresh)
        except sqlite3.Error:
            pass  # nothing of it can be read; it is kept for somebody with more time
        kept = f"; the old one is kept as {aside.name}" if aside is not None else ""
        self._throttle.change(logging.ERROR, ErrorCode.DAMAGED, f"{why}{kept}", saved=saved)
        return fresh


def vanished(one: Open, *, sure: bool) -> bool:
    """Say whether somebody has removed a file of *one*; looked at now and then only, unless it must be *sure*."""
    now = time.monotonic()
    if not sure and now < one.seen_at + _LOOK_S:
        return False
    one.seen_at = now
    try:
        return os.stat(one.file).st_ino != one.inode or (one.used and not os.stat(one.log))  # noqa: PTH116
    except OSError:
        return True


def drop(one: Open) -> None:
    """Close the file and let others have the slot."""
    one.begun = False
    with contextlib.suppress(sqlite3.Error):
        one.connection.close()
    one.slot.connection = None
    one.slot.free()


def told(error: Exception) -> str:
    """Return *error* as text for people, without what SQLite may quote of the data."""
    if isinstance(error, OutboxError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return getattr(error, "sqlite_errorname", type(error).__name__)
