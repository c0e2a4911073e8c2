"""The thread that takes events from the outbox to the vendors."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flagmw._guard import Breaker
from flagmw._log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError
from flagmw.outbox.base import Lease, Outbox, PerProcess
from flagmw.outbox.lanes import Delivers, Lanes, Run
from flagmw.outbox.policy import Policy
from flagmw.types import Event, Outcome

logger = logging.getLogger("flagmw.outbox")

_IDLE_S = 30.0  # an idle thread looks at the store this often, for what other processes put there
_PAUSE_S = 0.02  # the shortest sleep after finding nothing: no store can make the thread spin
_TROUBLE_S = 1.0  # the sleep after the store failed


class Worker:
    """Deliver what is in *outbox*, event by event, in one daemon thread named `flagmw-outbox`.

    Nothing starts before `start` or `wake`. A forked child has no thread until its own first `wake`. The delivery
    *breakers* are not remade in a child: whoever forks while a delivery is under way hands in new ones.

    Args:
        run: drives a flow of the named vendor to its result, blocking in the calling thread.
        breakers: by vendor, for delivery alone; a vendor without one gets its own.
        max_rate: attempts a second; a vendor that comes back must not be run over.
        attempt_timeout_s: seconds for one attempt, all its calls together.
        lease_s: seconds for which claimed events are kept from others; longer than an attempt.
        batch: how many events are claimed at once.
        wall, monotonic: clocks in seconds; together they make `now`.
        on_outcome: told of every attempt, in the worker's thread.

    Raises:
        ConfigError: one of the numbers cannot work.
    """

    def __init__(
        self,
        outbox: Outbox,
        vendors: Mapping[str, Delivers],
        run: Run,
        breakers: Mapping[str, Breaker] | None = None,
        *,
        policy: Policy | None = None,
        max_rate: float = 50.0,
        attempt_timeout_s: float = 5.0,
        lease_s: float = 60.0,
        batch: int = 20,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        on_outcome: Callable[[Event, Outcome], None] | None = None,
    ) -> None:
        if not 0 < max_rate < float("inf"):
            raise ConfigError(f"max_rate needs attempts per second above 0; got {max_rate}")
        if batch < 1:
            raise ConfigError(f"batch needs at least one event; got {batch}")
        if not 0 < attempt_timeout_s < lease_s:
            raise ConfigError(f"lease_s must be longer than attempt_timeout_s={attempt_timeout_s}; got {lease_s}")
        self._outbox, self._monotonic, self._on_outcome = outbox, monotonic, on_outcome
        self._max_rate, self._attempt_timeout_s, self._lease_s, self._batch = (
            max_rate,
            attempt_timeout_s,
            lease_s,
            batch,
        )
        self._epoch = wall() - monotonic()

        def here() -> _Here:
            throttle = Throttle(logger, clock=monotonic)
            timeout_s = attempt_timeout_s
            lanes = Lanes(
                vendors,
                run,
                breakers or {},
                policy or Policy(),
                throttle,
                attempt_timeout_s=timeout_s,
                monotonic=monotonic,
            )
            return _Here(lanes, throttle)

        self._here = PerProcess(here)

    def now(self) -> float:
        """Return seconds since the epoch on a clock that never jumps: the one to use with this worker's outbox."""
        return self._epoch + self._monotonic()

    def start(self) -> bool:
        """Start the thread unless it runs; say whether it runs. Raises nothing, at interpreter shutdown either."""
        here = self._here.get()
        if here.over():
            return False
        with here.changed:
            here.closed = False
            return self._ensure(here)

    def wake(self) -> None:
        """Tell the thread that there is work, and start it at the first time; nothing after `close`."""
        here = self._here.get()
        if here.over():
            return
        with here.changed:
            if not here.closed:
                here.nudged = True
                here.changed.notify_all()
                self._ensure(here)

    def flush(self, timeout_s: float) -> bool:
        """Wait until the outbox is empty; return whether it is, after *timeout_s* at the latest.

        Events that back off, that wait for a suspended vendor or for one that is not configured keep it from that.
        """
        self.wake()
        here, end = self._here.get(), time.monotonic() + timeout_s
        while self._outbox.stats(self.now()).queued:
            left_s = end - time.monotonic()
            if left_s <= 0 or not here.alive() or here.over():
                return False
            with here.changed:
                here.changed.wait(min(left_s, 0.1))
        return True

    def close(self, timeout_s: float = 8.0) -> bool:
        """Stop: claim nothing more, let the attempt on the wire finish, give the rest back.

        Returns after *timeout_s* at the latest, with whether the thread has stopped. One that hangs settles its
        event when it comes back, unless the lease has run out. `start` may be called again in either case.
        """
        here = self._here.get()
        with here.changed:
            here.closed = True
            turn = here.turn
            if turn is None:
                return True
            turn.stop = True
            here.changed.notify_all()
        if turn.thread is threading.current_thread():
            return False
        turn.thread.join(timeout_s)
        if not turn.thread.is_alive():
            return True
        here.throttle.change(logging.WARNING, ErrorCode.DEADLINE, "a delivery outlasted the shutdown")
        if turn.untried is not None:
            self._release(here, turn.untried)
        return False

    def health(self) -> dict[str, object]:
        """Return whether the thread runs, what it did, and which vendors are in trouble."""
        here = self._here.get()
        return {
            "alive": here.alive(),
            "attempts": here.attempts,
            "failed_starts": here.failed_starts,
            **here.lanes.health(self._monotonic()),
        }

    def _ensure(self, here: _Here) -> bool:
        if here.alive():
            return True
        try:
            bucket = _Bucket(self._max_rate, size=min(self._batch, self._max_rate), now=self._monotonic())
            turn = _Turn(bucket)
            turn.thread = threading.Thread(target=self._loop, args=(here, turn), name="flagmw-outbox", daemon=True)
            turn.thread.start()
        except RuntimeError:
            here.failed_starts += 1
            here.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, "no thread can be started, events wait")
            return False
        here.turn = turn
        return True

    def _loop(self, here: _Here, turn: _Turn) -> None:
        while not turn.stop:
            try:
                wait_s = self._step(here, turn)
            except Exception as error:
                here.throttle.log(
                    logging.ERROR, ErrorCode.OUTBOX_FAILED, "delivery is held up", error=type(error).__name__
                )
                wait_s = _TROUBLE_S
            with here.changed:
                if not here.nudged and not turn.stop and wait_s > 0:
                    here.changed.wait(wait_s)
                here.nudged = False

    def _step(self, here: _Here, turn: _Turn) -> float:
        """Claim and deliver once; return the seconds until there may be more to do."""
        now = self._monotonic()
        wait_s = turn.bucket.wait_s(now)
        if wait_s > 0:
            return wait_s
        resting = here.lanes.resting(now)
        limit = min(self._batch, turn.bucket.available(now))
        lease = self._outbox.claim(self.now(), limit, self._lease_s, resting.keys())
        if lease is not None:
            self._deliver(here, turn, lease, now + self._lease_s)
            return 0.0
        due_s = self._outbox.next_due(self.now(), resting.keys())
        waits = [until - now for until in resting.values()]
        return max(_PAUSE_S, min([*waits, _IDLE_S if due_s is None else due_s, _IDLE_S]))

    def _deliver(self, here: _Here, turn: _Turn, lease: Lease, until: float) -> None:
        """Attempt the rows one by one, settling each at once; give back what is left when something is in the way."""
        turn.untried = lease
        try:
            for index, row in enumerate(lease.rows):
                now = self._monotonic()
                # An attempt that might outlast the lease could be made twice at the same time.
                if turn.stop or now + self._attempt_timeout_s > until or lease.vendor in here.lanes.resting(now):
                    return
                if not here.lanes.allow(lease.vendor, now):
                    return
                turn.untried = lease.part(index + 1)
                turn.bucket.take(now)
                outcome = here.lanes.attempt(row.event)
                here.attempts += 1
                here.lanes.note(lease.vendor, outcome, self._monotonic())
                self._outbox.ack(lease.part(index, index + 1), [outcome], self.now())
                self._tell(here, row.event, outcome)
                with here.changed:
                    here.changed.notify_all()
        finally:
            left, turn.untried = turn.untried, None
            if left.rows:
                self._release(here, left)

    def _release(self, here: _Here, lease: Lease) -> None:
        try:
            self._outbox.release(lease, self.now())
        except Exception as error:
            here.throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, "a lease is kept", error=type(error).__name__)

    def _tell(self, here: _Here, event: Event, outcome: Outcome) -> None:
        if self._on_outcome is None:
            return
        try:
            self._on_outcome(event, outcome)
        except Exception as error:
            here.throttle.log(logging.ERROR, ErrorCode.INTERNAL, "on_outcome failed", error=type(error).__name__)


