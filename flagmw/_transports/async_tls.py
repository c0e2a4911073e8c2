"""Certificate authorities, read in a thread and shared among loops."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future

from flagmw._support.daemon_threads import Workers
from flagmw._transports import resolver
from flagmw._transports.async_stream import result


class Authorities:
    """The TLS context of one process.

    Args:
        make_default: makes a context that trusts the system's authorities, and says what is missing at once.
        ca_file: trust these instead.
    """

    def __init__(self, make_default: Callable[[], ssl.SSLContext], ca_file: str | None) -> None:
        self._make, self._ca_file = make_default, ca_file
        self._lock = threading.Lock()
        self._helpers = Workers("flagmw-tls", 1)
        self._context: Future[ssl.SSLContext] | None = None

    def read(self) -> Future[ssl.SSLContext]:
        """Begin to read them, unless that was done; what failed is tried again."""
        with self._lock:
            if self._context is None or (self._context.done() and self._context.exception() is not None):
                self._context = self._helpers.submit(resolver.tls_context, self._make, self._ca_file)
            return self._context

    async def context(self) -> ssl.SSLContext:
        return await result(self.read())
