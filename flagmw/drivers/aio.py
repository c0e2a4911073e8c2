"""Run flows on an asyncio event loop: for ASGI."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any
from weakref import WeakKeyDictionary

from flagmw._guard import Deadline
from flagmw.codes import ErrorCode
from flagmw.drivers import _http, _net, _transport
from flagmw.drivers._aio_sockets import dial, result
from flagmw.drivers._body import LIMITS, Limits
from flagmw.drivers._link import Idle, Link, Wire
from flagmw.drivers._threads import Workers
from flagmw.exceptions import TransportError
from flagmw.types import Call, Flow, Reply, T


class AsyncDriver:
    """Run flows with asyncio, each under one wall-clock deadline.

    Connections belong to the event loop that made them: another loop, a forked child and a use after
    `aclose()` start with new ones. Nothing starts before the first use.

    Args:
        max_connections: connections per event loop; more calls than that wait, within their deadlines.
        transport: an own `httpx2.AsyncBaseTransport` or `httpx.AsyncBaseTransport`; it is never closed here.
        trust_env: use the proxies that the environment names.
        ca_file: trust these certificate authorities instead of the system's.
        clock: the clock of the deadlines.
    """

    def __init__(
        self,
        *,
        max_connections: int = 64,
        limits: Limits = LIMITS,
        transport: Any = None,
        trust_env: bool = False,
        ca_file: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_connections, self._limits, self._clock = max_connections, limits, clock
        self._transport = _transport.accept(transport, "AsyncBaseTransport")
        self._proxies = _transport.environment_proxies(trust_env)
        self._ca_file = _transport.accept_ca_file(ca_file)
        self._process = _Process()

    async def run(self, flow: Flow[T], deadline: Deadline) -> T:
        """Run *flow* and return its result.

        At the deadline `TransportError(DEADLINE)` is thrown into the flow, which may still return something.
        A cancellation passes through: the flow is closed and its connection with it.

        Raises:
            TransportError: the flow did not handle one, or asked for another call after its deadline.
        """
        try:
            call = next(flow)
            while True:
                try:
                    reply = await self._within(call, deadline)
                except TransportError as error:
                    late = deadline.left(self._clock()) <= 0
                    call = flow.throw(error)
                    if late:
                        raise TransportError(ErrorCode.DEADLINE, sent=error.sent) from None
                else:
                    call = flow.send(reply)
        except StopIteration as stop:
            outcome: T = stop.value
            return outcome
        finally:
            flow.close()

    def prepare(self) -> None:
        """Import the HTTP library and have the certificate authorities read, so that the first call need not."""
        if self._transport is None:
            self._current().tls(self._ca_file)

    async def aclose(self) -> None:
        """Close the idle connections of this event loop; calls under way finish first. A new use starts anew."""
        state = self._current().loops.pop(asyncio.get_running_loop(), None)
        if state is not None:
            state.idle.close()

    def _current(self) -> _Process:
        process = self._process
        if process.pid != os.getpid():
            for inherited in list(process.loops.values()):
                inherited.idle.abandon()
            process = self._process = _Process()
        return process

    def _here(self) -> _Loop:
        process = self._current()
        loop = asyncio.get_running_loop()
        state = process.loops.get(loop)
        if state is None:
            with process.lock:
                for other in [each for each in process.loops if each.is_closed()]:
                    process.loops.pop(other).idle.close()
                state = process.loops[loop] = _Loop(self._max_connections)
        return state

    async def _within(self, call: Call, deadline: Deadline) -> Reply:
        started = self._clock()
        left = deadline.left(started)
        if left <= 0:
            raise TransportError(ErrorCode.DEADLINE, sent=False)
        attempt = _Attempt()
        try:
            async with asyncio.timeout(left) as timer:
                state = self._here()
                async with state.slots:
                    if self._transport is not None:
                        attempt.sent = True
                        return await self._exchange_foreign(self._transport, call, left, started)
                    return await self._exchange(state, call, attempt, started)
        except TimeoutError:
            if not timer.expired():
                raise
            raise TransportError(ErrorCode.DEADLINE, sent=attempt.sent) from None

    async def _exchange(self, state: _Loop, call: Call, attempt: _Attempt, started: float) -> Reply:
        to = _http.target(call)
        link = state.idle.take(to.key)
        if link is not None:
            try:
                return await self._converse(state, link, call, to, attempt, started)
            except TransportError as error:
                if not (call.replay_safe and link.wire.closed_silently(error)):
                    raise
            # The first attempt may have arrived, even if the second one cannot be made.
            attempt.sent = True
        try:
            fresh = await self._connect(state, to)
        except TransportError as error:
            error.sent = attempt.sent
            raise
        return await self._converse(state, fresh, call, to, attempt, started)

    async def _converse(
        self, state: _Loop, link: Link, call: Call, to: _http.Target, attempt: _Attempt, started: float
    ) -> Reply:
        lib, wire = self._process.lib, link.wire
        wire.begin(0.0, self._limits.wire_bytes)
        _http.ours.set(True)
        try:
            forward = to.scheme == "http" and self._proxy(to) is not None
            response = await link.http.handle_async_request(_http.request(lib, call, to, absolute=forward))
            if not wire.received:
                # Left over from the answer before: whatever it is, it does not belong to this call.
                raise TransportError(ErrorCode.TRANSPORT)
            body = _http.body_for(call, response.status, response.headers, self._limits)
            async with aclosing(aiter(response.stream)) as chunks:
                async for chunk in chunks:
                    body.feed(chunk)
            await response.aclose()
            content = body.finish()
        except TransportError:
            wire.abort()
            raise
        except Exception as error:
            wire.abort()
            raise _http.explain(lib, error, wire) from error
        except BaseException:
            attempt.sent = attempt.sent or wire.wrote
            wire.abort()
            raise
        finally:
            _http.ours.set(False)
        if link.reusable():
            state.idle.put(link)
        else:
            wire.abort()
        return _http.reply(response.status, response.headers, content, self._clock() - started)

    def _proxy(self, to: _http.Target) -> _transport.Proxy | None:
        return None if self._proxies is None else self._proxies.of(to)

    async def _connect(self, state: _Loop, to: _http.Target) -> Link:
        lib, proxy = self._process.lib, self._proxy(to)
        host, port = (proxy.host, proxy.port) if proxy else (to.host, to.port)
        wire = await dial(host, port, self._limits.connect_s)
        try:
            state.idle.watch(wire)
            wire.begin(0.0, self._limits.wire_bytes)
            if to.scheme == "https":
                if proxy is not None:
                    await self._tunnel(wire, proxy, to)
                await wire.secure(await result(self._process.tls(self._ca_file)), to.host)
        except BaseException as error:
            wire.abort()
            if not isinstance(error, Exception):
                raise
            # Whatever the tunnel or the handshake carried, the request itself was not written yet.
            raise TransportError(_http.explain(lib, error, wire).code, sent=False) from error
        return Link(to.key, wire, lib.AsyncHTTP11Connection(_http.origin(lib, to), wire))

    async def _tunnel(self, wire: Wire, proxy: _transport.Proxy, to: _http.Target) -> None:
        lib = self._process.lib
        request = _transport.connect_request(lib, proxy, to)
        response = await lib.AsyncHTTP11Connection(request.url.origin, wire).handle_async_request(request)
        if not 200 <= response.status < 300:
            raise TransportError(ErrorCode.CONNECT, sent=False)

    async def _exchange_foreign(
        self, transport: _transport.Transport, call: Call, left: float, started: float
    ) -> Reply:
        _http.ours.set(True)
        try:
            response = await transport.handler.handle_async_request(transport.request(call, left))
            try:
                raw = response.headers.raw
                body = _http.body_for(call, response.status_code, raw, self._limits, _http.size(raw))
                async for chunk in response.stream:
                    body.feed(chunk)
                content = body.finish()
            finally:
                await response.stream.aclose()
        except TransportError:
            raise
        except Exception as error:
            raise _http.explain_foreign(transport.lib, error) from error
        finally:
            _http.ours.set(False)
        return _http.reply(response.status_code, raw, content, self._clock() - started)


class _Attempt:
    """Whether bytes of the request may have left, for the moment when the deadline strikes."""

    sent = False


class _Loop:
    """What belongs to one event loop. Keeps no reference to the loop while nobody waits."""

    def __init__(self, size: int) -> None:
        self.idle = Idle(size)
        self.slots = asyncio.Semaphore(size)


class _Process:
    """What belongs to one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()
        self.helpers = Workers("flagmw-tls", 1)
        self._tls: Future[ssl.SSLContext] | None = None
        self._lib: Any = None

    @property
    def lib(self) -> Any:
        if self._lib is None:
            self._lib = _http.library()
        return self._lib

    def tls(self, ca_file: str | None) -> Future[ssl.SSLContext]:
        make = self.lib.default_ssl_context
        with self.lock:
            if self._tls is None or (self._tls.done() and self._tls.exception() is not None):
                # Reading the authorities takes tens of milliseconds, which the event loop must not wait for.
                self._tls = self.helpers.submit(_net.tls_context, make, ca_file)
            return self._tls
