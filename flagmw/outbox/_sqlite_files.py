"""The files of a directory that one process has open: a slot of its own, and slots of dead processes until empty."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from flagmw._log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox import _slots
from flagmw.outbox._disk import remote_type, status
from flagmw.outbox._sqlite_adoption import Adoption
from flagmw.outbox._sqlite_file import is_damage, mark, sound
from flagmw.outbox._sqlite_slot import Open, Opener, Options, drop, told, vanished

RETRY_S = 5.0
_PULSES = 8
_VACUUM_PAGES = 2_000
_LONG_LOG_BYTES = 64 * 1024 * 1024

# What a process runs out of, which says nothing of a slot.
_OF_THE_PROCESS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

logger = logging.getLogger("flagmw.outbox")


class Files:
    """Open, begin, commit, mend and give back. Everything in one thread at a time."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._trouble: str | None = None
        self.closed = False
        self.throttle = Throttle(logger)
        self._opener = Opener(options, self.throttle)
        self._adoption = Adoption(options, self._opener, self.throttle, self.shut)
        self._own: Open | None = None
        self._current: Open | None = None
        self._retry_at = 0.0

    @property
    def trouble(self) -> str | None:
        """What is wrong at the moment, for people; None when nothing is."""
        adrift = next((one.adrift for one in self.held() if one.adrift is not None), None)
        return self._trouble or adrift or next(iter(self._opener.left.values()), None)

    def own(self) -> Open:
        """Return the slot of this process, taken at the first call.

        Raises:
            OutboxError: none can be had at the moment; the text says why.
        """
        if self.closed:
            raise OutboxError("the outbox is closed; make a new one")
        if self._own is None:
            if self._trouble is not None and time.monotonic() < self._retry_at:
                raise OutboxError(self._trouble)
            try:
                self._own = self._take_own()
            except (OSError, sqlite3.Error, OutboxError) as error:
                self._failing(error)
                raise OutboxError(self._trouble) from None
            if self._trouble is not None:
                self._trouble = None
                self.throttle.change(logging.WARNING, ErrorCode.OUTBOX_FAILED, "events are kept on disk again")
        return self._own

    def all(self) -> list[Open]:
        """Return what can be used: the process's own first, which is opened if it can be."""
        with contextlib.suppress(OutboxError):
            self.own()
        return self.held()

    def held(self) -> list[Open]:
        return [*([self._own] if self._own else []), *self._adoption.slots.values()]

    # Transactions

    def begun(self, one: Open, *, sure: bool = False) -> Open:
        """Begin a transaction on *one* unless it has begun; *sure* that its files are still there."""
        if one.begun:
            return one
        self._current = one
        if vanished(one, sure=sure) and (sure or time.monotonic() >= one.retry_at):
            self._rehouse(one)
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
                self._opener.refile(one)
                return True
            except (sqlite3.Error, OSError, OutboxError) as worse:
                error = worse if isinstance(worse, sqlite3.Error | OSError) else error
        drop(one)
        if one is self._own:
            self._own = None
            self._failing(error)
        else:
            self._adoption.slots.pop(one.slot.number, None)
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
                    self._opener.refile(one)
                one.checked = verdict is not None
            one.connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
            one.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            one.used = False
            one.reserved = False
            log = status(one.log)
            if log is not None and log.st_size > _LONG_LOG_BYTES:
                self.throttle.log(
                    logging.WARNING, ErrorCode.OUTBOX_FAILED, "a reader keeps the outbox's log from shrinking"
                )
        return any(not one.checked for one in self.held())

    def adopt(self) -> bool:
        """Take slots of dead processes, and let go of those that are empty; return whether there is new work."""
        for one in self.held():
            with contextlib.suppress(OSError):
                one.slot.keep()
        return self._adoption.turn(self._own)

    def salvage(self) -> bool:
        """Copy some rows out of damaged files; return whether more are left."""
        for one in self.held():
            if one.salvage is not None:
                self._current = one
                self._opener.salvage(one)
        return any(one.salvage is not None for one in self.held())

    def stood_still(self, seconds: float) -> None:
        """Let no lease run out for a time in which the process, or its disk, stood still: its holder lives."""
        for one in self.held():
            if one.book.shortest_lease_s() is not None:
                self.begun(one).book.stood_still(seconds)
        self.commit()

    def pulse_s(self) -> float:
        """Return how often one must look at the time to notice that it stood still."""
        leases = [lease_s for one in self.held() if (lease_s := one.book.shortest_lease_s()) is not None]
        return max(0.05, min(leases, default=float("inf")) / _PULSES)

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
        drop(one)
        if one is self._own:
            self._own = None
        else:
            self._adoption.slots.pop(one.slot.number, None)

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
            one = self._take(directory, number)
            if one is not None:
                return one
        raise OutboxError(f"all {_slots.MAX_SLOTS} slots of the outbox are taken")

    def _take(self, directory: Path, number: int) -> Open | None:
        """Return slot *number*; None if another has it or it cannot be opened, which says nothing of the others.

        Raises:
            sqlite3.Error, OSError, OutboxError: not even a new one can be made there.
        """
        path = _slots.file_of(directory, number)
        new = not os.path.lexists(path) and not os.path.lexists(path.with_suffix(".lock"))
        slot = None
        try:
            slot = _slots.take(directory, number)
            return None if slot is None else self._opener.open(slot)
        except (OutboxError, OSError, sqlite3.Error) as error:
            if new:
                # No empty files are left behind with every try.
                for made in (path, path.with_suffix(".lock")) if slot is not None else ():
                    made.unlink(missing_ok=True)
            if slot is not None:
                slot.free()
            if new or (isinstance(error, OSError) and error.errno in _OF_THE_PROCESS):
                raise
            self._opener.leave(number, error)
            return None

    def _rehouse(self, one: Open) -> None:
        try:
            self._opener.rehouse(one)
        except (sqlite3.Error, OSError, OutboxError) as error:
            one.retry_at = time.monotonic() + RETRY_S
            one.adrift = (
                f"somebody removed the outbox's files, and new ones cannot be made ({told(error)}): "
                "events are kept in open files, which end with this process"
            )
            self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, one.adrift)

    def _failing(self, error: Exception) -> None:
        self._trouble = told(error)
        self._retry_at = time.monotonic() + RETRY_S
        how = "nothing is stored" if self._options.required else "events are kept in memory only"
        self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"{how}: {self._trouble}")
