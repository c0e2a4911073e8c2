"""Numbered slots of a directory and their locks.

The locks are flock(2) on the database itself, which cannot vanish without its events, and on a file beside it, which is
all that earlier versions know. The kernel frees both at any kind of death. A forked child shares its parent's locks,
so it lets go of its copies at once: otherwise a parent's slot would outlive the parent.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite.disk import remote_type

try:
    import fcntl
except ImportError:  # no POSIX: told when a slot is to be locked
    fcntl = None  # type: ignore[assignment]

_NAME = "slot-{}.db"
MAX_SLOTS = 1024
# In a directory that others can write, what lies there under our names may be a link to a file of somebody else.
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)

_held: weakref.WeakSet[Slot] = weakref.WeakSet()
# Held while a lock is taken: a fork in between would leave the child with a lock that nobody knows of.
_forking = threading.RLock()
# Databases that this process looks into without having their slot, and descriptors of theirs to be closed afterwards:
# closing any descriptor of a file frees all of SQLite's locks on it in this process (fcntl(2), "Record locking").
_looked_into: Counter[tuple[int, int]] = Counter()
_to_close: list[tuple[tuple[int, int], int]] = []


class Slot:
    """A slot that this process holds until `free`, or until it dies.

    Attributes:
        file: device and inode of the database, whatever its name is by now.
    """

    def __init__(self, directory: Path, number: int, lock: int, database: int) -> None:
        self.number, self.path = number, directory / _NAME.format(number)
        self.connection: Any = None
        self._lock, self._database = lock, database
        self.file = _file(database) if database >= 0 else (-1, -1)

    def free(self) -> None:
        """Let others have it. Its database must not be open any more."""
        lock, self._lock = self._lock, -1
        database, self._database = self._database, -1
        _held.discard(self)
        if database >= 0:
            _close(database)
        if lock >= 0:
            os.close(lock)

    def forget(self) -> None:
        """In a forked child: drop the copy of the lock, and never touch the parent's database handle, not even to
        close it ("How To Corrupt An SQLite Database File", section 2.6): it is kept alive for good.
        """
        for descriptor in (self._lock, self._database):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._database = -1
        if self.connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))

    def keep(self) -> None:
        """Make the lock file again if somebody has removed it: earlier versions look at nothing else.

        Raises:
            OSError: it cannot be made.
        """
        with _forking:
            path = self.path.with_suffix(".lock")
            if self._lock >= 0 and not _is(path, _file(self._lock)):
                lock = _locked(path)
                if lock is not None:
                    os.close(self._lock)
                    self._lock = lock

    def anew(self) -> Slot | None:
        """Return the same slot with the file that is to take the place of its database; None if another has it.

        Its database was moved away or removed. This slot stays as it is, and is freed by the caller.

        Raises:
            OSError: the files cannot be made.
        """
        with _forking:
            path = self.path.with_suffix(".lock")
            lock = os.dup(self._lock) if _is(path, _file(self._lock)) else _locked(path)
            return None if lock is None else _slot(self.path.parent, self.number, lock)

    def linked(self) -> bool:
        """True when the database has a name still, so that its events outlive this process."""
        return self._database < 0 or os.fstat(self._database).st_nlink > 0


def take(directory: Path, number: int) -> Slot | None:
    """Return slot *number* of *directory*; None if another process, or another store of this one, has it.

    Raises:
        OSError: its files cannot be opened or made.
        OutboxError: this system has no such locks.
    """
    if fcntl is None:
        raise OutboxError('outbox="sqlite://..." needs POSIX file locks; use "memory://" on this system')
    with _forking:
        path = file_of(directory, number)
        if _is_held(path):
            return None
        lock = _locked(path.with_suffix(".lock"))
        return None if lock is None else _slot(directory, number, lock)


def is_free(directory: Path, number: int) -> bool:
    """True when no process has slot *number*; looking makes it busy for a moment."""
    path = file_of(directory, number)
    with _forking:
        if fcntl is None or _is_held(path):
            return False
        for lock_path in (path.with_suffix(".lock"), *([path] if _locks_database(directory) else [])):
            try:
                descriptor = _locked(lock_path, flags=_FLAGS & ~os.O_CREAT)
            except FileNotFoundError:
                continue
            except OSError:
                return False
            if descriptor is None:
                return False
            _close(descriptor)
        return True


@contextmanager
def looking_into(directory: Path, number: int) -> Iterator[None]:
    """Keep SQLite's locks on a database while this process has it open without its slot."""
    with _forking:
        try:
            status = os.stat(file_of(directory, number))  # noqa: PTH116
            key = status.st_dev, status.st_ino
        except OSError:
            key = (-1, -1)
        _looked_into[key] += 1
    try:
        yield
    finally:
        with _forking:
            _looked_into[key] -= 1
            if _looked_into[key] <= 0:
                del _looked_into[key]
                for entry in [entry for entry in _to_close if entry[0] == key]:
                    _to_close.remove(entry)
                    os.close(entry[1])


def _slot(directory: Path, number: int, lock: int) -> Slot | None:
    """Return a slot of which *lock* is the lock file, taken over by it; None if another process has the database."""
    database: int | None = -1
    try:
        if _locks_database(directory):
            database = _locked(file_of(directory, number))
        else:
            # Made by us: SQLite would use the umask alone. Nothing of this process has it open yet.
            os.close(os.open(file_of(directory, number), _FLAGS, 0o600))
    except BaseException:
        os.close(lock)
        raise
    if database is None:
        os.close(lock)
        return None
    slot = Slot(directory, number, lock, database)
    _held.add(slot)
    return slot


def _locked(path: Path, flags: int = _FLAGS) -> int | None:
    """Return a descriptor of the file at *path* with a lock on it; None if another has the lock."""
    for _ in range(8):
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _close(descriptor)
            return None
        except OSError:
            _close(descriptor)
            raise
        if _is(path, _file(descriptor)):
            return descriptor
        # Somebody removed or replaced it in between.
        _close(descriptor)
    return None


def _locks_database(directory: Path) -> bool:
    """True when flock(2) on a database leaves SQLite's own locks alone: on Linux, and not over a network."""
    try:
        return sys.platform == "linux" and _is_local(str(directory), directory.stat().st_dev)
    except OSError:
        return False


@lru_cache(maxsize=64)
def _is_local(directory: str, device: int) -> bool:
    return remote_type(Path(directory)) is None


def _is_held(path: Path) -> bool:
    """True when this process has the slot of the database at *path*, under whatever name."""
    return any(_is(path, slot.file) for slot in _held)


def _is(path: Path, file: tuple[int, int]) -> bool:
    try:
        status = os.stat(path, follow_symlinks=False)  # noqa: PTH116
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == file


def _file(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _close(descriptor: int) -> None:
    """Close *descriptor*, or only unlock it while something else of this process has the file open."""
    key = _file(descriptor)
    if key not in _looked_into:
        os.close(descriptor)
        return
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    _to_close.append((key, descriptor))


def numbers(directory: Path) -> Iterator[int]:
    """Yield the numbers of the slots that have a file, lowest first."""
    slot_numbers = []
    for path in directory.glob(_NAME.format("*")):
        number = path.stem.removeprefix("slot-")
        if number.isdigit():
            slot_numbers.append(int(number))
    yield from sorted(slot_numbers)


def file_of(directory: Path, number: int) -> Path:
    return directory / _NAME.format(number)


def _in_child() -> None:
    for slot in list(_held):
        slot.forget()
    _held.clear()
    _looked_into.clear()
    _to_close.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_in_child)
