"""Slot files, opened and replaced when they are damaged or missing."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time

from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite import slot_lock
from flagmw.outbox.sqlite.business_keys import DirectoryKeys
from flagmw.outbox.sqlite.database import Damaged, is_damage, mark, mark_moved, marks, open_file, undoubt
from flagmw.outbox.sqlite.disk import is_low
from flagmw.outbox.sqlite.header import fits
from flagmw.outbox.sqlite.queue import SlotQueue
from flagmw.outbox.sqlite.recovery import Recovery, set_aside
from flagmw.outbox.sqlite.slot import KEYS_LEFT, OpenSlot, SlotOptions, error_text, inode_of, paths_of, reserve_of

# The time to wait for the recovery of a damaged file; the rest is copied while the new file is in use.
_SALVAGE_S = 0.2


class SlotOpener:
    """Open slots' files and replace them. Losses are logged once.

    Attributes:
        left: by number, why slots are left alone.
    """

    def __init__(self, options: SlotOptions, throttle: Throttle, keys: DirectoryKeys) -> None:
        self._options, self._throttle, self._keys = options, throttle, keys
        self.left: dict[int, str] = {}

    def open(self, slot: slot_lock.Slot) -> OpenSlot:
        """Return *slot* with its file, which is replaced if it is damaged.

        Raises:
            NotOurs: it must be left alone.
            sqlite3.Error, OSError, OutboxError: it cannot be opened.
        """
        try:
            return self._open(slot)
        except Damaged:
            slot_file = self._replaced(slot)
            slot.free()
            return slot_file
        except sqlite3.Error:
            # Index and log need some room, which a full disk has only in the reserve.
            if not is_low(slot.path.parent) or not reserve_of(slot.path).release():
                raise
            return self._open(slot)

    def leave(self, number: int, error: Exception) -> None:
        """Do not use slot *number* any more, and log the reason once."""
        why = error_text(error)
        if not isinstance(error, OutboxError):
            why = f"slot-{number}.db cannot be opened ({why}): its events wait; give it to this user, or remove it"
        if self.left.get(number) != why:
            self.left[number] = why
            self._throttle.change(logging.ERROR, ErrorCode.OUTBOX_FAILED, why)

    def _open(self, slot: slot_lock.Slot) -> OpenSlot:
        options = self._options
        connection = open_file(slot.path, adopt_copies=options.adopt_copies, full_sync=options.full_sync)
        try:
            return self._opened(slot, connection, orphaned=True)
        except sqlite3.Error as error:
            # Some damage shows with the first write only.
            if is_damage(error) or not fits(slot.path):
                raise Damaged from error
            raise

    def _opened(self, slot: slot_lock.Slot, connection: sqlite3.Connection, *, orphaned: bool) -> OpenSlot:
        """Return *slot* with *connection*, which is closed if that fails; *orphaned* if its last process is gone."""
        options = self._options
        try:
            slot.connection = connection
            tag = f"{slot.number}.{os.urandom(4).hex()}."
            book = SlotQueue(connection, tag, options.policy, options.limits, options.seal, options.rng)
            book.keys.shared = self._keys
            connection.execute("BEGIN IMMEDIATE")
            book.load()
            # A process that ended without closing holds nothing any more: its leases are over.
            clean = marks(connection).get("clean") == 1
            book.adopt(orphaned=orphaned and not clean)
            mark(connection, "clean", 0)
            keys_in = self._enter_keys(book, closed_well=clean)
            book.save()
            connection.execute("COMMIT")
            self._keys.apply(book.keys.changes)
            book.keys.changes.clear()
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            salvage = Recovery.under_way(slot.path, connection)
        except BaseException:
            slot.connection = None
            connection.close()
            raise
        self.left.pop(slot.number, None)
        reserve = reserve_of(slot.path)
        files = tuple(inode_of(path) for path in paths_of(slot.path))
        return OpenSlot(
            slot, connection, book, reserve, files, (tag,), version, used=True, salvage=salvage, keys_in=keys_in
        )

    def salvage(self, slot_file: OpenSlot) -> None:
        """Copy some more rows of a damaged file into *slot_file*, in a transaction of their own.

        Raises:
            sqlite3.Error: they cannot be written; nothing has changed.
        """
        if slot_file.salvage is None:
            return
        slot_file.connection.execute("BEGIN IMMEDIATE")
        try:
            done = slot_file.book.salvaged(slot_file.salvage)
            if done:
                # Others have to hear of the business keys that came with the rows.
                mark(slot_file.connection, "keys", "")
                slot_file.keys_in = KEYS_LEFT
            slot_file.book.save()
            slot_file.connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                slot_file.connection.execute("ROLLBACK")
            slot_file.book.load()
            slot_file.salvage.back(slot_file.slot.path, slot_file.connection)
            raise
        slot_file.used = True
        if done:
            slot_file.salvage.close()
            text = f"what could be read of {slot_file.salvage.damaged.name} was copied"
            self._throttle.change(logging.WARNING, ErrorCode.DAMAGED, text, saved=slot_file.salvage.saved)
            slot_file.salvage = None

    def enter_keys(self, slot_file: OpenSlot) -> None:
        """Enter some of the slot's business keys where all processes look, in a file that replaced another."""
        slot_file.keys_in = self._enter_keys(slot_file.book, closed_well=False)

    def _enter_keys(self, book: SlotQueue, *, closed_well: bool) -> str:
        """Enter the keys unless that was done and cannot have been undone; return in which file they are.

        That is `KEYS_LEFT` as long as some are left for the next time, and "none" where there is no such file now.
        """
        try:
            if book.keys.any():
                instance = self._keys.identity()
                known = marks(book.connection).get("keys") == instance
                if known and not closed_well:
                    book.keys.enter_latest(self._keys)
                elif not known:
                    if not book.keys.enter_all(self._keys):
                        return KEYS_LEFT
                    mark(book.connection, "keys", instance)
        except OutboxError:
            return "none"  # tried again with the next look for slots of dead processes
        return self._keys.instance

    def refile(self, slot_file: OpenSlot) -> None:
        """Set the damaged file of *slot_file* aside and go on with a new one, into which is copied what can be read."""
        with contextlib.suppress(sqlite3.Error):
            if slot_file.connection.in_transaction:
                slot_file.connection.execute("ROLLBACK")
        slot_file.begun = False
        with contextlib.suppress(sqlite3.Error):
            slot_file.connection.close()
        old = slot_file.slot
        slot_file.become(self._replaced(old))
        slot_file.checked = True
        old.free()

    def rehouse(self, slot_file: OpenSlot) -> None:
        """Go on in files that have a name, after somebody removed or moved those of *slot_file*.

        Raises:
            sqlite3.Error, OSError, OutboxError: there can be none at the moment; *slot_file* stays as it is.
        """
        path = slot_file.slot.path
        if inode_of(path) == slot_file.files[0]:
            self._reopen(slot_file)
            self._throttle.change(
                logging.ERROR, ErrorCode.OUTBOX_FAILED, "somebody removed the log of the outbox; nothing was lost"
            )
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._unname_log(slot_file)
        slot = self._empty_slot(slot_file.slot)
        try:
            fresh = sqlite3.connect(slot.path, isolation_level=None)
            try:
                slot_file.connection.backup(fresh)
            finally:
                fresh.close()
            opened = open_file(slot.path, adopt_copies=True, full_sync=self._options.full_sync)
            new = self._opened(slot, opened, orphaned=False)
        except BaseException:
            with contextlib.suppress(OSError):
                slot.path.unlink()
            slot.free()
            raise
        old, before = slot_file.slot, slot_file.connection
        if slot_file.salvage is not None:
            slot_file.salvage.close()
        slot_file.become(new)
        with contextlib.suppress(sqlite3.Error):
            # The file may have another name now: a process that finds it must not deliver its events again.
            mark_moved(before)
            before.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            # Only now: an event that must not be sent twice is in doubt as long as there are two files.
            undoubt(new.connection, before)
        with contextlib.suppress(sqlite3.Error):
            before.close()
        old.free()
        text = f"somebody removed the outbox's files while they were in use: its events are in {slot.path.name} now"
        self._throttle.change(logging.ERROR, ErrorCode.OUTBOX_FAILED, text)

    @staticmethod
    def _unname_log(slot_file: OpenSlot) -> None:
        """Take the names from log and index of a database that has lost its own: a new one would take them for its."""
        slot_file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        for path, inode in zip(slot_file.paths[1:], slot_file.files[1:], strict=True):
            if inode_of(path) == inode:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108

    def _reopen(self, slot_file: OpenSlot) -> None:
        """Create log and index again; SQLite still has the old ones open."""
        busy = slot_file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise OutboxError("the outbox's log cannot be written back: another program reads the file")
        slot_file.connection.close()
        connection = open_file(slot_file.slot.path, adopt_copies=True, full_sync=self._options.full_sync)
        slot_file.become(self._opened(slot_file.slot, connection, orphaned=False))

    def _empty_slot(self, old: slot_lock.Slot) -> slot_lock.Slot:
        """Return a slot without events: that of *old* if nobody else has it by now."""
        for number in (old.number, *range(slot_lock.MAX_SLOTS)):
            slot = old.anew() if number == old.number else slot_lock.take(old.path.parent, number)
            if slot is None:
                continue
            if slot.path.stat().st_size == 0:
                return slot
            slot.free()
        raise OutboxError(f"all {slot_lock.MAX_SLOTS} slots of the outbox are taken")

    def _replaced(self, slot: slot_lock.Slot) -> OpenSlot:
        aside = set_aside(slot.path)
        fresh = slot.anew()
        if fresh is None:
            raise OutboxError("another process has the slot")
        try:
            connection = open_file(fresh.path, full_sync=self._options.full_sync)
            if aside is not None:
                Recovery.begin(aside, connection)
            remark = f"; the old one is kept as {aside.name}" if aside is not None else ""
            self._throttle.change(logging.ERROR, ErrorCode.DAMAGED, f"a file of the outbox is damaged{remark}")
            slot_file = self._opened(fresh, connection, orphaned=True)
            end = time.monotonic() + _SALVAGE_S
            while slot_file.salvage is not None and time.monotonic() < end:
                self.salvage(slot_file)
        except BaseException:
            fresh.free()
            raise
        return slot_file