class _Bucket:
    """A token bucket: *rate* a second, up to *size* at once, refilled in useful portions."""

    def __init__(self, rate: float, size: float, now: float) -> None:
        self._rate, self._size = rate, max(1.0, size)
        self._tokens, self._at = self._size, now

    def available(self, now: float) -> int:
        self._tokens = min(self._size, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        return int(self._tokens)

    def take(self, now: float) -> None:
        self.available(now)
        self._tokens -= 1.0

    def wait_s(self, now: float) -> float:
        """Return 0 if there is a token, else the seconds until there are enough for a claim that is worth it."""
        if self.available(now) >= 1:
            return 0.0
        return (max(1.0, self._size / 4) - self._tokens) / self._rate


@dataclass(slots=True)
class _Turn:
    """One life of the thread; `untried` is what it has claimed and not begun."""

    bucket: _Bucket
    thread: threading.Thread = field(init=False)
    stop: bool = False
    untried: Lease | None = None


@dataclass(slots=True)
class _Here:
    """What the worker is in this process."""

    lanes: Lanes
    throttle: Throttle
    changed: threading.Condition = field(default_factory=threading.Condition)
    turn: _Turn | None = None
    nudged: bool = False
    closed: bool = False
    attempts: int = 0
    failed_starts: int = 0

    def over(self) -> bool:
        """Say whether the interpreter is shutting down, and count it: a start would hang before Python 3.12.

        A thread that the shutdown froze may hold a lock for ever, so nothing may be waited for either.
        """
        finalizing = sys.is_finalizing()
        self.failed_starts += finalizing
        return finalizing

    def alive(self) -> bool:
        return self.turn is not None and self.turn.thread.is_alive() and not self.turn.stop
