"""Run flows in threads: for WSGI, for scripts and for delivery."""

from __future__ import annotations

import concurrent.futures
import os
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from flagmw._guard import Deadline
from flagmw.codes import ErrorCode
from flagmw.drivers import _http, _net, _transport
from flagmw.drivers._body import LIMITS, Limits
from flagmw.drivers._link import Idle, Link, Wire
from flagmw.drivers._sockets import dial
from flagmw.drivers._threads import Workers
from flagmw.exceptions import TransportError
from flagmw.types import Call, Flow, Reply, T


class BlockingDriver:
    """Run flows with blocking sockets, each under one wall-clock deadline.

    Nothing starts before the first use, and everything starts anew in a forked child or after `close()`.

    Args:
        pool_size: threads of `submit`, and idle connections that are kept.
        transport: an own `httpx2.BaseTransport` or `httpx.BaseTransport`; it is never closed here.
        trust_env: use the proxies that the environment names.
        ca_file: trust these certificate authorities instead of the system's.
        clock: the clock of the deadlines.
    """

    def __init__(
        self,
        *,
        pool_size: int = 8,
        limits: Limits = LIMITS,
        transport: Any = None,
        trust_env: bool = False,
        ca_file: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool_size, self._limits, self._clock = pool_size, limits, clock
        self._transport = _transport.accept(transport, "BaseTransport")
        self._proxies = _transport.environment_proxies(trust_env)
        self._ca_file = _transport.accept_ca_file(ca_file)
        self._by_pid: dict[int, _Process] = {}

    def run(self, flow: Flow[T], deadline: Deadline) -> T:
        """Run *flow* in this thread and return its result.

        At the deadline `TransportError(DEADLINE)` is thrown into the flow, which may still return something.

        Raises:
            TransportError: the flow did not handle one, or asked for another call after its deadline.
        """
        try:
            call = next(flow)
            while True:
                try:
                    reply = self._exchange(call, deadline)
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

    def submit(self, flow: Flow[T], deadline: Deadline) -> Future[T]:
        """Run *flow* in one of the driver's own threads; wait for the future no longer than you want to."""
        try:
            return self._here().workers.submit(self.run, flow, deadline)
        except RuntimeError as error:
            # No thread to be had: the process is at its limit, or on its way out.
            refused: Future[T] = Future()
            refused.set_exception(TransportError(ErrorCode.SHED, sent=False))
            refused.exception().__cause__ = error  # type: ignore[union-attr]
            return refused

    def prepare(self) -> None:
        """Import the HTTP library and read the certificate authorities, so that the first call has it behind it."""
        if self._transport is None:
            self._here().tls()

    def close(self) -> None:
        """Close idle connections and let the threads end; calls under way finish first. A new use starts anew."""
        process = self._by_pid.pop(os.getpid(), None)
        if process is not None:
            process.close()

    def _here(self) -> _Process:
        pid = os.getpid()
        process = self._by_pid.get(pid)
        if process is None:
            for other in [key for key in self._by_pid if key != pid]:
                inherited = self._by_pid.pop(other, None)
                if inherited is not None:
                    inherited.idle.abandon()
            # Atomic, so that no lock is needed which a fork could leave locked.
            process = self._by_pid.setdefault(pid, _Process(self._pool_size, self._ca_file))
        return process

    def _exchange(self, call: Call, deadline: Deadline) -> Reply:
        started = self._clock()
        if deadline.left(started) <= 0:
            raise TransportError(ErrorCode.DEADLINE, sent=False)
        if self._transport is not None:
            return self._exchange_foreign(self._transport, call, deadline, started)
        process = self._here()
        to = _http.target(call)
        link = process.idle.take(to.key)
        if link is not None:
            try:
                return self._converse(process, link, call, to, deadline, started)
            except TransportError as error:
                if not (call.replay_safe and link.wire.closed_silently(error)):
                    raise
        try:
            fresh = self._connect(process, to, deadline)
        except TransportError as error:
            # The first attempt may have arrived, even if the second one could not be made.
            error.sent = link is not None
            raise
        return self._converse(process, fresh, call, to, deadline, started)

    def _converse(
        self, process: _Process, link: Link, call: Call, to: _http.Target, deadline: Deadline, started: float
    ) -> Reply:
        wire = link.wire
        wire.begin(deadline.at, self._limits.wire_bytes)
        _http.ours.set(True)
        try:
            forward = to.scheme == "http" and self._proxy(to) is not None
            response = link.http.handle_request(_http.request(process.lib, call, to, absolute=forward))
            if not wire.received:
                # Left over from the answer before: whatever it is, it does not belong to this call.
                raise TransportError(ErrorCode.TRANSPORT)
            body = _http.body_for(call, response.status, response.headers, self._limits)
            for chunk in response.stream:
                body.feed(chunk)
            response.close()
            content = body.finish()
        except TransportError:
            wire.abort()
            raise
        except Exception as error:
            wire.abort()
            raise _http.explain(process.lib, error, wire) from error
        except BaseException:
            wire.abort()
            raise
        finally:
            _http.ours.set(False)
        if link.reusable():
            process.idle.put(link)
        else:
            wire.abort()
        return _http.reply(response.status, response.headers, content, self._clock() - started)

    def _proxy(self, to: _http.Target) -> _transport.Proxy | None:
        return None if self._proxies is None else self._proxies.of(to)

    def _connect(self, process: _Process, to: _http.Target, deadline: Deadline) -> Link:
        proxy = self._proxy(to)
        host, port = (proxy.host, proxy.port) if proxy else (to.host, to.port)
        wire = dial(host, port, deadline.at, self._limits.connect_s, self._clock)
        try:
            process.idle.watch(wire)
            wire.begin(deadline.at, self._limits.wire_bytes)
            if to.scheme == "https":
                if proxy is not None:
                    self._tunnel(process, wire, proxy, to)
                wire.secure(process.tls(), to.host)
        except BaseException as error:
            wire.abort()
            if not isinstance(error, Exception):
                raise
            # Whatever the tunnel or the handshake carried, the request itself was not written yet.
            raise TransportError(_http.explain(process.lib, error, wire).code, sent=False) from error
        return Link(to.key, wire, process.lib.HTTP11Connection(_http.origin(process.lib, to), wire))

    def _tunnel(self, process: _Process, wire: Wire, proxy: _transport.Proxy, to: _http.Target) -> None:
        request = _transport.connect_request(process.lib, proxy, to)
        status = process.lib.HTTP11Connection(request.url.origin, wire).handle_request(request).status
        if not 200 <= status < 300:
            raise TransportError(ErrorCode.CONNECT, sent=False)

    def _exchange_foreign(
        self, transport: _transport.Transport, call: Call, deadline: Deadline, started: float
    ) -> Reply:
        # httpx's timeouts begin anew with every read, so a dripping vendor could hold this thread for minutes.
        # A helper thread takes the call instead and can be left behind.
        left = deadline.left(started)
        try:
            future = self._here().helpers.submit(self._ask_foreign, transport, call, deadline, started)
            return future.result(timeout=left)
        except concurrent.futures.TimeoutError:
            raise TransportError(ErrorCode.DEADLINE, sent=not future.cancel()) from None
        except RuntimeError as error:
            raise TransportError(ErrorCode.SHED, sent=False) from error

    def _ask_foreign(self, transport: _transport.Transport, call: Call, deadline: Deadline, started: float) -> Reply:
        left = deadline.left(self._clock())
        if left <= 0:
            raise TransportError(ErrorCode.DEADLINE, sent=False)
        _http.ours.set(True)
        try:
            response = transport.handler.handle_request(transport.request(call, left))
            try:
                raw = response.headers.raw
                body = _http.body_for(call, response.status_code, raw, self._limits, _http.size(raw))
                for chunk in response.stream:
                    body.feed(chunk)
                    if deadline.left(self._clock()) <= 0:
                        raise TransportError(ErrorCode.DEADLINE)
                content = body.finish()
            finally:
                response.stream.close()
        except TransportError:
            raise
        except Exception as error:
            raise _http.explain_foreign(transport.lib, error) from error
        finally:
            _http.ours.set(False)
        return _http.reply(response.status_code, raw, content, self._clock() - started)


class _Process:
    """What belongs to one process: threads, connections, the TLS context."""

    def __init__(self, size: int, ca_file: str | None) -> None:
        self.idle = Idle(size)
        self.workers = Workers("flagmw", size)
        self.helpers = Workers("flagmw-transport", size)
        self._ca_file = ca_file
        self._lock = threading.Lock()
        self._lib: Any = None
        self._tls: ssl.SSLContext | None = None

    @property
    def lib(self) -> Any:
        if self._lib is None:
            self._lib = _http.library()
        return self._lib

    def tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = _net.tls_context(self.lib.default_ssl_context, self._ca_file)
            return self._tls

    def close(self) -> None:
        self.idle.close()
        self.workers.stop()
        self.helpers.stop()
