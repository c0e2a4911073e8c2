"""The slots that one process has open."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite import slot_lock
from flagmw.outbox.sqlite.business_keys import BusinessKeys, KeyHolder
from flagmw.outbox.sqlite.database import is_damage, lacks_room, mark, sound
from flagmw.outbox.sqlite.disk import is_low, remote_type, reserve_bytes, status, sync
from flagmw.outbox.sqlite.rows import PackedEvent
from flagmw.outbox.sqlite.slot import OpenSlot, Options, SlotOpener, drop, error_text, vanished

_AT_MOST = 16


RETRY_S = 5.0
_PULSES = 8
_VACUUM_PAGES = 64
_BUSY_STEPS = 4
# Pages that are kept for the next events, unless the disk has no room.
_FREE_PAGES = 256
_LONG_LOG_BYTES = 64 * 1024 * 1024

# What a process runs out of, which says nothing of a slot.
_OF_THE_PROCESS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

logger = logging.getLogger("flagmw.outbox")


class OpenSlots:
    """Open, begin, commit, mend and give back. Everything in one thread at a time."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._trouble: str | None = None
        self.closed = False
        self.throttle = Throttle(logger)
        self.keys = BusinessKeys(options.directory, options.policy, allow_network=options.allow_network)
        self._opener = SlotOpener(options, self.throttle, self.keys)
        self._adoption = Adoption(options, self._opener, self.throttle, self.shut)
        self._own: OpenSlot | None = None
        self._current: OpenSlot | None = None
        self._retry_at = 0.0

    @property
    def trouble(self) -> str | None:
        """The current fault as text; None while all is well."""
        adrift = next((slot_file.adrift for slot_file in self.held() if slot_file.adrift is not None), None)
        return self._trouble or adrift or next(iter(self._opener.left.values()), None)

    def own(self) -> OpenSlot:
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

    def all(self) -> list[OpenSlot]:
        """Return the usable slots: the process's own first, which is opened if it can be."""
        with contextlib.suppress(OutboxError):
            self.own()
        return self.held()

    def held(self) -> list[OpenSlot]:
        return [*([self._own] if self._own else []), *self._adoption.slots.values()]

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
                slot_file.book.key_changes.clear()
                with contextlib.suppress(sqlite3.Error):
                    if slot_file.connection.in_transaction:
                        slot_file.connection.execute("ROLLBACK")

    # Business keys

    def taken(self, slot_file: OpenSlot, rows: Sequence[PackedEvent], now: float) -> set[str]:
        """Return the ids of *rows* for *slot_file* whose business key belongs to another event of any slot."""
        keyed = [KeyHolder(row.key, row.id) for row in rows if row.key is not None]
        if not keyed:
            return set()
        # What is old enough is given up first.
        slot_file.book.advance(now)
        self.keep_keys(slot_file)
        try:
            return self.keys.reserve(keyed)
        except OutboxError:
            return set()  # told by whoever asked before; the slot itself knows its own

    def keep_keys(self, slot_file: OpenSlot) -> None:
        """Note what the last commit has changed of business keys."""
        if slot_file.book.key_changes:
            changes = list(slot_file.book.key_changes)
            slot_file.book.key_changes.clear()
            if not self.keys.apply(changes):
                self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, "the file of business keys cannot be written")

    # Bad times

    def mend(self, error: sqlite3.Error | OSError) -> bool:
        """Do about *error* what can be done; return whether the job should be tried again."""
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
        if slot_file is self._own:
            self._own = None
            self._failing(error)
        else:
            self._adoption.slots.pop(slot_file.slot.number, None)
        return False

    def make_room(self) -> bool:
        """Make room for a delete on a full disk; return whether any was made.

        A log that is written back is used from its beginning again. What it holds may need room in the database,
        which the reserve has.
        """
        cleared = [self._write_back(slot_file) for slot_file in self.held()]
        if any(cleared):
            return True
        released = [slot_file.reserve.release() for slot_file in self.held()]
        for slot_file in self.held():
            slot_file.reserved, slot_file.reserve_at = False, time.monotonic() + RETRY_S
            self._write_back(slot_file)
        return any(released)

    def keep_reserves(self) -> None:
        """Take what room deletes may need one day; not while a slot is opened, when a request may be waiting."""
        for slot_file in self.held():
            if not slot_file.reserved and time.monotonic() >= slot_file.reserve_at:
                slot_file.reserve_at = time.monotonic() + RETRY_S
                slot_file.reserved = not self.is_low() and slot_file.reserve.keep()

    def is_low(self) -> bool:
        """Say whether the disk has too little room for new events, beside what a reserve needs that was given up."""
        directory = self._options.directory
        if self._options.disk_is_low(directory):
            return True
        given_up = any(not slot_file.reserved and slot_file.reserve_at > 0 for slot_file in self.held())
        return given_up and is_low(directory, reserve_bytes(directory))

    def _write_back(self, slot_file: OpenSlot) -> bool:
        """Write the log of *slot_file* back as far as that needs no room; return whether it begins anew."""
        try:
            busy, pages, written = slot_file.connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error:
            return False
        return not busy and 0 < pages == written

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
            low = self.is_low()
            self._give_back(slot_file, 0 if low else _FREE_PAGES, go_on)
            # On a disk that is nearly full the log keeps its room: nobody else would give it back.
            slot_file.connection.execute(f"PRAGMA wal_checkpoint({'RESTART' if low else 'TRUNCATE'})").fetchall()
            slot_file.used = False
            log = status(slot_file.log)
            if log is not None and log.st_size > _LONG_LOG_BYTES:
                self.throttle.log(
                    logging.WARNING, ErrorCode.OUTBOX_FAILED, "a reader keeps the outbox's log from shrinking"
                )
        return any(not slot_file.checked for slot_file in self.held())

    def adopt(self) -> bool:
        """Take slots of dead processes, and let go of those that are empty; return whether there is new work."""
        for slot_file in self.held():
            if vanished(slot_file, sure=True):
                self._rehouse(slot_file)
            with contextlib.suppress(OSError):
                slot_file.slot.keep()
        self._renew_keys()
        return self._adoption.turn(self._own)

    def _renew_keys(self) -> None:
        """Do what could not be done to the keys, and enter them anew in a file that replaced another."""
        self.keys.apply()
        self.keys.tidy()
        for slot_file in self.held():
            if slot_file.keys_in != self.keys.instance:
                self.begun(slot_file)
                self._opener.enter_keys(slot_file)
                self.commit()

    def salvage(self) -> bool:
        """Copy some rows out of damaged files; return whether more are left."""
        for slot_file in self.held():
            if slot_file.salvage is not None:
                self._current = slot_file
                self._opener.salvage(slot_file)
        return self.salvages()

    def salvages(self) -> bool:
        """Say whether rows of damaged files are not here yet."""
        return any(slot_file.salvage is not None for slot_file in self.held())

    def stood_still(self, seconds: float) -> None:
        """Let no lease run out for a time in which the process, or its disk, stood still: its holder lives."""
        for slot_file in self.held():
            if slot_file.book.shortest_lease_s() is not None:
                self.begun(slot_file).book.stood_still(seconds)
        self.commit()

    def pulse_s(self) -> float:
        """Return how often one must look at the time to notice that it stood still."""
        leases = [lease_s for slot_file in self.held() if (lease_s := slot_file.book.shortest_lease_s()) is not None]
        return max(0.05, min(leases, default=float("inf")) / _PULSES)

    def shut(self, slot_file: OpenSlot) -> None:
        """Close *slot_file* cleanly and let others have it; whatever happens, its lock is freed."""
        try:
            try:
                self._end(slot_file)
            except sqlite3.Error as error:
                self.rollback()
                if not lacks_room(error) or not self.make_room():
                    raise
                self._end(slot_file)
        except (sqlite3.Error, OSError, OutboxError) as error:
            self.throttle.log(
                logging.ERROR, ErrorCode.OUTBOX_FAILED, f"an outbox was not closed well: {error_text(error)}"
            )
        drop(slot_file)
        if not slot_file.reserved and (slot_file.reserve_at > 0 or self.is_low()):
            # The room of the log and the index, which whoever opens the file next needs again.
            slot_file.reserve.keep(partly=True)
        if slot_file is self._own:
            self._own = None
        else:
            self._adoption.slots.pop(slot_file.slot.number, None)

    def give_back(self) -> None:
        """Give some room of the databases back while there is work: on a full disk nobody can wait for quiet."""
        for slot_file in self.held():
            steps = iter(range(_BUSY_STEPS))
            self._give_back(slot_file, 0, lambda steps=steps: next(steps, None) is not None)  # type: ignore[misc]

    def _give_back(self, slot_file: OpenSlot, free: int, go_on: Callable[[], bool]) -> None:
        """Give room of the database back to the disk, all but *free* pages, in steps that the log has room for."""
        slot_file.connection.execute("PRAGMA incremental_vacuum(1)")
        before = None
        while go_on():
            pages = slot_file.connection.execute("PRAGMA freelist_count").fetchone()[0]
            if pages <= free or pages == before:
                return
            before = pages
            self.begun(slot_file)
            for _ in range(min(pages - free, _VACUUM_PAGES)):
                # One call ends after one page, whatever number it is given.
                slot_file.connection.execute("PRAGMA incremental_vacuum(1)")
            self.commit()

    def _end(self, slot_file: OpenSlot) -> None:
        self.begun(slot_file, sure=True)
        mark(slot_file.connection, "clean", 1)
        slot_file.book.save()
        slot_file.connection.execute("COMMIT")
        slot_file.begun = False
        self.keep_keys(slot_file)
        slot_file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # Opening

    def _take_own(self) -> OpenSlot:
        directory = self._options.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        remote = remote_type(directory)
        if remote is not None and not self._options.allow_network:
            raise OutboxError(
                f"the outbox lies on a network file system ({remote}), where file locks cannot be trusted: "
                "choose a local directory, or add ?network=allow"
            )
        for number in range(slot_lock.MAX_SLOTS):
            slot_file = self._take(directory, number)
            if slot_file is not None:
                return slot_file
        raise OutboxError(f"all {slot_lock.MAX_SLOTS} slots of the outbox are taken")

    def _take(self, directory: Path, number: int) -> OpenSlot | None:
        """Return slot *number*; None if another has it or it cannot be opened, which says nothing of the others.

        Raises:
            sqlite3.Error, OSError, OutboxError: not even a new one can be made there.
        """
        path = slot_lock.file_of(directory, number)
        new = not os.path.lexists(path) and not os.path.lexists(path.with_suffix(".lock"))
        slot = None
        try:
            slot = slot_lock.take(directory, number)
            return None if slot is None else self._opener.open(slot)
        except (OutboxError, OSError, sqlite3.Error) as error:
            if new:
                # No empty files are left behind with every try.
                for new_path in (path, path.with_suffix(".lock")) if slot is not None else ():
                    new_path.unlink(missing_ok=True)
            if slot is not None:
                slot.free()
            if new or (isinstance(error, OSError) and error.errno in _OF_THE_PROCESS):
                raise
            if isinstance(error, sqlite3.Error) and lacks_room(error) and is_low(directory):
                raise
            self._opener.leave(number, error)
            return None

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

    def _failing(self, error: Exception) -> None:
        self._trouble = error_text(error)
        self._retry_at = time.monotonic() + RETRY_S
        how = "nothing is stored" if self._options.required else "events are kept in memory only"
        self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"{how}: {self._trouble}")


