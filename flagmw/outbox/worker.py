"""The threads that take events from the outbox to the vendors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from flagmw._guard import Breaker
from flagmw._log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError
from flagmw.outbox._crews import Crew, Here, Turn
from flagmw.outbox._sender import TROUBLE_S, Sender
from flagmw.outbox.base import Lease, Leased, Outbox, PerProcess
from flagmw.outbox.lanes import Delivers, Lanes, Run
from flagmw.outbox.pace import CONCURRENCY, Pace
from flagmw.outbox.parcels import by_visitor
from flagmw.outbox.policy import Policy
from flagmw.types import Outcome

logger = logging.getLogger("flagmw.outbox")

WIRE_S = 4.0
"""How long `close` waits for attempts that are on the wire, at most."""

_IDLE_S = 30.0  # an idle thread looks at the store this often, for what other processes put there
_PAUSE_S = 0.02  # the shortest sleep after finding nothing: no store can make the thread spin
_LOOK_S = 0.005  # nor can wakes: a store in which nothing was due is asked again after this


class Worker:
    """Deliver what is in *outbox*: a lane for each vendor, in which a few threads make an attempt each.

    One daemon thread, `flagmw-outbox`, claims events for the lanes that have room; the lanes' own are started when
    there is work and end without it. Events of one visitor are sent one after the other, up to the vendor's
    `batch_max` of them in one attempt. What a vendor does holds up no other vendor's events.

    Nothing starts before `start` or `wake`. A forked child has no thread until its own first `wake`. The delivery
    *breakers* are not remade in a child: whoever forks while a delivery is under way hands in new ones.

    Args:
        run: drives a flow of the named vendor to its result, blocking in the calling thread.
        breakers: by vendor, for delivery alone; a vendor without one gets its own.
        max_rate: events a second, of all lanes together; a vendor that comes back must not be run over.
        concurrency: attempts at once at one vendor; fewer while it is in trouble.
        attempt_timeout_s: seconds for one attempt, all its calls together.
        lease_s: seconds for which claimed events are kept from others; longer than an attempt.
        batch: how many events are claimed at once.
        wall, monotonic: clocks in seconds; together they make `now`.
        on_outcome: told what every attempt came to for each of its events, in a lane's thread.

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
        concurrency: int = CONCURRENCY,
        attempt_timeout_s: float = 5.0,
        lease_s: float = 60.0,
        batch: int = 20,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        on_outcome: Callable[[Leased, Outcome], None] | None = None,
    ) -> None:
        if not 0 < max_rate < float("inf"):
            raise ConfigError(f"max_rate needs events per second above 0; got {max_rate}")
        if batch < 1:
            raise ConfigError(f"batch needs at least one event; got {batch}")
        if concurrency < 1:
            raise ConfigError(f"concurrency needs at least one attempt; got {concurrency}")
        if not 0 < attempt_timeout_s < lease_s:
            raise ConfigError(f"lease_s must be longer than attempt_timeout_s={attempt_timeout_s}; got {lease_s}")
        self._outbox, self._monotonic = outbox, monotonic
        self._lease_s = lease_s
        self._sender = Sender(outbox, self.now, monotonic, attempt_timeout_s, on_outcome)
        # No more than can be sent well before the lease runs out.
        self._batch = max(1, min(batch, int(max_rate * lease_s / 4)))
        self._epoch = wall() - monotonic()

        def here() -> Here:
            throttle = Throttle(logger, clock=monotonic)
            lanes = Lanes(
                vendors,
                run,
                breakers or {},
                policy or Policy(),
                throttle,
                attempt_timeout_s=attempt_timeout_s,
                monotonic=monotonic,
                concurrency=concurrency,
            )
            return Here(lanes, throttle, Pace(max_rate))

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
                here.nudge()
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
        """Stop: claim nothing more, let attempts on the wire finish, give the rest back.

        Returns after *timeout_s* or `WIRE_S` at the latest, with whether all threads have stopped. One that hangs
        settles its events when it comes back, unless the lease has run out. `start` may be called again in either
        case.
        """
        here, end = self._here.get(), time.monotonic() + min(timeout_s, WIRE_S)
        with here.changed:
            here.closed = True
            turn = here.turn
            if turn is None:
                return True
            turn.stop.set()
            waiting = turn.empty()
            here.nudge()
            threads = turn.threads()
        for queue in waiting:
            self._sender.release(here, queue.left)
        if threading.current_thread() in threads:
            return False
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        if not any(thread.is_alive() for thread in threads):
            return True
        here.throttle.change(logging.WARNING, ErrorCode.DEADLINE, "a delivery outlasted the shutdown")
        with here.changed:
            begun = [queue for crew in turn.crews.values() for queue in crew.running]
        for queue in begun:
            self._sender.release(here, queue.left)
        return False

    def health(self) -> dict[str, object]:
        """Return whether the threads run, what they did, and which vendors are in trouble.

        `repeats` counts the events that were not sent for the first time: what a vendor may have twice is among them.
        """
        here = self._here.get()
        # Without the lock: a thread that the interpreter's shutdown froze may hold it.
        crews = {} if here.turn is None else dict(here.turn.crews)
        return {
            "alive": here.alive(),
            "attempts": here.attempts,
            "repeats": here.repeats,
            "in_flight": {name: len(crew.running) for name, crew in crews.items()},
            "failed_starts": here.failed_starts,
            **here.lanes.health(self._monotonic()),
        }

    # The thread that claims

    def _ensure(self, here: Here) -> bool:
        if here.alive():
            return True
        turn = Turn()
        turn.thread = threading.Thread(target=self._loop, args=(here, turn), name="flagmw-outbox", daemon=True)
        if not here.started(turn.thread):
            return False
        here.turn = turn
        return True

    def _loop(self, here: Here, turn: Turn) -> None:
        while not turn.stop.is_set():
            try:
                wait_s = self._feed(here, turn)
            except Exception as error:
                here.trouble("delivery is held up", error)
                wait_s = TROUBLE_S
            if wait_s > 0:
                turn.stop.wait(_LOOK_S)
                with here.changed:
                    if not here.nudged and not turn.stop.is_set():
                        here.changed.wait(wait_s)
            here.nudged = False

    def _feed(self, here: Here, turn: Turn) -> float:
        """Claim once for the lanes that have room; return the seconds until there may be more to do."""
        now = self._monotonic()
        resting = here.lanes.resting(now)
        with here.changed:
            full = {name for name, crew in turn.crews.items() if crew.waiting and len(crew.waiting) >= crew.threads_max}
        skip = resting.keys() | full
        waits = [until - now for until in resting.values()]
        due_s: float | None = None
        if not here.lanes.names or here.lanes.names - skip:
            lease = self._outbox.claim(self.now(), self._limit(here, skip, now), self._lease_s, skip)
            if lease is not None:
                self._hand_out(here, turn, lease, now + self._lease_s)
                return 0.0
            due_s = self._outbox.next_due(self.now(), skip)
        return max(_PAUSE_S, min([*waits, _IDLE_S if due_s is None else due_s, _IDLE_S]))

    def _limit(self, here: Here, skip: set[str], now: float) -> int:
        on_trial = any(here.lanes.on_trial(name, now) for name in here.lanes.names - skip)
        return 1 if on_trial else self._batch

    def _hand_out(self, here: Here, turn: Turn, lease: Lease, until: float) -> None:
        if lease.vendor not in here.lanes.names:
            here.lanes.reject(lease.vendor)
            self._sender.release(here, lease)
            return
        with here.changed:
            crew = turn.crews.setdefault(lease.vendor, Crew(threading.Condition(here.lock)))
            crew.waiting.extend(by_visitor(lease, until))
            crew.ready.notify_all()
            staffed = self._staff(here, turn, crew, lease.vendor)
            back = turn.empty() if turn.stop.is_set() else [] if staffed else crew.empty()
        for queue in back:
            self._sender.release(here, queue.left)
        if not staffed:
            turn.stop.wait(TROUBLE_S)

    def _staff(self, here: Here, turn: Turn, crew: Crew, vendor: str) -> bool:
        """Start as many threads as the lane can use now; say whether it has any."""
        crew.threads_max = here.lanes.width(vendor, self._monotonic())
        while len(crew.threads) < min(crew.threads_max, len(crew.running) + len(crew.waiting)):
            thread = threading.Thread(
                target=self._sender.work, args=(here, turn, crew, vendor), name=f"flagmw-outbox-{vendor}", daemon=True
            )
            if not here.started(thread):
                break
            crew.threads.add(thread)
        return bool(crew.threads)
