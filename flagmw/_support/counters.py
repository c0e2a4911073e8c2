"""Counters with a closed set of labels."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeAlias

from flagmw._support.forksafe import Lock

Label: TypeAlias = tuple[str, str, str]


class TickCounter:
    """One counter that costs a request next to nothing: no lock is held to count."""

    def __init__(self) -> None:
        # Advancing an iterator of C cannot be interrupted by another thread.
        self._numbers = itertools.count()
        self.tick: Callable[[], int] = self._numbers.__next__
        self._looked = 0
        self._lock = Lock()

    def value(self) -> int:
        """Return how often it ticked; looking is a tick too, which is left out."""
        with self._lock:
            looked, self._looked = self._looked, self._looked + 1
            return next(self._numbers) - looked


class Counters:
    """Counters by (what, vendor, code). Vendors are those configured and codes are enum members: the set is closed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[Label] = Counter()
        self._tallies: dict[Label, TickCounter] = {}

    def tally(self, what: str) -> Callable[[], int]:
        """Return what adds one to the counter *what*, for those that every request adds to."""
        with self._lock:
            return self._tallies.setdefault((what, "", ""), TickCounter()).tick

    def add(self, what: str, vendor: str = "", code: str = "", n: int = 1) -> None:
        with self._lock:
            self._counts[(what, vendor, code)] += n

    def snapshot(self) -> Mapping[Label, int]:
        with self._lock:
            counted = {label: n for label, tally in self._tallies.items() if (n := tally.value())}
            return {**self._counts, **counted}

    def total(self, what: str, vendor: str | None = None, code: str | None = None) -> int:
        """Return the sum of the counters that match; None matches everything."""
        return sum(
            n
            for (w, v, c), n in self.snapshot().items()
            if w == what and (vendor is None or v == vendor) and (code is None or c == code)
        )
