"""Room on the disk: reserves for deletes, and room given back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Protocol

from flagmw.outbox.sqlite.disk import is_low, reserve_bytes
from flagmw.outbox.sqlite.slot import RETRY_S, OpenSlot, SlotOptions

_VACUUM_PAGES = 64
_BUSY_STEPS = 4


class Transactions(Protocol):
    """The transactions on open slots."""

    def held(self) -> list[OpenSlot]: ...

    def begun(self, slot_file: OpenSlot) -> OpenSlot: ...

    def commit(self) -> None: ...


class DiskRoom:
    """The room that a process's slots have, keep in reserve and give back."""

    def __init__(self, options: SlotOptions, slots: Transactions) -> None:
        self._options, self._slots = options, slots

    def make(self) -> bool:
        """Make room for a delete on a full disk; return whether any was made.

        A log that is written back is used from its beginning again. What it holds may need room in the database,
        which the reserve has.
        """
        cleared = [self._write_back(slot_file) for slot_file in self._slots.held()]
        if any(cleared):
            return True
        released = [slot_file.reserve.release() for slot_file in self._slots.held()]
        for slot_file in self._slots.held():
            slot_file.reserved, slot_file.reserve_at = False, time.monotonic() + RETRY_S
            self._write_back(slot_file)
        return any(released)

    def keep_reserves(self) -> None:
        """Reserve the room that later deletes may need; not while a slot is opened, when a request may be waiting."""
        for slot_file in self._slots.held():
            if not slot_file.reserved and time.monotonic() >= slot_file.reserve_at:
                slot_file.reserve_at = time.monotonic() + RETRY_S
                slot_file.reserved = not self.is_low() and slot_file.reserve.keep()

    def is_low(self) -> bool:
        """True when the disk has too little room for new events, beside what a reserve needs that was given up."""
        directory = self._options.directory
        if self._options.disk_is_low(directory):
            return True
        given_up = any(not slot_file.reserved and slot_file.reserve_at > 0 for slot_file in self._slots.held())
        return given_up and is_low(directory, reserve_bytes(directory))

    def give_back(self) -> None:
        """Give some room of the databases back during work: on a full disk this cannot wait for an idle moment."""
        for slot_file in self._slots.held():
            steps = iter(range(_BUSY_STEPS))
            self.give_back_all(slot_file, 0, lambda steps=steps: next(steps, None) is not None)  # type: ignore[misc]

    def give_back_all(self, slot_file: OpenSlot, free: int, go_on: Callable[[], bool]) -> None:
        """Give room of the database back to the disk, all but *free* pages, in steps that the log has room for."""
        slot_file.connection.execute("PRAGMA incremental_vacuum(1)")
        before = None
        while go_on():
            pages = slot_file.connection.execute("PRAGMA freelist_count").fetchone()[0]
            if pages <= free or pages == before:
                return
            before = pages
            self._slots.begun(slot_file)
            for _ in range(min(pages - free, _VACUUM_PAGES)):
                # One call ends after one page, whatever number it is given.
                slot_file.connection.execute("PRAGMA incremental_vacuum(1)")
            self._slots.commit()

    def _write_back(self, slot_file: OpenSlot) -> bool:
        """Write the log of *slot_file* back as far as that needs no room; return whether it begins anew."""
        try:
            busy, pages, written = slot_file.connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error:
            return False
        return not busy and 0 < pages == written
