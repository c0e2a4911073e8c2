"""Counters of one slot, mirrored in memory."""

from __future__ import annotations

import sqlite3
from collections import Counter
from types import MappingProxyType

from flagmw.codes import ErrorCode
from flagmw.outbox.base import LaneStats, OutboxStats

_AT_ONCE = 16
_CODES = frozenset(ErrorCode)


class SlotCounts:
    """Numbers by (vendor, what, code). `queued`, `dead`, `bytes`, `dead_bytes` and `recent` go up and down."""

    def __init__(self) -> None:
        self._n: dict[tuple[str, str, str], int] = {}
        self._dirty: set[tuple[str, str, str]] = set()

    def load(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT vendor, what, code, n FROM counts")
        self._n = {(vendor, what, code): count for vendor, what, code, count in rows}
        self._dirty.clear()

    def save(self, connection: sqlite3.Connection) -> None:
        if self._dirty:
            labels = list(self._dirty)
            for start in range(0, len(labels), _AT_ONCE):
                some = labels[start : start + _AT_ONCE]
                rows = ", ".join(["(?, ?, ?, ?)"] * len(some))
                values = [value for label in some for value in (*label, self._n[label])]
                connection.execute(f"REPLACE INTO counts (vendor, what, code, n) VALUES {rows}", values)  # noqa: S608
            self._dirty.clear()

    @property
    def dirty(self) -> bool:
        """Whether anything has changed that is not in the file."""
        return bool(self._dirty)

    def put(self, what: str, count: int) -> None:
        """Set a number of the file itself, which is no vendor's."""
        label = ("", what, "")
        if self._n.get(label) != count:
            self._n[label] = count
            self._dirty.add(label)

    def add(self, vendor: str, what: str, count: int = 1, code: str = "") -> None:
        label = (vendor, what, code)
        self._n[label] = self._n.get(label, 0) + count
        self._dirty.add(label)

    def get(self, vendor: str, what: str, code: str = "") -> int:
        return self._n.get((vendor, what, code), 0)

    def total(self, what: str) -> int:
        return sum(count for (_, counted, _), count in self._n.items() if counted == what)

    def vendors(self, what: str = "accepted") -> list[str]:
        """Return the vendors of which there is any."""
        return [vendor for (vendor, counted, _), count in self._n.items() if counted == what and count > 0]

    def stats(self, leased: dict[str, int], oldest_s: dict[str, float]) -> OutboxStats:
        lanes = {
            vendor: LaneStats(
                accepted=self.get(vendor, "accepted"),
                delivered=self.get(vendor, "delivered"),
                duplicates=self.get(vendor, "duplicates"),
                queued=self.get(vendor, "queued"),
                leased=leased.get(vendor, 0),
                dead=self.get(vendor, "dead"),
                dropped=MappingProxyType(self._by_code("dropped", vendor)),
                oldest_s=oldest_s.get(vendor, 0.0),
            )
            for vendor in self.vendors()
        }
        return OutboxStats.of(lanes, refused=self._by_code("refused"))

    def _by_code(self, what: str, vendor: str | None = None) -> dict[ErrorCode, int]:
        counts: Counter[ErrorCode] = Counter()
        for (whose, counted, code), count in self._n.items():
            if counted == what and count and (vendor is None or whose == vendor):
                # A code that a later version has added must not be lost from the sum.
                counts[ErrorCode(code) if code in _CODES else ErrorCode.INTERNAL] += count
        return dict(counts)
