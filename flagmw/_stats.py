"""Count what happened, by closed labels, so that no loss goes unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from flagmw._locks import Lock
from flagmw.outbox.base import OutboxStats

Label: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a `Flagmw` has counted, as it was at one moment.

    Attributes:
        counts: by (what, vendor, code), since this process began.
        outbox: the events; here `accepted = delivered + queued + dead + dropped` holds at any moment.
    """

    counts: Mapping[Label, int]
    outbox: OutboxStats


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
