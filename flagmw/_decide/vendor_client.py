"""Client of one vendor: breaker, places for calls, deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError
from typing import Any

from flagmw._decide.pulse import pulse_of, thread_still_since, wait
from flagmw._decide.single_flight import PendingCall, Question, SingleFlight
from flagmw._decide.suspects import KNOWN, SUSPECT, Suspects, without_cookies
from flagmw._exchange.context import Context
from flagmw._exchange.exchange import failed
from flagmw._exchange.remembered import Key, RememberedDecision
from flagmw._support.breaker import Breaker
from flagmw._support.deadline import LATE_S, Deadline
from flagmw._support.places import Places, Turn, hand_on
from flagmw._support.waiting import task_done
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Decision, DecisionNote, Flow, Visit, VisitorState
from flagmw.vendors.base import Vendor, VendorTraits

_NOT_ASKED = frozenset({ErrorCode.SHED, ErrorCode.BREAKER_OPEN})
# Failures that may be due to a process which stood still, rather than to the vendor.
_TIMED = frozenset(
    {
        ErrorCode.DEADLINE,
        ErrorCode.DNS,
        ErrorCode.CONNECT,
        ErrorCode.TLS,
        ErrorCode.RESET,
        ErrorCode.TRUNCATED,
        ErrorCode.TRANSPORT,
    }
)
_STILL_S = 0.05


class VendorClient:
    """Ask one vendor, within its breaker, its in-flight cap and the deadline. Raises nothing but cancellation.

    A call with a *key* can be remembered. Concurrent requests of a visitor share it, and it may miss the deadline: its
    answer then serves the visitor's next page. The calls of new visitors end at the deadline.
    """

    def __init__(self, vendor: Vendor, context: Context) -> None:
        config = context.config
        blocking_transport, async_transport = config.transport
        self.vendor, self._config, self._context = vendor, config, context
        self._counts, self._throttle = context.counts, context.throttle
        # A vendor without a service of its own (Static) never yields a call, so its flow runs where it stands.
        self.traits = VendorTraits.of(vendor)
        self.remote = self.traits.remote
        self._late_s = config.late_ms / 1000
        self.reset()
        # Imported here: `import flagmw` must not cost a script the event loop, sockets and TLS.
        from flagmw._drivers.aio import AsyncDriver
        from flagmw._drivers.blocking import BlockingDriver
        from flagmw._transports.body import Limits

        hedged: dict[str, Any] = {
            "trust_env": config.trust_env,
            "ca_file": config.ca_file,
            "hedge_s": None if config.hedge_ms is None else config.hedge_ms / 1000,
        }
        # Half of the deadline at most goes into one address that does not answer; another may.
        near = Limits(connect_s=max(0.1, config.deadline_ms / 2000))
        threads, tasks = self._threads.limit, self._tasks.limit
        self.blocking = BlockingDriver(pool_size=threads, limits=near, transport=blocking_transport, **hedged)
        self.aio = AsyncDriver(max_connections=tasks, limits=near, transport=async_transport, **hedged)

    def reset(self) -> None:
        """Forget the calls of the parent process, in a forked child."""
        self.breaker, self._suspects = Breaker(), Suspects(self._context.shares.tracks)
        most, threads = self._config.max_in_flight, self._config.pool_size
        self._tasks = Places(most)
        # Where threads are not to be fewer, both kinds of callers stand in one line.
        self._threads = self._tasks if threads is None or threads >= most else Places(threads)
        self._single_flight = SingleFlight()

    def close(self) -> None:
        """Close the blocking driver's connections and let its threads end."""
        self.blocking.close()

    # In threads

    def submit(
        self, visit: Visit, state: VisitorState, deadline: Deadline, key: Key | None = None
    ) -> PendingCall | Decision:
        """Begin a call from a thread; `collect` waits for its decision.

        Args:
            key: the key of the answer in memory; None where it could not be found again.
        """
        if not self.remote:
            return self._locally(visit, state)
        call = self._join(key, None, deadline)
        if call is not None:
            return call
        refused = self._admit()
        if refused is not None:
            return refused
        from concurrent.futures import Future

        future: Future[Decision] = Future()
        call = self._new_call(future, key, self._threads, deadline, self._question(visit, state))
        places, now = self._threads, time.monotonic()

        def start(turn: Turn) -> bool:
            return self._start(call, turn, visit, state)

        call.turn = turn = places.enter(now) or places.line_up(now, deadline.at, start)
        if turn is None:
            self._single_flight.landed(call)
            return self._shed()
        self._begin(call, places)
        if not turn.waited:
            start(turn)
        return call

    def _start(self, call: PendingCall, turn: Turn, visit: Visit, state: VisitorState) -> bool:
        """Make the call in a thread, now that it has its place; return whether it is still wanted."""
        future, call.turn = call.future, turn
        if not future.set_running_or_notify_cancel():
            return False
        refused = self._unfit(turn, self._threads, call.at)
        if refused is not None:
            call.sent, turn.declined = False, True
            future.set_result(refused)
            return False
        try:
            submitted = self.blocking.submit(self._flow(call.question, visit, state), self._until(call))
        except Exception as error:
            turn.declined = turn.waited
            future.set_exception(error)
            return False
        if submitted.done():  # most likely no thread could start: the call that left the place gives it to the next
            turn.declined = turn.waited
            hand_on(submitted, future)
            return False
        submitted.add_done_callback(lambda done: hand_on(done, future))
        return True

    def collect(self, call: PendingCall | Decision, deadline: Deadline) -> Decision:
        """Wait for the decision of a call from `submit`, until the deadline at the latest."""
        if isinstance(call, Decision):
            return self._report(call, 0.0)
        started = time.monotonic()
        try:
            wait(call.future, deadline.left(started))
            decision = _checked(call.future.result(0))
        except TimeoutError:
            decision = self._missed(call, self._threads)
        except TransportError as error:
            if error.code is ErrorCode.SHED:  # no thread to be had, which says nothing of the vendor
                call.sent = False
                return self._report(self._shed(), 0.0)
            decision = failed(self.vendor.name, error.code, trips=True)
        except CancelledError:  # the page that began it had waited long enough before a thread was free
            decision = failed(self.vendor.name, ErrorCode.DEADLINE, trips=True)
        except Exception as error:
            decision = self._defect(error)
        elapsed_s = time.monotonic() - started
        return self._note(call, decision, elapsed_s, deadline, thread_still_since)

    # On a loop

    async def ask(self, visit: Visit, state: VisitorState, deadline: Deadline, key: Key | None = None) -> Decision:
        """Ask from an event loop; *key* as for `submit`."""
        import asyncio

        if not self.remote:
            return self._report(self._locally(visit, state), 0.0)
        loop = asyncio.get_running_loop()
        call = self._join(key, loop, deadline)
        if call is not None:
            return await self._wait(call, deadline)
        refused = self._admit()
        if refused is not None:
            return self._report(refused, 0.0)
        places, now = self._tasks, time.monotonic()
        call = self._new_call(None, key, places, deadline, self._question(visit, state))
        call.where = loop
        call.turn, line = places.enter(now), None
        if call.turn is None:
            line = loop.create_future()
            call.turn = places.line_up(now, deadline.at, lambda turn: self._call_up(call, turn, line))
            if call.turn is None:
                self._single_flight.landed(call)
                return self._report(self._shed(), 0.0)
        if key is not None:
            call.future = loop.create_task(self._in_turn(call, line, visit, state))
            return await self._wait(self._begin(call, places), deadline)
        # Nobody can share it: no task of its own is needed.
        pulse, learn = pulse_of(loop), False
        pulse.enter(loop)
        try:
            decision = await self._in_turn(call, line, visit, state)
            learn = True
        except asyncio.CancelledError:
            self.breaker.abandon()
            raise
        finally:
            pulse.leave()
            places.leave(call.turn, time.monotonic(), learn=learn and call.sent)
        return self._note(call, decision, time.monotonic() - now, deadline, pulse.still_since)

    async def _in_turn(self, call: PendingCall, line: Any, visit: Visit, state: VisitorState) -> Decision:
        """Make the call when there is a place for it; *line* ends then, or when it is of no use any more."""
        turn = call.turn
        assert turn is not None
        if line is not None and turn.waited:
            refused: Decision | None = await self._stand(call, line)
            if refused is not None:
                call.sent = False
                return refused
        return await self._run(call.question, visit, state, self._until(call))

    async def _stand(self, call: PendingCall, line: Any) -> Decision | None:
        """Wait in line; return why there is no call, None when the place is there."""
        loop = line.get_loop()

        def look() -> None:
            now = time.monotonic()
            left = call.at - now - self._tasks.quickest(now)
            if left > 0:
                waiting[0] = loop.call_later(left, look)
            elif call.turn is not None and self._tasks.give_up(call.turn) and not line.done():
                line.set_result(self._shed())

        now = time.monotonic()
        waiting = [loop.call_later(max(0.0, call.at - now - self._tasks.quickest(now)), look)]
        try:
            refused: Decision | None = await line
        finally:
            waiting[0].cancel()
        return refused

    def _call_up(self, call: PendingCall, turn: Turn, line: Any) -> bool:
        """Wake the waiter on a loop, from any thread, because there is a place; return whether it is still wanted."""
        import asyncio

        refused = self._unfit(turn, self._tasks, call.at)

        def end_wait() -> None:
            if not line.done():
                line.set_result(refused)

        loop = line.get_loop()
        try:
            on_loop = asyncio.get_running_loop() is loop
        except RuntimeError:
            on_loop = False
        try:
            if on_loop:
                end_wait()
            else:
                loop.call_soon_threadsafe(end_wait)
        except RuntimeError:  # the loop is closed, and with it the waiter
            return False
        return refused is None

    async def _run(self, question: Question, visit: Visit, state: VisitorState, deadline: Deadline) -> Decision:
        try:
            return _checked(await self.aio.run(self._flow(question, visit, state), deadline))
        except Exception as error:
            return self._defect(error)

    async def _wait(self, call: PendingCall, deadline: Deadline) -> Decision:
        """Wait for a call that others may wait for too; the last to be cancelled ends it."""
        import asyncio

        started, loop = time.monotonic(), call.future.get_loop()
        pulse = pulse_of(loop)
        pulse.enter(loop)
        try:
            await task_done(call.future, deadline.left(started))
        except asyncio.CancelledError:
            if self._single_flight.leave(call) and not call.future.done():
                self.breaker.abandon()
                call.future.cancel()
            raise
        finally:
            pulse.leave()
        if not call.future.done():
            decision = self._missed(call, self._tasks)
        elif call.future.cancelled():
            decision = failed(self.vendor.name, ErrorCode.DEADLINE, trips=True)
        else:
            decision = call.future.result()
        elapsed_s = time.monotonic() - started
        return self._note(call, decision, elapsed_s, deadline, pulse.still_since)

    # Calls that are shared, and calls that come late

    def _join(self, key: Key | None, where: object, deadline: Deadline) -> PendingCall | None:
        call = self._single_flight.join(key, where, deadline.at)
        if call is not None:
            self._counts.add("joined", self.vendor.name)
        return call

    def _new_call(
        self, future: Any, key: Key | None, places: Places, deadline: Deadline, question: Question
    ) -> PendingCall:
        """Return a call to be; one that may outlast the deadline takes some of the little room for those at once."""
        may_be_late = key is not None and self._late_s > 0 and not self._is_suspect(question)
        late = may_be_late and self._single_flight.may_be_late(max(1, places.limit // 4))
        call = PendingCall(future, key, late, question=question)
        call.at = deadline.at
        return call

    def _begin(self, call: PendingCall, places: Places) -> PendingCall:
        """Let others join *call*, which holds its place until it ends, whether anybody waits for it or not."""

        def over(future: Any) -> None:
            assert call.turn is not None
            places.leave(call.turn, time.monotonic(), learn=call.sent and not future.cancelled())
            self._landed(call, future)

        self._single_flight.begin(call)
        call.future.add_done_callback(over)
        return call

    def _until(self, call: PendingCall) -> Deadline:
        return Deadline(call.at + self._late_s if call.late else call.at)

    def _unfit(self, turn: Turn, places: Places, until: float) -> Decision | None:
        """Return why a call that waited for its place is not worth making now, None if it is."""
        now = time.monotonic()
        if not turn.waited:
            return None
        if now + places.quickest(now) >= until:
            return self._shed()
        # Those that came before may have found out meanwhile that the vendor is away.
        return failed(self.vendor.name, ErrorCode.BREAKER_OPEN) if self.breaker.state(now) == "open" else None

    def _missed(self, call: PendingCall, places: Places) -> Decision:
        """Return the failure of a call that missed the deadline; its answer may still be remembered."""
        waits = call.turn is not None and call.turn.since is None
        if not waits and call.late:
            self._single_flight.overdue(call)
        elif self._single_flight.leave(call):
            waits = call.turn is not None and places.give_up(call.turn)
            call.sent = not waits
            call.future.cancel()
        return self._shed() if waits else failed(self.vendor.name, ErrorCode.DEADLINE, trips=True)

    def _landed(self, call: PendingCall, future: Any) -> None:
        """Keep an answer that came too late for the page that call."""
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
        self._counts.add("late_kept", self.vendor.name)

    def health(self) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "breaker": self.breaker.state(now),
            "next_probe_s": round(self.breaker.open_for(now), 3),
            "in_flight": sum(places.inside for places in {self._threads, self._tasks}),
            "hedges": self.blocking.hedges + self.aio.hedges,
        }

    def _admit(self) -> Decision | None:
        if self.breaker.allow(time.monotonic()):
            return None
        return failed(self.vendor.name, ErrorCode.BREAKER_OPEN)

    def _shed(self) -> Decision:
        self.breaker.abandon()
        self._throttle.log(
            logging.WARNING, ErrorCode.SHED, "no place for a call before the deadline", vendor=self.vendor.name
        )
        return failed(self.vendor.name, ErrorCode.SHED)

    def _locally(self, visit: Visit, state: VisitorState) -> Decision:
        try:
            flow = self.vendor.decide(visit, state)
            next(flow)
        except StopIteration as stop:
            return stop.value if isinstance(stop.value, Decision) else self._defect(TypeError())
        except Exception as error:
            return self._defect(error)
        flow.close()
        return failed(self.vendor.name, ErrorCode.INTERNAL)

    def _defect(self, error: Exception) -> Decision:
        """Turn a defect of ours, or of a vendor written elsewhere, into a decision; its text may hold anything."""
        self._counts.add("internal_error", self.vendor.name, ErrorCode.INTERNAL)
        self._throttle.log(
            logging.ERROR, ErrorCode.INTERNAL, "deciding failed", vendor=self.vendor.name, error=type(error).__name__
        )
        return failed(self.vendor.name, ErrorCode.INTERNAL)

    def _note(
        self,
        call: PendingCall,
        decision: Decision,
        elapsed_s: float,
        deadline: Deadline,
        still_since: Callable[[float], float],
    ) -> Decision:
        """Update breaker and suspects by *decision*, once for all pages that waited for it."""
        question = call.question
        name, now, who = self.vendor.name, time.monotonic(), question.who
        if call.noted:
            return decision
        if decision.error in _NOT_ASKED:
            return self._report(decision, elapsed_s)
        call.noted = True
        if decision.error is None or (not decision.trips and decision.error is not ErrorCode.INTERNAL):
            if who is not None:
                self._suspects.served(who)
            if question.visitors:
                self._counts.add("cookies_replaced", name)
            if self.breaker.success(now):
                self._throttle.change(logging.WARNING, "RECOVERED", "vendor answers again", vendor=name)
        elif decision.error is ErrorCode.DEADLINE and call.turn is not None and call.turn.waited:
            self.breaker.abandon()  # it was made late, because others were before it: that says nothing of the vendor
        elif self._is_own_fault(question, decision.error, deadline, still_since(question.began), now):
            self.breaker.abandon()
        else:
            if who is not None:
                self._suspects.failed(who, now)
            if who is not None and self._is_visitors_fault(who, now):
                self.breaker.abandon()
            elif self.breaker.failure(
                now, decision.retry_after_s, began=question.started or question.began, who=who, doubtful=who is not None
            ):
                self._throttle.change(logging.WARNING, decision.error, "vendor is left alone for a while", vendor=name)
        return self._report(decision, elapsed_s)

    # The cause of a failure

    def _question(self, visit: Visit, state: VisitorState) -> Question:
        who: Hashable | None = None
        try:
            identity = self.traits.identity_of(state) if state.cookies else ""
            if identity or visit.user_id:
                who = hash((identity, visit.user_id))
        except Exception:
            who = None  # a vendor written elsewhere; its defect shows when it decides
        return Question(who, time.monotonic())

    def _flow(self, question: Question, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask the vendor; without the visitor's cookies where these seem to be the cause of failures."""
        question.started = time.monotonic()
        who = question.who
        if who is None or not state.cookies or self._suspects.failures(who, question.started) < SUSPECT:
            return (yield from self.vendor.decide(visit, state))
        if self.breaker.fails_others(who, question.started):
            return (yield from self.vendor.decide(visit, state))
        decision, question.visitors = yield from without_cookies(self.vendor, visit, state)
        return decision

    def _is_suspect(self, question: Question) -> bool:
        """Say whether this visitor's cookies may make the vendor fail: a second call needs half of the deadline."""
        who = question.who
        return who is not None and self._suspects.failures(who, question.began) >= SUSPECT

    def _is_visitors_fault(self, who: Hashable, now: float) -> bool:
        """Say whether the vendor fails for this visitor again and again, and for no other."""
        return self._suspects.failures(who, now) >= KNOWN and not self.breaker.fails_others(who, now)

    def _is_own_fault(
        self, question: Question, code: ErrorCode, deadline: Deadline, still_s: float, now: float
    ) -> bool:
        """Say whether *code* is due to this process and not to the vendor: a defect, a standstill, a late start."""
        if code not in _TIMED:
            return code is ErrorCode.INTERNAL
        if question.started is None or still_s > max(_STILL_S, (now - question.began) / 3):
            return True
        if code is not ErrorCode.DEADLINE:
            return False
        return now > deadline.at + LATE_S or deadline.at - question.started < self._config.deadline_ms / 3000

    def _report(self, decision: Decision, elapsed_s: float) -> Decision:
        code, name = decision.error or decision.notice, self.vendor.name
        self._counts.add("decided" if code is None else "undecided", name, code or "")
        if decision.advice is not None and code is not None:
            level = logging.ERROR if decision.error else logging.WARNING
            self._throttle.log(level, f"{code}", decision.advice, vendor=name)
        if self._config.on_decision is not None:
            note = DecisionNote(
                vendor=name,
                decided=len(decision.variants),
                error=decision.error,
                notice=decision.notice,
                log=decision.log if self._config.debug else None,
                elapsed_s=elapsed_s,
            )
            try:
                self._config.on_decision(note)
            except Exception as error:
                self._throttle.log(logging.ERROR, "HOOK", "on_decision failed", error=type(error).__name__)
        return decision


def _checked(decision: Decision) -> Decision:
    if not isinstance(decision, Decision):
        raise TypeError("not a decision")
    return decision
