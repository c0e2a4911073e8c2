"""The connection pool of the async driver."""

from __future__ import annotations

import ssl
from typing import Any, Protocol

from flagmw._transports import http as wire_http
from flagmw._transports.async_stream import dial
from flagmw._transports.async_tls import Authorities
from flagmw._transports.attempt import Attempt
from flagmw._transports.base import Setup
from flagmw._transports.connection import Connection, IdleConnections, SocketStream
from flagmw._transports.proxies import Proxy
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call

_REQUEST_TIMEOUT = 408


class AsyncHttpDialect(Protocol):
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

    async def aask(self, link: Connection, call: Call, to: wire_http.Target, *, absolute: bool) -> wire_http.RawReply:
        """Make a call, and set `link.spent` if no other may follow it."""

    async def atunnel(self, wire: SocketStream, proxy: Proxy, to: wire_http.Target) -> int:
        """Ask *proxy* for a way to *to* and return its status."""

    def explain(self, error: Exception, wire: SocketStream) -> TransportError:
        """Say what an exception means."""


class AsyncConnectionPool:
    """Connections of one process; each event loop has its own."""

    def __init__(self, speaker: AsyncHttpDialect, setup: Setup) -> None:
        self._speaker, self._setup = speaker, setup
        self._authorities = Authorities(speaker.tls_context, setup.ca_file)

    def prepare(self) -> None:
        """Import the library and have the authorities read."""
        self._speaker.load()
        self._authorities.read()

    def open(self) -> IdleConnections:
        """Return the idle connections of the running loop. It keeps no reference to the loop while nobody waits."""
        return IdleConnections(self._setup.size)

    async def ask(self, idle: IdleConnections, call: Call, attempt: Attempt) -> wire_http.RawReply:
        """Make *call*, on a connection that is open already where there is one.

        Raises:
            TransportError: there is no answer.
        """
        to = wire_http.target(call)
        link = idle.take(to.key)
        if link is not None:
            try:
                answer = await self._converse(idle, link, call, to, attempt)
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
            fresh = await self._connect(idle, to)
            return await self._converse(idle, fresh, call, to, attempt)
        except TransportError as error:
            error.sent = error.sent or repeated
            raise

    async def _converse(
        self, idle: IdleConnections, link: Connection, call: Call, to: wire_http.Target, attempt: Attempt
    ) -> wire_http.RawReply:
        wire = link.wire
        wire.begin(0.0, self._setup.limits.wire_bytes)
        try:
            forward = to.scheme == "http" and self._setup.proxy(to) is not None
            answer = await self._speaker.aask(link, call, to, absolute=forward)
        except BaseException as error:
            attempt.sent = attempt.sent or wire.wrote
            wire.abort()
            if isinstance(error, TransportError) or not isinstance(error, Exception):
                raise
            raise self._speaker.explain(error, wire) from error
        if link.reusable():
            idle.put(link)
        else:
            wire.abort()
        return answer

    async def _connect(self, idle: IdleConnections, to: wire_http.Target) -> Connection:
        setup, proxy = self._setup, self._setup.proxy(to)
        host, port = (proxy.host, proxy.port) if proxy else (to.host, to.port)
        wire = await dial(host, port, setup.limits.connect_s)
        try:
            idle.watch(wire)
            wire.begin(0.0, setup.limits.wire_bytes)
            if to.scheme == "https":
                if proxy is not None and not 200 <= await self._speaker.atunnel(wire, proxy, to) < 300:
                    raise TransportError(ErrorCode.CONNECT, sent=False)
                await wire.secure(await self._authorities.context(), to.host)
            return Connection(to.key, wire, self._speaker.open(to, wire))
        except BaseException as error:
            wire.abort()
            if not isinstance(error, Exception):
                raise
            # Whatever the tunnel or the handshake carried, the request itself was not written yet.
            raise TransportError(self._speaker.explain(error, wire).code, sent=False) from error
