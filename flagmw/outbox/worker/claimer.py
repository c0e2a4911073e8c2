"""The thread that claims events for the lanes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from flagmw.outbox.base import Outbox
from flagmw.outbox.picks import claim_newest, others
from flagmw.outbox.worker.batches import VisitorBatch, by_visitor
from flagmw.outbox.worker.sender import TROUBLE_S, Sender
from flagmw.outbox.worker.threads import LaneThreads, WorkerProcess, WorkerRun

_IDLE_S = 30.0  # an idle thread looks at the store this often, for what other processes put there
_PAUSE_S = 0.02  # the shortest sleep after finding nothing: no store can make the thread spin
_AGAIN_S = 0.1  # nor is it long until a lane with something in hand is looked at again
_RATES_S = 0.25  # how often the rates are looked at
_FEW = 8  # so many events are claimed at once for a lane in which something fails
_LOOK_S = 0.005  # nor can wakes: a store in which nothing was due is asked again after this


class Claimer:
    """Claims events for the lanes that have room, and starts the lanes' threads.

    Args:
        now: the time that the outbox goes by, seconds since the epoch.
        lease_s: seconds for which claimed events are kept from others.
        batch: how many events are claimed at once.
    """

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        lease_s: float,
        batch: int,
    ) -> None:
        self._outbox, self._sender, self._now, self._monotonic = outbox, sender, now, monotonic
        self._lease_s, self._batch = lease_s, batch

    def start(self, process: WorkerProcess) -> bool:
        """Start the thread unless it runs; return whether it runs."""
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
            # Time alone may have freed a place for events that wait in this process.
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
            lease = self._outbox.claim(self._now(), self._batch, self._lease_s, skip)
            if lease is not None:
                self._hand_out(process, turn, lease.vendor, by_visitor(lease, now + self._lease_s))
                return 0.0
        if fed:
            return 0.0
        due_s: float | None = None
        if process.lanes.names - (resting.keys() | full) or not process.lanes.names:
            due_s = self._outbox.next_due(self._now(), resting.keys() | full)
        waits = [until - now for until in resting.values()]
        return max(_PAUSE_S, min([*waits, _AGAIN_S if waiting else _IDLE_S, _IDLE_S if due_s is None else due_s]))

    def _feed_doubtful(self, process: WorkerProcess, turn: WorkerRun, vendor: str, now: float) -> bool | None:
        """Claim for a lane in which something fails; say whether there were events, None if the lane has no room.

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
                claim_newest(self._outbox, self._now(), _FEW if trial else 1, self._lease_s, skip)
                if newest
                else self._outbox.claim(self._now(), _FEW, self._lease_s, skip)
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
        stats = self._outbox.stats(self._now()) if slow and not process.arrived else None
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