class Adoption:
    """Adopted slots of dead processes, by number, and the slots known to be empty.

    Args:
        shut: closes a slot cleanly and lets others have it.
    """

    def __init__(
        self, options: Options, opener: SlotOpener, throttle: Throttle, shut: Callable[[OpenSlot], None]
    ) -> None:
        self._directory, self._opener, self._throttle, self._shut = options.directory, opener, throttle, shut
        self.slots: dict[int, OpenSlot] = {}
        self._nothing_in: dict[int, object] = {}

    def turn(self, own: OpenSlot | None) -> bool:
        """Let go of what is empty, and take what has no process; return whether there is new work."""
        for number, slot_file in list(self.slots.items()):
            if slot_file.book.idle():
                del self.slots[number]
                self._leave(slot_file)
        work = False
        numbers = list(slot_lock.numbers(self._directory))
        for number in self._opener.left.keys() - set(numbers):
            del self._opener.left[number]
        for number in numbers:
            mine = number in self.slots or (own is not None and number == own.slot.number)
            if mine or len(self.slots) >= _AT_MOST or self._nothing_in.get(number) == self._looks(number):
                continue
            one_more = self._take(number)
            if one_more is not None:
                self.slots[number] = one_more
                work = True
                self._throttle.log(logging.INFO, "ADOPTED", "events of a process that has ended are delivered here")
        return work

    def _take(self, number: int) -> OpenSlot | None:
        slot = None
        try:
            slot = slot_lock.take(self._directory, number)
            if slot is None:
                return None
            slot_file = self._opener.open(slot)
        except (OutboxError, OSError, sqlite3.Error) as error:
            # Whatever is wrong with this one, the others have events too.
            self._opener.leave(number, error)
            if slot is not None:
                slot.free()
            self._nothing_in[number] = self._looks(number)
            return None
        if slot_file.book.idle():
            self._leave(slot_file)
            return None
        return slot_file

    def _leave(self, slot_file: OpenSlot) -> None:
        self._shut(slot_file)
        self._nothing_in[slot_file.slot.number] = self._looks(slot_file.slot.number)

    def _looks(self, number: int) -> object:
        """Return a value that changes with every write to slot *number*."""
        path = slot_lock.file_of(self._directory, number)
        log = path.with_name(f"{path.name}-wal")
        return [(s.st_ino, s.st_size, s.st_mtime_ns) for p in (path, log) if (s := status(p)) is not None]
