"""How long the event loop stands still while decisions are made: a clock on the same loop says how late it is."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.sections.decide import ASYNC, installed
from benchmarks.support.clients import NAIVE, Opened, deciding, naive, request
from benchmarks.support.harness import Settings, Stub, percentile
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw.config.checks import ASYNC_TRANSPORTS

DELAY_MS, TICK_S = 20, 0.0005
COLUMNS = [Column("stall", "ms", 2), Column("p90", "ms", 2), Column("worst", "ms", 2)]
IDLE, BLOCKED = "no decision, 20 ms of sleep", "httpx.Client in the event loop"


def run(settings: Settings, stub: Stub) -> Section:
    section = Section(f"stall: pauses of the event loop during a decision, vendor {DELAY_MS} ms")
    stub.mode(delay_ms=DELAY_MS)
    sample = request(stub.url)
    opened: dict[str, Opened] = {
        IDLE: sleeping,
        NAIVE: partial(naive, sample),
        BLOCKED: partial(blocking, stub.url),
    }
    ours = {ASYNC.format(name): partial(deciding, stub.url, transport=name) for name in installed(ASYNC_TRANSPORTS)}
    calls = settings.n(40, 3)
    cases = {name: partial(stalls, each, calls) for name, each in {**opened, **ours}.items()}
    note = (
        "The longest pause of each decision: their median, 90th percentile and the worst; one tick is 0.5 ms. What "
        f'"{IDLE}" shows is the machine\'s own.'
    )
    rounds = interleave(cases, min(settings.rounds, 3))
    table = Table("one decision after the other", COLUMNS, rounds, NAIVE, note=note)
    section.tables.append(table)
    for row in ours:
        text = f"{row}: longest pause of a decision"
        section.goals.append(Goal("G7", text, table.median(row, "stall"), at_most=2.0, unit="ms"))
    stub.mode()
    return section


def stalls(opened: Opened, calls: int) -> Mapping[str, float]:
    """Return what the longest pause of a decision is, by median, 90th percentile and maximum."""

    async def main() -> list[float]:
        ask, close = await opened()
        for _ in range(3):
            await ask()
        found = [await longest_pause(ask) for _ in range(calls)]
        await close()
        return found

    found = asyncio.run(main())
    return {"stall": statistics.median(found), "p90": percentile(found, 0.9), "worst": max(found)}


async def longest_pause(ask: Callable[[], Awaitable[Any]]) -> float:
    """Return by how many milliseconds the loop's clock was late at most while *ask* ran."""
    late, over = 0.0, False

    async def clock() -> None:
        nonlocal late
        while not over:
            started = time.perf_counter()
            await asyncio.sleep(TICK_S)
            late = max(late, time.perf_counter() - started - TICK_S)

    ticking = asyncio.create_task(clock())
    await asyncio.sleep(0)
    await ask()
    over = True
    await ticking
    return late * 1e3


async def sleeping() -> Any:
    async def nothing() -> None:
        pass

    return (lambda: asyncio.sleep(DELAY_MS / 1000)), nothing


async def blocking(url: str) -> Any:
    """Open what must not be done, to show that the clock sees it."""
    import httpx

    call, client = request(url), httpx.Client()

    async def ask() -> Any:
        return client.post(call.url, content=call.body, headers=call.headers).json()

    async def close() -> None:
        client.close()

    return ask, close
