"""Threads and condition variables of the worker in one process."""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections import deque
from dataclasses import dataclass, field

from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.outbox.worker.batches import VisitorBatch
from flagmw.outbox.worker.lanes import Lanes
from flagmw.outbox.worker.pace import Arrivals, Pace


@dataclass(slots=True)
class LaneThreads:
    """One lane's threads and what they have to do.

    Attributes:
        ready: notified when there is something to do; shares the lock of the process.
        waiting: queues that no thread has begun, oldest events first.
        newest: the same of the newest events, which take turns with them while something fails.
        turn: whose turn it is.
        asks: whether a thread waits for the newest event to be claimed.
        running: queues in a thread's hands.
        threads_max: how many threads the lane could use when it was last looked at.
    """

    ready: threading.Condition
    waiting: deque[VisitorBatch] = field(default_factory=deque)
    newest: deque[VisitorBatch] = field(default_factory=deque)
    running: set[VisitorBatch] = field(default_factory=set)
    threads: set[threading.Thread] = field(default_factory=set)
    threads_max: int = 1
    turn: int = 0
    asks: bool = False

    def idle(self) -> bool:
        """True when nothing waits to be begun."""
        return not self.waiting and not self.newest

    def is_newests_turn(self, one_in: int) -> bool:
        """True when the newest events are next: the oldest have one turn of *one_in*."""
        return self.turn % one_in != 0

    def take(self, one_in: int) -> VisitorBatch:
        """Take out the next queue to begin, of the oldest and the newest events in turn."""
        newest = bool(self.newest) and (self.is_newests_turn(one_in) or not self.waiting)
        self.turn += 1
        return self.newest.popleft() if newest else self.waiting.popleft()

    def empty(self) -> list[VisitorBatch]:
        """Remove and return the queues that no thread has begun."""
        waiting = [*self.waiting, *self.newest]
        self.waiting.clear()
        self.newest.clear()
        return waiting


@dataclass(slots=True)
class WorkerRun:
    """One life of the threads, from a start to the next stop."""

    thread: threading.Thread = field(init=False)
    stop: threading.Event = field(default_factory=threading.Event)
    crews: dict[str, LaneThreads] = field(default_factory=dict)

    def threads(self) -> list[threading.Thread]:
        return [self.thread, *(thread for crew in self.crews.values() for thread in crew.threads)]

    def empty(self) -> list[VisitorBatch]:
        return [queue for crew in self.crews.values() for queue in crew.empty()]


class WorkerProcess:
    """The worker's state in this process. `lock` guards all of it; `changed` is notified of every change."""

    def __init__(self, lanes: Lanes, throttle: Throttle, pace: Pace) -> None:
        self.lanes, self.throttle, self.pace = lanes, throttle, pace
        self.arrivals = Arrivals()
        self.arrived = False
        self.looked_at = -math.inf
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.turn: WorkerRun | None = None
        self.nudged = self.closed = False
        self.attempts = self.repeats = self.failed_starts = 0

    def nudge(self) -> None:
        """Have the thread that claims look again, and all others that wait."""
        self.nudged = True
        self.changed.notify_all()
        if self.turn is not None and self.turn.stop.is_set():
            for crew in self.turn.crews.values():
                crew.ready.notify_all()

    def over(self) -> bool:
        """True when the interpreter is shutting down, and count it: a start would hang before Python 3.12.

        A thread that the shutdown froze may hold a lock for ever, so nothing may be waited for either.
        """
        finalizing = sys.is_finalizing()
        self.failed_starts += finalizing
        return finalizing

    def alive(self) -> bool:
        return self.turn is not None and self.turn.thread.is_alive() and not self.turn.stop.is_set()

    def started(self, thread: threading.Thread) -> bool:
        """Start *thread*; return whether it could be."""
        try:
            thread.start()
        except RuntimeError:
            self.failed_starts += 1
            self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, "no thread can be started: events wait")
            return False
        return True

    def trouble(self, message: str, error: Exception) -> None:
        """Tell that something failed in a thread, which goes on."""
        self.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, message, error=type(error).__name__)
