"""What is shared and what is remembered: sixteen requests of one visitor at once, and a hit of the memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.sections.decide import installed
from benchmarks.support import memory, visitor
from benchmarks.support.clients import Opened, bare_protocol, request
from benchmarks.support.harness import Settings, Stub
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw.config.checks import ASYNC_TRANSPORTS

CALLERS = 16
EMPTY_FLIGHT = "16 tasks on one flight, nothing asked"
FLIGHT = "16 tasks on one flight, one call"
SIXTEEN, ALONE = "flagmw, {}, 16 callers", "flagmw, {}, one caller"


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
    section.tables.append(memory.table(settings))
    section.goals += memory.goals(section.tables[-1])
    return section


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
