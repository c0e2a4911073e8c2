"""What a decision with a vendor call costs: each transport against bare clients, and three vendors against one."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from benchmarks import visitor
from benchmarks.harness import Settings, Stub, tasks, threads
from benchmarks.table import Column, Goal, Section, Table, interleave
from flagmw._checks import ASYNC_TRANSPORTS, BLOCKING_TRANSPORTS
from flagmw._guard import Deadline
from flagmw.drivers.aio import AsyncDriver
from flagmw.types import Call, Flow, VisitorState

COLUMNS = [Column("cpu", "us"), Column("p50", "ms", 2), Column("p99", "ms", 2), Column("rate", "/s", 0)]
FLOOR, NAIVE, SYNC_NAIVE = "aiohttp + orjson, bare", "naive httpx.AsyncClient", "naive httpx.Client"
Opened = Callable[[], Awaitable[tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[None]]]]]


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("decide: a decision with a vendor call")
    stub.mode()
    for callers in (1, 16):
        calls = settings.n(3000 if callers > 1 else 1000, 32)
        cases = {name: bind(lambda case, n=calls, c=callers: case(n, c), case) for name, case in clients(stub).items()}
        table = Table(f"{callers} at once, 0 ms", COLUMNS, interleave(cases, settings.rounds), FLOOR, ["cpu", "rate"])
        section.tables.append(table)
        if callers == 16:
            section.goals += goals(table)
    stub.mode(delay_ms=20)
    section.tables.append(parallel(settings, stub))
    table = section.tables[-1]
    for column, bound in (("p50", 1.1), ("cpu", 2.2)):
        measured = table.ratio("three vendors", "one vendor", column)
        section.goals.append(Goal("-", f"three vendors at once against one: {column}", measured, at_most=bound))
    return section


def bind(run: Callable[[Any], Any], case: Any) -> Callable[[], Any]:
    return lambda: run(case)


def goals(table: Table) -> list[Goal]:
    rows = [row for row in table.rounds if row.startswith("flagmw async")]
    best = min(rows, key=lambda row: table.median(row, "cpu"))
    found = [
        Goal("G5", f"CPU at 16 callers over {FLOOR}: {row}", table.ratio(row, FLOOR, "cpu"), at_most=1.3)
        for row in rows
    ]
    found.append(Goal("G5", f"stretch, best transport ({best})", table.ratio(best, FLOOR, "cpu"), at_most=1.1))
    for row in [row for row in table.rounds if row.startswith("flagmw blocking")]:
        measured = table.ratio(row, SYNC_NAIVE, "cpu")
        found.append(Goal("G6", f"CPU in 16 threads over {SYNC_NAIVE}: {row}", measured, at_most=0.45))
    return found


def clients(stub: Stub) -> dict[str, Callable[[int, int], Mapping[str, float]]]:
    sample = request(stub.url)
    cases: dict[str, Callable[[int, int], Mapping[str, float]]] = {
        FLOOR: looped(lambda: bare_aiohttp(sample)),
        NAIVE: looped(lambda: naive(sample)),
        SYNC_NAIVE: lambda calls, callers: naive_threads(sample, calls, callers),
    }
    for name in ASYNC_TRANSPORTS:
        if name == "httpx2" or importlib.util.find_spec(name):
            cases[f"driver alone, {name}"] = looped(lambda name=name: driving(sample, name))
            cases[f"flagmw async, {name}"] = looped(lambda name=name: deciding(stub.url, transport=name))
    for name in BLOCKING_TRANSPORTS:
        if name == "httpx2" or importlib.util.find_spec(name):
            cases[f"flagmw blocking, {name}"] = lambda calls, callers, name=name: deciding_threads(
                stub.url, calls, callers, name
            )
    return cases


def request(url: str) -> Call:
    """Return the call that a decision makes, so that the bare clients send the same bytes."""
    flow = visitor.webtrends(url).decide(visitor.visit(), VisitorState(visitor.vendor_cookies()))
    call = next(flow)
    flow.close()
    return call


def looped(opened: Opened) -> Callable[[int, int], Mapping[str, float]]:
    """Return a case that opens a client, warms it up and measures it, all in one event loop."""

    async def main(calls: int, callers: int) -> Mapping[str, float]:
        ask, close = await opened()
        await tasks(ask, callers * 2, callers)
        measured = await tasks(ask, calls, callers)
        await close()
        return measured

    return lambda calls, callers: asyncio.run(main(calls, callers))


async def bare_aiohttp(call: Call) -> Any:
    import aiohttp

    session = aiohttp.ClientSession(auto_decompress=True)

    async def ask() -> Any:
        async with session.post(call.url, data=call.body, headers=call.headers) as response:
            return orjson.loads(await response.read())

    return ask, session.close


async def naive(call: Call) -> Any:
    import httpx

    client = httpx.AsyncClient()

    async def ask() -> Any:
        return (await client.post(call.url, content=call.body, headers=call.headers)).json()

    return ask, client.aclose


def naive_threads(call: Call, calls: int, callers: int) -> Mapping[str, float]:
    import httpx

    with httpx.Client() as client:

        def ask() -> Any:
            return client.post(call.url, content=call.body, headers=call.headers).json()

        threads(ask, callers * 2, callers)
        return threads(ask, calls, callers)


async def driving(call: Call, transport: str) -> Any:
    """Return the driver without codec, cookies and runtime: what a transport costs by itself."""
    driver = AsyncDriver(transport=transport)
    driver.prepare()

    def flow() -> Flow[Any]:
        return orjson.loads((yield call).body)

    async def ask() -> Any:
        return await driver.run(flow(), Deadline.after(5.0, time.monotonic()))

    return ask, driver.aclose


async def deciding(url: str, **options: Any) -> Any:
    fm = visitor.flagmw(url, **{**visitor.asking(), **options})
    await fm.astart()
    wanted = (await fm.adecide(visitor.visit())).get("11/ta_A")
    assert wanted == "variation", wanted
    return (lambda: fm.adecide(visitor.visit())), fm.aclose


def deciding_threads(url: str, calls: int, callers: int, transport: str) -> Mapping[str, float]:
    fm = visitor.flagmw(url, transport=(transport, None), pool_size=max(8, callers), **visitor.asking())
    fm.start()

    def ask() -> Any:
        return fm.decide(visitor.visit())

    assert ask().get("11/ta_A") == "variation"
    threads(ask, callers * 2, callers)
    measured = threads(ask, calls, callers)
    fm.close()
    return measured


def parallel(settings: Settings, stub: Stub) -> Table:
    calls = settings.n(300, 8)
    cases = {
        f"{name} vendor{'s' if len(domains) > 1 else ''}": bind(
            lambda domains: looped(lambda: deciding(stub.url, domains=domains))(calls, 1), domains
        )
        for name, domains in (("one", (11,)), ("three", (11, 12, 13)))
    }
    return Table(
        "vendors asked at the same time, 20 ms",
        COLUMNS,
        interleave(cases, settings.rounds),
        "one vendor",
        ["cpu", "p50"],
    )
