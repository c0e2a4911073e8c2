"""Sender threads of a lane, each with one visitor's batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from flagmw.codes import ErrorCode
from flagmw.outbox.base import Lease, Leased, Outbox
from flagmw.outbox.policy import Later
from flagmw.outbox.worker.batches import VisitorBatch, parcel_size
from flagmw.outbox.worker.threads import LaneThreads, WorkerProcess, WorkerRun
from flagmw.types import Outcome

TROUBLE_S = 1.0
"""The pause after the store failed."""

_LINGER_S = 10.0  # a vendor's thread without work ends after this
_POLL_S = 0.1  # while something waits for a place, which may come by mere time, it is looked for so often


class Sender:
    """The work of the threads of all lanes.

    Args:
        now: the time of the outbox, seconds since the epoch.
        on_outcome: called with the outcome of every attempt, for each of its events.
    """

    def __init__(
        self,
        outbox: Outbox,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        attempt_timeout_s: float,
        on_outcome: Callable[[Leased, Outcome], None] | None,
    ) -> None:
        self._outbox, self._now, self._monotonic = outbox, now, monotonic
        self._attempt_timeout_s, self._on_outcome = attempt_timeout_s, on_outcome

    def work(self, process: WorkerProcess, turn: WorkerRun, crew: LaneThreads, vendor: str) -> None:
        """Be one of a lane's threads, until there is nothing to do any more."""
        while (queue := self._next(process, turn, crew, vendor)) is not None:
            try:
                self._send(process, turn, queue, vendor)
            except Exception as error:
                process.trouble("a delivery cannot be settled", error)
                turn.stop.wait(TROUBLE_S)
            finally:
                if queue.left.rows:
                    self.release(process, queue.left)
                with process.changed:
                    crew.running.discard(queue)
                    crew.ready.notify()
                    process.nudge()

    def _next(self, process: WorkerProcess, turn: WorkerRun, crew: LaneThreads, vendor: str) -> VisitorBatch | None:
        """Wait for a visitor's queue; None when the thread is to end."""
        end = time.monotonic() + _LINGER_S
        with process.changed:
            while not turn.stop.is_set():
                now = self._monotonic()
                if not crew.idle() and len(crew.running) < process.lanes.places(vendor, now):
                    one_in = process.lanes.oldest_one_in(vendor, now)
                    if not crew.newest and crew.is_newests_turn(one_in) and process.lanes.picks_newest(vendor, now):
                        # Chosen now and not before: the next one may be newer.
                        crew.asks = True
                        process.nudge()
                    else:
                        queue = crew.take(one_in)
                        crew.running.add(queue)
                        process.nudge()
                        return queue
                left_s = end - time.monotonic()
                if left_s <= 0:
                    break
                crew.ready.wait(left_s if crew.idle() else _POLL_S)
            crew.threads.discard(threading.current_thread())
            return None

    def _send(self, process: WorkerProcess, turn: WorkerRun, queue: VisitorBatch, vendor: str) -> None:
        """Make one attempt after the other and settle each at once, until something is in the way."""
        lanes = process.lanes
        while queue.left.rows:
            size = parcel_size(queue.left.rows, lanes.batch_max(vendor))
            rows = queue.left.rows[:size]
            hold_s = lanes.hold_s(vendor, rows, self._monotonic())
            if hold_s > 0:
                held = queue.take(size)
                self._outbox.ack(
                    held, [Later(ErrorCode.SHED, hold_s, wait_s=hold_s, counted=False)] * size, self._now()
                )
                continue
            if not self._paced(process, turn, queue, vendor, size):
                return
            if not lanes.allow(vendor, self._monotonic()):
                process.pace.give_back(size)
                lanes.give_back(vendor, rows)
                return
            parcel = queue.take(size)
            outcomes, ruled = lanes.attempt(vendor, parcel.rows)
            with process.changed:
                process.attempts += 1
                process.repeats += sum(row.attempts > 0 for row in parcel.rows)
            self._outbox.ack(parcel, ruled, self._now())
            self._tell(process, parcel.rows, outcomes)
            with process.changed:
                process.changed.notify_all()

    def _paced(self, process: WorkerProcess, turn: WorkerRun, queue: VisitorBatch, vendor: str, size: int) -> bool:
        """Wait for the turn of *size* events; say whether it has come, with the lease good for an attempt still."""
        now = self._monotonic()
        at = max(process.pace.book(size, now), process.lanes.book(vendor, size, now))
        while not turn.stop.is_set():
            # An attempt that might outlast the lease could be made twice at the same time.
            now = self._monotonic()
            if max(at, now) + self._attempt_timeout_s > queue.until:
                break
            if at <= now:
                return True
            turn.stop.wait(at - now)
        process.pace.give_back(size)
        process.lanes.give_back(vendor, queue.left.rows[:size])
        return False

    def release(self, process: WorkerProcess, lease: Lease) -> None:
        """Give back what was not tried; when that fails it is free again as the lease runs out."""
        try:
            self._outbox.release(lease, self._now())
        except Exception as error:
            process.trouble("a lease is kept", error)

    def _tell(self, process: WorkerProcess, rows: Sequence[Leased], outcomes: Sequence[Outcome]) -> None:
        if self._on_outcome is None:
            return
        for row, outcome in zip(rows, outcomes, strict=True):
            try:
                self._on_outcome(row, outcome)
            except Exception as error:
                process.throttle.log(logging.ERROR, ErrorCode.INTERNAL, "on_outcome failed", error=type(error).__name__)
