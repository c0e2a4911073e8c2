"""Adoption of the slots of dead processes."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from flagmw._support.log import Throttle
from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite import slot_lock
from flagmw.outbox.sqlite.disk import status
from flagmw.outbox.sqlite.slot import OpenSlot, SlotOptions
from flagmw.outbox.sqlite.slot_opener import SlotOpener

_AT_MOST = 16


class Adoption:
    """Adopted slots of dead processes, by number, and the slots known to be empty.

    Args:
        shut: closes a slot cleanly and lets others have it.
    """

    def __init__(
        self, options: SlotOptions, opener: SlotOpener, throttle: Throttle, shut: Callable[[OpenSlot], None]
    ) -> None:
        self._directory, self._opener, self._throttle, self._shut = options.directory, opener, throttle, shut
        self.slots: dict[int, OpenSlot] = {}
        self._nothing_in: dict[int, object] = {}

    def turn(self, own: OpenSlot | None) -> bool:
        """Free empty slots, and take slots of dead processes; return whether there is new work."""
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
                self._throttle.log(
                    logging.INFO, "ADOPTED", "this process delivers the events of a process that has ended"
                )
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
