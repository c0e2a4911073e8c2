"""What goes wrong at the vendor, row by row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BOMB_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        fault: the sandbox's rule for it; None for none at all.
        share: which part of the calls it hits at first, before it hits all; None where that does not change.
        stopped: the vendor does not listen at all.
        twice: the vendor blames the visitor's cookies, and may be asked once more without them; once per visitor.
        bomb: an answer that unpacks to far more than is read of it.
        trips: it makes the circuit breaker open.
        last: it makes the vendor rest for so long that no row should follow.
    """

    name: str
    fault: dict[str, Any] | None = field(default_factory=dict)
    share: float | None = 0.3
    stopped: bool = False
    twice: bool = False
    bomb: bool = False
    trips: bool = True
    last: bool = False

    @property
    def allowed(self) -> float:
        """How many decide calls one request may cost: a visitor who fails again and again is asked about twice.

        Half of the visitors bring cookies. While all fail, the breaker stops their calls after a second: a short run is
        over by then.
        """
        if self.twice and self.trips:
            return 1.5
        return 1.2 if self.twice or self.trips else 1.0


ROWS = (
    Row("none", None, share=None, trips=False),
    Row("refused", None, share=None, stopped=True),
    Row("hang", {"kind": "hang"}),
    Row("reset", {"kind": "reset"}),
    Row("drip", {"kind": "drip", "ms": 50, "bytes": 1}),
    Row("slow tail 5 %", {"kind": "delay", "ms": 2000, "probability": 0.05}, share=None, trips=False),
    Row("status 500", {"kind": "status", "status": 500}),
    Row("status 503 + wait", {"kind": "status", "status": 503, "retry_after": 1}),
    Row("status 429 + wait", {"kind": "status", "status": 429, "retry_after": 1}),
    Row("status 401", {"kind": "status", "status": 401}, trips=False),
    Row("html", {"kind": "html", "status": 200}),
    Row("empty", {"kind": "empty"}, trips=False),
    Row("truncate", {"kind": "truncate"}),
    Row("gzip bomb", {"kind": "gzip_bomb", "bytes": BOMB_BYTES}, bomb=True),
    Row("redirect", {"kind": "redirect"}),
    Row("error 102", {"kind": "error", "code": 102}, share=0.1, twice=True, trips=False),
    Row("error 300", {"kind": "error", "code": 300}, share=0.1, twice=True),
    Row("error 305", {"kind": "error", "code": 305}, share=0.1, twice=True, trips=False),
    Row("error 999", {"kind": "error", "code": 999}),
    Row("error 207", {"kind": "error", "code": 207}, last=True),
    Row("huge cookie", {"kind": "huge_cookie"}, trips=False),
    Row("bad cookies", {"kind": "bad_cookie"}, trips=False),
    Row("trailing comma", {"kind": "trailing_comma"}, trips=False),
)


def dealt(lanes: int) -> list[list[Row]]:
    """Return the rows in *lanes* parts that take about as long as each other."""
    ordered = sorted(ROWS, key=lambda row: (not row.trips, row.last))
    parts = [ordered[n::lanes] for n in range(lanes)]
    return [sorted(part, key=lambda row: (row.last, ROWS.index(row))) for part in parts]
