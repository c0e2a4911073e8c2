"""Run flows on an asyncio event loop: for ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from flagmw._guard import Deadline
from flagmw.codes import ErrorCode
from flagmw.drivers import _http, _net, _transport
from flagmw.drivers._body import LIMITS, Limits
from flagmw.drivers._link import Idle, Link, Wire
from flagmw.drivers._threads import Workers
from flagmw.exceptions import TransportError
from flagmw.types import Call, Flow, Reply, T

R = TypeVar("R")


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
            result: T = stop.value
            return result
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
                closed = error.code is ErrorCode.RESET and not link.wire.received
                if not (closed and call.replay_safe):
                    raise
        return await self._converse(state, await self._connect(state, to), call, to, attempt, started)

    async def _converse(
        self, state: _Loop, link: Link, call: Call, to: _http.Target, attempt: _Attempt, started: float
    ) -> Reply:
        lib, wire = self._process.lib, link.wire
        wire.begin(0.0, self._limits.wire_bytes)
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
        except Exception as error:
            wire.abort()
            raise _http.explain(lib, error, wire) from error
        except BaseException:
            attempt.sent = attempt.sent or wire.wrote
            wire.abort()
            raise
        if link.reusable():
            state.idle.put(link)
        else:
            wire.abort()
        return _http.reply(response.status, response.headers, content, self._clock() - started)

    def _proxy(self, to: _http.Target) -> _transport.Proxy | None:
        return None if self._proxies is None else self._proxies.of(to)

    async def _connect(self, state: _Loop, to: _http.Target) -> Link:
        lib, proxy = self._process.lib, self._proxy(to)
        wire: _AsyncWire | None = None
        try:
            wire = await self._dial(proxy.host if proxy else to.host, proxy.port if proxy else to.port)
            state.idle.watch(wire)
            wire.begin(0.0, self._limits.wire_bytes)
            if to.scheme == "https":
                if proxy is not None:
                    await self._tunnel(wire, proxy, to)
                await wire.secure(await _result(self._process.tls(self._ca_file)), to.host)
        except BaseException as error:
            if wire is not None:
                wire.abort()
            if isinstance(error, Exception):
                cause = _http.explain(lib, error, wire) if wire is not None else error
                # Whatever went wrong here, the request was not written yet.
                code = cause.code if isinstance(cause, TransportError) else ErrorCode.INTERNAL
                raise TransportError(code, sent=False) from error
            raise
        return Link(to.key, wire, lib.AsyncHTTP11Connection(_http.origin(lib, to), wire))

    async def _tunnel(self, wire: Wire, proxy: _transport.Proxy, to: _http.Target) -> None:
        lib = self._process.lib
        request = _transport.connect_request(lib, proxy, to)
        response = await lib.AsyncHTTP11Connection(request.url.origin, wire).handle_async_request(request)
        if not 200 <= response.status < 300:
            raise TransportError(ErrorCode.CONNECT, sent=False)

    async def _dial(self, host: str, port: int) -> _AsyncWire:
        found = _net.lookup(host, port)
        if isinstance(found, Future):
            found = await _result(found)
        loop = asyncio.get_running_loop()
        failure: Exception | None = None
        for family, address in _net.usable(found):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                async with asyncio.timeout(self._limits.connect_s):
                    await loop.sock_connect(sock, address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                return _AsyncWire(sock)
        raise TransportError(ErrorCode.CONNECT, sent=False) from failure

    async def _exchange_foreign(
        self, transport: _transport.Transport, call: Call, left: float, started: float
    ) -> Reply:
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
        except Exception as error:
            raise _http.explain_foreign(transport.lib, error) from error
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


class _AsyncWire(Wire):
    """A non-blocking socket, with TLS done in memory.

    It uses the loop's socket calls and no asyncio transport, so closing is closing a socket: it needs no running
    loop, which matters when the loop is gone or the process was forked.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        size = min(max_bytes, self.room - self.received + 1)
        try:
            if self.pending:
                await self._flush()
            if self._tls is None:
                return self.count(await asyncio.get_running_loop().sock_recv(self.sock, size))
            try:
                return self.count(await self._step(self._tls.read, size))
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return self.count(b"")
        except OSError as error:
            raise TransportError(ErrorCode.RESET) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            self.pending.append(buffer)

    async def aclose(self) -> None:
        self.abort()

    def leftover(self) -> bool:
        return self._incoming.pending > 0 or (self._tls is not None and self._tls.pending() > 0)

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Put TLS on the connection, for the certificate of *host*."""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        try:
            await self._step(self._tls.do_handshake)
        except (ssl.SSLError, ssl.CertificateError) as error:
            # Tell the vendor why, as far as that needs no waiting.
            with contextlib.suppress(OSError):
                self.sock.send(self._outgoing.read())
            raise TransportError(ErrorCode.TLS, sent=False) from error
        except OSError as error:
            raise TransportError(ErrorCode.RESET, sent=False) from error

    async def _flush(self) -> None:
        data = self.take_pending()
        try:
            if self._tls is None:
                await asyncio.get_running_loop().sock_sendall(self.sock, data)
            else:
                view = memoryview(data)
                while view:
                    view = view[await self._step(self._tls.write, view) :]
        except OSError:
            # The vendor may have answered before it hung up: reading will tell.
            self.broken = True

    async def _step(self, act: Callable[..., Any], *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        while True:
            try:
                result = act(*args)
            except ssl.SSLWantReadError:
                await self._drain(loop)
                data = await loop.sock_recv(self.sock, 65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                await self._drain(loop)
                return result

    async def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._outgoing.pending:
            await loop.sock_sendall(self.sock, self._outgoing.read())


async def _result(future: Future[R]) -> R:
    """Wait for a thread's *future* without ever cancelling it, and without harm if the loop ends first."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: Future[R]) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if waiter.done() else waiter.set_result(None))

    future.add_done_callback(wake)
    await waiter
    return future.result()
