"""A bounded cache whose hits take no lock."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from flagmw._support.forksafe import Lock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TwoGenerationCache(Generic[K, V]):
    """Keep the values used lately, in two generations of half the room each.

    A value that is put or found moves to the young generation. When that is full, the old one is dropped and the young
    one takes its place. So recently used values stay, and a hit needs no counting or ordering.

    Args:
        room: the capacity, in the unit of *weigh*.
        weigh: says how much one value takes; must say the same of it each time.
    """

    __slots__ = ("_half", "_lock", "_old", "_weigh", "_weight", "_young")

    def __init__(self, room: int, weigh: Callable[[V], int]) -> None:
        self._half, self._weigh = room // 2, weigh
        self._lock = Lock()
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._weight = 0

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None and self._old:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Keep *value*; one that takes more than half of the room is not kept."""
        weight = self._weigh(value)
        if weight > self._half:
            return
        with self._lock:
            if self._weight + weight > self._half:
                self._old, self._young, self._weight = self._young, {}, 0
            before = self._young.get(key)
            if before is not None:
                self._weight -= self._weigh(before)
            self._young[key] = value
            self._weight += weight

    def grew(self, key: K, value: V, more: int) -> None:
        """Note that *value*, which is kept under *key*, takes so much *more* now; *weigh* says so too from now on."""
        with self._lock:
            if self._young.get(key) is value:
                self._weight += more

    def __len__(self) -> int:
        """Return how many values are kept; one that has moved is counted twice until it is forgotten."""
        return len(self._young) + len(self._old)
