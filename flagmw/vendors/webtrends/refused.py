"""Short-lived, bounded memory of cookies that the vendor refused."""

from __future__ import annotations

from collections.abc import Mapping

from flagmw._support.cache import TwoGenerationCache


class RecentlyRefused:
    """Sets of cookies, each forgotten after *ttl_s* seconds. Holds hashes only; safe between threads."""

    def __init__(self, ttl_s: float, size: int = 10_000) -> None:
        self._ttl_s = ttl_s
        self._until: TwoGenerationCache[int, float] = TwoGenerationCache(size, lambda _: 1)

    def add(self, cookies: Mapping[str, str], now: float) -> None:
        """Remember *cookies* from *now* on."""
        self._until.put(_key(cookies), now + self._ttl_s)

    def has(self, cookies: Mapping[str, str], now: float) -> bool:
        """Say whether *cookies* were refused shortly before *now*."""
        if not len(self._until):  # the usual case costs no hash
            return False
        return (self._until.get(_key(cookies)) or 0.0) > now


def _key(cookies: Mapping[str, str]) -> int:
    return hash(frozenset(cookies.items()))
