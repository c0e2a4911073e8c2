"""What requests ask a Valkey server directly: which exposures were told, and what is known of a visitor.

A request waits a few milliseconds for the answer and no longer. While the server is away it is not even asked, and the
process's own memory answers instead, which is bounded.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from cachetools import LRUCache

from flagmw._guard import LATE_S, Breaker, Gate
from flagmw.outbox._events import Unreadable
from flagmw.outbox._seal import Clear, Seal
from flagmw.outbox._valkey_link import connect
from flagmw.outbox._valkey_url import Address, parse
from flagmw.outbox.base import PerProcess

if TYPE_CHECKING:
    from valkey import Valkey

T = TypeVar("T")

WAIT_MS = 5
_ANSWER_S = 1.0
_THREADS = 4
_WAITING = 16  # questions under way at once; one more is not asked


class ValkeySeen:
    """Remember which exposures were told to a vendor, for all machines.

    Args:
        address: as of a `ValkeyOutbox`; keys are under the same prefix and expire by themselves.
        wait_ms: how long a request may wait for the answer, in milliseconds.
        memory: how many exposures this process remembers by itself.
    """

    def __init__(self, address: str | Address, *, wait_ms: int = WAIT_MS, memory: int = 50_000) -> None:
        self._server = Quick(address, wait_ms)
        self._here = PerProcess(lambda: _Memory(memory, lambda _: 1))

    def first(self, vendor: str, visitor: str, alias: str, variant: str, ttl_s: float) -> bool:
        """Say whether this is the first time within *ttl_s* seconds, and remember that it was."""
        if ttl_s <= 0:
            return True
        key = _digest(vendor, visitor, alias, variant)
        # In memory first, which also keeps two threads of this process from being the first.
        if not self._here.get().add(key, b"", ttl_s):
            return False
        name, ttl_ms = f"{self._server.prefix}seen:{key}", max(1, int(ttl_s * 1000))
        try:
            return bool(self._server.ask(lambda client: client.set(name, b"1", nx=True, px=ttl_ms)))
        except Away:
            return True

    def close(self) -> None:
        self._server.close()


class ValkeyVisitors:
    """Keep what is known of visitors on the server, for all machines.

    Args:
        seal: encrypts what is kept.
        memory_bytes: how much of what was loaded or saved lately this process keeps for when the server is away.
    """

    def __init__(
        self,
        address: str | Address,
        *,
        wait_ms: int = WAIT_MS,
        seal: Seal | None = None,
        memory_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._server, self._seal = Quick(address, wait_ms), seal or Clear()
        self._here = PerProcess(lambda: _Memory(memory_bytes, lambda value: 200 + len(value)))

    def load(self, key: str) -> bytes | None:
        """Return what was saved last under *key*, None when there is nothing or it has expired.

        Raises:
            Away: the server does not answer, and this process does not know.
        """
        name = self._name(key)
        try:
            stored, left_ms = self._server.ask(lambda client: _get(client, name))
        except Away:
            kept = self._here.get().get(name)
            if kept is None:
                raise  # nobody knows: that is not the same as a visitor who is new
            return kept
        try:
            value = None if stored is None else self._seal.open(stored)
        except Unreadable:
            value = None
        if value is None:
            self._here.get().drop(name)
        else:
            self._here.get().put(name, value, left_ms / 1000)
        return value

    def save(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Keep *value* for *ttl_s* seconds; return whether the server surely has it."""
        name, stored = self._name(key), self._seal.close(value)
        self._here.get().put(name, value, ttl_s)
        try:
            return bool(self._server.ask(lambda client: client.set(name, stored, px=max(1, int(ttl_s * 1000)))))
        except Away:
            return False

    def forget(self, key: str) -> bool:
        """Remove what is known under *key*; return whether the server surely has nothing."""
        name = self._name(key)
        self._here.get().drop(name)
        try:
            self._server.ask(lambda client: client.delete(name))
        except Away:
            return False
        return True

    def close(self) -> None:
        self._server.close()

    def _name(self, key: str) -> str:
        return f"{self._server.prefix}visitor:{self._seal.digest(key).hex()}"


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


def _get(client: Valkey, name: str) -> tuple[bytes | None, float]:
    pipeline: Any = client.pipeline(transaction=False)
    value, left_ms = pipeline.get(name).pttl(name).execute()
    return value, max(0.0, float(left_ms))


def _digest(*parts: str) -> str:
    told = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, digest_size=16).hexdigest()
