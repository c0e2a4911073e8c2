"""How fast, how many at once and how often again: pure counters on a clock that is passed in (seconds, monotonic)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from flagmw._locks import Lock

CONCURRENCY = 4
"""Attempts at once at one vendor, per process."""

_BURST_S = 0.1


class Pace:
    """Let *rate* events a second through, evenly; after a pause a tenth of a second's worth may go at once.

    Turns are booked in the order of asking, so that a vendor with a long queue cannot keep the others from theirs.
    """

    def __init__(self, rate: float) -> None:
        self._step_s = 1.0 / rate
        self._lock = Lock()
        self._next = -math.inf

    def book(self, n: int, now: float) -> float:
        """Return from when on *n* events may be sent; the caller waits until then."""
        with self._lock:
            at = max(self._next, now - _BURST_S)
            self._next = at + n * self._step_s
            return at

    def give_back(self, n: int) -> None:
        """Return a booking of *n* events that were not sent."""
        with self._lock:
            self._next -= n * self._step_s


class Width:
    """How many attempts may be under way at once: halved by each failure, one more after 20 good ones.

    Additive increase and multiplicative decrease, as TCP finds its share of a link (RFC 5681 section 3.1).
    """

    _GOOD_FOR_ONE_MORE = 20

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._good = 0
        self.limit = most

    def success(self) -> None:
        with self._lock:
            self._good += 1
            if self._good >= self._GOOD_FOR_ONE_MORE:
                self._good, self.limit = 0, min(self._most, self.limit + 1)

    def failure(self) -> None:
        with self._lock:
            self._good, self.limit = 0, max(1, self.limit // 2)


@dataclass(slots=True)
class _Second:
    at: float
    sends: int = 0
    repeats: int = 0
    failures: int = 0


class RetryBudget:
    """Keep repeats to a share of all sends while a vendor fails now and then, lest they be what keeps it failing.

    It binds while more than a tenth of the last minute's sends failed. A few repeats are always allowed: when there
    is nothing else to send, they are how the vendor's recovery is found. A vendor that fails altogether is the
    breaker's; one that is well takes a whole backlog of repeats.
    """

    def __init__(
        self, *, share: float = 0.2, window_s: float = 60.0, failing: float = 0.1, sample: int = 10, floor: int = 10
    ) -> None:
        self._share, self._window_s, self._failing, self._sample, self._floor = share, window_s, failing, sample, floor
        self._lock = Lock()
        self._seconds: deque[_Second] = deque()
        self._sum = _Second(0.0)

    def allows(self, repeats: int, now: float) -> bool:
        """Say whether *repeats* more repeats may be sent now."""
        with self._lock:
            self._forget(now)
            total = self._sum
            if total.sends < self._sample or total.failures <= self._failing * total.sends:
                return True
            return total.repeats + repeats <= max(self._floor, self._share * (total.sends + repeats))

    def sent(self, sends: int, repeats: int, now: float) -> None:
        """Count events that go out now, *repeats* of them not for the first time."""
        with self._lock:
            self._forget(now)
            second = self._now(now)
            for counter in (second, self._sum):
                counter.sends += sends
                counter.repeats += repeats

    def failed(self, events: int, now: float) -> None:
        """Count events that the vendor did not take for a trouble of its own."""
        with self._lock:
            self._forget(now)
            self._now(now).failures += events
            self._sum.failures += events

    def clear(self) -> None:
        """Forget the last minute: the vendor is back from an outage, which says nothing of how it is now."""
        with self._lock:
            self._seconds.clear()
            self._sum = _Second(0.0)

    def _now(self, now: float) -> _Second:
        if not self._seconds or now >= self._seconds[-1].at + 1.0:
            self._seconds.append(_Second(now))
        return self._seconds[-1]

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0].at <= now - self._window_s:
            old = self._seconds.popleft()
            self._sum.sends -= old.sends
            self._sum.repeats -= old.repeats
            self._sum.failures -= old.failures
