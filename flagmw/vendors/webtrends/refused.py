"""Remember for a short while what was seen, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping

from flagmw._support.cache import Generations


class Seen:
    """A set of cookie jars, each forgotten after *ttl_s* seconds. Holds hashes only; safe between threads."""

    def __init__(self, ttl_s: float, size: int = 10_000) -> None:
        self._ttl_s = ttl_s
        self._until: Generations[int, float] = Generations(size, lambda _: 1)

    def add(self, jar: Mapping[str, str], now: float) -> None:
        self._until.put(_key(jar), now + self._ttl_s)

    def has(self, jar: Mapping[str, str], now: float) -> bool:
        if not len(self._until):  # the usual case costs no hash
            return False
        return (self._until.get(_key(jar)) or 0.0) > now


def _key(jar: Mapping[str, str]) -> int:
    return hash(frozenset(jar.items()))
