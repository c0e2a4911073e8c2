"""Where a `Flagmw`'s events go: into the outbox, and from there, by its worker, to the vendors."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flagmw._engine import Exchange
from flagmw._guard import Breaker, Deadline
from flagmw._lane import Lane
from flagmw._log import Throttle
from flagmw._stats import Counts
from flagmw.codes import ErrorCode
from flagmw.config import Config
from flagmw.exceptions import OutboxError
from flagmw.outbox.base import Outbox, OutboxStats
from flagmw.types import Event, EventNote, Flow, Outcome

if TYPE_CHECKING:
    from concurrent.futures import Future

COMMIT_WAIT_S = 0.05
EXIT_FLUSH_S = 4.0
EXIT_CLOSE_S = 8.0


class Delivery:
    """Store events and have them delivered. Opens and starts nothing before the first use, anew in each process."""

    def __init__(self, config: Config, lanes: Sequence[Lane], counts: Counts, throttle: Throttle) -> None:
        self._config, self._counts, self._throttle = config, counts, throttle
        self._lanes = {lane.vendor.name: lane for lane in lanes}
        # By pid: a forked child finds nothing of its own and makes it anew.
        self._by_pid: dict[int, _Running] = {}
        self._exit_pid = 0
        self._ended = False

    def ready(self) -> None:
        """Have everything that storing an event takes, and the exit hook, before it is needed. Opens nothing."""
        self._here()

    def start(self) -> None:
        """Open the outbox and start the worker."""
        self._here().worker.start()

    def sink(self) -> Sink:
        """Return where one exchange's events go at once."""
        return Sink(self._put)

    def commit(self, exchange: Exchange) -> None:
        """Put the request's events in the outbox; wait for that 50 ms at most. Later ones go there at once."""
        stored = self._hand_over(exchange)
        if stored is None:
            return
        try:
            stored.result(COMMIT_WAIT_S)
        except TimeoutError:
            self._counts.add("commit_late", "", ErrorCode.COMMIT_LATE)

    async def acommit(self, exchange: Exchange) -> None:
        """As `commit`, from an event loop, which it does not block."""
        stored = self._hand_over(exchange)
        if stored is None:
            return
        import asyncio

        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(stored)), COMMIT_WAIT_S)
        except TimeoutError:
            self._counts.add("commit_late", "", ErrorCode.COMMIT_LATE)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events are delivered; return whether they are, after *timeout_s* seconds at most."""
        running, end = self._running, time.monotonic() + timeout_s
        if running is None:
            return True
        return running.stored(timeout_s) and running.worker.flush(max(0.0, end - time.monotonic()))

    def close(self, timeout_s: float) -> None:
        """Deliver what can be delivered within *timeout_s* seconds, stop worker and drivers, close the outbox."""
        running = self._by_pid.pop(os.getpid(), None)
        if running is not None:
            self._close(running, time.monotonic() + timeout_s)
        for lane in self._lanes.values():
            lane.close()

    def _close(self, running: _Running, end: float) -> None:
        running.stored(min(EXIT_FLUSH_S, (end - time.monotonic()) / 2))
        if running.own_memory:
            # What only this process knows of is lost after this, so it gets the time there is.
            running.worker.flush(min(EXIT_FLUSH_S, max(0.0, end - time.monotonic() - 1.0)))
        running.worker.close(max(0.1, end - time.monotonic()))
        running.committer.shutdown(wait=False)
        lost = running.outbox.stats(running.worker.now()).queued if running.own_memory else 0
        if lost:
            self._counts.add("event_dropped", "", ErrorCode.LOST_AT_EXIT, lost)
            self._throttle.change(
                logging.ERROR,
                ErrorCode.LOST_AT_EXIT,
                'events were lost: outbox="memory://" keeps none',
                events=lost,
            )
        if running.own_memory:
            running.outbox.close()

    def health(self) -> dict[str, Any]:
        running = self._running
        return {
            "delivery": None if running is None else running.worker.health(),
            "queued": 0 if running is None else running.outbox.stats(running.worker.now()).queued,
        }

    def stats(self) -> OutboxStats:
        running = self._here()
        return running.outbox.stats(running.worker.now())

    def _hand_over(self, exchange: Exchange) -> Future[None] | None:
        """Put away what the request has collected; return what may still be on its way to the store."""
        exchange.answered = True
        events = exchange.drain()
        sink = exchange.sink
        if not isinstance(sink, Sink):
            sink = exchange.sink = self.sink()
        if events:
            sink(events)
        stored, sink.last = sink.last, None
        return stored

    def _put(self, events: Sequence[Event]) -> Future[None] | None:
        try:
            running = self._here()
        except ImportError:
            # The interpreter takes its modules apart: there is nothing left to store with, nor to log with.
            self._counts.add("event_dropped", "", ErrorCode.LOST_AT_EXIT, len(events))
            return None
        if self._ended and running.own_memory:
            self._counts.add("event_dropped", "", ErrorCode.LOST_AT_EXIT, len(events))
            self._throttle.log(logging.ERROR, ErrorCode.LOST_AT_EXIT, "events came after the end and were lost")
            return None
        if not running.own_memory:
            try:
                return running.committer.submit(self._store, running, events)
            except RuntimeError:
                pass  # closed just now, or the interpreter is on its way out: nothing is left that could be held up
        self._store(running, events)
        return None

    def _store(self, running: _Running, events: Sequence[Event]) -> None:
        try:
            stored = len(running.outbox.put_many(events, running.worker.now()))
        except Exception as error:
            # Somebody else's error text may quote what a visitor sent.
            told = str(error) if isinstance(error, OutboxError) else type(error).__name__
            self._counts.add("event_dropped", "", ErrorCode.OUTBOX_FAILED, len(events))
            self._throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"events were dropped: {told}")
            return
        if stored:
            running.worker.wake()
        if stored < len(events):
            self._counts.add("event_dropped", "", ErrorCode.QUEUE_FULL, len(events) - stored)
            self._throttle.log(logging.ERROR, ErrorCode.QUEUE_FULL, "events were dropped: the outbox is full")

    @property
    def _running(self) -> _Running | None:
        return self._by_pid.get(os.getpid())

    def _here(self) -> _Running:
        pid = os.getpid()
        running = self._by_pid.get(pid)
        if running is not None:
            return running
        for other in [other for other in self._by_pid if other != pid]:
            self._by_pid.pop(other, None)
        if self._exit_pid != pid:
            self._exit_pid = pid
            atexit.register(_close_at_exit, weakref.ref(self), pid)
        # setdefault is atomic: threads that race here agree on one, and the other has started nothing.
        return self._by_pid.setdefault(pid, _Running(self._config, self._deliver, self._outcome))

    def _deliver(self, vendor: str, flow: Flow[Sequence[Outcome]], deadline: Deadline) -> Sequence[Outcome]:
        return self._lanes[vendor].delivery.run(flow, deadline)

    def _outcome(self, event: Event, outcome: Outcome) -> None:
        code = getattr(outcome, "code", None) or ""
        self._counts.add(f"delivery_{type(outcome).__name__.lower()}", event.vendor, code)
        if self._config.on_event is not None:
            self._config.on_event(
                EventNote(id=event.id, vendor=event.vendor, kind=event.kind, metric=event.track.metric, outcome=outcome)
            )


class Sink:
    """Where a request's events go at once; knows the last that may still be on its way."""

    def __init__(self, put: Callable[[Sequence[Event]], Future[None] | None]) -> None:
        self._put = put
        self.last: Future[None] | None = None

    def __call__(self, events: Sequence[Event]) -> None:
        self.last = self._put(events) or self.last


