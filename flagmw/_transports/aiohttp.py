"""Async calls with aiohttp, for sites that use it already.

Connections are dialled, counted and limited here; aiohttp writes the requests, reads the answers and keeps the idle
connections. They are asyncio's, so a loop that ends before `aclose()` leaves them to the garbage collector.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl
import weakref
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from flagmw._transports import connection as link
from flagmw._transports import http as wire_http
from flagmw._transports.async_stream import AsyncStream, dial
from flagmw._transports.async_tls import Authorities
from flagmw._transports.attempt import Attempt
from flagmw._transports.base import Setup
from flagmw._transports.httpcore import AsyncHttpcore
from flagmw._transports.resolver import readable
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call

# aiohttp warns of longer bodies in one piece.
_LONG = 1 << 20
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_AUTO = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
# What a forked child inherited: were it collected, asyncio would talk to the parent's selector.
_inherited: list[Any] = []


class _Job:
    """One call on its way through aiohttp, and the connection it got."""

    def __init__(self, to: wire_http.Target, attempt: Attempt) -> None:
        self.to, self.attempt = to, attempt
        self.fresh = False
        self.connection: _Connection | None = None
        self._turn = 0

    def take(self, connection: _Connection) -> None:
        self.connection, self._turn = connection, connection.begin()
        self.attempt.sent = True

    def flooded(self) -> bool:
        """Say whether more came than was agreed."""
        held = self.connection
        return held is not None and held.calls == self._turn and held.flooded

    def let_go(self, *, abort: bool) -> None:
        """Say that the call is over, and close its connection if it is to be closed.

        aiohttp gives a connection back as soon as the answer's last byte is there, so it may have another call by now.
        """
        if self.connection is None or self.connection.calls != self._turn:
            return
        self.connection.busy = False
        if abort:
            self.connection.abort()


_job: ContextVar[_Job] = ContextVar("flagmw_aiohttp_job")


class Aiohttp:
    """The transport of one process."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._authorities = Authorities(ssl.create_default_context, setup.ca_file)
        self._tunneller = AsyncHttpcore(setup.limits)

    def prepare(self) -> None:
        self._authorities.read()

    def open(self) -> _Pool:
        return _Pool(self._setup, self._connect)

    async def ask(self, pool: _Pool, call: Call, attempt: Attempt) -> wire_http.RawReply:
        """Make *call*, once more on a new connection if a kept one turns out to be closed and the call allows it.

        Raises:
            TransportError: there is no answer.
        """
        job = _Job(wire_http.target(call), attempt)
        headers = wire_http.checked_headers(call, job.to)
        _job.set(job)
        try:
            answer = await self._ask(pool, call, job, headers)
        except TransportError as error:
            used = job.connection
            silent = used is not None and used.reused and not used.received and error.code is ErrorCode.RESET
            if not (silent and call.replay_safe):
                raise
        else:
            reused = job.connection is not None and job.connection.reused
            # The server may have closed an idle connection in this way (RFC 9110, 15.5.9).
            if not (reused and call.replay_safe and answer.status == 408):
                return answer
        job.fresh, job.connection = True, None
        return await self._ask(pool, call, job, headers)

    async def _ask(self, pool: _Pool, call: Call, job: _Job, headers: list[tuple[str, str]]) -> wire_http.RawReply:
        forward = job.to.scheme == "http" and (proxy := self._setup.proxy(job.to)) is not None
        response = None
        try:
            response = await pool.session.request(
                call.method,
                URL(call.url, encoded=True),
                data=(call.body if len(call.body) < _LONG else io.BytesIO(call.body)) or None,
                headers=headers,
                allow_redirects=False,
                proxy=f"http://{proxy.host}:{proxy.port}" if forward and proxy is not None else None,
            )
            if response.status < 200:
                raise TransportError(ErrorCode.PROTOCOL)
            body = wire_http.body_for(call, response.status, response.raw_headers, self._setup.limits)
            while chunk := await response.content.readany():
                body.feed(chunk)
            if job.flooded():
                # An answer without a length ends with its connection, also when that was ended here.
                raise TransportError(ErrorCode.TOO_LARGE)
            content = body.finish()
        except BaseException as error:
            job.let_go(abort=True)
            if response is not None:
                response.close()
            if isinstance(error, TransportError) or not isinstance(error, Exception):
                raise
            raise self._explain(error, job) from error
        response.release()
        job.let_go(abort=pool.closed)
        return wire_http.RawReply(response.status, response.raw_headers, content)

    def _explain(self, error: Exception, job: _Job) -> TransportError:
        """Say what an exception of aiohttp means, from what the connection saw rather than from its text."""
        connection, sent = job.connection, job.attempt.sent
        if connection is None:
            return TransportError(ErrorCode.INTERNAL, sent=sent)
        if job.flooded():
            return TransportError(ErrorCode.TOO_LARGE)
        if isinstance(error, aiohttp.ClientResponseError):
            # aiohttp hung up itself, over something that is no HTTP.
            return TransportError(ErrorCode.TRANSPORT)
        if connection.ended:
            cut = connection.received and not connection.broken
            return TransportError(ErrorCode.TRUNCATED if cut else ErrorCode.RESET)
        if isinstance(error, aiohttp.ClientError):
            return TransportError(ErrorCode.TRANSPORT)
        return TransportError(ErrorCode.INTERNAL, sent=sent)

    async def _connect(self, connections: weakref.WeakSet[_Connection]) -> _Connection:
        """Return a new connection for the call under way."""
        setup, to = self._setup, _job.get().to
        proxy, loop = setup.proxy(to), asyncio.get_running_loop()
        host, port = (proxy.host, proxy.port) if proxy else (to.host, to.port)
        wire = await dial(host, port, setup.limits.connect_s)
        try:
            connection = _Connection(loop, wire.sock, setup.limits.wire_bytes)
            options: dict[str, Any] = {}
            if to.scheme == "https":
                if proxy is not None:
                    wire.begin(0.0, setup.limits.wire_bytes)
                    if not 200 <= await self._tunneller.atunnel(wire, proxy, to) < 300:
                        raise TransportError(ErrorCode.CONNECT, sent=False)
                options = {"ssl": await self._authorities.context(), "server_hostname": to.host}
            wire.hand_over()
            await loop.create_connection(lambda: connection, sock=wire.sock, **options)
        except BaseException as error:
            wire.abort()
            if not isinstance(error, Exception):
                raise
            raise TransportError(_failed(error, wire), sent=False) from error
        connections.add(connection)
        return connection


