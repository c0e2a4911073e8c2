"""Blocking sockets with a deadline for every wait."""

from __future__ import annotations

import concurrent.futures
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import Future

from flagmw._transports import resolver
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
    failure: Exception | None = None
    for family, address in resolver.usable(addresses):
        left = at - clock()
        if left <= 0:
            break
        sock: socket.socket | None = None
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.settimeout(min(left, connect_s))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if not isinstance(error, OSError):
                raise
            failure = error
        else:
            return BlockingStream(sock, clock)
    late = at - clock() <= 0
    raise TransportError(ErrorCode.DEADLINE if late else ErrorCode.CONNECT, sent=False) from failure


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
