"""Look-ups that requests make at a Valkey server.

A request waits a few milliseconds for the answer and no longer. While the server is away no request waits for it: the
process's own bounded memory answers instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cachetools import LRUCache

from flagmw._support.bounded_pool import BoundedPool
from flagmw._support.forksafe import PerProcess
from flagmw._valkey.connection import connect
from flagmw._valkey.url import Address, parse

if TYPE_CHECKING:
    from valkey import Valkey

T = TypeVar("T")

WAIT_MS = 5
_ANSWER_S = 1.0


class Away(Exception):
    """The server did not answer in time, or was not asked."""


class Quick:
    """Ask a server in another thread and wait a few milliseconds; a call that takes longer goes on unheard."""

    def __init__(self, address: str | Address, wait_ms: int) -> None:
        self._address = parse(address) if isinstance(address, str) else address
        self.prefix, self._wait_s = self._address.prefix, wait_ms / 1000
        self._process = PerProcess(lambda: _Client(self._address))

    def ask(self, call: Callable[[Valkey], T], *, writes: bool = False) -> T:
        """Return the result of *call*.

        Args:
            writes: the call is of use after the request's wait too, so it keeps its turn in the line.

        Raises:
            Away: there is no answer in time.
        """
        process, began = self._process.get(), time.monotonic()
        due = began + self._wait_s
        pool = process.pool
        try:
            future = pool.submit(due + _ANSWER_S if writes else due, call, process.client)
            if future is None:
                raise Away
            answer: T = future.result(self._wait_s)
        except Away:
            raise
        except Exception as error:
            # Late, refused or broken: all the same to the request.
            waited = isinstance(error, TimeoutError) and future is not None and not future.running()
            if waited and not writes and future is not None:
                future.cancel()
            if waited and pool.answered_since(began):
                pool.gave_up()  # calls before this one took the time; the server answers
            else:
                pool.failed(error, began, due)
            raise Away from None
        pool.succeeded()
        return answer

    def close(self) -> None:
        """Let this process's threads end and close its connections; a later use starts anew."""
        process = self._process.take()
        if process is not None:
            process.pool.close()
            client: Any = process.client
            client.close()


class _Client:
    """The connections and threads of one process."""

    def __init__(self, address: Address) -> None:
        self.client = connect(address, _ANSWER_S)
        self.pool = BoundedPool("flagmw-valkey")


class Memory:
    """Values that expire, the latest used ones.

    Args:
        room: the sum of the sizes of all entries, at most.
        size: the size of an entry, from its key and value.
    """

    def __init__(self, room: float, size: Callable[[str, bytes], int]) -> None:
        self._lock = threading.Lock()
        self._room, self._size = room, size
        self._entries: LRUCache[str, tuple[float, int, bytes]] = LRUCache(room, getsizeof=lambda entry: entry[1])

    def add(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Keep *value* unless there is one under *key*; return whether there was none."""
        with self._lock:
            if self._live(key) is not None:
                return False
            self._store(key, value, ttl_s)
            return True

    def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep *value* in place of what there is under *key*."""
        with self._lock:
            self._store(key, value, ttl_s)

    def get(self, key: str) -> bytes | None:
        """Return the value under *key*; None if there is none, or it has expired."""
        with self._lock:
            return self._live(key)

    def drop(self, key: str) -> None:
        """Forget the value under *key*."""
        with self._lock:
            self._entries.pop(key, None)

    def _live(self, key: str) -> bytes | None:
        until, _, value = self._entries.get(key, (0.0, 0, b""))
        return value if until > time.monotonic() else None

    def _store(self, key: str, value: bytes, ttl_s: float) -> None:
        self._entries.pop(key, None)
        size = self._size(key, value)
        if size <= self._room:
            self._entries[key] = time.monotonic() + ttl_s, size, value
