"""Places for calls to a vendor, and the queue for them.

Pure state on a clock that is passed in (seconds, monotonic). Safe between threads and event loops.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TypeVar

from flagmw._support.forksafe import Lock

# The number and age in seconds of the calls from which durations are estimated: older ones say nothing about now.
_SAMPLE = 32
_SAMPLE_S = 10.0
T = TypeVar("T")


class Turn:
    """One call's place, or its wait for one.

    Attributes:
        since: when it got its place; None while it waits.
        waited: whether it had to wait.
        declined: set by `start` when it does not want the place, before anything can call `leave`.
    """

    __slots__ = ("declined", "over", "since", "start", "waited")

    def __init__(self, start: Callable[[Turn], bool] | None, since: float | None) -> None:
        self.start, self.since = start, since
        self.waited = since is None
        self.over = self.declined = False


class Places:
    """A fixed number of places for calls, and a queue in order of arrival.

    A wait that cannot end in time is refused at once; that is estimated from the queue and the duration of recent
    calls.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = Lock()
        self._inside = 0
        self._line: OrderedDict[Turn, None] = OrderedDict()
        self._taken: deque[tuple[float, float]] = deque(maxlen=_SAMPLE)

    @property
    def inside(self) -> int:
        """How many have a place."""
        return self._inside

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._line)

    def enter(self, now: float) -> Turn | None:
        """Take a free place; None where there is none, or others wait for it."""
        with self._lock:
            if self._inside >= self.limit or self._line:
                return None
            self._inside += 1
            return Turn(None, now)

    def line_up(self, now: float, until: float, start: Callable[[Turn], bool]) -> Turn | None:
        """Take a free place, or wait for one until the moment *until*; None if that cannot be in time.

        Args:
            start: called once a place is there, in the thread of who left it, perhaps before this returns. It says
                whether the place is wanted still, and must neither wait nor raise.
        """
        with self._lock:
            if self._inside < self.limit and not self._line:
                self._inside += 1
                return Turn(None, now)
            mean, quickest = self._lately(now)
            if now + len(self._line) * mean / self.limit + quickest >= until:
                return None
            turn = Turn(start, None)
            self._line[turn] = None
            return turn

    def quickest(self, now: float) -> float:
        """Return the shortest time of recent calls, 0 where there are none. A call takes that long at least."""
        with self._lock:
            return self._lately(now)[1]

    def give_up(self, turn: Turn) -> bool:
        """Wait no longer; return whether *turn* was waiting. One that has its place keeps it until `leave`."""
        with self._lock:
            if turn not in self._line:
                return False
            del self._line[turn]
            turn.over = True
            return True

    def leave(self, turn: Turn, now: float, *, learn: bool = True) -> None:
        """Give up the place, which the next in the queue gets, or leave the queue. A second call does nothing.

        Args:
            learn: whether the call took as long as calls do; not one that was called off.
        """
        with self._lock:
            if turn.over or turn.declined:
                return
            turn.over = True
            if turn.since is None:
                self._line.pop(turn, None)
                return
            if learn:
                self._taken.append((now, now - turn.since))
            following = self._next(now)
        while following is not None:
            # Outside of the lock: `start` may be slow, or leave at once.
            assert following.start is not None
            if following.start(following):
                return
            with self._lock:
                if following.over:  # a call that gave up meanwhile has handed its place on
                    return
                following.over = True
                following = self._next(now)

    def _next(self, now: float) -> Turn | None:
        """Give the free place to the first in the queue; None if the queue is empty."""
        if not self._line:
            self._inside -= 1
            return None
        turn, _ = self._line.popitem(last=False)
        turn.since = now
        return turn

    def _lately(self, now: float) -> tuple[float, float]:
        """Return the mean and the shortest time of recent calls; zeros where there are none."""
        taken = self._taken
        while taken and not -1.0 < now - taken[0][0] < _SAMPLE_S:
            taken.popleft()
        if not taken:
            return 0.0, 0.0
        seconds = [seconds_taken for _, seconds_taken in taken]
        return sum(seconds) / len(seconds), min(seconds)


def in_turn(
    places: Places, submit: Callable[[], Future[T]], until: float, clock: Callable[[], float]
) -> Future[T] | None:
    """Call *submit* when there is a place, and return a future with its result; None if that cannot be in time.

    Cancelling the future leaves the queue.
    """
    future: Future[T] = Future()

    def start(turn: Turn) -> bool:
        if not future.set_running_or_notify_cancel():
            return False
        try:
            submitted = submit()
        except RuntimeError as error:  # no thread to be had, or the interpreter is on its way out
            turn.declined = turn.waited
            future.set_exception(error)
            return False
        submitted.add_done_callback(lambda done: hand_on(done, future))
        return True

    turn = places.enter(clock()) or places.line_up(clock(), until, start)
    if turn is None:
        return None
    future.add_done_callback(lambda done: places.leave(turn, clock(), learn=not done.cancelled()))
    if not turn.waited:
        start(turn)
    return future


def hand_on(done: Future[T], future: Future[T]) -> None:
    """Give *future* the outcome of *done*."""
    error = CancelledError() if done.cancelled() else done.exception()
    if error is None:
        future.set_result(done.result())
    else:
        future.set_exception(error)
