"""Locks that a forked child finds free, whoever held them in its parent."""

from __future__ import annotations

import os
import threading
import weakref

_made: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A mutex for `with`. The thread that held it at a fork does not exist in the child, so it is new there."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _made.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.Lock()


def _renew_all() -> None:
    for lock in list(_made):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
