"""Report of shadow vendors: their decisions against what was served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from flagmw._support.forksafe import Lock

Outcome = Literal["same", "differs", "missing"]
Document = dict[str, Any]

ALIASES_MAX = 200
PAIRS_MAX = 8
KEY_CHARS = 80
# Where the aliases beyond those are counted together; no alias is as long.
OTHERS = "(others)"


class Report:
    """One process's comparisons since *since*, in seconds since the epoch. Thread-safe."""

    def __init__(self, vendors: Iterable[str], since: float) -> None:
        self._lock = Lock()
        self._since = self._until = since
        self._asked: Counter[str] = Counter()
        self._failed: dict[str, Counter[str]] = {name: Counter() for name in vendors}
        self._aliases: dict[str, dict[str, Counter[Outcome]]] = {name: {} for name in self._failed}
        self._pairs: dict[tuple[str, str], Counter[tuple[str, str]]] = {}

    def asked(self, vendor: str, now: float, failure: str | None = None) -> None:
        """Count that *vendor* was asked at *now*, and why it did not decide."""
        with self._lock:
            self._asked[vendor] += 1
            self._until = max(self._until, now)
            if failure is not None:
                self._failed[vendor][failure] += 1

    def compared(self, vendor: str, alias: str, outcome: Outcome, served: str, shadow: str) -> None:
        """Count how one alias came out; the pair of variants is kept as an example where they differ."""
        with self._lock:
            aliases = self._aliases[vendor]
            if alias not in aliases and len(aliases) >= ALIASES_MAX:
                alias = OTHERS
            aliases.setdefault(alias, Counter())[outcome] += 1
            if outcome != "differs" or alias == OTHERS:
                return
            pairs, pair = self._pairs.setdefault((vendor, alias), Counter()), (served[:KEY_CHARS], shadow[:KEY_CHARS])
            if pair in pairs or len(pairs) < PAIRS_MAX:
                pairs[pair] += 1

    def document(self) -> Document:
        """Return the report as it stands, ready for JSON."""
        with self._lock:
            return {
                "since": self._since,
                "until": self._until,
                "vendors": {name: self._of(name) for name in self._failed},
            }

    def _of(self, vendor: str) -> Document:
        rows = {}
        for alias, counted in self._aliases[vendor].items():
            pairs = self._pairs.get((vendor, alias), Counter[tuple[str, str]]())
            rows[alias] = {
                "same": counted["same"],
                "differs": counted["differs"],
                "missing": counted["missing"],
                "pairs": [{"served": one, "shadow": other, "count": n} for (one, other), n in pairs.most_common()],
            }
        return {"asked": self._asked[vendor], "failed": dict(self._failed[vendor]), "aliases": rows}


def together(documents: Iterable[Mapping[str, Any]]) -> Document:
    """Return the reports of several processes as one.

    Raises:
        ValueError: one of them is no report.
    """
    since: list[float] = []
    until: list[float] = []
    vendors: dict[str, Document] = {}
    try:
        for document in documents:
            since.append(float(document["since"]))
            until.append(float(document["until"]))
            for name, vendor in document["vendors"].items():
                _add(vendors.setdefault(name, {"asked": 0, "failed": {}, "aliases": {}}), vendor)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no report of shadow vendors: {type(error).__name__}") from None
    return {"since": min(since, default=0.0), "until": max(until, default=0.0), "vendors": vendors}


def _add(total: Document, more: Mapping[str, Any]) -> None:
    total["asked"] += more["asked"]
    for code, n in more["failed"].items():
        total["failed"][code] = total["failed"].get(code, 0) + n
    for alias, row in more["aliases"].items():
        into = total["aliases"].setdefault(alias, {"same": 0, "differs": 0, "missing": 0, "pairs": []})
        for outcome in ("same", "differs", "missing"):
            into[outcome] += row[outcome]
        counted: Counter[tuple[str, str]] = Counter()
        for pair in (*into["pairs"], *row["pairs"]):
            counted[pair["served"], pair["shadow"]] += pair["count"]
        into["pairs"] = [
            {"served": one, "shadow": other, "count": n} for (one, other), n in counted.most_common(PAIRS_MAX)
        ]
