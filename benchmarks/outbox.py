"""Events into the outbox and out again, against the least that could keep them: one thread that commits in groups."""

from __future__ import annotations

import importlib.util
import itertools
import queue
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import orjson

from benchmarks import visitor
from benchmarks.harness import Settings, Stub, percentile
from benchmarks.table import Column, Goal, Section, Table, interleave
from flagmw.outbox.memory import MemoryOutbox
from flagmw.types import Delivered, Event, Track

PRODUCERS = 16
COLUMNS = [Column("rate", "events/s", 0), Column("p50", "ms", 3), Column("p99", "ms", 3)]
BARE, SQLITE = "bare group commit, {}", "flagmw sqlite, {}"
SYNCS = {"power cut": "FULL", "killed process": "NORMAL"}
_VISIT = visitor.visit()
_numbers = itertools.count()


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("outbox: events by 16 producers, each waiting until its event is safe")
    calls = settings.n(1000, 10)
    cases: dict[str, Callable[[], Mapping[str, float]]] = {}
    for survives, sync in SYNCS.items():
        cases[BARE.format(survives)] = lambda sync=sync: bare(calls, sync)
    cases["flagmw memory"] = lambda: keep(lambda _: MemoryOutbox(max_rows=10**6, max_bytes=10**10), calls)
    with_sqlite = importlib.util.find_spec("flagmw.outbox.sqlite") is not None
    if with_sqlite:
        for survives, sync in SYNCS.items():
            cases[SQLITE.format(survives)] = lambda sync=sync: keep(lambda path: sqlite(path, sync), calls)
    table = Table("put, by what the events survive", COLUMNS, interleave(cases, settings.rounds), next(iter(cases)))
    section.tables.append(table)
    for survives in SYNCS if with_sqlite else ():
        rate = table.ratio(SQLITE.format(survives), BARE.format(survives), "rate")
        late = table.ratio(SQLITE.format(survives), BARE.format(survives), "p99")
        section.goals.append(Goal("G17", f"survives a {survives}: rate over bare", rate, at_least=0.6))
        section.goals.append(Goal("G17", f"survives a {survives}: p99 over bare", late, at_most=2.0))
    drains = {"flagmw memory": lambda: drain(MemoryOutbox(max_rows=10**6, max_bytes=10**10), settings.n(5000, 50))}
    if with_sqlite:
        drains["flagmw sqlite"] = lambda: drained(settings.n(5000, 50))
    rates = [Column("rate", "events/s", 0)]
    section.tables.append(Table("claim and ack by 100", rates, interleave(drains, settings.rounds), "flagmw memory"))
    return section


def event() -> Event:
    """Return an event that no other is equal to; events of one visitor would wait for each other."""
    number = next(_numbers)
    track = Track(id=f"t{number}", metric="purchase", data={"revenue": 49.9, "order": f"A{number}"})
    return Event(
        id=f"e{number}",
        vendor="wt11",
        kind="track",
        track=track,
        aliases=("ta_A",),
        visit=_VISIT,
        visitor_key=f"v{number}",
    )


def bare(calls: int, sync: str) -> Mapping[str, float]:
    """Keep events with a queue, a thread and a table, which is what the outbox's promise costs at least."""
    with tempfile.TemporaryDirectory() as folder:
        waiting: queue.SimpleQueue[tuple[str, bytes, Future[None]] | None] = queue.SimpleQueue()
        writer = threading.Thread(target=write, args=(Path(folder) / "bare.db", sync, waiting))
        writer.start()

        def put() -> None:
            one = event()
            stored: Future[None] = Future()
            waiting.put((one.id, orjson.dumps(one, default=dict), stored))
            stored.result(30)

        figures = produce(put, calls)
        waiting.put(None)
        writer.join()
    return figures


def write(path: Path, sync: str, waiting: queue.SimpleQueue[Any]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={sync}")
    connection.execute("CREATE TABLE events (id TEXT PRIMARY KEY, body BLOB)")
    over = False
    while not over:
        group = [waiting.get()]
        while len(group) < 500:
            try:
                group.append(waiting.get_nowait())
            except queue.Empty:
                break
        over = None in group
        rows = [row for row in group if row is not None]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO events VALUES (?, ?)", [row[:2] for row in rows])
        connection.execute("COMMIT")
        for row in rows:
            row[2].set_result(None)
    connection.close()


def keep(make: Callable[[Path], Any], calls: int) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        outbox = make(Path(folder))
        figures = produce(lambda: outbox.put_many([event()], time.time()), calls)
        outbox.close()
    return figures


def sqlite(folder: Path, sync: str) -> Any:
    from flagmw.outbox.sqlite import SqliteOutbox

    return SqliteOutbox(folder, max_rows=10**6, max_bytes=10**10, full_sync=sync == "FULL")


def produce(put: Callable[[], object], calls: int) -> Mapping[str, float]:
    put()
    latencies: list[float] = []

    def producer() -> None:
        for _ in range(calls):
            started = time.perf_counter()
            put()
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    running = [threading.Thread(target=producer) for _ in range(PRODUCERS)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    wall = time.perf_counter() - started
    figures = {"p50": percentile(latencies, 0.5) * 1e3, "p99": percentile(latencies, 0.99) * 1e3}
    return {"rate": len(latencies) / wall, **figures}


def drained(count: int) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return drain(sqlite(Path(folder), "FULL"), count)


def drain(outbox: Any, count: int) -> Mapping[str, float]:
    """Put *count* events and settle them all as delivered."""
    events: Sequence[Event] = [event() for _ in range(count)]
    outbox.put_many(events, time.time())
    settled, started = 0, time.perf_counter()
    while settled < count:
        lease = outbox.claim(time.time(), 100, 60.0)
        assert lease is not None, f"{count - settled} events are neither settled nor due"
        outbox.ack(lease, [Delivered()] * len(lease.rows), time.time())
        settled += len(lease.rows)
    wall = time.perf_counter() - started
    outbox.close()
    return {"rate": count / wall}
