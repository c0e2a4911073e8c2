"""One connection's progress, and the idle connections. No I/O."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import weakref
from typing import Any

from flagmw._transports.resolver import readable
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError

# Below the idle time after which common servers and load balancers hang up.
IDLE_S = 15.0


class SocketStream:
    """Count what one socket carries for the current call; the drivers add reading and writing.

    It takes the place of an httpcore network stream. What is written is held back until the first read, so a
    request leaves in one piece, and a request that cannot be written does not hide an answer that came early.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.at = 0.0
        self.room = 0
        self.received = 0
        self.wrote = False
        self.ended = False
        self.broken = False
        self.pending: list[bytes] = []
        self._ours = True

    def begin(self, at: float, room: int) -> None:
        """Start a call that ends at *at* and may receive *room* bytes."""
        self.at, self.room, self.received = at, room, 0
        self.wrote = self.broken = False
        self.pending.clear()

    def count(self, data: bytes) -> bytes:
        """Note received bytes and pass them on.

        Raises:
            TransportError: `TOO_LARGE` when they are too many.
        """
        self.received += len(data)
        self.ended = not data
        if self.received > self.room:
            raise TransportError(ErrorCode.TOO_LARGE)
        return data

    def take_pending(self) -> bytes:
        data = b"".join(self.pending)
        self.pending.clear()
        self.wrote = True
        return data

    def get_extra_info(self, info: str) -> Any:
        return readable(self.sock) if info == "is_readable" else None

    def closed_silently(self, error: TransportError) -> bool:
        """Say whether *error* means that the vendor hung up before a byte of its answer."""
        return error.code is ErrorCode.RESET and not self.received

    def leftover(self) -> bool:
        """Say whether bytes were received that nobody has read yet."""
        return False

    def abort(self) -> None:
        """Close the socket without a farewell: nothing of it may be used again, not even by a forked parent."""
        with contextlib.suppress(OSError):
            self.sock.close()

    def hand_over(self) -> None:
        """Let somebody else have the socket, who closes it."""
        self._ours = False

    def interrupt(self) -> None:
        """Wake a thread that waits on the socket, with an end of the connection; that thread then closes it."""
        with contextlib.suppress(OSError):
            # Past TLS, whose own state belongs to the other thread.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def __del__(self) -> None:
        if self._ours:
            self.abort()


class Connection:
    """One connection to one origin: our wire and the library's HTTP on it.

    Attributes:
        spent: the answer was not complete, or something followed it. Bytes after an answer would be read as the
            answer to the next call, which may be another visitor's.
    """

    __slots__ = ("__weakref__", "http", "idle_since", "key", "spent", "wire")

    def __init__(self, key: tuple[str, str, int], wire: SocketStream, http: Any) -> None:
        self.key, self.wire, self.http = key, wire, http
        self.idle_since = 0.0
        self.spent = False

    def reusable(self) -> bool:
        """Say whether another call may go through it."""
        return not self.spent and not self.wire.broken and not self.wire.leftover()

    def alive(self) -> bool:
        return time.monotonic() - self.idle_since < IDLE_S and not readable(self.wire.sock)


class IdleConnections:
    """Connections that wait for another call, the most recently used first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._links: list[Connection] = []
        self._open: weakref.WeakSet[SocketStream] = weakref.WeakSet()
        self._closed = False

    def watch(self, wire: SocketStream) -> None:
        """Remember an open socket, also while a call uses it, for `abandon`."""
        with self._lock:
            self._open.add(wire)

    def take(self, key: tuple[str, str, int]) -> Connection | None:
        """Return a connection to *key* that still looks open."""
        while True:
            with self._lock:
                link = next((idle for idle in reversed(self._links) if idle.key == key), None)
                if link is None:
                    return None
                self._links.remove(link)
            if link.alive():
                return link
            link.wire.abort()

    def put(self, link: Connection) -> None:
        """Keep *link* for later; close it, or the oldest, where there is no room."""
        surplus: Connection | None = link
        with self._lock:
            if not self._closed:
                link.idle_since = time.monotonic()
                self._links.append(link)
                surplus = self._links.pop(0) if len(self._links) > self._size else None
        if surplus is not None:
            surplus.wire.abort()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        with self._lock:
            self._closed = True
            links, self._links = self._links, []
        for link in links:
            link.wire.abort()

    def abandon(self) -> None:
        """Close the sockets that a forked child inherited: it must not keep them open behind its parent's back.

        Takes no lock: a thread that does not exist in the child may hold it for ever.
        """
        with contextlib.suppress(RuntimeError):
            for wire in list(self._open):
                wire.abort()
