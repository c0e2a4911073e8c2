"""What a hit of the memory costs, its lock and the look at its age included, beside other caches."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson
from cachetools import TTLCache

from benchmarks.support.harness import Settings, timed
from benchmarks.support.table import Column, Goal, Table, interleave
from flagmw._exchange.remembered import RememberedDecision, memory
from flagmw.types import Decision, Variant

KEYS, TTL_S = 1000, 300.0
HAND, TTL, OURS = "by hand: TTL and LRU", "cachetools TTLCache.get", "flagmw's memory"


class Handmade:
    """A dictionary whose entries have an end and an order."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, tuple[float, Any]] = OrderedDict()

    def set(self, key: Any, value: Any) -> None:
        self._kept[key] = (time.monotonic() + TTL_S, value)

    def get(self, key: Any) -> Any:
        entry = self._kept.get(key)
        if entry is None or entry[0] < time.monotonic():
            return None
        self._kept.move_to_end(key)
        return entry[1]


def goals(hits: Table) -> list[Goal]:
    return [
        Goal("G15", "a hit over one made by hand", hits.ratio(OURS, HAND, "time"), at_most=2.0),
        Goal("G15", f"a hit over {TTL}", hits.ratio(OURS, TTL, "time"), at_most=0.35),
    ]


def table(settings: Settings) -> Table:
    keys = [(0, orjson.dumps(number).rjust(12, b"0")) for number in range(KEYS)]
    plain: dict[Any, Any] = {}
    hand, theirs, ours, lock = Handmade(), TTLCache[Any, Any](KEYS * 2, TTL_S), memory(2**26), threading.Lock()
    for key in keys:
        variants = {"ta_A": Variant(alias="ta_A", key="variation", vendor="wt11")}
        what = RememberedDecision(Decision(vendor="wt11", variants=variants), time.time())
        plain[key] = theirs[key] = what
        hand.set(key, what)
        ours.put(key, what)

    def locked(key: Any) -> Any:
        with lock:
            return theirs.get(key)

    def remembered(key: Any) -> Any:
        kept = ours.get(key)
        return kept if kept is not None and kept.within(TTL_S, time.time()) else None

    getters = {
        "dict.get": plain.get,
        HAND: hand.get,
        TTL: theirs.get,
        f"{TTL}, under a lock": locked,
        f"{OURS}, without a look at its age": ours.get,
        OURS: remembered,
    }
    times = settings.n(20, 1)
    cases = {name: partial(hits, get, keys, times) for name, get in getters.items()}
    columns = [Column("time", "us", 3)]
    note = f"{KEYS:,} keys in turn; the loop around them is in every row."
    return Table("a hit", columns, interleave(cases, settings.rounds), HAND, note=note)


def hits(get: Callable[[Any], Any], keys: list[Any], times: int) -> Mapping[str, float]:
    assert all(get(key) is not None for key in keys)

    def through() -> None:
        for key in keys:
            get(key)

    return {"time": timed(through, times)["time"] / len(keys)}
