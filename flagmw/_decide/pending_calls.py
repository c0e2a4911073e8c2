"""The calls under way of one vendor: shared, in line for a place, late."""

from __future__ import annotations

import time
from typing import Any

from flagmw._decide.single_flight import PendingCall, Question, SingleFlight
from flagmw._decide.vendor_health import VendorHealth
from flagmw._exchange.context import Context
from flagmw._exchange.exchange import failed
from flagmw._exchange.remembered import Key, RememberedDecision
from flagmw._support.deadline import Deadline
from flagmw._support.places import Places, Turn
from flagmw.codes import ErrorCode
from flagmw.types import Decision


class PendingCalls:
    """Let requests share calls, and keep answers that come too late for their page.

    Attributes:
        threads, tasks: the places for calls of threads and of event loops.
    """

    def __init__(self, name: str, health: VendorHealth, context: Context) -> None:
        config = context.config
        self._name, self._health, self._context, self._config = name, health, context, config
        self._late_s = config.late_ms / 1000
        self._single_flight = SingleFlight()
        most, threads = config.max_in_flight, config.pool_size
        self.tasks = Places(most)
        # Without a lower limit for threads, both kinds of callers share one queue.
        self.threads = self.tasks if threads is None or threads >= most else Places(threads)

    @property
    def in_flight(self) -> int:
        """The number of calls that hold a place."""
        return sum(places.inside for places in {self.threads, self.tasks})

    def join(self, key: Key | None, where: object, deadline: Deadline) -> PendingCall | None:
        """Return a call for *key* that goes on already, for this request to wait for too; None if there is none."""
        call = self._single_flight.join(key, where, deadline.at)
        if call is not None:
            self._context.counts.add("joined", self._name)
        return call

    def new_call(
        self, future: Any, key: Key | None, places: Places, deadline: Deadline, question: Question
    ) -> PendingCall:
        """Return a new call; if it may outlast the deadline, it takes one of the few places for such calls at once."""
        may_be_late = key is not None and self._late_s > 0 and not self._health.is_suspect(question)
        late = may_be_late and self._single_flight.may_be_late(max(1, places.limit // 4))
        call = PendingCall(future, key, late, question=question)
        call.at = deadline.at
        return call

    def begin(self, call: PendingCall, places: Places) -> PendingCall:
        """Let others join *call*; it holds its place until it ends, even if no request waits for it."""

        def over(future: Any) -> None:
            assert call.turn is not None
            places.leave(call.turn, time.monotonic(), learn=call.sent and not future.cancelled())
            self._landed(call, future)

        self._single_flight.begin(call)
        call.future.add_done_callback(over)
        return call

    def leave(self, call: PendingCall) -> bool:
        """Stop waiting for *call*; return whether no other page waits for it."""
        return self._single_flight.leave(call)

    def drop(self, call: PendingCall) -> None:
        """Forget *call*, which is not made."""
        self._single_flight.landed(call)

    def until(self, call: PendingCall) -> Deadline:
        """Return the time by which *call* has to end."""
        return Deadline(call.at + self._late_s if call.late else call.at)

    def unfit(self, turn: Turn, places: Places, until: float) -> Decision | None:
        """Return why a call that waited for its place need not be made any more, None if it is made."""
        now = time.monotonic()
        if not turn.waited:
            return None
        if now + places.quickest(now) >= until:
            return self._health.shed()
        # Earlier calls may have found meanwhile that the vendor is down.
        return failed(self._name, ErrorCode.BREAKER_OPEN) if self._health.breaker.state(now) == "open" else None

    def missed(self, call: PendingCall, places: Places) -> Decision:
        """Return the failure of a call that missed the deadline; its answer may still be remembered."""
        waits = call.turn is not None and call.turn.since is None
        if not waits and call.late:
            self._single_flight.overdue(call)
        elif self._single_flight.leave(call):
            waits = call.turn is not None and places.give_up(call.turn)
            call.sent = not waits
            call.future.cancel()
        return self._health.shed() if waits else failed(self._name, ErrorCode.DEADLINE, trips=True)

    def _landed(self, call: PendingCall, future: Any) -> None:
        """Keep an answer that came too late for its page."""
        self._single_flight.landed(call)
        if not call.overdue or future.cancelled() or future.exception() is not None:
            return
        decision, now = future.result(), self._context.clock()
        if call.key is None or not isinstance(decision, Decision) or decision.error is not None:
            return
        held = self._context.memory.get(call.key)
        if held is not None and held.error is not None and held.within(self._config.hold_s, now):
            return  # a visitor who got the default keeps it
        self._context.memory.put(call.key, RememberedDecision(decision, now))
        self._context.counts.add("late_kept", self._name)
