"""A moving window over the calls of one process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Protocol

from flagmw._support.forksafe import Lock
from flagmw.admin.errors import ThrottledError
from flagmw.admin.flow.effects import Effect, Flow, Sleep


class Limiter(Protocol):
    """Decides when a call may be made."""

    def acquire(self, cost: int, max_wait_s: float) -> Flow[float]:
        """Wait for *cost* calls; return how many seconds that took.

        Raises:
            ThrottledError: it would take longer than *max_wait_s*.
        """
        ...


class Window:
    """Allow *calls* calls in any *per_s* seconds.

    A call that counts for more than that (a batch of 256 operations) waits for an empty window, is made at once, and
    the calls after it wait until it is paid for.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, calls: int, per_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls, self._per_s, self._clock = calls, per_s, clock
        self._lock = Lock()
        self._made: deque[tuple[float, int]] = deque()

    def acquire(self, cost: int, max_wait_s: float) -> Generator[Effect, Any, float]:
        """Wait for *cost* calls; return how many seconds that took."""
        now = self._clock()
        with self._lock:
            at = self._earliest(cost, now)
            if at - now > max_wait_s:
                raise ThrottledError(
                    f"the limit of {self._calls} calls in {self._per_s:g} s is used up for {at - now:.0f} s, which is "
                    f"longer than max_wait_s={max_wait_s:g}; come again later",
                    seconds=at - now,
                )
            # What does not fit into one window is paid for in those that follow.
            for number in range(0, cost, self._calls):
                self._made.append((at + number // self._calls * self._per_s, min(cost - number, self._calls)))
        if at > now:
            yield Sleep(at - now)
        return at - now

    def _earliest(self, cost: int, now: float) -> float:
        while self._made and self._made[0][0] <= now - self._per_s:
            self._made.popleft()
        # In order of arrival: nobody passes a call that is waiting already.
        at = max(now, self._made[-1][0]) if self._made else now
        need = min(cost, self._calls)
        in_window = [(when, count) for when, count in self._made if when > at - self._per_s]
        used = sum(count for _, count in in_window)
        for when, count in in_window:
            if used + need <= self._calls:
                break
            used -= count
            at = when + self._per_s
        return at


class Unlimited:
    """Never wait."""

    def acquire(self, cost: int, max_wait_s: float) -> Generator[Effect, Any, float]:
        """Return at once."""
        yield from ()
        return 0.0