def _failed(error: Exception, wire: AsyncStream) -> ErrorCode:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return ErrorCode.RESET
    return wire_http.explain_other(error, wire).code


class _Connection(ResponseHandler):  # type: ignore[misc, unused-ignore]
    """aiohttp's reader of one connection, which counts what comes for the current call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, room: int) -> None:
        super().__init__(loop)
        self.sock, self._room = sock, room
        self.calls = 0
        self.received = 0
        self.busy = self.flooded = self.ended = self.broken = False

    @property
    def reused(self) -> bool:
        return self.calls > 1

    def begin(self) -> int:
        """Start a call and return its number on this connection."""
        self.calls += 1
        self.received, self.busy = 0, True
        return self.calls

    def clean(self) -> bool:
        """Say whether another call may go through it: nothing came since the last answer, not even its end."""
        return not self.should_close and not readable(self.sock)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if not self.busy:
            # Nobody asked: it would be read as the answer to the next call, which may be another visitor's.
            self.abort()
            return
        if self.received > self._room:
            self.flooded = True
            if self.transport is not None:
                self.transport.abort()
            return
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended, self.broken = True, exc is not None
        super().connection_lost(exc)

    def forget(self) -> None:
        """Close the socket and tell no event loop."""
        descriptor = self.sock.detach()
        if descriptor >= 0:
            os.close(descriptor)


class _Connector(aiohttp.BaseConnector):
    """aiohttp's pool, filled with connections of ours."""

    def __init__(self, connect: Any, connections: weakref.WeakSet[_Connection]) -> None:
        super().__init__(limit=0, keepalive_timeout=link.IDLE_S)
        self._open, self._connections = connect, connections

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        job = _job.get()
        while True:
            held = await super().connect(req, traces, timeout)
            connection = held.protocol
            assert isinstance(connection, _Connection)
            if connection.calls == 0 or (connection.clean() and not job.fresh):
                break
            held.close()
        job.take(connection)
        return held

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        return await self._open(self._connections)

    def __del__(self, *_: Any) -> None:
        """Say nothing: the pool ends its connections itself."""


class _Pool:
    """The connections of one event loop."""

    def __init__(self, setup: Setup, connect: Any) -> None:
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._connections: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._connector = _Connector(connect, self._connections)
        most = setup.limits.wire_bytes
        self.session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_AUTO,
            timeout=_NO_TIMEOUT,
            trust_env=False,
            max_line_size=most,
            max_field_size=most,
            max_headers=most,
        )
        # aiohttp repeats GET by itself on a connection that turns out to be closed; here the call says if it may.
        self.session._retry_connection = False

    def close(self) -> None:
        """End what is idle; what is in use ends when its call does."""
        self.closed = True
        if self._loop.is_closed():
            self._forget()
            return
        for connection in list(self._connections):
            if not connection.busy:
                connection.abort()
        self.session.detach()

    def abandon(self) -> None:
        """Let go of what a forked child inherited."""
        _inherited.append((self, list(self._connections)))
        self._forget()

    def __del__(self) -> None:
        # A session that nobody closed would be reported as an error, although it holds nothing but our connections.
        self.session.detach()

    def _forget(self) -> None:
        for connection in list(self._connections):
            connection.forget()
        self.session.detach()
