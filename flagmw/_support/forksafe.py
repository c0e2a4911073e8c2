"""Locks that a forked child finds free, whoever held them in its parent."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


_made: weakref.WeakSet[Any] = weakref.WeakSet()


def Lock() -> threading.Lock:  # stands in for threading.Lock
    """Return a mutex that is free in a forked child: the thread that held it at the fork does not exist there."""
    made = threading.Lock()
    _made.add(made)
    return made


def _renew_all() -> None:
    for lock in list(_made):
        # What the standard library does with its own locks; there is no other way to free a lock that nobody holds.
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)


class PerProcess(Generic[T]):
    """A value that every process makes for itself, so that a forked child never meets its parent's locks."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_pid: dict[int, T] = {}

    def get(self) -> T:
        """Return this process's value, made at the first call."""
        pid = os.getpid()
        value = self._by_pid.get(pid)
        if value is None:
            # setdefault is atomic: threads that race here in a fresh child agree on one value without a lock,
            # and any lock of ours might have been held by another thread at the moment of the fork.
            value = self._by_pid.setdefault(pid, self._make())
            for other in [known for known in self._by_pid if known != pid]:
                self._by_pid.pop(other, None)
        return value
