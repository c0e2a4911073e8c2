"""Remember for a short while what was seen, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping

from cachetools import LRUCache

from flagmw._locks import Lock


class Seen:
    """A set of cookie jars, each forgotten after *ttl_s* seconds. Holds hashes only; safe between threads."""

    def __init__(self, ttl_s: float, size: int = 10_000) -> None:
        self._ttl_s = ttl_s
        self._lock = Lock()
        self._until: LRUCache[int, float] = LRUCache(size)

    def add(self, jar: Mapping[str, str], now: float) -> None:
        with self._lock:
            self._until[_key(jar)] = now + self._ttl_s

    def has(self, jar: Mapping[str, str], now: float) -> bool:
        if not self._until:  # the usual case costs no hash
            return False
        with self._lock:
            return self._until.get(_key(jar), 0.0) > now


def _key(jar: Mapping[str, str]) -> int:
    return hash(frozenset(jar.items()))
