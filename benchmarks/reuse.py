"""What is shared and what is remembered: sixteen requests of one visitor at once, and a hit of the memory."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import orjson
from cachetools import TTLCache

from benchmarks import visitor
from benchmarks.clients import Opened, bare_protocol, request
from benchmarks.decide import installed
from benchmarks.harness import Settings, Stub, timed
from benchmarks.table import Column, Goal, Section, Table, interleave
from flagmw._checks import ASYNC_TRANSPORTS
from flagmw._remember import Memory, Remembered
from flagmw.types import Decision, Variant

CALLERS, KEYS, TTL_S = 16, 1000, 300.0
EMPTY_FLIGHT = "16 tasks on one flight, nothing asked"
FLIGHT = "16 tasks on one flight, one call"
SIXTEEN, ALONE = "flagmw, {}, 16 callers", "flagmw, {}, one caller"
HAND, TTL, OURS = "by hand: TTL and LRU", "cachetools TTLCache.get", "flagmw's memory"


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("reuse: one visitor at once, and remembered")
    stub.mode()
    table = together(settings, stub)
    section.tables.append(table)
    for name in installed(ASYNC_TRANSPORTS):
        row, alone = SIXTEEN.format(name), ALONE.format(name)
        calls = table.median(row, "calls")
        section.goals.append(Goal("G14", f"{row}: vendor calls for all of them", calls, at_most=1.0, at_least=1.0))
        # What one who joins costs: all sixteen without the one who asks.
        joining = (table.median(row, "cpu") * CALLERS - table.median(alone, "cpu")) / (CALLERS - 1)
        ratio = joining / table.median(EMPTY_FLIGHT, "cpu")
        section.goals.append(Goal("G14", f"{row}: CPU of one who joins over {EMPTY_FLIGHT}", ratio, at_most=2.0))
    hits = memory(settings)
    section.tables.append(hits)
    section.goals.append(Goal("G15", "a hit over one made by hand", hits.ratio(OURS, HAND, "time"), at_most=2.0))
    section.goals.append(Goal("G15", f"a hit over {TTL}", hits.ratio(OURS, TTL, "time"), at_most=0.35))
    return section


# Together


def together(settings: Settings, stub: Stub) -> Table:
    groups = settings.n(200, 4)
    cases: dict[str, Callable[[], Mapping[str, float]]] = {
        EMPTY_FLIGHT: partial(grouped, stub, flight(nothing), groups, CALLERS),
        FLIGHT: partial(grouped, stub, flight(partial(bare_protocol, request(stub.url))), groups, CALLERS),
    }
    for name in installed(ASYNC_TRANSPORTS):
        asking = partial(same_visitor, stub.url, name)
        cases[ALONE.format(name)] = partial(grouped, stub, asking, groups, 1)
        cases[SIXTEEN.format(name)] = partial(grouped, stub, asking, groups, CALLERS)
    columns = [Column("cpu", "us a caller", 2), Column("calls", "a group", 3)]
    note = "A group is one visitor that nothing is remembered of; each caller is a whole decision."
    return Table("the same visitor at once", columns, interleave(cases, settings.rounds), FLIGHT, note=note)


def grouped(stub: Stub, opened: Opened, groups: int, callers: int) -> Mapping[str, float]:
    """Return what a caller costs, and how many calls came to the vendor for a group."""

    async def main() -> tuple[float, float]:
        ask, close = await opened()
        for _ in range(3):
            await asyncio.gather(*(one() for one in await ask()))
        before, cpu = stub.count(), 0.0
        for _ in range(groups):
            group = (await ask())[:callers]
            started = time.process_time()
            await asyncio.gather(*(one() for one in group))
            cpu += time.process_time() - started
        asked = stub.count() - before
        await close()
        return cpu, asked

    cpu, asked = asyncio.run(main())
    return {"cpu": cpu / groups / callers * 1e6, "calls": asked / groups}


Group = list[Callable[[], Awaitable[Any]]]


def flight(opened: Opened) -> Opened:
    """Return groups whose first caller asks while the others wait for its future: the least that coalesces."""

    async def made() -> Any:
        ask, close = await opened()
        flights: dict[int, asyncio.Future[Any]] = {}

        async def joined(key: int) -> Any:
            under_way = flights.get(key)
            if under_way is not None:
                return await under_way
            landing = flights[key] = asyncio.get_running_loop().create_future()
            answer = await ask()
            landing.set_result(answer)
            del flights[key]
            return answer

        async def group() -> Group:
            return [partial(joined, 1)] * CALLERS

        return group, close

    return made


async def nothing() -> Any:
    async def ask() -> None:
        await asyncio.sleep(0)

    async def close() -> None:
        pass

    return ask, close


async def same_visitor(url: str, transport: str) -> Any:
    fm = visitor.flagmw(url, transport=transport, **visitor.reuses().get("reused by memory", {}))
    await fm.astart()
    assert (await fm.adecide(visitor.visit())).get("11/ta_A") == "variation"

    async def group() -> Group:
        return [partial(fm.adecide, visitor.visit())] * CALLERS

    return group, fm.aclose


# Remembered


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


def memory(settings: Settings) -> Table:
    keys = [(0, orjson.dumps(number).rjust(12, b"0")) for number in range(KEYS)]
    plain: dict[Any, Any] = {}
    hand, theirs, ours, lock = Handmade(), TTLCache[Any, Any](KEYS * 2, TTL_S), Memory(2**26), threading.Lock()
    for key in keys:
        variants = {"ta_A": Variant(alias="ta_A", key="variation", vendor="wt11")}
        what = Remembered(Decision(vendor="wt11", variants=variants), time.time())
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
