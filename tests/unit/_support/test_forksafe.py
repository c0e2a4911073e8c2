"""Locks that do not outlive the thread that held them, when that thread is in another process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from flagmw._support.counters import Counters
from flagmw._support.forksafe import Lock, OncePerProcess, PerProcess


def test_a_forked_child_finds_locks_free() -> None:
    """A lock that another thread held at the fork is free in the child, and still held in the parent."""
    lock, counts = Lock(), Counters()
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


def in_child(check: Callable[[], bool]) -> None:
    """Run *check* in a forked child, which must pass it within 5 s."""
    child = os.fork()
    if child == 0:
        import signal

        signal.alarm(5)
        os._exit(0 if check() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_each_process_makes_its_value_once() -> None:
    """A process keeps its value; a child makes another, after it was handed its parent's."""
    inherited: list[list[int]] = []
    values = PerProcess(lambda: [os.getpid()], inherited.append)
    parent = values.get()
    assert values.get() is parent

    def child() -> bool:
        mine = values.get()
        return mine == [os.getpid()] and inherited == [parent] and values.get() is mine

    in_child(child)
    assert (inherited, values.get()) == ([], parent)


def test_a_child_has_no_value_before_it_makes_one() -> None:
    """Looking, taking and replacing are about this process's value alone."""
    values = PerProcess(lambda: "made")
    assert values.current() is None
    values.get()
    in_child(lambda: values.current() is None and values.take() is None and values.get() == "made")
    values.set("set")
    assert (values.take(), values.current(), values.get()) == ("set", None, "made")


def test_threads_of_a_child_wait_until_the_parents_value_is_dealt_with() -> None:
    """None of them gets a value while another one still lets go of the parent's."""

    def child() -> bool:
        steps: list[str] = []
        inside, go = threading.Event(), threading.Event()

        def let_go(_: object) -> None:
            inside.set()
            go.wait(2)
            steps.append("let go")

        values._on_inherited = let_go
        threads = [threading.Thread(target=lambda: [values.get(), steps.append("got")]) for _ in range(2)]
        threads[0].start()
        inside.wait(2)
        threads[1].start()
        threads[1].join(0.05)
        go.set()
        for thread in threads:
            thread.join(2)
        return steps == ["let go", "got", "got"]

    values = PerProcess(object)
    values.get()
    in_child(child)


def test_a_step_is_taken_once_in_each_process() -> None:
    step = OncePerProcess()
    assert [step.first(), step.first()] == [True, False]
    in_child(lambda: [step.first(), step.first()] == [True, False])
