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
from flagmw.outbox.sqlite.slot import OpenSlot, Options, SlotOpener, drop, told, vanished

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
        """What is wrong at the moment, for people; None when nothing is."""
        adrift = next((one.adrift for one in self.held() if one.adrift is not None), None)
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
        """Return what can be used: the process's own first, which is opened if it can be."""
        with contextlib.suppress(OutboxError):
            self.own()
        return self.held()

    def held(self) -> list[OpenSlot]:
        return [*([self._own] if self._own else []), *self._adoption.slots.values()]

    # Transactions

    def begun(self, one: OpenSlot, *, sure: bool = False) -> OpenSlot:
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
                self.keep_keys(one)
                if one.book.took_proof() and not self._options.full_sync:
                    # The proof that an event may have been sent must not be undone while the event itself is not.
                    sync(one.log)

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

    def taken(self, one: OpenSlot, rows: Sequence[PackedEvent], now: float) -> set[str]:
        """Return the ids of those of *rows*, for slot *one*, whose business key another event has in whichever slot."""
        keyed = [KeyHolder(row.key, row.id) for row in rows if row.key is not None]
        if not keyed:
            return set()
        # What is old enough is given up first.
        one.book.advance(now)
        self.keep_keys(one)
        try:
            return self.keys.reserve(keyed)
        except OutboxError:
            return set()  # told by whoever asked before; the slot itself knows its own

    def keep_keys(self, one: OpenSlot) -> None:
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

    def make_room(self) -> bool:
        """Make room for a delete on a full disk; return whether any was made.

        A log that is written back is used from its beginning again. What it holds may need room in the database,
        which the reserve has.
        """
        made = [self._write_back(one) for one in self.held()]
        if any(made):
            return True
        released = [one.reserve.release() for one in self.held()]
        for one in self.held():
            one.reserved, one.reserve_at = False, time.monotonic() + RETRY_S
            self._write_back(one)
        return any(released)

    def keep_reserves(self) -> None:
        """Take what room deletes may need one day; not while a slot is opened, when a request may be waiting."""
        for one in self.held():
            if not one.reserved and time.monotonic() >= one.reserve_at:
                one.reserve_at = time.monotonic() + RETRY_S
                one.reserved = not self.is_low() and one.reserve.keep()

    def is_low(self) -> bool:
        """Say whether the disk has too little room for new events, beside what a reserve needs that was given up."""
        directory = self._options.directory
        if self._options.disk_is_low(directory):
            return True
        given_up = any(not one.reserved and one.reserve_at > 0 for one in self.held())
        return given_up and is_low(directory, reserve_bytes(directory))

    def _write_back(self, one: OpenSlot) -> bool:
        """Write the log of *one* back as far as that needs no room; return whether it begins anew."""
        try:
            busy, pages, written = one.connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error:
            return False
        return not busy and 0 < pages == written

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
            low = self.is_low()
            self._give_back(one, 0 if low else _FREE_PAGES, go_on)
            # On a disk that is nearly full the log keeps its room: nobody else would give it back.
            one.connection.execute(f"PRAGMA wal_checkpoint({'RESTART' if low else 'TRUNCATE'})").fetchall()
            one.used = False
            log = status(one.log)
            if log is not None and log.st_size > _LONG_LOG_BYTES:
                self.throttle.log(
                    logging.WARNING, ErrorCode.OUTBOX_FAILED, "a reader keeps the outbox's log from shrinking"
                )
        return any(not one.checked for one in self.held())

    def adopt(self) -> bool:
        """Take slots of dead processes, and let go of those that are empty; return whether there is new work."""
        for one in self.held():
            if vanished(one, sure=True):
                self._rehouse(one)
            with contextlib.suppress(OSError):
                one.slot.keep()
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

    def salvage(self) -> bool:
        """Copy some rows out of damaged files; return whether more are left."""
        for one in self.held():
            if one.salvage is not None:
                self._current = one
                self._opener.salvage(one)
        return self.salvages()

    def salvages(self) -> bool:
        """Say whether rows of damaged files are not here yet."""
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

    def shut(self, one: OpenSlot) -> None:
        """Close *one* cleanly and let others have it; whatever happens, its lock is freed."""
        try:
            try:
                self._end(one)
            except sqlite3.Error as error:
                self.rollback()
                if not lacks_room(error) or not self.make_room():
                    raise
                self._end(one)
        except (sqlite3.Error, OSError, OutboxError) as error:
            self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"an outbox was not closed well: {told(error)}")
        drop(one)
        if not one.reserved and (one.reserve_at > 0 or self.is_low()):
            # The room of the log and the index, which whoever opens the file next needs again.
            one.reserve.keep(partly=True)
        if one is self._own:
            self._own = None
        else:
            self._adoption.slots.pop(one.slot.number, None)

    def give_back(self) -> None:
        """Give some room of the databases back while there is work: on a full disk nobody can wait for quiet."""
        for one in self.held():
            steps = iter(range(_BUSY_STEPS))
            self._give_back(one, 0, lambda steps=steps: next(steps, None) is not None)  # type: ignore[misc]

    def _give_back(self, one: OpenSlot, free: int, go_on: Callable[[], bool]) -> None:
        """Give room of the database back to the disk, all but *free* pages, in steps that the log has room for."""
        one.connection.execute("PRAGMA incremental_vacuum(1)")
        before = None
        while go_on():
            pages = one.connection.execute("PRAGMA freelist_count").fetchone()[0]
            if pages <= free or pages == before:
                return
            before = pages
            self.begun(one)
            for _ in range(min(pages - free, _VACUUM_PAGES)):
                # One call ends after one page, whatever number it is given.
                one.connection.execute("PRAGMA incremental_vacuum(1)")
            self.commit()

    def _end(self, one: OpenSlot) -> None:
        self.begun(one, sure=True)
        mark(one.connection, "clean", 1)
        one.book.save()
        one.connection.execute("COMMIT")
        one.begun = False
        self.keep_keys(one)
        one.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

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
            one = self._take(directory, number)
            if one is not None:
                return one
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
                for made in (path, path.with_suffix(".lock")) if slot is not None else ():
                    made.unlink(missing_ok=True)
            if slot is not None:
                slot.free()
            if new or (isinstance(error, OSError) and error.errno in _OF_THE_PROCESS):
                raise
            if isinstance(error, sqlite3.Error) and lacks_room(error) and is_low(directory):
                raise
            self._opener.leave(number, error)
            return None

    def _rehouse(self, one: OpenSlot) -> None:
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


class Adoption:
    """What this process has taken over, by number, and what it knows of slots that held nothing for it.

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
        for number, one in list(self.slots.items()):
            if one.book.idle():
                del self.slots[number]
                self._leave(one)
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
            one = self._opener.open(slot)
        except (OutboxError, OSError, sqlite3.Error) as error:
            # Whatever is wrong with this one, the others have events too.
            self._opener.leave(number, error)
            if slot is not None:
                slot.free()
            self._nothing_in[number] = self._looks(number)
            return None
        if one.book.idle():
            self._leave(one)
            return None
        return one

    def _leave(self, one: OpenSlot) -> None:
        self._shut(one)
        self._nothing_in[one.slot.number] = self._looks(one.slot.number)

    def _looks(self, number: int) -> object:
        """Return what changes when anybody writes to slot *number*."""
        path = slot_lock.file_of(self._directory, number)
        log = path.with_name(f"{path.name}-wal")
        return [(s.st_ino, s.st_size, s.st_mtime_ns) for p in (path, log) if (s := status(p)) is not None]
