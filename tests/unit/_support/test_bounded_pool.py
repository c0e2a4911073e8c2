"""The pool for calls to a store: its line, its breaker, and its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from flagmw._support.bounded_pool import BoundedPool

LONG_S = 30.0


@pytest.fixture
def pool() -> Iterator[BoundedPool]:
    pool = BoundedPool("test-pool", threads=2)
    yield pool
    pool.close()


def soon() -> float:
    return time.monotonic() + LONG_S


def test_more_calls_than_threads_wait_their_turn(pool: BoundedPool) -> None:
    """A burst of a hundred calls is answered by two threads, none is refused."""
    futures = [pool.submit(soon(), lambda number: number * 2, number) for number in range(100)]
    assert [future.result(5) for future in futures if future is not None] == [number * 2 for number in range(100)]


def test_a_call_that_would_come_too_late_is_refused(pool: BoundedPool) -> None:
    """Once calls are known to take long, a call that has no time for the line does not join it."""
    slow = pool.submit(soon(), time.sleep, 0.1)
    assert slow is not None
    slow.result(5)
    release = threading.Event()
    held = [pool.submit(soon(), release.wait, 5) for _ in range(2)]
    assert pool.submit(time.monotonic() + 0.05, int) is None
    patient = pool.submit(soon(), int)
    assert patient is not None
    assert pool.is_held_up(patient)
    release.set()
    assert patient.result(5) == 0
    assert all(future is not None and future.result(5) for future in held)


def test_a_store_that_fails_is_left_alone(pool: BoundedPool) -> None:
    """After failures in a row no call is begun. Calls that were given up say nothing of the store."""
    for _ in range(20):
        pool.gave_up()
    assert pool.submit(soon(), int) is not None
    for _ in range(20):
        pool.failed(OSError(), time.monotonic(), soon())
    assert pool.submit(soon(), int) is None


def test_a_process_that_stood_still_blames_no_store(pool: BoundedPool) -> None:
    """A timeout noticed long after it was due is no failure of the store."""
    began = time.monotonic() - 10.0
    for _ in range(50):
        pool.failed(TimeoutError(), began, began + 0.005)
    assert pool.submit(soon(), int) is not None


def test_answers_are_noted(pool: BoundedPool) -> None:
    began = time.monotonic()
    assert not pool.answered_since(began)
    pool.succeeded()
    assert pool.answered_since(began)


def test_a_closed_pool_refuses(pool: BoundedPool) -> None:
    """A call after the end fails instead of waiting for ever."""
    pool.close()
    future = pool.submit(soon(), int)
    assert future is not None
    with pytest.raises(RuntimeError):
        future.result(5)
