"""A vendor made of raw sockets that does what a script says, however wrong.

    with RawVendor([answer(b"{}")]) as vendor:              # one request, one answer, then it hangs up
    with RawVendor(always(b"{}")) as vendor:                # answers every request, connections stay open
    with RawVendor([read_request, reset], always(b"{}")):   # the first connection is reset, all later ones work
    with RawVendor([read_request, drip(http(b"{}"), 0.05)], tls=authority.context("good")) as vendor:

A script is one action or a list of them; each connection plays the next script, the last one again and again.
An action is a function of the `Connection`; a script's end closes the connection.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

Action: TypeAlias = "Callable[[Connection], None]"
Script: TypeAlias = "Action | Sequence[Action]"


class _Over(Exception):
    """The connection or the vendor has ended."""


@dataclass(frozen=True)
class Received:
    """One request as it came in, and the number of its connection, from 0."""

    connection: int
    raw: bytes

    @property
    def head(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def headers(self) -> dict[str, str]:
        """The header lines by lower-case name, the last of a name."""
        lines = (line.partition(":") for line in self.head.split("\r\n")[1:])
        return {name.strip().lower(): value.strip() for name, _, value in lines}


@dataclass
class Connection:
    """What an action can use."""

    number: int
    sock: socket.socket
    vendor: RawVendor
    unread: bytes = b""

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            raise _Over from None

    def sleep(self, seconds: float) -> None:
        if self.vendor.stopped.wait(seconds):
            raise _Over

    def read_request(self) -> Received:
        """Wait for a whole request (with Content-Length or without a body) and note it."""
        while b"\r\n\r\n" not in self.unread:
            self._more()
        head, _, rest = self.unread.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(rest) < length:
            self._more()
            rest = self.unread.partition(b"\r\n\r\n")[2]
        received = Received(self.number, head + b"\r\n\r\n" + rest[:length])
        self.unread = rest[length:]
        self.vendor.requests.append(received)
        return received

    def _more(self) -> None:
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise _Over
        self.unread += data


# The actions.


def read_request(connection: Connection) -> None:
    """Wait for one request."""
    connection.read_request()


def send(data: bytes) -> Action:
    """Send *data* as it is."""
    return lambda connection: connection.send(data)


def sleep(seconds: float) -> Action:
    return lambda connection: connection.sleep(seconds)


def drip(data: bytes, every_s: float, step: int = 1) -> Action:
    """Send *data* in pieces of *step* bytes, one every *every_s* seconds."""

    def act(connection: Connection) -> None:
        for start in range(0, len(data), step):
            connection.send(data[start : start + step])
            connection.sleep(every_s)

    return act


def hang(connection: Connection) -> None:
    """Say nothing more; end when the other side does."""
    while True:
        connection._more()


def close(connection: Connection) -> None:
    """Hang up properly."""
    raise _Over


def reset(connection: Connection) -> None:
    """Cut the connection with a TCP reset."""
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sock.close()
    raise _Over


def answer(body: bytes = b"", status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Action:
    """Read one request and answer it."""
    reply = http(body, status, headers)

    def act(connection: Connection) -> None:
        connection.read_request()
        connection.send(reply)

    return act


def always(body: bytes = b"", status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Action:
    """Answer every request of the connection."""
    return forever(answer(body, status, headers))


def forever(*actions: Action) -> Action:
    """Repeat *actions* until somebody hangs up."""

    def act(connection: Connection) -> None:
        while True:
            for action in actions:
                action(connection)

    return act


def http(
    body: bytes = b"", status: int = 200, headers: Iterable[tuple[str, str]] = (), *, length: int | None = None
) -> bytes:
    """Return the bytes of an answer; *length* is what Content-Length claims, -1 to leave it out."""
    lines = [f"HTTP/1.1 {status} Scripted"]
    if length != -1:
        lines.append(f"content-length: {len(body) if length is None else length}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    """Return the bytes of a chunked answer, without its last chunk if not *end*."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return http(b"", headers=[("transfer-encoding", "chunked")], length=-1) + body + (b"0\r\n\r\n" if end else b"")


class RawVendor:
    """A scripted server on loopback; see the module for how to write scripts.

    Attributes:
        requests: everything that was read with `read_request`, in order.
        connections: how many were accepted.
        port, url: where it listens; `url` has no slash at its end.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._scripts: list[Sequence[Action]] = [[s] if callable(s) else s for s in scripts] or [[hang]]
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.requests: list[Received] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._listener = socket.create_server((host, 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        threading.Thread(target=self._accept, name="raw-vendor", daemon=True).start()

    @property
    def open(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._open)

    def wait_open(self, count: int, timeout: float = 15.0) -> bool:
        """Wait until at most *count* connections are open."""
        end = time.monotonic() + timeout
        while self.open > count and time.monotonic() < end:
            time.sleep(0.005)
        return self.open <= count

    def close(self) -> None:
        self.stopped.set()
        # A plain close would leave the accepting thread asleep.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                sock = self._listener.accept()[0]
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                number, self.connections = self.connections, self.connections + 1
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(number, sock), name="raw-vendor", daemon=True).start()

    def _serve(self, number: int, plain: socket.socket) -> None:
        sock = plain
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(sock)
            connection = Connection(number, sock, self)
            for action in self._scripts[min(number, len(self._scripts) - 1)]:
                action(connection)
        except (_Over, OSError):
            pass
        finally:
            with contextlib.suppress(OSError):
                sock.close()
            with self._lock:
                self._open.discard(sock)
                self._open.discard(plain)


def free_port() -> int:
    """Return a loopback port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
