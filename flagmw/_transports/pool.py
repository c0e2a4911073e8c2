"""The connection pool of the blocking driver."""

from __future__ import annotations

import ssl
import threading
from typing import Any, Protocol

from flagmw._transports import http as wire_http
from flagmw._transports import resolver
from flagmw._transports.attempt import Attempt
from flagmw._transports.base import Setup
from flagmw._transports.connection import Connection, IdleConnections, SocketStream
from flagmw._transports.proxies import Proxy
from flagmw._transports.stream import dial
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call

_REQUEST_TIMEOUT = 408


class HttpDialect(Protocol):
    """HTTP of one library on a connection. The library is imported at the first use."""

    def load(self) -> None:
        """Import the library.

        Raises:
            ConfigError: it is not installed.
        """

    def tls_context(self) -> ssl.SSLContext:
        """Return a context that trusts the system's authorities."""

    def open(self, to: wire_http.Target, wire: SocketStream) -> Any:
        """Return the library's own state for one connection."""

    def ask(self, link: Connection, call: Call, to: wire_http.Target, *, absolute: bool) -> wire_http.RawReply:
        """Make a call, and set `link.spent` if no other may follow it."""

    def tunnel(self, wire: SocketStream, proxy: Proxy, to: wire_http.Target) -> int:
        """Ask *proxy* for a way to *to* and return its status."""

    def explain(self, error: Exception, wire: SocketStream) -> TransportError:
        """Say what an exception means."""


class ConnectionPool:
    """Connections of one process."""

    def __init__(self, speaker: HttpDialect, setup: Setup) -> None:
        self._speaker, self._setup = speaker, setup
        self._idle = IdleConnections(setup.size)
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def prepare(self) -> None:
        """Import the library and read the authorities."""
        self._speaker.load()
        with self._lock:
            if self._tls is None:
                self._tls = resolver.tls_context(self._speaker.tls_context, self._setup.ca_file)

    def ask(self, call: Call, attempt: Attempt) -> wire_http.RawReply:
        """Make *call*, on a connection that is open already where there is one.

        Raises:
            TransportError: there is no answer.
        """
        to = wire_http.target(call)
        link = self._idle.take(to.key)
        if link is not None:
            try:
                answer = self._converse(link, call, to, attempt)
            except TransportError as error:
                if not (call.replay_safe and link.wire.closed_silently(error)):
                    raise
            else:
                # The server may have closed an idle connection in this way (RFC 9110, 15.5.9).
                if not (call.replay_safe and answer.status == _REQUEST_TIMEOUT):
                    return answer
            # The first try may have arrived, even if the second one cannot be made.
            attempt.sent = True
        repeated = attempt.sent
        try:
            return self._converse(self._connect(to, attempt), call, to, attempt)
        except TransportError as error:
            error.sent = error.sent or repeated
            raise

    def close(self) -> None:
        self._idle.close()

    def abandon(self) -> None:
        """Let go of what a forked child inherited."""
        self._idle.abandon()

    def _converse(self, link: Connection, call: Call, to: wire_http.Target, attempt: Attempt) -> wire_http.RawReply:
        wire = link.wire
        wire.begin(attempt.at, self._setup.limits.wire_bytes)
        try:
            attempt.hold(wire.interrupt)
            forward = to.scheme == "http" and self._setup.proxy(to) is not None
            answer = self._speaker.ask(link, call, to, absolute=forward)
        except BaseException as error:
            attempt.let_go()
            wire.abort()
            if isinstance(error, TransportError) or not isinstance(error, Exception):
                raise
            raise self._speaker.explain(error, wire) from error
        if attempt.let_go() and link.reusable():
            self._idle.put(link)
        else:
            wire.abort()
        return answer

    def _connect(self, to: wire_http.Target, attempt: Attempt) -> Connection:
        setup, proxy = self._setup, self._setup.proxy(to)
        host, port = (proxy.host, proxy.port) if proxy else (to.host, to.port)
        wire = dial(host, port, attempt.at, setup.limits.connect_s, setup.clock)
        try:
            self._idle.watch(wire)
            wire.begin(attempt.at, setup.limits.wire_bytes)
            if to.scheme == "https":
                if proxy is not None and not 200 <= self._speaker.tunnel(wire, proxy, to) < 300:
                    raise TransportError(ErrorCode.CONNECT, sent=False)
                self.prepare()
                assert self._tls is not None
                wire.secure(self._tls, to.host)
            return Connection(to.key, wire, self._speaker.open(to, wire))
        except BaseException as error:
            wire.abort()
            if not isinstance(error, Exception):
                raise
            # Whatever the tunnel or the handshake carried, the request itself was not written yet.
            raise TransportError(self._speaker.explain(error, wire).code, sent=False) from error
