"""The slots that one process has open."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence

from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite.adoption import Adoption
from flagmw.outbox.sqlite.business_keys import DirectoryKeys, KeyHolder
from flagmw.outbox.sqlite.database import is_damage, lacks_room, mark, sound
from flagmw.outbox.sqlite.disk import status, sync
from flagmw.outbox.sqlite.disk_room import DiskRoom
from flagmw.outbox.sqlite.own_slot import OwnSlot
from flagmw.outbox.sqlite.rows import PackedEvent
from flagmw.outbox.sqlite.slot import KEYS_LEFT, RETRY_S, OpenSlot, SlotOptions, drop, error_text, vanished
from flagmw.outbox.sqlite.slot_opener import SlotOpener

_PULSES = 8
# Pages that are kept for the next events, unless the disk has no room.
_FREE_PAGES = 256
_LONG_LOG_BYTES = 64 * 1024 * 1024

logger = logging.getLogger("flagmw.outbox")


class OpenSlots:
    """Open slots, run transactions, repair and free slots. Everything runs in one thread at a time."""

    def __init__(self, options: SlotOptions) -> None:
        self._options = options
        self.closed = False
        self.throttle = Throttle(logger)
        self.keys = DirectoryKeys(options.directory, options.policy, allow_network=options.allow_network)
        self._opener = SlotOpener(options, self.throttle, self.keys)
        self._adoption = Adoption(options, self._opener, self.throttle, self.shut)
        self._own = OwnSlot(options, self._opener, self.throttle)
        self._current: OpenSlot | None = None
        self.room = DiskRoom(options, self)

    @property
    def trouble(self) -> str | None:
        """The current fault as text; None while all is well."""
        adrift = next((slot_file.adrift for slot_file in self.held() if slot_file.adrift is not None), None)
        return self._own.trouble or adrift or next(iter(self._opener.left.values()), None)

    def own(self) -> OpenSlot:
        """Return the slot of this process, taken at the first call.

        Raises:
            OutboxError: none can be had at the moment; the text says why.
        """
        if self.closed:
            raise OutboxError("the outbox is closed; make a new one")
        return self._own.get()

    def all(self) -> list[OpenSlot]:
        """Return the usable slots: the process's own first, which is opened if it can be."""
        with contextlib.suppress(OutboxError):
            self.own()
        return self.held()

    def held(self) -> list[OpenSlot]:
        own = self._own.slot_file
        return [*([own] if own else []), *self._adoption.slots.values()]

    # Transactions

    def begun(self, slot_file: OpenSlot, *, sure: bool = False) -> OpenSlot:
        """Begin a transaction on *slot_file* unless it has begun; *sure* that its files are still there."""
        if slot_file.begun:
            return slot_file
        self._current = slot_file
        if vanished(slot_file, sure=sure) and (sure or time.monotonic() >= slot_file.retry_at):
            self._rehouse(slot_file)
        # IMMEDIATE: a transaction that first reads and then writes could fail at once, whatever the time to wait.
        slot_file.connection.execute("BEGIN IMMEDIATE")
        slot_file.begun = True
        version = slot_file.connection.execute("PRAGMA data_version").fetchone()[0]
        if version != slot_file.version:
            # Another program, such as `flagmw outbox`, has changed the file.
            slot_file.version = version
            slot_file.book.load()
        return slot_file

    def commit(self) -> None:
        for slot_file in self.held():
            if slot_file.begun:
                self._current = slot_file
                slot_file.book.save()
                slot_file.connection.execute("COMMIT")
                slot_file.begun, slot_file.used = False, True
                self.keep_keys(slot_file)
                if slot_file.book.took_proof() and not self._options.full_sync:
                    # The proof that an event may have been sent must not be undone while the event itself is not.
                    sync(slot_file.log)

    def rollback(self) -> None:
        for slot_file in self.held():
            if slot_file.begun:
                slot_file.begun = False
                slot_file.version = -1  # so that the mirror is read anew
                slot_file.book.keys.undone()
                with contextlib.suppress(sqlite3.Error):
                    if slot_file.connection.in_transaction:
                        slot_file.connection.execute("ROLLBACK")

    # Business keys

    def taken(self, slot_file: OpenSlot, rows: Sequence[PackedEvent], now: float) -> set[str]:
        """Return the ids of *rows* for *slot_file* whose business key belongs to another event of any slot."""
        keyed = [KeyHolder(row.key, row.id) for row in rows if row.key is not None]
        if not keyed:
            return set()
        # Expired keys are freed first.
        slot_file.book.advance(now)
        self.keep_keys(slot_file)
        try:
            return self.keys.reserve(keyed)
        except OutboxError:
            return set()  # told by whoever asked before; the slot itself knows its own

    def keep_keys(self, slot_file: OpenSlot) -> None:
        """Note what the last commit has changed of business keys."""
        if slot_file.book.keys.changes:
            changes = list(slot_file.book.keys.changes)
            slot_file.book.keys.changes.clear()
            if not self.keys.apply(changes):
                self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, "the file of business keys cannot be written")

    # Failures

    def mend(self, error: sqlite3.Error | OSError) -> bool:
        """React to *error*; return whether the job should be tried again."""
        slot_file = self._current
        if slot_file is None or slot_file not in self.held():
            return False
        if isinstance(error, sqlite3.Error) and is_damage(error):
            try:
                self._opener.refile(slot_file)
                return True
            except (sqlite3.Error, OSError, OutboxError) as worse:
                error = worse if isinstance(worse, sqlite3.Error | OSError) else error
        drop(slot_file)
        if slot_file is self._own.slot_file:
            self._own.failed(error)
        else:
            self._adoption.slots.pop(slot_file.slot.number, None)
        return False

    # Upkeep

    def untidy(self) -> bool:
        return any(slot_file.used for slot_file in self.held())

    def tidy(self, go_on: Callable[[], bool]) -> bool:
        """Write back the logs, give room back, and finish checks; return whether more is left to do."""
        for slot_file in self.held():
            if not slot_file.used and slot_file.checked:
                continue
            self._current = slot_file
            if not slot_file.checked:
                verdict = sound(slot_file.connection, go_on)
                if verdict is False:
                    self._opener.refile(slot_file)
                slot_file.checked = verdict is not None
            low = self.room.is_low()
            self.room.give_back_all(slot_file, 0 if low else _FREE_PAGES, go_on)
            # On a nearly full disk the log keeps its room: it could not get it back later.
            slot_file.connection.execute(f"PRAGMA wal_checkpoint({'RESTART' if low else 'TRUNCATE'})").fetchall()
            slot_file.used = False
            log = status(slot_file.log)
            if log is not None and log.st_size > _LONG_LOG_BYTES:
                self.throttle.log(
                    logging.WARNING,
                    ErrorCode.OUTBOX_FAILED,
                    "the outbox's log cannot shrink: another program reads the file",
                )
        return any(not slot_file.checked for slot_file in self.held())

    def adopt(self) -> bool:
        """Take slots of dead processes, and free those that are empty; return whether there is new work."""
        for slot_file in self.held():
            if vanished(slot_file, sure=True):
                self._rehouse(slot_file)
            with contextlib.suppress(OSError):
                slot_file.slot.keep()
        self._renew_keys()
        return self._adoption.turn(self._own.slot_file)

    def _renew_keys(self) -> None:
        """Do what could not be done to the keys, and enter them anew in a file that replaced another."""
        self.keys.apply()
        self.keys.tidy()
        for slot_file in self.held():
            if slot_file.keys_in not in (self.keys.instance, KEYS_LEFT):
                self._enter_keys(slot_file)
        self.enter_keys()

    def enter_keys(self) -> bool:
        """Enter some of the keys that are not where all processes look; return whether more may be left."""
        for slot_file in self.held():
            if slot_file.keys_in == KEYS_LEFT and slot_file.salvage is None:
                self._enter_keys(slot_file)
                return True
        return False

    def _enter_keys(self, slot_file: OpenSlot) -> None:
        self.begun(slot_file)
        self._opener.enter_keys(slot_file)
        self.commit()

    def salvage(self) -> bool:
        """Copy some rows out of damaged files; return whether more are left."""
        for slot_file in self.held():
            if slot_file.salvage is not None:
                self._current = slot_file
                self._opener.salvage(slot_file)
                break  # whoever stores an event waits for one step at most
        return self.salvages()

    def salvages(self) -> bool:
        """True when rows of damaged files are not here yet."""
        return any(slot_file.salvage is not None for slot_file in self.held())

    def stood_still(self, seconds: float) -> None:
        """Let no lease run out for a time in which the process, or its disk, stood still: its holder lives."""
        for slot_file in self.held():
            if slot_file.book.shortest_lease_s() is not None:
                self.begun(slot_file).book.stood_still(seconds)
        self.commit()

    def pulse_s(self) -> float:
        """Return the seconds between two looks at the time that notice when it stood still."""
        leases = [lease_s for slot_file in self.held() if (lease_s := slot_file.book.shortest_lease_s()) is not None]
        return max(0.05, min(leases, default=float("inf")) / _PULSES)

    def shut(self, slot_file: OpenSlot) -> None:
        """Close *slot_file* cleanly and let others have it; whatever happens, its lock is freed."""
        try:
            try:
                self._end(slot_file)
            except sqlite3.Error as error:
                self.rollback()
                if not lacks_room(error) or not self.room.make():
                    raise
                self._end(slot_file)
        except (sqlite3.Error, OSError, OutboxError) as error:
            self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"closing an outbox failed: {error_text(error)}")
        drop(slot_file)
        if not slot_file.reserved and (slot_file.reserve_at > 0 or self.room.is_low()):
            # The room of the log and the index, which the next process that opens the file needs.
            slot_file.reserve.keep(partly=True)
        if slot_file is self._own.slot_file:
            self._own.slot_file = None
        else:
            self._adoption.slots.pop(slot_file.slot.number, None)

    def _end(self, slot_file: OpenSlot) -> None:
        self.begun(slot_file, sure=True)
        mark(slot_file.connection, "clean", 1)
        slot_file.book.save()
        slot_file.connection.execute("COMMIT")
        slot_file.begun = False
        self.keep_keys(slot_file)
        slot_file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _rehouse(self, slot_file: OpenSlot) -> None:
        try:
            self._opener.rehouse(slot_file)
        except (sqlite3.Error, OSError, OutboxError) as error:
            slot_file.retry_at = time.monotonic() + RETRY_S
            slot_file.adrift = (
                f"somebody removed the outbox's files, and new ones cannot be made ({error_text(error)}): "
                "events are kept in open files, which end with this process"
            )
            self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, slot_file.adrift)
