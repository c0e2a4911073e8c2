"""Delivery of events: storing them, and the worker that sends them."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flagmw._delivery.business_keys import BusinessKeys
from flagmw._delivery.intake import Intake
from flagmw._delivery.linger import close_when_idle
from flagmw._delivery.process import DeliveryProcess
from flagmw._exchange.event_sink import EventSink
from flagmw._exchange.recorder import EventRecorder
from flagmw._support.counters import Counters
from flagmw._support.deadline import Deadline
from flagmw._support.forksafe import OncePerProcess, PerProcess
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.config.config import Config
from flagmw.exceptions import OutboxError
from flagmw.outbox.base import Leased, OutboxStats
from flagmw.outbox.factory import has_slots, located, make, probe, start, trouble
from flagmw.outbox.location import Location, is_shared, parse
from flagmw.outbox.picks import is_empty
from flagmw.outbox.worker.pace import ATTEMPTS_MAX
from flagmw.types import Event, EventNote, Flow, Outcome, T
from flagmw.vendors.base import VendorTraits

if TYPE_CHECKING:
    from concurrent.futures import Future

    from flagmw._drivers.blocking import BlockingDriver

DELIVERY_CONNECT_S = 2.0
# A process's first events also open the store, which takes longer than a commit; only they may wait for that.
OPEN_WAIT_S = 0.3
EXIT_FLUSH_S = 4.0
EXIT_CLOSE_S = 8.0
# What is left of that for writing back the log and freeing the slot.
STORE_CLOSE_S = 1.5
# How long the end of a lifespan, for which a page may wait, waits for the disk.
REST_S = 0.25


class Delivery:
    """Store events and have them delivered. Opens and starts nothing before the first use, anew in each process."""

    def __init__(self, config: Config, counts: Counters, throttle: Throttle) -> None:
        self._config, self._counts, self._throttle = config, counts, throttle
        self._drivers = _drivers(config)
        self._process = PerProcess(self._start_process)
        self._exit_hook, self._looked = OncePerProcess(), OncePerProcess()
        self._intake = Intake(counts, throttle, self._process.get)
        self._business_keys = BusinessKeys(counts, throttle)
        self._rests = 0
        self._asks_elsewhere = isinstance(config.outbox, str) and is_shared(config.outbox)
        self._closed = PerProcess(OutboxStats)
        self._outbox = config.outbox
        if config.outbox is None or isinstance(config.outbox, str):
            location = None if config.outbox is None else parse(config.outbox)
            self._outbox = located(location, [vendor.name for vendor in config.vendors])
            if config.outbox_required:
                probe(self._outbox)
            if self._outbox.options:
                # A missing encryption key is an error at once, not at the first event.
                make(self._outbox, required=config.outbox_required)

    def ready(self) -> None:
        """Make the outbox, the worker and the exit hook before the first event needs them.

        The delivery thread opens a durable outbox meanwhile: making a file takes longer than a response waits for its
        first event, and the events of a dead process must not wait for one.
        """
        if self._running is not None:
            return
        running = self._process.get()
        if running.delivers and not running.own_memory:
            running.worker.start()

    def start(self) -> None:
        """Open the outbox and start the worker.

        Raises:
            OutboxError: the outbox cannot be used and the configuration says that it is required.
        """
        running = self._process.get()
        self._rests += 1
        if running.owned:
            try:
                start(running.outbox)
            except OutboxError:
                # In the log already; without `outbox_required` events are kept in memory meanwhile.
                if self._config.outbox_required:
                    raise
        if running.delivers:
            running.worker.start()

    def prepare(self) -> None:
        """Load HTTP libraries and certificates now, so that the first delivery does not wait for them."""
        for vendor in self._config.vendors:
            if VendorTraits.of(vendor).remote:
                self._drivers[vendor.name].prepare()

    def run(self, vendor: str, flow: Flow[T], deadline: Deadline) -> T:
        """Drive a flow of the named vendor to its result, blocking in this thread."""
        return self._drivers[vendor].run(flow, deadline)

    def deliver(self) -> None:
        """Start the worker even with `deliver="off"`: delivery is the purpose of this process."""
        self._process.get().delivers = True
        self.start()

    def open_sink(self) -> EventSink:
        """Return a way to the outbox for one request's events."""
        return EventSink(self._put)

    def reserve(self, events: Sequence[Event]) -> list[Event]:
        """Return those of *events* whose business key no other event holds, as far as the outbox can say."""
        try:
            running = self._process.get()
        except ImportError:
            return list(events)  # the interpreter takes its modules apart
        return self._business_keys.free(running.reserve, events)

    def commit(self, recorder: EventRecorder) -> None:
        """Put the request's events in the outbox; wait for that as configured. Later ones go there at once."""
        stored = self._hand_over(recorder)
        if stored is None:
            return
        try:
            stored.result(self._commit_wait_s())
        except TimeoutError:
            self._counts.add("commit_late", "", ErrorCode.COMMIT_LATE)

    async def acommit(self, recorder: EventRecorder) -> None:
        """As `commit`, from an event loop, which it does not block."""
        if recorder.has_reads and self._asks_elsewhere:
            import asyncio

            # Another machine may have reported these exposures: a thread asks the server, after the tracks are stored.
            self._hand_over(recorder, expose=False)
            await asyncio.shield(asyncio.to_thread(recorder.expose))
        stored = self._hand_over(recorder)
        if stored is None:
            return
        from flagmw._support.waiting import thread_done

        if not await thread_done(stored, self._commit_wait_s()):
            self._counts.add("commit_late", "", ErrorCode.COMMIT_LATE)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events are delivered; return whether they are, after *timeout_s* seconds at most.

        Events count that dead processes have left in the directory, and for a Valkey server those of all machines.
        """
        end = time.monotonic() + timeout_s
        if self._running is None and not self._may_hold_events():
            return True
        running = self._process.get()
        if not running.stored(timeout_s):
            return False
        if not running.delivers:
            return is_empty(running.outbox, running.worker.now())
        running.worker.start()
        return running.worker.flush(max(0.0, end - time.monotonic()))

    def rest(self, close: Callable[[], None]) -> None:
        """Wait until all events are in the store; delivery goes on.

        Call *close* when nothing is left to deliver, or after half a minute where events are on disk anyway, unless
        there is a new start before.
        """
        running = self._running
        if running is None:
            return
        running.stored(REST_S)
        self._rests += 1
        rests = self._rests
        close_when_idle(running, lambda: self._rests == rests and self._running is running, close)

    def close(self, timeout_s: float) -> None:
        """Deliver for up to *timeout_s* seconds, stop worker and drivers, close the outbox."""
        running = self._process.take()
        if running is not None:
            self._close(running, time.monotonic() + timeout_s)
        for driver in self._drivers.values():
            driver.close()

    def close_at_exit(self) -> None:
        """As `close`, at the end of the process: events that come later cannot be stored any more."""
        self._intake.ending = True
        self.close(EXIT_CLOSE_S)
        self._intake.ended = True

    def _close(self, running: DeliveryProcess, end: float) -> None:
        running.closed = True
        running.stored(min(EXIT_FLUSH_S, (end - time.monotonic()) / 2))
        if running.own_memory or trouble(running.outbox):
            # Events that only this process has are lost after this, so they get all the time that is left.
            running.worker.flush(min(EXIT_FLUSH_S, max(0.0, end - time.monotonic() - 1.0)))
        running.worker.close(max(0.1, end - time.monotonic() - (STORE_CLOSE_S if running.owned else 0.0)))
        running.committer.shutdown(wait=False)
        if running.owned:
            running.outbox.close()
        stats = running.outbox.stats(running.worker.now())
        self._closed.set(stats)
        lost = stats.dropped.get(ErrorCode.LOST_AT_EXIT, 0) if running.owned else 0
        if lost:
            self._counts.add("event_dropped", "", ErrorCode.LOST_AT_EXIT, lost)
            self._throttle.change(
                logging.ERROR,
                ErrorCode.LOST_AT_EXIT,
                "events were lost: they were in memory only",
                events=lost,
            )

    def health(self) -> dict[str, Any]:
        running = self._running
        return {
            "delivery": None if running is None else running.worker.health(),
            "queued": self.stats().queued,
            "outbox": None if running is None else trouble(running.outbox) or "ok",
        }

    def stats(self) -> OutboxStats:
        """Return the current counts, or the last ones after the end; all are zero before the first use."""
        running = self._running
        if running is not None:
            return running.outbox.stats(running.worker.now())
        return self._closed.get()

    def _hand_over(self, recorder: EventRecorder, *, expose: bool = True) -> Future[Any] | None:
        """Store the events that the request has collected; return a future while they are on their way."""
        recorder.answered = True
        sink = recorder.open_sink()
        events = recorder.drain(expose=expose)
        self.look()
        if events:
            sink(events)
        return sink.take_last() if expose else sink.last

    def _commit_wait_s(self) -> float:
        running, wait_s = self._running, self._config.commit_wait_ms / 1000
        unopened = running is not None and running.owned and not running.opened
        return max(OPEN_WAIT_S, wait_s) if unopened else wait_s

    def look(self) -> None:
        """At a process's first request, start delivery if earlier processes have left events behind."""
        if not self._looked.first():
            return
        delivers = self._config.deliver == "inprocess"
        if delivers and isinstance(self._outbox, Location) and self._running is None and has_slots(self._outbox):
            self._process.get().worker.start()

    def _put(self, events: Sequence[Event]) -> Future[Any] | None:
        try:
            running = self._process.get()
        except ImportError:
            # The interpreter is removing its modules: nothing can be stored or logged any more.
            self._counts.add("event_dropped", "", ErrorCode.LOST_AT_EXIT, len(events))
            return None
        running.puts += 1
        return self._intake.put(running, events)

    def _may_hold_events(self) -> bool:
        """Say whether the outbox may hold events of other or earlier processes."""
        if not isinstance(self._outbox, Location):
            return True
        return self._outbox.server is not None or has_slots(self._outbox)

    @property
    def _running(self) -> DeliveryProcess | None:
        return self._process.current()

    def _start_process(self) -> DeliveryProcess:
        if self._exit_hook.first():
            atexit.register(_close_at_exit, weakref.ref(self), os.getpid())
        running = DeliveryProcess(self._config, self._outbox, self.run, self._outcome)
        if self._config.outbox is None:
            self._throttle.change(
                logging.WARNING,
                "OUTBOX_DEFAULT",
                f'events are kept in {self._outbox.path}; say outbox="sqlite:///directory" to choose the place',
            )
        return running

    def _outcome(self, row: Leased, outcome: Outcome) -> None:
        event = row.event
        code = outcome.code or ""
        self._counts.add(f"delivery_{type(outcome).__name__.lower()}", event.vendor, code)
        if self._config.on_event is not None:
            self._config.on_event(
                EventNote(
                    id=event.id,
                    vendor=event.vendor,
                    kind=event.kind,
                    metric=event.track.metric,
                    outcome=outcome,
                    attempt=row.attempts + 1,
                    track_id=event.track.id,
                )
            )


def _drivers(config: Config) -> dict[str, BlockingDriver]:
    """Return a driver per vendor, by name, for deliveries and refreshes."""
    # Imported late: `import flagmw` must not cost a script sockets and TLS.
    from flagmw._drivers.blocking import BlockingDriver
    from flagmw._transports.body import Limits

    # Nobody waits for a delivery, so it has the time for a connection whose first packet was lost.
    limits, transport = Limits(connect_s=DELIVERY_CONNECT_S), config.transport[0]
    return {
        vendor.name: BlockingDriver(
            pool_size=ATTEMPTS_MAX,
            limits=limits,
            transport=transport,
            trust_env=config.trust_env,
            ca_file=config.ca_file,
        )
        for vendor in config.vendors
    }


def _close_at_exit(reference: weakref.ref[Delivery], pid: int) -> None:
    delivery = reference()
    if delivery is not None and os.getpid() == pid:
        delivery.close_at_exit()
