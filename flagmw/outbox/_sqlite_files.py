"""The files of a directory that one process has open: a slot of its own, and slots of dead processes until empty."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flagmw._log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox import _slots
from flagmw.outbox._disk import remote_type, status, sync
from flagmw.outbox._keys import Held, Keys
from flagmw.outbox._sqlite_adoption import Adoption
from flagmw.outbox._sqlite_file import NotOurs, is_damage, mark, sound
from flagmw.outbox._sqlite_rows import Packed
from flagmw.outbox._sqlite_slot import Open, Opener, Options, drop, told, vanished

RETRY_S = 5.0
_VACUUM_PAGES = 2_000
_LONG_LOG_BYTES = 64 * 1024 * 1024

logger = logging.getLogger("flagmw.outbox")


class Files:
    """Open, begin, commit, mend and give back. Everything in one thread at a time."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.trouble: str | None = None
        self.closed = False
        self.throttle = Throttle(logger)
        self.keys = Keys(options.directory, options.policy, allow_network=options.allow_network)
        self._opener = Opener(options, self.throttle, self.keys)
        self._adoption = Adoption(options, self._opener, self.throttle, self.shut)
        self._own: Open | None = None
        self._current: Open | None = None
        self._retry_at = 0.0

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
        return [*([self._own] if self._own else []), *self._adoption.slots.values()]

    # Transactions

    def begun(self, one: Open, *, sure: bool = False) -> Open:
        """Begin a transaction on *one* unless it has begun; *sure* that its files are still there."""
        if one.begun:
            return one
        self._current = one
        if vanished(one, sure=sure):
            self._opener.refile(one, "somebody removed a file of the outbox while it was in use")
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
                self.keep_keys(one)
                if one.book.took_proof() and not self._options.full_sync:
                    # The proof that an event may have been sent must not be undone while the event itself is not.
                    sync(Path(one.log))

    def rollback(self) -> None:
        for one in self.held():
            if one.begun:
                one.begun = False
                one.version = -1  # so that the mirror is read anew
                one.book.key_changes.clear()
                with contextlib.suppress(sqlite3.Error):
                    if one.connection.in_transaction:
                        one.connection.execute("ROLLBACK")

    # Business keys

    def taken(self, one: Open, rows: Sequence[Packed], now: float) -> set[str]:
        """Return the ids of those of *rows*, for slot *one*, whose business key another event has in whichever slot."""
        keyed = [Held(row.key, row.id) for row in rows if row.key is not None]
        if not keyed:
            return set()
        # What is old enough is given up first.
        one.book.advance(now)
        self.keep_keys(one)
        try:
            return self.keys.reserve(keyed)
        except OutboxError:
            return set()  # told by whoever asked before; the slot itself knows its own

    def keep_keys(self, one: Open) -> None:
        """Note what the last commit has changed of business keys."""
        if one.book.key_changes:
            changes = list(one.book.key_changes)
            one.book.key_changes.clear()
            if not self.keys.apply(changes):
                self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, "the file of business keys cannot be written")

    # Bad times

    def mend(self, error: sqlite3.Error | OSError) -> bool:
        """Do about *error* what can be done; return whether the job should be tried again."""
        one = self._current
        if one is None or one not in self.held():
            return False
        if isinstance(error, sqlite3.Error) and is_damage(error):
            try:
                self._opener.refile(one, "a file of the outbox is damaged")
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
                    self._opener.refile(one, "a file of the outbox is damaged")
                one.checked = verdict is not None
            one.connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
            one.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            one.used = False
            one.reserved = False
            log = status(Path(one.log))
            if log is not None and log.st_size > _LONG_LOG_BYTES:
                self.throttle.log(
                    logging.WARNING, ErrorCode.OUTBOX_FAILED, "a reader keeps the outbox's log from shrinking"
                )
        return any(not one.checked for one in self.held())

    def adopt(self) -> bool:
        """Take slots of dead processes, and let go of those that are empty; return whether there is new work."""
        self._renew_keys()
        return self._adoption.turn(self._own)

    def _renew_keys(self) -> None:
        """Do what could not be done to the keys, and enter them anew in a file that replaced another."""
        self.keys.apply()
        self.keys.tidy()
        for one in self.held():
            if one.keys_in != self.keys.instance:
                self.begun(one)
                self._opener.enter_keys(one)
                self.commit()

    def shut(self, one: Open) -> None:
        """Close *one* cleanly and let others have it; whatever happens, its lock is freed."""
        try:
            self.begun(one, sure=True)
            mark(one.connection, "clean", 1)
            one.book.save()
            one.connection.execute("COMMIT")
            self.keep_keys(one)
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
            slot = _slots.take(directory, number)
            if slot is None:
                continue
            try:
                return self._opener.open(slot)
            except NotOurs as error:
                self._opener.tell_left(number, error)
                slot.free()
            except BaseException:
                slot.free()
                raise
        raise OutboxError(f"all {_slots.MAX_SLOTS} slots of the outbox are taken")

    def _failing(self, error: Exception) -> None:
        self.trouble = told(error)
        self._retry_at = time.monotonic() + RETRY_S
        how = "nothing is stored" if self._options.required else "events are kept in memory only"
        self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"{how}: {self.trouble}")
