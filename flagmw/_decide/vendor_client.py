"""Client of one vendor: calls from threads and event loops."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from typing import Any

from flagmw._decide.pending_calls import PendingCalls
from flagmw._decide.pulse import pulse_of, thread_still_since, wait
from flagmw._decide.single_flight import PendingCall, Question
from flagmw._decide.vendor_health import VendorHealth
from flagmw._exchange.context import Context
from flagmw._exchange.exchange import failed
from flagmw._exchange.remembered import Key
from flagmw._support.breaker import Breaker
from flagmw._support.deadline import Deadline
from flagmw._support.places import Turn, hand_on
from flagmw._support.waiting import task_done, waker_of
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Decision, Visit, VisitorState
from flagmw.vendors.base import Vendor, VendorTraits


class VendorClient:
    """Ask one vendor, within its breaker, its in-flight cap and the deadline. Raises nothing but cancellation.

    A call with a *key* can be remembered. Concurrent requests of a visitor share it, and it may miss the deadline: its
    answer then serves the visitor's next page. The calls of new visitors end at the deadline.

    Attributes:
        traits: the vendor's abilities; *remote*: whether it decides by calls.
        calls: the calls under way.
        blocking, aio: the drivers of calls from threads and from event loops.
    """

    def __init__(self, vendor: Vendor, context: Context) -> None:
        config = context.config
        blocking_transport, async_transport = config.transport
        self.vendor, self._context = vendor, context
        # A vendor without a service of its own (Static) never yields a call, so its flow runs where it stands.
        self.traits = VendorTraits.of(vendor)
        self.remote = self.traits.remote
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
        threads, tasks = self.calls.threads.limit, self.calls.tasks.limit
        self.blocking = BlockingDriver(pool_size=threads, limits=near, transport=blocking_transport, **hedged)
        self.aio = AsyncDriver(max_connections=tasks, limits=near, transport=async_transport, **hedged)

    def reset(self) -> None:
        """Forget the calls of the parent process, in a forked child."""
        self._health = VendorHealth(self.traits, self._context)
        self.calls = PendingCalls(self.vendor.name, self._health, self._context)

    @property
    def breaker(self) -> Breaker:
        """The vendor's circuit breaker."""
        return self._health.breaker

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
        call = self.calls.join(key, None, deadline)
        if call is not None:
            return call
        refused = self._health.refusal()
        if refused is not None:
            return refused
        from concurrent.futures import Future

        future: Future[Decision] = Future()
        call = self.calls.new_call(future, key, self.calls.threads, deadline, self._health.question(visit, state))
        places, now = self.calls.threads, time.monotonic()

        def start(turn: Turn) -> bool:
            return self._start(call, turn, visit, state)

        call.turn = turn = places.enter(now) or places.line_up(now, deadline.at, start)
        if turn is None:
            self.calls.drop(call)
            return self._health.shed()
        self.calls.begin(call, places)
        if not turn.waited:
            start(turn)
        return call

    def _start(self, call: PendingCall, turn: Turn, visit: Visit, state: VisitorState) -> bool:
        """Make the call in a thread, now that it has its place; return whether it is still wanted."""
        future, call.turn = call.future, turn
        if not future.set_running_or_notify_cancel():
            return False
        refused = self.calls.unfit(turn, self.calls.threads, call.at)
        if refused is not None:
            call.sent, turn.declined = False, True
            future.set_result(refused)
            return False
        try:
            submitted = self.blocking.submit(self._health.flow(call.question, visit, state), self.calls.until(call))
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
            return self._health.report(call, 0.0)
        started = time.monotonic()
        try:
            wait(call.future, deadline.left(started))
            decision = _checked(call.future.result(0))
        except TimeoutError:
            decision = self.calls.missed(call, self.calls.threads)
        except TransportError as error:
            if error.code is ErrorCode.SHED:  # no thread to be had, which says nothing of the vendor
                call.sent = False
                return self._health.report(self._health.shed(), 0.0)
            decision = failed(self.vendor.name, error.code, trips=True)
        except CancelledError:  # the page that began it had waited long enough before a thread was free
            decision = failed(self.vendor.name, ErrorCode.DEADLINE, trips=True)
        except Exception as error:
            decision = self._health.defect(error)
        elapsed_s = time.monotonic() - started
        return self._health.note(call, decision, elapsed_s, deadline, thread_still_since)

    # On a loop

    async def ask(self, visit: Visit, state: VisitorState, deadline: Deadline, key: Key | None = None) -> Decision:
        """Ask from an event loop; *key* as for `submit`."""
        import asyncio

        if not self.remote:
            return self._health.report(self._locally(visit, state), 0.0)
        loop = asyncio.get_running_loop()
        call = self.calls.join(key, loop, deadline)
        if call is not None:
            return await self._wait(call, deadline)
        refused = self._health.refusal()
        if refused is not None:
            return self._health.report(refused, 0.0)
        places, now = self.calls.tasks, time.monotonic()
        call = self.calls.new_call(None, key, places, deadline, self._health.question(visit, state))
        call.where = loop
        call.turn, line = places.enter(now), None
        if call.turn is None:
            line = loop.create_future()
            call.turn = places.line_up(now, deadline.at, lambda turn: self._call_up(call, turn, line))
            if call.turn is None:
                self.calls.drop(call)
                return self._health.report(self._health.shed(), 0.0)
        if key is not None:
            call.future = loop.create_task(self._in_turn(call, line, visit, state))
            return await self._wait(self.calls.begin(call, places), deadline)
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
        return self._health.note(call, decision, time.monotonic() - now, deadline, pulse.still_since)

    async def _in_turn(self, call: PendingCall, line: Any, visit: Visit, state: VisitorState) -> Decision:
        """Make the call when there is a place for it; *line* ends then, or when it is of no use any more."""
        turn = call.turn
        assert turn is not None
        if line is not None and turn.waited:
            refused: Decision | None = await self._stand(call, line)
            if refused is not None:
                call.sent = False
                return refused
        return await self._run(call.question, visit, state, self.calls.until(call))

    async def _stand(self, call: PendingCall, line: Any) -> Decision | None:
        """Wait in line; return why there is no call, None when the place is there."""
        loop = line.get_loop()

        def look() -> None:
            now = time.monotonic()
            left = call.at - now - self.calls.tasks.quickest(now)
            if left > 0:
                waiting[0] = loop.call_later(left, look)
            elif call.turn is not None and self.calls.tasks.give_up(call.turn):
                waker_of(loop).end(line, self._health.shed())

        now = time.monotonic()
        waiting = [loop.call_later(max(0.0, call.at - now - self.calls.tasks.quickest(now)), look)]
        try:
            refused: Decision | None = await line
        finally:
            waiting[0].cancel()
        return refused

    def _call_up(self, call: PendingCall, turn: Turn, line: Any) -> bool:
        """Wake the waiter on a loop, from any thread, because there is a place; return whether it is still wanted."""
        import asyncio

        refused = self.calls.unfit(turn, self.calls.tasks, call.at)

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
            return _checked(await self.aio.run(self._health.flow(question, visit, state), deadline))
        except Exception as error:
            return self._health.defect(error)

    async def _wait(self, call: PendingCall, deadline: Deadline) -> Decision:
        """Wait for a call that others may wait for too; the last to be cancelled ends it."""
        import asyncio

        started, loop = time.monotonic(), call.future.get_loop()
        pulse = pulse_of(loop)
        pulse.enter(loop)
        try:
            await task_done(call.future, deadline.left(started))
        except asyncio.CancelledError:
            if self.calls.leave(call) and not call.future.done():
                self.breaker.abandon()
                call.future.cancel()
            raise
        finally:
            pulse.leave()
        if not call.future.done():
            decision = self.calls.missed(call, self.calls.tasks)
        elif call.future.cancelled():
            decision = failed(self.vendor.name, ErrorCode.DEADLINE, trips=True)
        else:
            decision = call.future.result()
        elapsed_s = time.monotonic() - started
        return self._health.note(call, decision, elapsed_s, deadline, pulse.still_since)

    def health(self) -> dict[str, Any]:
        """Return a small, plain picture for readiness endpoints."""
        now = time.monotonic()
        return {
            "breaker": self.breaker.state(now),
            "next_probe_s": round(self.breaker.open_for(now), 3),
            "in_flight": self.calls.in_flight,
            "hedges": self.blocking.hedges + self.aio.hedges,
        }

    def _locally(self, visit: Visit, state: VisitorState) -> Decision:
        try:
            flow = self.vendor.decide(visit, state)
            next(flow)
        except StopIteration as stop:
            return stop.value if isinstance(stop.value, Decision) else self._health.defect(TypeError())
        except Exception as error:
            return self._health.defect(error)
        flow.close()
        return failed(self.vendor.name, ErrorCode.INTERNAL)


def _checked(decision: Decision) -> Decision:
    if not isinstance(decision, Decision):
        raise TypeError("not a decision")
    return decision
