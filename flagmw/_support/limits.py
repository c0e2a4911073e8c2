"""Concurrency gate and rate limits.

Pure state on a clock that is passed in (seconds, monotonic). Each may be used from several threads; its lock is held
for a few instructions only.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

from flagmw._support.cache import TwoGenerationCache
from flagmw._support.forksafe import Lock


class Gate:
    """Count the calls under way and refuse one too many."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0

    @property
    def inside(self) -> int:
        return self._inside

    def enter(self, wait_s: float = 0.0) -> bool:
        """Take a place, waiting up to *wait_s* seconds for one; return whether there was one."""
        with self._changed:
            if self._inside >= self.limit and wait_s > 0:
                self._changed.wait_for(lambda: self._inside < self.limit, wait_s)
            if self._inside >= self.limit:
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify()


class Bucket:
    """Let *rate* a second through, in bursts of up to one second's worth (at least one)."""

    def __init__(self, rate: float) -> None:
        self._rate, self._size = rate, max(1.0, rate)
        self._lock = Lock()
        self._tokens, self._at = self._size, 0.0

    def take(self, now: float) -> bool:
        """Take a token if there is one; return whether there was."""
        with self._lock:
            self._tokens = min(self._size, self._tokens + max(0.0, now - self._at) * self._rate)
            self._at = now
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True


class PerMinute:
    """Let *limit* a minute through for each key, in bounded memory: a key long unused starts anew."""

    def __init__(self, limit: int, size: int = 10_000) -> None:
        self._limit = limit
        self._lock = Lock()
        self._seen: TwoGenerationCache[Hashable, tuple[float, int]] = TwoGenerationCache(size, lambda _: 1)

    def take(self, key: Hashable, now: float) -> bool:
        """Count one more for *key*; return whether it is within the limit of its minute."""
        with self._lock:
            began, count = self._seen.get(key) or (now, 0)
            if not 0 <= now - began < 60.0:
                began, count = now, 0
            if count >= self._limit:
                return False
            self._seen.put(key, (began, count + 1))
            return True
