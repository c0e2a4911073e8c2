"""Async sockets, watched by the loop without an asyncio transport.

So closing is closing a socket: it needs no running loop, which matters when the loop is gone, or when a forked
child must let go of what it inherited without touching its parent's selector. The loop watches a socket from its first
read to its end, idle times included: telling the selector twice per call would cost more than the reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import aiohappyeyeballs

from flagmw._transports import race, resolver
from flagmw._transports.connection import SocketStream
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError

R = TypeVar("R")
# The loop takes this many turns from an open socket to the end of what waits for it, and some to spare.
_TURNS = 16


async def dial(host: str, port: int, connect_s: float) -> AsyncStream:
    """Resolve *host* and connect to the first address that answers.

    Raises:
        TransportError: `DNS` or `CONNECT`; nothing was sent.
    """
    addresses = resolver.lookup(host, port)
    if isinstance(addresses, Future):
        addresses = await result(addresses)
    rows = resolver.usable(addresses)
    try:
        sock = await (_connected(rows[0], connect_s) if len(rows) == 1 else _first_of(rows, connect_s))
    except OSError as error:
        raise TransportError(ErrorCode.CONNECT, sent=False) from error
    return AsyncStream(sock)


async def _connected(row: race.Address, connect_s: float) -> socket.socket:
    family, address = row
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(connect_s):
                await asyncio.get_running_loop().sock_connect(sock, address)
        except TimeoutError:
            # A loop that was busy elsewhere sees the limit and the connection at the same moment.
            if not connected(sock):
                raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


async def _first_of(rows: Sequence[race.Address], connect_s: float) -> socket.socket:
    """Connect to the first of several addresses that answers; the next one is tried beside those under way.

    Raises:
        OSError: none has answered in time.
    """
    delay_s = race.delay_s(connect_s)
    infos = [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for family, address in rows]
    connecting = asyncio.ensure_future(aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=delay_s))
    taken = False
    try:
        await asyncio.wait({connecting}, timeout=delay_s * (len(rows) - 1) + connect_s)
        for _ in range(_TURNS):
            # A loop that was busy elsewhere sees the limit and the connection at the same moment.
            if not connecting.done():
                await asyncio.sleep(0)
        if not connecting.done():
            raise TimeoutError
        sock = connecting.result()
        taken = True
    finally:
        if not connecting.cancel() and not taken and not connecting.cancelled() and not connecting.exception():
            connecting.result().close()
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        race.losers.note(rows, sock.getpeername())
    except BaseException:
        sock.close()
        raise
    return sock


def connected(sock: socket.socket) -> bool:
    """Say whether *sock* has its connection, whatever anybody has noticed of that."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


async def result(future: Future[R]) -> R:
    """Wait for a thread's *future* without ever cancelling it, and without harm if the loop ends first."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: Future[R]) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if waiter.done() else waiter.set_result(None))

    future.add_done_callback(wake)
    await waiter
    return future.result()


class AsyncStream(SocketStream):
    """A non-blocking socket, with TLS done in memory."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._tls: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None
        self._waiter: asyncio.Future[bytes] | None = None
        self._size = 0
        # What watches the socket: kept weakly, or an idle connection would keep a loop that is gone.
        self._watched_by: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._descriptor, self._pid = -1, 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        size = min(max_bytes, self.room - self.received + 1)
        try:
            if self.pending:
                await self._flush()
            if self._tls is None:
                return self.count(await self._receive(size))
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

    def abort(self) -> None:
        self._unwatch()
        super().abort()

    def hand_over(self) -> None:
        self._unwatch()
        super().hand_over()

    def leftover(self) -> bool:
        if self._tls is None or self._incoming is None:
            return False
        return self._incoming.pending > 0 or self._tls.pending() > 0

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Put TLS on the connection, for the certificate of *host*."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
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
                await self._send(data)
            else:
                view = memoryview(data)
                while view:
                    view = view[await self._step(self._tls.write, view) :]
        except OSError:
            # The vendor may have answered before it hung up: reading will tell.
            self.broken = True

    async def _send(self, data: bytes) -> None:
        # Nearly always the kernel takes a request at once.
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < len(data):
            await asyncio.get_running_loop().sock_sendall(self.sock, memoryview(data)[sent:])

    async def _receive(self, size: int) -> bytes:
        """Return up to *size* received bytes, none at the end of the connection."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bytes] = loop.create_future()
        self._waiter = waiter
        self._size = size
        if self._descriptor < 0:
            self._watch(loop)
        return await waiter

    def _arrived(self) -> None:
        """Take what the socket has, for who waits for it."""
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            # Bytes that nobody asked for, or the end: they stay where they are, for `readable` to see.
            self._unwatch()
            return
        try:
            data = self.sock.recv(self._size)
        except (BlockingIOError, InterruptedError):
            self._waiter = waiter
        except Exception as error:
            waiter.set_exception(error)
        else:
            waiter.set_result(data)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        descriptor = self.sock.fileno()
        loop.add_reader(descriptor, self._arrived)
        self._watched_by, self._descriptor, self._pid = weakref.ref(loop), descriptor, os.getpid()

    def _unwatch(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0 or self._watched_by is None or self._pid != os.getpid():
            return
        loop = self._watched_by()
        if loop is not None and not loop.is_closed():
            loop.remove_reader(descriptor)

    async def _step(self, act: Callable[..., Any], *args: Any) -> Any:
        assert self._incoming is not None
        while True:
            try:
                result = act(*args)
            except ssl.SSLWantReadError:
                await self._drain()
                data = await self._receive(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                await self._drain()
                return result

    async def _drain(self) -> None:
        if self._outgoing is not None and self._outgoing.pending:
            await self._send(self._outgoing.read())
