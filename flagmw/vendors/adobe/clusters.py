"""Edge clusters of Adobe Target, each with a breaker."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachetools import LRUCache

from flagmw._support.breaker import Breaker
from flagmw._support.forksafe import Lock

SIZE = 64
# The account's own host can replace a cluster, so a cluster is left alone soon.
_STREAK = 3


class Clusters:
    """The clusters that Target has named in its answers to this process, each with a breaker.

    A cluster from a visitor's cookies is asked only if it is one of these: a visitor must not choose a host. Bounded,
    and safe between threads.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, size: int = SIZE) -> None:
        self._clock = clock
        self._lock = Lock()
        self._known: LRUCache[str, Breaker] = LRUCache(size)

    def named(self, *clusters: str | None) -> None:
        """Add *clusters* that Target has named."""
        for cluster in clusters:
            if cluster is not None and cluster not in self._known:
                with self._lock:
                    self._known[cluster] = Breaker(streak=_STREAK, quiet_s=0.0)

    def knows(self, cluster: str | None) -> bool:
        """Say whether Target has named *cluster*."""
        return cluster in self._known

    def pick(self, cluster: str | None) -> tuple[str | None, float]:
        """Return *cluster* if it may be asked now, else None for the account's own host; and the time."""
        now = self._clock()
        if cluster is None or not self._known:
            return None, now
        with self._lock:
            breaker = self._known.get(cluster)
        return (cluster, now) if breaker is not None and breaker.allow(now) else (None, now)

    def answered(self, cluster: str) -> None:
        """Note an answer of *cluster*."""
        breaker = self._known.get(cluster)
        if breaker is not None:
            breaker.success(self._clock())

    def failed(self, cluster: str, began: float) -> None:
        """Note that *cluster*, asked at *began*, brought no answer."""
        breaker = self._known.get(cluster)
        if breaker is not None:
            breaker.failure(self._clock(), began=began)
