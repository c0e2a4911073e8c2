"""Count what happened, by closed labels, so that no loss goes unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

from flagmw._locks import Lock

Label: TypeAlias = tuple[str, str, str]


class Counts:
    """Counters by (what, vendor, code). Vendors are those configured and codes are enum members: the set is closed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[Label] = Counter()

    def add(self, what: str, vendor: str = "", code: str = "", n: int = 1) -> None:
        with self._lock:
            self._counts[(what, vendor, code)] += n

    def snapshot(self) -> Mapping[Label, int]:
        with self._lock:
            return dict(self._counts)

    def total(self, what: str, vendor: str | None = None, code: str | None = None) -> int:
        """Return the sum of the counters that match; None matches everything."""
        return sum(
            n
            for (w, v, c), n in self.snapshot().items()
            if w == what and (vendor is None or v == vendor) and (code is None or c == code)
        )
