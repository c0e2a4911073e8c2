"""Locks that a forked child finds free, whoever held them in its parent."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

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
