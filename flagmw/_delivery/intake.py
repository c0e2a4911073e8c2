"""Intake of events into the process's outbox; no event is lost uncounted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from flagmw._delivery.process import DeliveryProcess
from flagmw._support.counters import Counters
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.types import Event


class Intake:
    """Store events and count the result. Raises nothing.

    Attributes:
        ending: whether the process is about to end, so that nothing is kept in memory any more.
        ended: whether the process is at its end: events in memory are not delivered any more.

    Args:
        renew: returns a new outbox and worker after the store was closed.
    """

    def __init__(self, counts: Counters, throttle: Throttle, renew: Callable[[], DeliveryProcess]) -> None:
        self._counts, self._throttle, self._renew = counts, throttle, renew
        self.ending = self.ended = False

    def put(self, running: DeliveryProcess, events: Sequence[Event]) -> Future[Any] | None:
        """Store *events*; return a future that ends when they are stored and counted, None if they are already."""
        if self.ended and running.own_memory:
            self._counts.add("event_dropped", "", ErrorCode.LOST_AT_EXIT, len(events))
            self._throttle.log(logging.ERROR, ErrorCode.LOST_AT_EXIT, "events came after shutdown and were lost")
            return None
        if running.submits:
            try:
                stored = running.outbox.submit(events, running.worker.now())
            except Exception:  # a store written elsewhere
                self._store(running, events)
                return None
            if stored.done():
                self._stored(running, events, stored.result)
                return None
            # A second future for those who wait: it cannot fail, and ends when everything is counted.
            noted = Future[None]()

            def note(done: Future[Sequence[str]]) -> None:
                self._stored(running, events, done.result)
                noted.set_result(None)

            stored.add_done_callback(note)
            return noted
        if not running.own_memory:
            try:
                return running.committer.submit(self._store, running, events)
            except RuntimeError:
                pass  # closed just now, or the interpreter is on its way out: nothing is left that could be held up
        self._store(running, events)
        return None

    def _store(self, running: DeliveryProcess, events: Sequence[Event]) -> None:
        self._stored(running, events, lambda: running.outbox.put_many(events, running.worker.now()))

    def _stored(self, running: DeliveryProcess, events: Sequence[Event], result: Callable[[], Sequence[str]]) -> None:
        """Note how many of *events* are in the outbox, as *result* says."""
        n = len(events)
        try:
            stored = len(result())
        except Exception as error:
            if running.closed and not (self.ending and running.own_memory):
                # It was closed between the choice of the store and this: the next one takes them.
                self.put(self._renew(), events)
                return
            # The error text of a foreign store may quote a visitor's data.
            reason = str(error) if isinstance(error, OutboxError) else type(error).__name__
            self._counts.add("event_dropped", "", ErrorCode.OUTBOX_FAILED, n)
            self._throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"events were dropped: {reason}")
            return
        running.opened = True
        if stored and running.delivers:
            running.worker.arrived(events)
        if stored < n:
            self._counts.add("event_dropped", "", ErrorCode.QUEUE_FULL, n - stored)
            self._throttle.log(logging.ERROR, ErrorCode.QUEUE_FULL, "events were dropped: the outbox is full")
