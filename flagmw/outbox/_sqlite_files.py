"""The files of a directory that one process has open: a slot of its own, and slots of dead processes until empty."""

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
from flagmw.outbox._disk import Reserve, is_low, remote_type
from flagmw.outbox._seal import Seal
from flagmw.outbox._sqlite_book import Book
from flagmw.outbox._sqlite_file import Damaged, NotOurs, is_damage, mark, marks, open_file, sound
from flagmw.outbox._sqlite_rows import Limits
from flagmw.outbox._sqlite_salvage import copy_from, copy_from_file, set_aside
from flagmw.outbox.policy import Policy

ADOPT_S = 5.0
RETRY_S = 5.0
_ADOPTED_AT_MOST = 16
_VACUUM_PAGES = 2_000
# How often one looks whether the files are still there.
_LOOK_S = 0.02
_LONG_LOG_BYTES = 64 * 1024 * 1024

logger = logging.getLogger("flagmw.outbox")


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

    def __post_init__(self) -> None:
        self.file, self.log = str(self.slot.path), f"{self.slot.path}-wal"


class Files:
    """Open, begin, commit, mend and give back. Everything in one thread at a time."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.trouble: str | None = None
        self.closed = False
        self.throttle = Throttle(logger)
        self._own: Open | None = None
        self._adopted: dict[int, Open] = {}
        self._current: Open | None = None
        self._retry_at = 0.0
        self._nothing_in: dict[int, object] = {}
        self._left_alone: set[int] = set()

    def own(self) -> Open:
        """Return the slot of this process, taken at the first call.

        Raises:
            OutboxError: none can be had at the moment; the text says why.
        """
        if self.closed:
            raise OutboxError("the outbox is closed; make a new one")
        if self._own is None:
            if self.trouble is not None and time.monotonic() < self._retry_at:
                raise OutboxError(self.trouble)
            try:
                self._own = self._take_own()
            except (OSError, sqlite3.Error, OutboxError) as error:
                self._failing(error)
                raise OutboxError(self.trouble) from None
            if self.trouble is not None:
                self.trouble = None
                self.throttle.change(logging.WARNING, ErrorCode.OUTBOX_FAILED, "events are kept on disk again")
        return self._own

    def all(self) -> list[Open]:
        """Return what can be used: the process's own first, which is opened if it can be."""
        with contextlib.suppress(OutboxError):
            self.own()
        return self.held()

    def held(self) -> list[Open]:
        return [*([self._own] if self._own else []), *self._adopted.values()]

    # Transactions

    def begun(self, one: Open, *, sure: bool = False) -> Open:
        """Begin a transaction on *one* unless it has begun; *sure* that its files are still there."""
        if one.begun:
            return one
        self._current = one
        if self._vanished(one, sure):
            self._refile(one, "somebody removed a file of the outbox while it was in use")
        # IMMEDIATE: a transaction that first reads and then writes could fail at once, whatever the time to wait.
        one.connection.execute("BEGIN IMMEDIATE")
        one.begun = True
        version = one.connection.execute("PRAGMA data_version").fetchone()[0]
        if version != one.version:
            # Another program, such as `flagmw outbox`, has changed the file.
            one.version = version
            one.book.load()
        return one

    def commit(self) -> None:
        for one in self.held():
            if one.begun:
                self._current = one
                one.book.save()
                one.connection.execute("COMMIT")
                one.begun, one.used = False, True

    def rollback(self) -> None:
        for one in self.held():
            if one.begun:
                one.begun = False
                one.version = -1  # so that the mirror is read anew
                with contextlib.suppress(sqlite3.Error):
                    if one.connection.in_transaction:
                        one.connection.execute("ROLLBACK")

    # Bad times

    def mend(self, error: sqlite3.Error | OSError) -> bool:
        """Do about *error* what can be done; return whether the job should be tried again."""
        one = self._current
        if one is None or one not in self.held():
            return False
        if isinstance(error, sqlite3.Error) and is_damage(error):
            try:
                self._refile(one, "a file of the outbox is damaged")
                return True
            except (sqlite3.Error, OSError, OutboxError) as worse:
                error = worse if isinstance(worse, sqlite3.Error | OSError) else error
        self._drop(one)
        if one is self._own:
            self._own = None
            self._failing(error)
        else:
            self._adopted.pop(one.slot.number, None)
        return False

    def release_reserve(self) -> bool:
        """Make room for a delete on a full disk; return whether there was any to make."""
        released = [one.reserve.release() for one in self.held()]
        return any(released)

    def keep_reserves(self) -> None:
        """Take what room deletes may need one day; not while a slot is opened, when a request may be waiting."""
        for one in self.held():
            if not one.reserved:
                one.reserved = True
                if not self._options.disk_is_low(self._options.directory):
                    one.reserve.keep()

    # Upkeep

    def untidy(self) -> bool:
        return any(one.used for one in self.held())

    def tidy(self, go_on: Callable[[], bool]) -> bool:
        """Write back the logs, give room back, and finish checks; return whether more is left to do."""
        for one in self.held():
            if not one.used and one.checked:
                continue
            self._current = one
            if not one.checked:
                verdict = sound(one.connection, go_on)
                if verdict is False:
                    self._refile(one, "a file of the outbox is damaged")
                one.checked = verdict is not None
            one.connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
            one.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            one.used = False
            one.reserved = False
            if _size(Path(one.log)) > _LONG_LOG_BYTES:
                self.throttle.log(
                    logging.WARNING, ErrorCode.OUTBOX_FAILED, "a reader keeps the outbox's log from shrinking"
                )
        return any(not one.checked for one in self.held())

    def adopt(self) -> bool:
        """Take slots of dead processes, and let go of those that are empty; return whether there is new work."""
        for number, one in list(self._adopted.items()):
            if one.book.idle():
                del self._adopted[number]
                self._leave(one)
        work = False
        for number in _slots.numbers(self._options.directory):
            held = {one.slot.number for one in self.held()}
            if number in held or len(self._adopted) >= _ADOPTED_AT_MOST:
                continue
            if self._nothing_in.get(number) == self._looks(number):
                continue
            one_more = self._adopt(number)
            if one_more is not None:
                self._adopted[number] = one_more
                work = True
                self.throttle.log(logging.INFO, "ADOPTED", "events of a process that has ended are delivered here")
        return work

    def shut(self, one: Open) -> None:
        """Close *one* cleanly and let others have it; whatever happens, its lock is freed."""
        try:
            self.begun(one, sure=True)
            mark(one.connection, "clean", 1)
            one.book.save()
            one.connection.execute("COMMIT")
            one.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except (sqlite3.Error, OSError, OutboxError) as error:
            self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"an outbox was not closed well: {told(error)}")
        self._drop(one)
        if one is self._own:
            self._own = None
        else:
            self._adopted.pop(one.slot.number, None)

    # Opening

    def _take_own(self) -> Open:
        directory = self._options.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        remote = remote_type(directory)
        if remote is not None and not self._options.allow_network:
            raise OutboxError(
                f"the outbox lies on a network file system ({remote}), where file locks cannot be trusted: "
                "choose a local directory, or add ?network=allow"
            )
        for number in range(_slots.MAX_SLOTS):
            slot = _slots.take(directory, number)
            if slot is None:
                continue
            try:
                return self._open(slot)
            except NotOurs as error:
                self._tell_left(number, error)
                slot.free()
            except BaseException:
                slot.free()
                raise
        raise OutboxError(f"all {_slots.MAX_SLOTS} slots of the outbox are taken")

    def _open(self, slot: _slots.Slot) -> Open:
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

    def _opened(self, slot: _slots.Slot, connection: sqlite3.Connection) -> Open:
        options = self._options
        slot.connection = connection
        tag = f"{slot.number}.{os.urandom(4).hex()}."
        book = Book(connection, tag, options.policy, options.limits, options.seal, options.rng)
        connection.execute("BEGIN IMMEDIATE")
        book.load()
        # A process that ended without closing holds nothing any more: its leases are over.
        book.adopt(orphaned=marks(connection).get("clean") != 1)
        mark(connection, "clean", 0)
        connection.execute("COMMIT")
        reserve = Reserve(slot.path.with_suffix(".reserve"))
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        return Open(slot, connection, book, reserve, slot.path.stat().st_ino, version, used=True)

    def _adopt(self, number: int) -> Open | None:
        slot = _slots.take(self._options.directory, number)
        if slot is None:
            return None
        try:
            one = self._open(slot)
        except (NotOurs, OSError, sqlite3.Error) as error:
            self._tell_left(number, error)
            slot.free()
            self._nothing_in[number] = self._looks(number)
            return None
        if one.book.idle():
            self._leave(one)
            return None
        return one

    def _leave(self, one: Open) -> None:
        self.shut(one)
        self._nothing_in[one.slot.number] = self._looks(one.slot.number)

    def _tell_left(self, number: int, error: Exception) -> None:
        if number not in self._left_alone:
            self._left_alone.add(number)
            self.throttle.change(logging.ERROR, ErrorCode.OUTBOX_FAILED, told(error))

    def _looks(self, number: int) -> object:
        """Return what changes when anybody writes to slot *number*."""
        path = _slots.file_of(self._options.directory, number)
        log = path.with_name(f"{path.name}-wal")
        return [(s.st_ino, s.st_size, s.st_mtime_ns) for p in (path, log) if (s := _stat(p)) is not None]

    # Replacing

    def _vanished(self, one: Open, sure: bool) -> bool:
        now = time.monotonic()
        if not sure and now < one.seen_at + _LOOK_S:
            return False
        one.seen_at = now
        try:
            return os.stat(one.file).st_ino != one.inode or (one.used and not os.stat(one.log))  # noqa: PTH116
        except OSError:
            return True

    def _refile(self, one: Open, why: str) -> None:
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
        self.throttle.change(logging.ERROR, ErrorCode.DAMAGED, f"{why}{kept}", saved=saved)
        return fresh

    def _drop(self, one: Open) -> None:
        one.begun = False
        with contextlib.suppress(sqlite3.Error):
            one.connection.close()
        one.slot.connection = None
        one.slot.free()

    def _failing(self, error: Exception) -> None:
        self.trouble = told(error)
        self._retry_at = time.monotonic() + RETRY_S
        how = "nothing is stored" if self._options.required else "events are kept in memory only"
        self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"{how}: {self.trouble}")


def told(error: Exception) -> str:
    """Return *error* as text for people, without what SQLite may quote of the data."""
    if isinstance(error, OutboxError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return getattr(error, "sqlite_errorname", type(error).__name__)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _size(path: Path) -> int:
    status = _stat(path)
    return 0 if status is None else status.st_size
