"""What a decision with a vendor call costs: each transport against bare clients, and three vendors against one."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from benchmarks.support.clients import (
    FLOOR,
    NAIVE,
    RAW,
    SYNC_NAIVE,
    bare_aiohttp,
    bare_protocol,
    deciding,
    deciding_threads,
    looped,
    naive,
    naive_threads,
    request,
)
from benchmarks.support.harness import Settings, Stub
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw._drivers.aio import AsyncDriver
from flagmw._support.deadline import Deadline
from flagmw.config.checks import ASYNC_TRANSPORTS, BLOCKING_TRANSPORTS
from flagmw.types import Call, Flow

COLUMNS = [Column("cpu", "us"), Column("p50", "ms", 2), Column("p99", "ms", 2), Column("rate", "/s", 0)]
ASYNC, BLOCKING = "flagmw async, {}", "flagmw blocking, {}"


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("decide: a decision with a vendor call")
    stub.mode()
    for callers in (1, 16):
        calls = settings.n(2000 if callers > 1 else 500, 32)
        cases = {name: partial(case, calls, callers) for name, case in clients(stub).items()}
        # The goals are those of sixteen callers.
        rounds = interleave(cases, settings.rounds if callers > 1 else min(settings.rounds, 3))
        table = Table(f"{callers} at once, 0 ms", COLUMNS, rounds, FLOOR, ["cpu", "rate"])
        section.tables.append(table)
        if callers == 16:
            section.goals += goals(table)
    stub.mode(delay_ms=20)
    section.tables.append(parallel(settings, stub))
    table = section.tables[-1]
    for column, bound in (("p50", 1.1), ("cpu", 2.2)):
        measured = table.ratio("three vendors", "one vendor", column)
        section.goals.append(Goal("-", f"three vendors at once against one: {column}", measured, at_most=bound))
    section.notes.append(
        f"All our work is in it: cookies, deadline, the answer's checks. Goals are for the best transport and for "
        f"aiohttp; the one that is always installed is {ASYNC_TRANSPORTS[0]}: see its rows."
    )
    return section


def best(table: Table, beginning: str) -> str:
    """Return the row with this *beginning* that takes the least CPU."""
    rows = [row for row in table.rounds if row.startswith(beginning)]
    return min(rows, key=lambda row: table.median(row, "cpu"))


def goals(table: Table) -> list[Goal]:
    first, found = best(table, "flagmw async"), []
    for row in dict.fromkeys([first, *[row for row in (ASYNC.format("aiohttp"),) if table.has(row)]]):
        text = f"CPU at 16 callers over {FLOOR}: {row}"
        found.append(Goal("G5", text, table.ratio(row, FLOOR, "cpu"), at_most=1.3))
    measured = table.ratio(first, FLOOR, "cpu")
    found.append(Goal("G5", f"stretch, best transport ({first})", measured, at_most=1.1))
    found.append(Goal("G5", f"stretch for an own transport ({first})", measured, at_most=0.6))
    row = best(table, "flagmw blocking")
    measured = table.ratio(row, SYNC_NAIVE, "cpu")
    found.append(Goal("G6", f"CPU in 16 threads over {SYNC_NAIVE}: {row}", measured, at_most=0.45))
    return found


def installed(transports: tuple[str, ...]) -> list[str]:
    return [name for name in transports if importlib.util.find_spec(name)]


def clients(stub: Stub) -> dict[str, Callable[[int, int], Mapping[str, float]]]:
    sample = request(stub.url)
    cases: dict[str, Callable[[int, int], Mapping[str, float]]] = {
        FLOOR: looped(partial(bare_aiohttp, sample)),
        RAW: looped(partial(bare_protocol, sample)),
        NAIVE: looped(partial(naive, sample)),
        SYNC_NAIVE: partial(naive_threads, sample),
    }
    for name in installed(ASYNC_TRANSPORTS):
        cases[f"driver alone, {name}"] = looped(partial(driving, sample, name))
        cases[ASYNC.format(name)] = looped(partial(deciding, stub.url, transport=name))
    for name in installed(BLOCKING_TRANSPORTS):
        cases[BLOCKING.format(name)] = partial(deciding_threads, stub.url, transport=name)
    return cases


async def driving(call: Call, transport: str) -> Any:
    """Return the driver without codec, cookies and runtime: what a transport costs by itself."""
    driver = AsyncDriver(transport=transport)
    driver.prepare()

    def flow() -> Flow[Any]:
        return orjson.loads((yield call).body)

    async def ask() -> Any:
        return await driver.run(flow(), Deadline.after(5.0, time.monotonic()))

    return ask, driver.aclose


def parallel(settings: Settings, stub: Stub) -> Table:
    calls = settings.n(100, 8)
    cases = {
        f"{name} vendor{'s' if len(domains) > 1 else ''}": partial(
            looped(partial(deciding, stub.url, domains=domains)), calls, 1
        )
        for name, domains in (("one", (11,)), ("three", (11, 12, 13)))
    }
    rounds = interleave(cases, settings.rounds)
    return Table("vendors asked at the same time, 20 ms", COLUMNS, rounds, "one vendor", ["cpu", "p50"])
