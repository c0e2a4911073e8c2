"""Locks that do not outlive the thread that held them, when that thread is in another process."""

from __future__ import annotations

import os
import threading

from flagmw._support.counters import Counts
from flagmw._support.forksafe import Lock


def test_a_forked_child_finds_locks_free() -> None:
    """A lock that another thread held at the fork is free in the child, and still held in the parent."""
    lock, counts = Lock(), Counts()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock, counts._lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    child = os.fork()
    if child == 0:
        # Without new locks this hangs, and the alarm ends it.
        import signal

        signal.alarm(5)
        with lock:
            counts.add("x")
        os._exit(0 if counts.total("x") == 1 else 1)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert lock.locked()
    finally:
        done.set()
        thread.join(10)


def test_a_lock_excludes() -> None:
    """While one thread is inside, another waits."""
    lock, order = Lock(), []
    with lock:
        thread = threading.Thread(target=lambda: [lock.__enter__(), order.append("second"), lock.__exit__()])
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
