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
from flagmw.outbox.picks import claim_newest, is_empty, others
from flagmw.outbox.policy import Policy
from flagmw.outbox.worker.batches import VisitorBatch, by_visitor
from flagmw.outbox.worker.lanes import Delivers, Lanes, Run
from flagmw.outbox.worker.pace import CONCURRENCY, CONCURRENCY_MAX, Pace
from flagmw.outbox.worker.sender import TROUBLE_S, Sender
from flagmw.outbox.worker.threads import LaneThreads, WorkerProcess, WorkerRun
from flagmw.types import Event, Outcome

logger = logging.getLogger("flagmw.outbox")

WIRE_S = 4.0
"""How long `close` waits for attempts that are on the wire, at most."""

_IDLE_S = 30.0  # an idle thread looks at the store this often, for what other processes put there
_PAUSE_S = 0.02  # the shortest sleep after finding nothing: no store can make the thread spin
_AGAIN_S = 0.1  # nor is it long until a lane with something in hand is looked at again
_RATES_S = 0.25  # how often the rates are looked at
_FEW = 8  # so many events are claimed at once for a lane in which something fails
_LOOK_S = 0.005  # nor can wakes: a store in which nothing was due is asked again after this


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
        on_outcome: told what every attempt came to for each of its events, in a lane's thread.

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
        self._lease_s = lease_s
        self._sender = Sender(outbox, self.now, monotonic, attempt_timeout_s, on_outcome)
        # No more than can be sent well before the lease runs out.
        self._batch = max(1, batch if max_rate is None else min(batch, int(max_rate * lease_s / 4)))
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
        """Start the thread unless it runs; say whether it runs. Raises nothing, at interpreter shutdown either."""
        process = self._process.get()
        if process.over():
            return False
        with process.changed:
            process.closed = False
            return self._ensure(process)

    def wake(self) -> None:
        """Tell the thread that there is work, and start it at the first time; nothing after `close`."""
        self._wake(self._process.get())

    def _wake(self, process: WorkerProcess) -> None:
        if process.over():
            return
        with process.changed:
            if not process.closed:
                process.nudge()
                self._ensure(process)

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
        """Return whether the threads run, what they did, and which vendors are in trouble.

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

    # The thread that claims

    def _ensure(self, process: WorkerProcess) -> bool:
        if process.alive():
            return True
        turn = WorkerRun()
        turn.thread = threading.Thread(target=self._loop, args=(process, turn), name="flagmw-outbox", daemon=True)
        if not process.started(turn.thread):
            return False
        process.turn = turn
        return True

    def _loop(self, process: WorkerProcess, turn: WorkerRun) -> None:
        while not turn.stop.is_set():
            try:
                wait_s = self._feed(process, turn)
            except Exception as error:
                process.trouble("delivery is held up", error)
                wait_s = TROUBLE_S
            if wait_s > 0:
                turn.stop.wait(_LOOK_S)
                with process.changed:
                    if not process.nudged and not turn.stop.is_set():
                        process.changed.wait(wait_s)
            process.nudged = False

    def _feed(self, process: WorkerProcess, turn: WorkerRun) -> float:
        """Claim for the lanes that have room; return the seconds until there may be more to do."""
        now = self._monotonic()
        resting = process.lanes.resting(now)
        doubtful = {name for name in process.lanes.names - resting.keys() if process.lanes.doubtful(name, now)}
        self._look(process, now)
        with process.changed:
            # A place may have come by mere time, for what waits here already.
            waiting = [name for name, crew in turn.crews.items() if not crew.idle() and name in process.lanes.names]
            for name in waiting:
                self._staff(process, turn, turn.crews[name], name)
            full = {name for name, crew in turn.crews.items() if len(crew.waiting) >= crew.threads_max}
            full -= doubtful
        fed = False
        for name in doubtful:
            has = self._feed_doubtful(process, turn, name, now)
            fed = fed or bool(has)
            if has is None:
                full.add(name)
        skip = resting.keys() | full | doubtful
        if not process.lanes.names or process.lanes.names - skip:
            lease = self._outbox.claim(self.now(), self._batch, self._lease_s, skip)
            if lease is not None:
                self._hand_out(process, turn, lease.vendor, by_visitor(lease, now + self._lease_s))
                return 0.0
        if fed:
            return 0.0
        due_s: float | None = None
        if process.lanes.names - (resting.keys() | full) or not process.lanes.names:
            due_s = self._outbox.next_due(self.now(), resting.keys() | full)
        waits = [until - now for until in resting.values()]
        return max(_PAUSE_S, min([*waits, _AGAIN_S if waiting else _IDLE_S, _IDLE_S if due_s is None else due_s]))

    def _feed_doubtful(self, process: WorkerProcess, turn: WorkerRun, vendor: str, now: float) -> bool | None:
        """Claim for a lane in which something fails; say whether that had anything, None where it has no room.

        Oldest and newest events take turns, so that neither a burst of bad events nor the good ones before it hold up
        the others. A probe is an event of a visitor whose last attempt did not fail, if there is one.
        """
        with process.changed:
            crew = turn.crews.setdefault(vendor, LaneThreads(threading.Condition(process.lock)))
            trial = process.lanes.on_trial(vendor)
            if trial:
                taken = len(crew.running) > process.lanes.under_way(vendor)
                newest_first = crew.is_newests_turn(process.lanes.oldest_one_in(vendor, now))
                sides = [] if taken or not crew.idle() else [newest_first, not newest_first]
            else:
                asks, crew.asks = crew.asks, False
                sides = ([True] if asks else []) + ([] if len(crew.waiting) >= crew.threads_max else [False])
        if not sides:
            return None
        skip = (process.lanes.names | process.lanes.unknown) - {vendor}
        for newest in sides:
            lease = (
                claim_newest(self._outbox, self.now(), _FEW if trial else 1, self._lease_s, skip)
                if newest
                else self._outbox.claim(self.now(), _FEW, self._lease_s, skip)
            )
            if lease is None:
                if newest and not trial:
                    with process.changed:
                        crew.turn = 0
                        crew.ready.notify_all()
                continue
            queues = by_visitor(lease, now + self._lease_s)
            if trial and lease.vendor == vendor:
                queues = [process.lanes.least_suspect(vendor, queues)]
                rest = others(lease, {row.event.id for row in queues[0].left.rows})
                if rest.rows:
                    self._sender.release(process, rest)
            self._hand_out(process, turn, lease.vendor, queues, newest=newest)
            return True
        return False

    def _look(self, process: WorkerProcess, now: float) -> None:
        """Every now and then, see how many events come in for vendors that answer slowly."""
        if now < process.looked_at + _RATES_S:
            return
        process.looked_at = now
        slow = [name for name in process.lanes.names if process.lanes.is_slow(name)]
        stats = self._outbox.stats(self.now()) if slow and not process.arrived else None
        for name in process.lanes.names:
            if stats is not None and name in slow and name in stats.lanes:
                process.arrivals.total(name, stats.lanes[name].accepted, now)
            process.lanes.live(name, process.arrivals.rate(name, now) if name in slow else 0.0)

    def _hand_out(
        self,
        process: WorkerProcess,
        turn: WorkerRun,
        vendor: str,
        queues: Sequence[VisitorBatch],
        *,
        newest: bool = False,
    ) -> None:
        if vendor not in process.lanes.names:
            process.lanes.reject(vendor)
            for queue in queues:
                self._sender.release(process, queue.left)
            return
        with process.changed:
            crew = turn.crews.setdefault(vendor, LaneThreads(threading.Condition(process.lock)))
            (crew.newest if newest else crew.waiting).extend(queues)
            crew.ready.notify_all()
            staffed = self._staff(process, turn, crew, vendor)
            back = turn.empty() if turn.stop.is_set() else [] if staffed else crew.empty()
        for queue in back:
            self._sender.release(process, queue.left)
        if not staffed:
            turn.stop.wait(TROUBLE_S)

    def _staff(self, process: WorkerProcess, turn: WorkerRun, crew: LaneThreads, vendor: str) -> bool:
        """Start as many threads as the lane can use now; say whether it has any."""
        crew.threads_max = process.lanes.places(vendor, self._monotonic())
        work = len(crew.running) + len(crew.waiting) + len(crew.newest)
        while len(crew.threads) < min(crew.threads_max, work):
            thread = threading.Thread(
                target=self._sender.work,
                args=(process, turn, crew, vendor),
                name=f"flagmw-outbox-{vendor}",
                daemon=True,
            )
            if not process.started(thread):
                break
            crew.threads.add(thread)
        return bool(crew.threads)
