"""The delivery worker: threads that send events to vendors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from flagmw._support.forksafe import PerProcess
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError
from flagmw.outbox.base import Leased, Outbox
from flagmw.outbox.picks import is_empty
from flagmw.outbox.policy import Policy
from flagmw.outbox.worker.attempt import Delivers, Run
from flagmw.outbox.worker.claimer import Claimer
from flagmw.outbox.worker.lanes import Lanes
from flagmw.outbox.worker.pace import CONCURRENCY, CONCURRENCY_MAX, Pace
from flagmw.outbox.worker.sender import Sender
from flagmw.outbox.worker.threads import WorkerProcess
from flagmw.types import Event, Outcome

logger = logging.getLogger("flagmw.outbox")

WIRE_S = 4.0
"""How long `close` waits for attempts that are on the wire, at most."""


class Worker:
    """Deliver what is in *outbox*: a lane for each vendor, in which a few threads make an attempt each.

    One daemon thread, `flagmw-outbox`, claims events for the lanes that have room; the lanes' own are started when
    there is work and end without it. Events of one visitor are sent one after the other, up to the vendor's
    `batch_max` of them in one attempt. What a vendor does holds up no other vendor's events, and what an event does to
    its vendor holds up no other visitor's: while something fails, oldest and newest events take turns.

    Nothing starts before `start` or `wake`. A forked child has no thread until its own first `wake`.

    Args:
        run: drives a flow of the named vendor to its result, blocking in the calling thread.
        max_rate: events a second, of all lanes together, at most; None for no such limit.
        concurrency: attempts at once at one vendor to begin with; fewer while it is in trouble.
        concurrency_max: how many they may become while there is more to do and answers do not get slower by that.
        attempt_timeout_s: seconds for one attempt, all its calls together.
        lease_s: seconds for which claimed events are kept from others; longer than an attempt.
        batch: how many events are claimed at once.
        wall, monotonic: clocks in seconds; together they make `now`.
        on_outcome: called with the outcome of every attempt, for each of its events, in a lane's thread.

    Raises:
        ConfigError: one of the numbers cannot work.
    """

    def __init__(
        self,
        outbox: Outbox,
        vendors: Mapping[str, Delivers],
        run: Run,
        *,
        policy: Policy | None = None,
        max_rate: float | None = None,
        concurrency: int = CONCURRENCY,
        concurrency_max: int = CONCURRENCY_MAX,
        attempt_timeout_s: float = 5.0,
        lease_s: float = 60.0,
        batch: int = 20,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        on_outcome: Callable[[Leased, Outcome], None] | None = None,
    ) -> None:
        if max_rate is not None and not 0 < max_rate < float("inf"):
            raise ConfigError(f"max_rate needs events per second above 0; got {max_rate}")
        if batch < 1:
            raise ConfigError(f"batch needs at least one event; got {batch}")
        if concurrency < 1:
            raise ConfigError(f"concurrency needs at least one attempt; got {concurrency}")
        if not 0 < attempt_timeout_s < lease_s:
            raise ConfigError(f"lease_s must be longer than attempt_timeout_s={attempt_timeout_s}; got {lease_s}")
        self._outbox, self._monotonic = outbox, monotonic
        self._sender = Sender(outbox, self.now, monotonic, attempt_timeout_s, on_outcome)
        # No more than can be sent well before the lease runs out.
        batch = max(1, batch if max_rate is None else min(batch, int(max_rate * lease_s / 4)))
        self._claimer = Claimer(outbox, self._sender, self.now, monotonic, lease_s=lease_s, batch=batch)
        self._epoch = wall() - monotonic()

        def make_process() -> WorkerProcess:
            throttle = Throttle(logger, clock=monotonic)
            lanes = Lanes(
                vendors,
                run,
                policy or Policy(),
                throttle,
                attempt_timeout_s=attempt_timeout_s,
                monotonic=monotonic,
                concurrency=concurrency,
                concurrency_max=concurrency_max,
            )
            return WorkerProcess(lanes, throttle, Pace(max_rate))

        self._process = PerProcess(make_process)

    def now(self) -> float:
        """Return seconds since the epoch on a clock that never jumps: the one to use with this worker's outbox."""
        return self._epoch + self._monotonic()

    def start(self) -> bool:
        """Start the thread unless it runs; return whether it runs. Raises nothing, at interpreter shutdown either."""
        process = self._process.get()
        if process.over():
            return False
        with process.changed:
            process.closed = False
            return self._claimer.start(process)

    def wake(self) -> None:
        """Tell the thread that there is work, and start it at the first time; nothing after `close`."""
        self._wake(self._process.get())

    def _wake(self, process: WorkerProcess) -> None:
        if process.over():
            return
        with process.changed:
            if not process.closed:
                process.nudge()
                self._claimer.start(process)

    def arrived(self, events: Sequence[Event]) -> None:
        """Tell that *events* were stored in this process; a `wake` that knows how much work there is."""
        process, now = self._process.get(), self._monotonic()
        process.arrived = True
        for event in events:
            process.arrivals.add(event.vendor, 1, now)
        self._wake(process)

    def flush(self, timeout_s: float) -> bool:
        """Wait until the outbox is empty; return whether it is, after *timeout_s* at the latest.

        Events that back off, that wait for a suspended vendor or for one that is not configured keep it from that.
        """
        self.wake()
        process, end = self._process.get(), time.monotonic() + timeout_s
        while not is_empty(self._outbox, self.now()):
            left_s = end - time.monotonic()
            if left_s <= 0 or not process.alive() or process.over():
                return False
            with process.changed:
                process.changed.wait(min(left_s, 0.1))
        return True

    def close(self, timeout_s: float = 8.0) -> bool:
        """Stop: claim nothing more, let attempts on the wire finish, give the rest back.

        Returns after *timeout_s* or `WIRE_S` at the latest, with whether all threads have stopped. One that hangs
        settles its events when it comes back, unless the lease has run out. `start` may be called again in either
        case.
        """
        process, end = self._process.get(), time.monotonic() + min(timeout_s, WIRE_S)
        with process.changed:
            process.closed = True
            turn = process.turn
            if turn is None:
                return True
            turn.stop.set()
            waiting = turn.empty()
            process.nudge()
            threads = turn.threads()
        for queue in waiting:
            self._sender.release(process, queue.left)
        if threading.current_thread() in threads:
            return False
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        if not any(thread.is_alive() for thread in threads):
            return True
        process.throttle.change(logging.WARNING, ErrorCode.DEADLINE, "a delivery outlasted the shutdown")
        with process.changed:
            begun = [queue for crew in turn.crews.values() for queue in crew.running]
        for queue in begun:
            self._sender.release(process, queue.left)
        return False

    def health(self) -> dict[str, object]:
        """Return the state of the threads, their counts, and the vendors in trouble.

        `repeats` counts the events that were not sent for the first time: what a vendor may have twice is among them.
        """
        process = self._process.get()
        # Without the lock: a thread that the interpreter's shutdown froze may hold it.
        crews = {} if process.turn is None else dict(process.turn.crews)
        return {
            "alive": process.alive(),
            "attempts": process.attempts,
            "repeats": process.repeats,
            "in_flight": {name: len(crew.running) for name, crew in crews.items()},
            "failed_starts": process.failed_starts,
            **process.lanes.health(self._monotonic()),
        }
