"""The slots of processes that have died: taken over by a living one, until they are empty."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from flagmw._log import Throttle
from flagmw.exceptions import OutboxError
from flagmw.outbox import _slots
from flagmw.outbox._disk import status
from flagmw.outbox._sqlite_slot import Open, Opener, Options

_AT_MOST = 16


class Adoption:
    """What this process has taken over, by number, and what it knows of slots that held nothing for it.

    Args:
        shut: closes a slot cleanly and lets others have it.
    """

    def __init__(self, options: Options, opener: Opener, throttle: Throttle, shut: Callable[[Open], None]) -> None:
        self._directory, self._opener, self._throttle, self._shut = options.directory, opener, throttle, shut
        self.slots: dict[int, Open] = {}
        self._nothing_in: dict[int, object] = {}

    def turn(self, own: Open | None) -> bool:
        """Let go of what is empty, and take what has no process; return whether there is new work."""
        for number, one in list(self.slots.items()):
            if one.book.idle():
                del self.slots[number]
                self._leave(one)
        work = False
        numbers = list(_slots.numbers(self._directory))
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

    def _take(self, number: int) -> Open | None:
        slot = None
        try:
            slot = _slots.take(self._directory, number)
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

    def _leave(self, one: Open) -> None:
        self._shut(one)
        self._nothing_in[one.slot.number] = self._looks(one.slot.number)

    def _looks(self, number: int) -> object:
        """Return what changes when anybody writes to slot *number*."""
        path = _slots.file_of(self._directory, number)
        log = path.with_name(f"{path.name}-wal")
        return [(s.st_ino, s.st_size, s.st_mtime_ns) for p in (path, log) if (s := status(p)) is not None]
