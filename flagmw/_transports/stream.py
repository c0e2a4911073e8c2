"""Blocking sockets with a deadline for every wait."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import selectors
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import cast

from flagmw._transports import race, resolver
from flagmw._transports.connection import SocketStream
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError


def dial(host: str, port: int, at: float, connect_s: float, clock: Callable[[], float]) -> BlockingStream:
    """Resolve *host* and connect to the first address that answers, before *at* on the *clock*.

    Raises:
        TransportError: `DNS`, `CONNECT` or `DEADLINE`; nothing was sent.
    """
    addresses = resolver.lookup(host, port)
    if isinstance(addresses, Future):
        try:
            addresses = addresses.result(timeout=max(0.0, at - clock()))
        except concurrent.futures.TimeoutError:
            raise TransportError(ErrorCode.DEADLINE, sent=False) from None
    rows = resolver.usable(addresses)
    try:
        if len(rows) == 1:
            sock = _connected(rows[0], min(at - clock(), connect_s))
        else:
            sock = _first_of(rows, at, connect_s, clock)
    except OSError as error:
        late = at - clock() <= 0
        raise TransportError(ErrorCode.DEADLINE if late else ErrorCode.CONNECT, sent=False) from error
    return BlockingStream(sock, clock)


def _connected(row: race.Address, limit_s: float) -> socket.socket:
    family, address = row
    if limit_s <= 0:
        raise TimeoutError
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(limit_s)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _first_of(rows: Sequence[race.Address], at: float, connect_s: float, clock: Callable[[], float]) -> socket.socket:
    """Connect to the first of several addresses that answers; the next one is tried beside those under way.

    Raises:
        OSError: none has answered in time; the last one's error.
    """
    failure: OSError = TimeoutError()
    waiting, trying = list(rows), dict[socket.socket, float]()
    next_at = clock()
    with selectors.DefaultSelector() as selector:
        try:
            while (waiting or trying) and (now := clock()) < at:
                if waiting and (now >= next_at or not trying):
                    next_at = now + race.delay_s(connect_s)
                    row = waiting.pop(0)
                    try:
                        sock = socket.socket(row[0], socket.SOCK_STREAM)
                        trying[sock] = now + connect_s
                        sock.setblocking(False)
                        code = sock.connect_ex(row[1])
                        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
                            _give_up(trying, sock)
                            raise OSError(code, os.strerror(code))
                        selector.register(sock, selectors.EVENT_WRITE)
                    except OSError as error:
                        failure, next_at = error, now
                        continue
                until = min([at, *trying.values(), *([next_at] if waiting else [])])
                for key, _ in selector.select(max(0.0, until - now)):
                    won = cast(socket.socket, key.fileobj)
                    code = won.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code == 0:
                        won.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        race.losers.note(rows, won.getpeername())
                        del trying[won]
                        return won
                    failure, next_at = OSError(code, os.strerror(code)), now
                    selector.unregister(won)
                    _give_up(trying, won)
                for sock in [sock for sock, ends in trying.items() if ends <= clock()]:
                    failure, next_at = TimeoutError(), now
                    selector.unregister(sock)
                    _give_up(trying, sock)
        finally:
            for sock in trying:
                sock.close()
    raise failure


def _give_up(trying: dict[socket.socket, float], sock: socket.socket) -> None:
    del trying[sock]
    sock.close()


class BlockingStream(SocketStream):
    """A blocking socket that is clipped to the deadline before each wait."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float]) -> None:
        super().__init__(sock)
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self.pending:
            self._flush()
        try:
            self._clip()
            return self.count(self.sock.recv(min(max_bytes, self.room - self.received + 1)))
        except TimeoutError:
            raise TransportError(ErrorCode.DEADLINE, sent=self.wrote) from None
        except OSError as error:
            raise TransportError(ErrorCode.RESET) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            self.pending.append(buffer)

    def close(self) -> None:
        self.abort()

    def leftover(self) -> bool:
        # What the kernel still holds shows when the connection is taken up again.
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Put TLS on the connection, for the certificate of *host*."""
        try:
            self._clip()
            self.sock = context.wrap_socket(self.sock, server_hostname=host)
        except TimeoutError:
            raise TransportError(ErrorCode.DEADLINE, sent=False) from None
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise TransportError(ErrorCode.TLS, sent=False) from error
        except OSError as error:
            raise TransportError(ErrorCode.RESET, sent=False) from error

    def _flush(self) -> None:
        view = memoryview(self.take_pending())
        try:
            while view:
                self._clip()
                view = view[self.sock.send(view) :]
        except TimeoutError:
            raise TransportError(ErrorCode.DEADLINE) from None
        except OSError:
            # The vendor may have answered before it hung up: reading will tell.
            self.broken = True

    def _clip(self) -> None:
        left = self.at - self._clock()
        if left <= 0:
            raise TransportError(ErrorCode.DEADLINE, sent=self.wrote)
        self.sock.settimeout(left)