class _Running:
    """What one process has: the outbox and its worker. Made without starting anything."""

    def __init__(
        self,
        config: Config,
        deliver: Callable[[str, Flow[Sequence[Outcome]], Deadline], Sequence[Outcome]],
        outcome: Callable[[Event, Outcome], None],
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from flagmw.outbox.memory import MemoryOutbox
        from flagmw.outbox.worker import Worker

        self.own_memory = isinstance(config.outbox, str)
        self.outbox: Outbox = MemoryOutbox() if self.own_memory else config.outbox
        self.worker = Worker(
            self.outbox,
            {vendor.name: vendor for vendor in config.vendors},
            deliver,
            {vendor.name: Breaker() for vendor in config.vendors},
            max_rate=config.max_rate,
            on_outcome=outcome,
        )
        self.committer = ThreadPoolExecutor(1, "flagmw-commit")

    def stored(self, timeout_s: float) -> bool:
        """Wait until everything handed over so far is in the outbox; return whether it is."""
        if self.own_memory:
            return True
        try:
            self.committer.submit(int).result(timeout_s)
        except TimeoutError:
            return False
        except RuntimeError:
            pass  # the interpreter is on its way out, and has waited for it before it said so
        return True


def _close_at_exit(reference: weakref.ref[Delivery], pid: int) -> None:
    delivery = reference()
    if delivery is not None and os.getpid() == pid:
        delivery.close(EXIT_CLOSE_S)
        delivery._ended = True
