"""A vendor's addresses and certificate authorities, for both drivers."""

from __future__ import annotations

import ipaddress
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

from flagmw._support import addresses
from flagmw._support.daemon_threads import Workers
from flagmw._support.forksafe import PerProcess
from flagmw._transports import race
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError

Found: TypeAlias = "list[race.Address] | Exception"

_THREADS = 4
_TRIES = 8
# A lookup that takes longer than this may be stuck: the next caller starts one of its own.
_STALE_S = 1.0


class Resolver:
    """Look names up in threads of its own, so that a slow name server stalls neither loop nor deadline."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers = Workers("flagmw-dns", _THREADS)
        self._pending: dict[tuple[str, int], tuple[Future[Found], float]] = {}
        self._busy = 0

    def lookup(self, host: str, port: int) -> Future[Found]:
        """Return the future of a lookup; callers that ask for the same name share one.

        The future never raises: a failed lookup's result is the exception itself, because a shared future
        whose exception nobody fetches would be reported as a bug.
        """
        with self._lock:
            pending = self._pending.get((host, port))
            now = time.monotonic()
            if pending is not None and (now - pending[1] < _STALE_S or self._busy >= _THREADS):
                return pending[0]
            self._busy += 1
            try:
                future = self._workers.submit(self._resolve, host, port)
            except RuntimeError as error:
                self._busy -= 1
                future = Future()
                future.set_result(error)
                return future
            self._pending[host, port] = (future, now)
        return future

    def _resolve(self, host: str, port: int) -> Found:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [(row[0], row[4]) for row in rows]
        except (OSError, UnicodeError) as error:
            return error
        finally:
            with self._lock:
                self._busy -= 1
                self._pending.pop((host, port), None)


_resolvers = PerProcess(Resolver)


def lookup(host: str, port: int) -> Found | Future[Found]:
    """Return the addresses of *host* at once where no name server is needed, else the future of them."""
    if host == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A forked child must not wait for its parent's threads.
        return _resolvers.get().lookup(host, port)
    if address.version == 4:
        return [(socket.AF_INET, (host, port))]
    return [(socket.AF_INET6, (host, port, 0, 0))]


def usable(lookup_result: Found) -> list[race.Address]:
    """Return the few addresses that are worth a try, in the order to try them.

    Raises:
        TransportError: `DNS` when there are none; `CONNECT` when all are such as cloud providers serve their
            credentials at, and no vendor lives.
    """
    if isinstance(lookup_result, Exception) or not lookup_result:
        raise TransportError(ErrorCode.DNS, sent=False) from (
            lookup_result if isinstance(lookup_result, Exception) else None
        )
    public = [row for row in lookup_result if not addresses.is_forbidden(row[1][0])]
    if not public:
        raise TransportError(ErrorCode.CONNECT, sent=False)
    return public[:1] if len(public) == 1 else race.losers.ordered(public)[:_TRIES]


def tls_context(make_default: Callable[[], ssl.SSLContext], ca_file: str | None) -> ssl.SSLContext:
    """Return a context that verifies names and certificates, against *ca_file* alone where one is given."""
    context = ssl.create_default_context(cafile=ca_file) if ca_file else make_default()
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["http/1.1"])
    return context


def readable(sock: socket.socket) -> bool:
    """Say whether reading from *sock* would return at once; of an idle connection: whether it was closed."""
    if sock.fileno() < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
