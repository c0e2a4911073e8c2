"""Standstills of this process while a loop or thread waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import asyncio

TICK_S = 0.03
GRACE_S = 0.02
"""How late a tick may be: more than that is a standstill."""
_KEPT = 256


class Standstills:
    """The last times that a loop or thread woke up later than it had asked for."""

    def __init__(self) -> None:
        self._found: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def woke(self, now: float, due: float) -> None:
        """Note that at *now* something woke up which was *due* earlier."""
        late_s = now - due - GRACE_S
        if late_s > 0:
            self._found.append((now, late_s))

    def since(self, began: float) -> float:
        """Return the total seconds of standstills after *began*."""
        total = 0.0
        for at, late_s in reversed(self._found):
            if at <= began:
                break
            total += min(late_s, at - began)
        return total


class Pulse:
    """The standstills of one event loop, measured by a timer that runs during waits.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._standstills = Standstills()
        self._due = 0.0
        self._waiting = 0
        self._ticking = False

    def enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to wait on *loop*. Whoever enters leaves."""
        self._waiting += 1
        if not self._ticking:
            self._ticking = True
            self._wind(loop)

    def leave(self) -> None:
        self._waiting -= 1

    def still_since(self, began: float) -> float:
        """Return for how many seconds since *began* the loop stood still."""
        now = self._clock()
        late_s = max(0.0, now - self._due - GRACE_S) if self._ticking else 0.0
        return self._standstills.since(began) + min(late_s, max(0.0, now - began))

    def _wind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = self._clock() + TICK_S
        loop.call_later(TICK_S, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._standstills.woke(self._clock(), self._due)
        # The timer ends by itself: starting and cancelling one for every call would cost more.
        self._ticking = self._waiting > 0
        if self._ticking:
            self._wind(loop)


_pulses: WeakKeyDictionary[asyncio.AbstractEventLoop, Pulse] = WeakKeyDictionary()


def pulse_of(loop: asyncio.AbstractEventLoop) -> Pulse:
    """Return the one pulse of *loop*."""
    pulse = _pulses.get(loop)
    if pulse is None:
        pulse = _pulses[loop] = Pulse()
    return pulse


class _Thread(threading.local):
    def __init__(self) -> None:
        self.standstills = Standstills()


_thread = _Thread()


def wait(future: Future[Any], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
    """Wait in this thread until *future* ends, *seconds* at most; its standstills are in `thread_still_since`.

    The thread wakes up now and then to see the time: one that stood still could not have noticed an answer.
    """
    now = clock()
    end = now + seconds
    while now < end:
        due = min(now + TICK_S, end)
        try:
            future.exception(due - now)
        except (CancelledError, TimeoutError):
            pass
        now = clock()
        _thread.standstills.woke(now, due)
        if future.done():
            return


def thread_still_since(began: float) -> float:
    """Return for how many seconds since *began* this thread stood still in `wait`."""
    return _thread.standstills.since(began)
