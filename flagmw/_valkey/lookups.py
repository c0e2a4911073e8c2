"""Look-ups that requests make at a Valkey server.

A request waits a few milliseconds for the answer and no longer. While the server is away it is not even asked, and the
process's own memory answers instead, which is bounded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from cachetools import LRUCache

from flagmw._support.forksafe import PerProcess
from flagmw._support.limits import LATE_S, Breaker, Gate
from flagmw._valkey.connection import connect
from flagmw._valkey.url import Address, parse

if TYPE_CHECKING:
    from valkey import Valkey

T = TypeVar("T")

WAIT_MS = 5
_ANSWER_S = 1.0
_THREADS = 4
_WAITING = 16  # questions under way at once; one more is not asked


class Away(Exception):
    """The server did not answer in time, or was not asked."""


class Quick:
    """Ask a server in another thread and wait a moment; what takes longer goes on unheard."""

    def __init__(self, address: str | Address, wait_ms: int) -> None:
        self._address = parse(address) if isinstance(address, str) else address
        self.prefix, self._wait_s = self._address.prefix, wait_ms / 1000
        self._here = PerProcess(lambda: _Crew(self._address))

    def ask(self, work: Callable[[Valkey], T]) -> T:
        """Return what *work* does.

        Raises:
            Away: there is no answer in time.
        """
        crew, now = self._here.get(), time.monotonic()
        if not crew.breaker.allow(now):
            raise Away
        if not crew.gate.enter():
            crew.breaker.abandon()
            raise Away
        try:
            asked = crew.threads.submit(crew.do, work)
        except RuntimeError:
            crew.gate.leave()
            raise Away from None  # closed, or the interpreter is on its way out
        try:
            answer: T = asked.result(self._wait_s)
        except Exception as error:
            # Late, refused or broken: to the request it is all the same.
            ended = time.monotonic()
            if isinstance(error, TimeoutError) and ended > now + self._wait_s + LATE_S:
                crew.breaker.abandon()  # this process stood still: it could not have noticed an answer
            else:
                crew.breaker.failure(ended, began=now)
            raise Away from None
        crew.breaker.success(now)
        return answer

    def close(self) -> None:
        crew = self._here.get()
        crew.threads.shutdown(wait=False, cancel_futures=True)
        client: Any = crew.client
        client.close()


class _Crew:
    """What one process asks with."""

    def __init__(self, address: Address) -> None:
        self.client = connect(address, _ANSWER_S)
        self.threads = ThreadPoolExecutor(_THREADS, "flagmw-valkey")
        self.breaker, self.gate = Breaker(), Gate(_WAITING)

    def do(self, work: Callable[[Valkey], T]) -> T:
        try:
            return work(self.client)
        finally:
            self.gate.leave()


class _Memory:
    """Values that expire, as many as there is room for."""

    def __init__(self, room: float, size: Callable[[bytes], int]) -> None:
        self._lock = threading.Lock()
        self._room, self._size = room, size
        self._kept: LRUCache[str, tuple[float, bytes]] = LRUCache(room, getsizeof=lambda kept: size(kept[1]))

    def add(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Keep *value* unless there is one under *key*; return whether there was none."""
        with self._lock:
            if self._live(key) is not None:
                return False
            self._keep(key, value, ttl_s)
            return True

    def put(self, key: str, value: bytes, ttl_s: float) -> None:
        with self._lock:
            self._keep(key, value, ttl_s)

    def get(self, key: str) -> bytes | None:
        with self._lock:
            return self._live(key)

    def drop(self, key: str) -> None:
        with self._lock:
            self._kept.pop(key, None)

    def _live(self, key: str) -> bytes | None:
        until, value = self._kept.get(key, (0.0, b""))
        return value if until > time.monotonic() else None

    def _keep(self, key: str, value: bytes, ttl_s: float) -> None:
        self._kept.pop(key, None)
        if self._size(value) <= self._room:
            self._kept[key] = time.monotonic() + ttl_s, value
