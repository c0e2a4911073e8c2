"""Rates, concurrency and retry budgets on an injected monotonic clock."""

from __future__ import annotations

import math
from collections import deque

from flagmw._support.forksafe import Lock

CONCURRENCY = 4
"""Attempts at once at one vendor, per process, before anything is known of it."""

CONCURRENCY_MAX = 16
"""And as long as more of them do not make its answers slower."""

STUCK_MAX = 16
"""So many more may be under way of which nothing is heard, so that they hold up no others."""

ATTEMPTS_MAX = CONCURRENCY_MAX + STUCK_MAX

_BURST_S = 0.1


class Pace:
    """Let *rate* events a second through, evenly; after a pause a tenth of a second's worth may go at once.

    Turns are booked in the order of asking, so that a vendor with a long queue cannot keep the others from theirs.

    Attributes:
        rate: may be changed at any time; None lets everything through.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._lock = Lock()
        self._next = -math.inf

    def book(self, count: int, now: float) -> float:
        """Return the time from which *count* events may be sent; the caller waits until then."""
        with self._lock:
            if self.rate is None:
                return now
            at = max(self._next, now - _BURST_S)
            self._next = at + count / self.rate
            return at

    def give_back(self, count: int) -> None:
        """Return a booking of *count* events that were not sent."""
        with self._lock:
            if self.rate is not None:
                self._next -= count / self.rate


class Width:
    """The limit of concurrent attempts: halved by a failure, one more after some good ones.

    Additive increase and multiplicative decrease, as TCP finds its share of a link (RFC 5681 section 3.1). It grows
    only while answers come as fast as the vendor can give them: longer ones say that it has enough to do.

    Args:
        usual: the width to begin with, which is soon reached again.
        most: never more than this.
    """

    _GOOD_FOR_ONE_MORE = 20
    _GOOD_TO_COME_BACK = 5

    def __init__(self, usual: int, most: int | None = None) -> None:
        self._usual, self._most = usual, usual if most is None else max(usual, most)
        self._lock = Lock()
        self._good = 0
        self._halved_at = -math.inf
        self._best_s = math.inf
        self.limit = usual
        # How long answers take at present.
        self.answer_s = 0.0

    def success(self, took_s: float = 0.0) -> None:
        with self._lock:
            self.answer_s += (took_s - self.answer_s) * (0.2 if self.answer_s else 1.0)
            self._best_s = min(took_s, self._best_s * 1.0001)
            self._good += 1
            enough = self._GOOD_TO_COME_BACK if self.limit < self._usual else self._GOOD_FOR_ONE_MORE
            if self._good < enough:
                return
            self._good = 0
            strained = self.answer_s > 2 * self._best_s + 0.02
            if self.limit < self._usual or not strained:
                self.limit = min(self._most, self.limit + 1)
            elif self.limit > self._usual:
                self.limit -= 1

    def failure(self, now: float) -> None:
        """Halve it, once a second at most: what fails together has one reason."""
        with self._lock:
            self._good = 0
            if now - self._halved_at >= 1.0:
                self._halved_at, self.limit = now, max(1, self.limit // 2)


class RetryBudget:
    """Limit repeats to a share of all attempts while a vendor fails now and then: repeats alone could keep it failing.

    Each first attempt earns a tenth of a repeat, each second one whole; a repeat that succeeds costs nothing. So a
    vendor that is well takes a whole backlog of repeats at once, and one that fails by half gets about a fifth.
    """

    def __init__(self, *, share: float = 0.1, per_s: float = 1.0, most: float = 20.0) -> None:
        self._share, self._per_s, self._most = share, per_s, most
        self._lock = Lock()
        self._left, self._at = most, -math.inf

    def take(self, now: float) -> bool:
        """True when a repeat may be made now, and count it."""
        with self._lock:
            self._add(max(0.0, now - self._at) * self._per_s if self._at > -math.inf else 0.0)
            self._at = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True

    def first(self) -> None:
        """Count an attempt that is not a repeat."""
        with self._lock:
            self._add(self._share)

    def refund(self) -> None:
        """Count a repeat that succeeded, or was not made."""
        with self._lock:
            self._add(1.0)

    def clear(self) -> None:
        """Start again with a full budget: the vendor is back from an outage."""
        with self._lock:
            self._left = self._most

    def _add(self, count: float) -> None:
        self._left = min(self._most, self._left + count)


class Turns:
    """The times at which events that were not tried are looked at again: one after the other, *rate* a second.

    That bounds the work that a long queue of repeats makes, and it is no slower than they could be sent.
    """

    def __init__(self, rate: float = 150.0, least_s: float = 1.0) -> None:
        self._step_s, self._least_s = 1.0 / rate, least_s
        self._lock = Lock()
        self._last = -math.inf

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next one is due."""
        with self._lock:
            self._last = max(now + self._least_s, self._last + self._step_s)
            return self._last - now


class Chance:
    """The share of first attempts that fail, over the last two dozen or so."""

    def __init__(self) -> None:
        self._share = 0.0

    def note(self, *, failed: bool) -> None:
        self._share += (failed - self._share) / 16

    def explains(self) -> float:
        """Return the failures in a row that the vendor's state explains: more have a chance below one in a hundred."""
        return math.log(0.01) / math.log(min(max(self._share, 0.02), 0.97))


class Arrivals:
    """The rate of new events for each vendor, over the last ten seconds.

    Without a lock, as this stands in the way of each event: a few that are counted at once may count as one.
    """

    _WINDOW_S = 10

    def __init__(self) -> None:
        self._seconds: dict[str, deque[list[int]]] = {}
        self._totals: dict[str, int] = {}

    def add(self, vendor: str, count: int, now: float) -> None:
        """Count *count* events that were stored now."""
        second = int(now)
        seconds = self._seconds.get(vendor)
        if seconds is None:
            seconds = self._seconds.setdefault(vendor, deque([[second, 0]], maxlen=self._WINDOW_S + 1))
        last = seconds[-1]
        if last[0] == second:
            last[1] += count
        else:
            seconds.append([second, count])

    def total(self, vendor: str, accepted: int, now: float) -> None:
        """Take note of all that was ever stored, where others store it."""
        grown = accepted - self._totals.get(vendor, accepted)
        self._totals[vendor] = accepted
        self.add(vendor, max(0, grown), now)

    def rate(self, vendor: str, now: float) -> float:
        recent = [(at, count) for at, count in list(self._seconds.get(vendor, ())) if at > now - self._WINDOW_S - 1]
        if not recent:
            return 0.0
        return sum(count for _, count in recent) / max(1.0, min(float(self._WINDOW_S), now - recent[0][0]))
