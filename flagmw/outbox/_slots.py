"""Slots of a directory: one file each, and a lock that says which process it belongs to.

The lock is flock(2) on a file beside the database: the kernel frees it at any kind of death. A forked child shares
its parent's locks, so it lets go of its copies at once: otherwise a parent's slot would outlive the parent.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flagmw.exceptions import OutboxError

try:
    import fcntl
except ImportError:  # no POSIX: told when a slot is to be locked
    fcntl = None  # type: ignore[assignment]

_NAME = "slot-{}.db"
MAX_SLOTS = 1024

_held: weakref.WeakSet[Slot] = weakref.WeakSet()
# Held while a lock is taken: a fork in between would leave the child with a lock that nobody knows of.
_forking = threading.RLock()


class Slot:
    """A slot that this process holds until `free`, or until it dies."""

    def __init__(self, directory: Path, number: int, descriptor: int) -> None:
        self.number, self.path = number, directory / _NAME.format(number)
        self.connection: Any = None
        self._descriptor = descriptor

    def free(self) -> None:
        """Let others have it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        _held.discard(self)

    def forget(self) -> None:
        """In a forked child: drop the copy of the lock, and never touch the parent's database handle, not even to
        close it ("How To Corrupt An SQLite Database File", section 2.6): it is kept alive for good.
        """
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self.connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))


def take(directory: Path, number: int) -> Slot | None:
    """Return slot *number* of *directory*; None if another process, or another store of this one, has it.

    Raises:
        OSError: the lock file cannot be made.
        OutboxError: this system has no such locks.
    """
    if fcntl is None:
        raise OutboxError('outbox="sqlite://..." needs POSIX file locks; use "memory://" on this system')
    with _forking:
        path = (directory / _NAME.format(number)).with_suffix(".lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        slot = Slot(directory, number, descriptor)
        _held.add(slot)
        return slot


def is_free(directory: Path, number: int) -> bool:
    """Say whether no process has slot *number*; trying makes it busy for a moment."""
    slot = take(directory, number)
    if slot is None:
        return False
    slot.free()
    return True


def numbers(directory: Path) -> Iterator[int]:
    """Yield the numbers of the slots that have a file, lowest first."""
    found = []
    for path in directory.glob(_NAME.format("*")):
        number = path.stem.removeprefix("slot-")
        if number.isdigit():
            found.append(int(number))
    yield from sorted(found)


def file_of(directory: Path, number: int) -> Path:
    return directory / _NAME.format(number)


def _in_child() -> None:
    for slot in list(_held):
        slot.forget()
    _held.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_in_child)
