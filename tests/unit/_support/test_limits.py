"""The gate and the rate limits, on a clock that the test moves."""

from __future__ import annotations

import threading

from flagmw._support.limits import Bucket, Gate, PerMinute


def test_gate() -> None:
    """As many as the limit get in; one that leaves makes room."""
    gate = Gate(2)
    assert [gate.enter() for _ in range(3)] == [True, True, False]
    assert gate.inside == 2
    gate.leave()
    assert gate.inside == 1 and gate.enter() and not gate.enter()


def test_gate_waits() -> None:
    """One who waits gets the place that becomes free, or goes away in time."""
    gate = Gate(1)
    assert gate.enter()
    assert gate.enter(0.001) is False
    timer = threading.Timer(0.02, gate.leave)
    timer.start()
    assert gate.enter(5.0) is True
    timer.join()
    assert gate.inside == 1


def test_bucket_refills_by_the_clock() -> None:
    """A second's worth passes at once, the rest as time passes; a clock that goes back gives nothing."""
    bucket = Bucket(2)
    assert [bucket.take(10.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(10.5), bucket.take(10.5)] == [True, False]
    assert bucket.take(9.0) is False
    assert [bucket.take(100.0) for _ in range(3)] == [True, True, False]


def test_bucket_of_less_than_one_a_second() -> None:
    """A slow bucket lets one through, and the next when it has come together."""
    bucket = Bucket(0.5)
    assert [bucket.take(now) for now in (1.0, 2.0, 3.0)] == [True, False, True]


def test_per_minute_counts_each_key() -> None:
    """Every key has its own count, which starts anew after a minute or when the clock goes back."""
    cap = PerMinute(2)
    assert [cap.take("a", 0.0), cap.take("a", 30.0), cap.take("a", 59.9), cap.take("b", 59.9)] == [
        True,
        True,
        False,
        True,
    ]
    assert cap.take("a", 60.0) is True
    assert [cap.take("a", 61.0), cap.take("a", 62.0)] == [True, False]
    assert cap.take("a", 1.0) is True


def test_per_minute_is_bounded() -> None:
    """A flood of keys pushes old ones out instead of growing."""
    cap = PerMinute(1, size=10)
    assert all(cap.take(n, 0.0) for n in range(1000))
    assert cap.take(999, 0.0) is False and cap.take(0, 0.0) is True
