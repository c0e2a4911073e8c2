"""Driver for asyncio event loops: ASGI."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Unpack
from weakref import WeakKeyDictionary

from flagmw._drivers.hedge_tasks import race
from flagmw._drivers.options import DriverArguments, DriverOptions
from flagmw._support.deadline import Deadline
from flagmw._support.forksafe import PerProcess
from flagmw._transports import factory as transport_factory
from flagmw._transports import http as wire_http
from flagmw._transports.attempt import Attempt
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call, Flow, Reply, T


class AsyncDriver:
    """Run flows with asyncio, each under one wall-clock deadline.

    Connections belong to the event loop that made them: another loop, a forked child and a use after
    `aclose()` start with new ones. Nothing starts before the first use.

    Args:
        max_connections: connections per event loop; more calls than that wait, within their deadlines.
        transport: "httptools", the default, or another name (`docs/transports.md`); an `httpx2.AsyncBaseTransport` or
            `httpx.AsyncBaseTransport`, which is never closed here.
        arguments: as in `DriverOptions`.

    Raises:
        ConfigError: an option is wrong, or the transport's package is not installed.
    """

    def __init__(
        self,
        *,
        max_connections: int = 64,
        transport: Any = None,
        **arguments: Unpack[DriverArguments],
    ) -> None:
        options = DriverOptions(**arguments)
        self._max_connections, self._clock = max_connections, options.clock
        self._hedge_s, self._budget = options.hedge_s, options.hedge_budget
        make_transport = transport_factory.asynchronous(transport, options.setup(max_connections))
        self._process = PerProcess(lambda: _Process(make_transport()), _Process.abandon)

    @property
    def hedges(self) -> int:
        """How many calls were made a second time because the first was late."""
        return self._budget.spent

    async def run(self, flow: Flow[T], deadline: Deadline) -> T:
        """Run *flow* and return its result.

        At the deadline `TransportError(DEADLINE)` is thrown into the flow, which may still return something.
        A cancellation passes through: the flow is closed and its connection with it.

        Raises:
            TransportError: the flow did not handle one, or asked for another call after its deadline.
        """
        sent = False
        try:
            call = next(flow)
            while True:
                try:
                    reply = await self._within(call, deadline)
                except TransportError as error:
                    sent = sent or error.sent
                    late = deadline.left(self._clock()) <= 0
                    call = flow.throw(error)
                    if late:
                        raise TransportError(ErrorCode.DEADLINE, sent=sent) from None
                else:
                    sent = True
                    call = flow.send(reply)
        except StopIteration as stop:
            outcome: T = stop.value
            return outcome
        finally:
            flow.close()

    def prepare(self) -> None:
        """Import the HTTP library and have the certificate authorities read, so that the first call need not."""
        self._process.get().transport.prepare()

    async def aclose(self) -> None:
        """Close the idle connections of this event loop; calls under way finish first. A new use starts anew."""
        state = self._process.get().loops.pop(asyncio.get_running_loop(), None)
        if state is not None:
            state.pool.close()
            # A library's connections end in the loop's next round.
            await asyncio.sleep(0)

    def _loop_state(self) -> _Loop:
        process = self._process.get()
        loop = asyncio.get_running_loop()
        state = process.loops.get(loop)
        if state is None:
            with process.lock:
                for other in [each for each in process.loops if each.is_closed()]:
                    process.loops.pop(other).pool.close()
                state = process.loops[loop] = _Loop(self._max_connections, process.transport)
        return state

    async def _within(self, call: Call, deadline: Deadline) -> Reply:
        started = self._clock()
        left = deadline.left(started) * call.share
        if left <= 0:
            raise TransportError(ErrorCode.DEADLINE, sent=False)
        attempt = Attempt(started, started + left)
        try:
            async with asyncio.timeout(left) as timer:
                state = self._loop_state()
                if not call.hedge_safe or self._hedge_s is None or self._hedge_s >= left:
                    return await self._ask(state, call, attempt)
                self._budget.earn()
                return await race(
                    lambda each: self._ask(state, call, each),
                    attempt,
                    self._hedge_s,
                    # A second call must not queue behind first ones, nor make them queue.
                    lambda: not state.slots.locked() and self._budget.spend(),
                )
        except TimeoutError:
            if not timer.expired():
                raise
            raise TransportError(ErrorCode.DEADLINE, sent=attempt.sent) from None

    async def _ask(self, state: _Loop, call: Call, attempt: Attempt) -> Reply:
        async with state.slots:
            answer = await state.transport.ask(state.pool, call, attempt)
        return wire_http.reply(answer, self._clock() - attempt.started)


class _Loop:
    """The connections of one event loop. Keeps no reference to the loop while nobody waits."""

    def __init__(self, size: int, transport: transport_factory.AsyncTransport) -> None:
        self.transport = transport
        self.pool: transport_factory.Pool = transport.open()
        self.slots = asyncio.Semaphore(size)


class _Process:
    """The transport of one process, and the state of its event loops."""

    def __init__(self, transport: transport_factory.AsyncTransport) -> None:
        self.lock = threading.Lock()
        self.loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()
        self.transport = transport

    def abandon(self) -> None:
        """Let go of the parent's connections in a forked child."""
        for state in list(self.loops.values()):
            state.pool.abandon()
