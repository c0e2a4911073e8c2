"""Driver for threads: WSGI, scripts and delivery."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Unpack

from flagmw._drivers.hedge_threads import Race
from flagmw._drivers.options import DriverArguments, DriverOptions
from flagmw._support.daemon_threads import Workers
from flagmw._support.deadline import Deadline
from flagmw._support.forksafe import PerProcess
from flagmw._transports import factory as transport_factory
from flagmw._transports import http as wire_http
from flagmw._transports.attempt import Attempt
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call, Flow, Reply, T


class BlockingDriver:
    """Run flows with blocking sockets, each under one wall-clock deadline.

    Nothing starts before the first use, and everything starts anew in a forked child or after `close()`.

    Args:
        pool_size: threads of `submit`, and idle connections that are kept.
        transport: "httptools", the default, or another name of `docs/transports.md`; or an `httpx2.BaseTransport` or
            `httpx.BaseTransport`, which is never closed here.
        arguments: as in `DriverOptions`.

    Raises:
        ConfigError: an option is wrong, or the transport's package is not installed.
    """

    def __init__(
        self,
        *,
        pool_size: int = 8,
        transport: Any = None,
        **arguments: Unpack[DriverArguments],
    ) -> None:
        options = DriverOptions(**arguments)
        self._clock = options.clock
        self._hedge_s, self._budget = options.hedge_s, options.hedge_budget
        make_transport = transport_factory.blocking(transport, options.setup(pool_size))
        self._process = PerProcess(
            lambda: _Process(pool_size, make_transport()), lambda inherited: inherited.transport.abandon()
        )

    @property
    def hedges(self) -> int:
        """How many calls were made a second time because the first was late."""
        return self._budget.spent

    def run(self, flow: Flow[T], deadline: Deadline) -> T:
        """Run *flow* in this thread and return its result.

        At the deadline `TransportError(DEADLINE)` is thrown into the flow, which may still return something.

        Raises:
            TransportError: the flow did not handle one, or asked for another call after its deadline.
        """
        sent = False
        try:
            call = next(flow)
            while True:
                try:
                    reply = self._within(call, deadline)
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
            result: T = stop.value
            return result
        finally:
            flow.close()

    def submit(self, flow: Flow[T], deadline: Deadline) -> Future[T]:
        """Run *flow* in one of the driver's own threads; wait for the future no longer than you want to."""
        try:
            return self._process.get().workers.submit(self.run, flow, deadline)
        except RuntimeError as error:
            # No thread to be had: the process is at its limit, or on its way out.
            refused: Future[T] = Future()
            refused.set_exception(TransportError(ErrorCode.SHED, sent=False))
            refused.exception().__cause__ = error  # type: ignore[union-attr]
            return refused

    def prepare(self) -> None:
        """Import the HTTP library and read the certificate authorities, so that the first call has it behind it."""
        self._process.get().transport.prepare()

    def close(self) -> None:
        """Close idle connections and let the threads end; calls under way finish first. A new use starts anew."""
        process = self._process.take()
        if process is not None:
            process.close()

    def _within(self, call: Call, deadline: Deadline) -> Reply:
        started = self._clock()
        left = deadline.left(started) * call.share
        if left <= 0:
            raise TransportError(ErrorCode.DEADLINE, sent=False)
        process, attempt = self._process.get(), Attempt(started, started + left)

        def ask(each: Attempt) -> Reply:
            return wire_http.reply(process.transport.ask(call, each), self._clock() - started)

        if not call.hedge_safe or self._hedge_s is None or self._hedge_s >= left:
            return ask(attempt)
        self._budget.earn()
        race = Race(ask, attempt, process.seconds, self._clock)
        try:
            process.watch.submit(race.watch, started + self._hedge_s, self._budget)
        except RuntimeError:
            # No thread to be had: the call is made once.
            return ask(attempt)
        return race.run()


class _Process:
    """The threads and the transport of one process."""

    def __init__(self, size: int, transport: transport_factory.Transport) -> None:
        self.transport = transport
        self.workers = Workers("flagmw", size)
        self.watch = Workers("flagmw-hedge-watch", 1)
        self.seconds = Workers("flagmw-hedge", size)

    def close(self) -> None:
        self.transport.close()
        for each in (self.workers, self.watch, self.seconds):
            each.stop()
