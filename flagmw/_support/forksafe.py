"""Locks and values that belong to one process."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def Lock() -> threading.Lock:  # stands in for threading.Lock
    """Return a mutex that is free in a forked child: the thread that held it at the fork does not exist there."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _renew_all() -> None:
    for lock in list(_locks):
        # The standard library does the same with its own locks; there is no other way to free a lock whose owner
        # does not exist.
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)


class PerProcess(Generic[T]):
    """A value that every process makes for itself, so that a forked child never meets its parent's locks.

    Args:
        make: makes the value. It must start nothing: of two threads that race for the first value, one is dropped.
        on_inherited: called in a forked child with its parent's value, before the child's own is made.
    """

    def __init__(self, make: Callable[[], T], on_inherited: Callable[[T], object] | None = None) -> None:
        self._make, self._on_inherited = make, on_inherited
        self._by_pid: dict[int, T] = {}
        self._inheriting = Lock()

    def get(self) -> T:
        """Return this process's value, made at the first call."""
        pid = os.getpid()
        value = self._by_pid.get(pid)
        if value is None:
            if self._inherited(pid):
                self._drop_inherited(pid)
            # setdefault is atomic: threads that race for the first value agree on one without a lock, which a signal
            # handler of the same thread could not pass.
            value = self._by_pid.setdefault(pid, self._make())
        return value

    def current(self) -> T | None:
        """Return this process's value; None if it has none."""
        return self._by_pid.get(os.getpid())

    def take(self) -> T | None:
        """Remove and return this process's value; None if it has none. The next `get` makes a new one."""
        return self._by_pid.pop(os.getpid(), None)

    def set(self, value: T) -> None:
        """Replace this process's value."""
        self._by_pid[os.getpid()] = value

    def _inherited(self, pid: int) -> list[int]:
        return [other for other in self._by_pid if other != pid]

    def _drop_inherited(self, pid: int) -> None:
        # Other threads of the child wait until the parent's value is dealt with.
        with self._inheriting:
            for other in self._inherited(pid):
                if self._on_inherited is not None:
                    self._on_inherited(self._by_pid[other])
                self._by_pid.pop(other, None)


class OncePerProcess:
    """A step that each process takes once."""

    def __init__(self) -> None:
        self._pid = 0

    def first(self) -> bool:
        """Say whether this is the process's first call."""
        pid = os.getpid()
        if self._pid == pid:
            return False
        self._pid = pid
        return True
