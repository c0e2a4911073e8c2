"""How fast the SQLite outbox takes and gives events, beside a bare writer that does nothing but commit in groups.

    python -m benchmarks.support.disk [--seconds 3] [--rounds 3] [--million]

Sixteen threads put one event at a time and wait for each to be on the disk. The bare writer has the same queue, the
same table and the same pragmas, but no ids to compare, no counters and no leases. Both run in turn, so that the ratio
stands even when the machine is busy with other things.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.bare_writer import BareWriter
from benchmarks.support.events import EVENT_BYTES, event, plain
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.sqlite.rows import DUE, FIRST, OLDEST, UNPARK, WAITING
from flagmw.types import Delivered

PRODUCERS = 16


def produce(put: Callable[[Any], object], seconds: float, make: Callable[[], Any]) -> tuple[float, float, float]:
    """Return acknowledged events per second, and the median and 99th percentile of the wait in ms."""
    waits: list[list[float]] = [[] for _ in range(PRODUCERS)]
    end = time.perf_counter() + seconds

    def run(mine: list[float]) -> None:
        while (begin := time.perf_counter()) < end:
            one = make()
            begin = time.perf_counter()
            put(one)
            mine.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=run, args=(mine,)) for mine in waits]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    every = sorted(wait for mine in waits for wait in mine)
    return len(every) / took, every[len(every) // 2] * 1000, every[len(every) * 99 // 100] * 1000


def acknowledged(seconds: float, rounds: int) -> None:
    print(f"\n{PRODUCERS} threads, each event awaited until it is on the disk, median of {rounds} rounds")
    ours: list[tuple[float, float, float]] = []
    bare: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, BareWriter(Path(folder)) as writer:
            bare.append(
                produce(lambda one, writer=writer: writer.submit(one).result(), seconds, lambda: plain(event()))
            )
        with tempfile.TemporaryDirectory() as folder:
            store = SqliteOutbox(folder, max_bytes=1 << 40)
            store.open()
            ours.append(produce(lambda one, store=store: store.put_many([one], time.time()), seconds, event))
            store.close()
    print("| writer | events/s | wait p50 ms | wait p99 ms |\n|---|---|---|---|")
    for name, runs in (("bare", bare), ("flagmw", ours)):
        rate, p50, p99 = (statistics.median(run[i] for run in runs) for i in range(3))
        print(f"| {name} | {rate:,.0f} | {p50:.2f} | {p99:.2f} |")
    ratio = statistics.median(ours[i][0] / bare[i][0] for i in range(rounds))
    print(f"ratio to the bare writer: {ratio:.2f}")


def fill(store: SqliteOutbox, n: int) -> float:
    begin = time.perf_counter()
    for start in range(0, n, 1_000):
        store.put_many([event() for _ in range(start, min(n, start + 1_000))], time.time())
    return time.perf_counter() - begin


def drain(store: SqliteOutbox, batch: int = 100) -> tuple[int, float]:
    """Claim, settle and delete everything; return how many events that were and how long it took."""
    begin, n = time.perf_counter(), 0
    while (lease := store.claim(time.time(), batch, 60.0)) is not None:
        store.ack(lease, [Delivered()] * len(lease.rows), time.time())
        n += len(lease.rows)
    return n, time.perf_counter() - begin


def drained(n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteOutbox(folder, max_bytes=1 << 40)
        fill(store, n)
        count, took = drain(store)
        store.close()
    print(f"\ndrain (claim, settle, delete, in batches of 100): {count / took:,.0f} events/s")


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / (1 << 20)


def recovery(sizes: Sequence[int]) -> None:
    print("\n| queued | stored/s | open ms | first claim ms | drained/s | RSS MiB | file MiB |")
    print("|---|---|---|---|---|---|---|")
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            store = SqliteOutbox(folder, max_bytes=1 << 40)
            stored = fill(store, n)
            size = sum(path.stat().st_size for path in Path(folder).iterdir()) / (1 << 20)
            store.close()
            store = SqliteOutbox(folder, max_bytes=1 << 40)
            begin = time.perf_counter()
            store.open()
            opened = time.perf_counter()
            lease = store.claim(time.time(), 100, 60.0)
            claimed = time.perf_counter()
            assert lease is not None
            store.release(lease, time.time())
            count, took = drain(store)
            assert count == n and store.stats(time.time()).balanced()
            store.close()
        row = (f"{n:,}", f"{n / stored:,.0f}", f"{(opened - begin) * 1000:.0f}", f"{(claimed - opened) * 1000:.1f}")
        print(f"| {' | '.join(row)} | {count / took:,.0f} | {rss_mib():.0f} | {size:.0f} |", flush=True)


def plans() -> None:
    print("\nquery plans")
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteOutbox(folder)
        fill(store, 1_000)
        store.close()
        connection = sqlite3.connect(Path(folder) / "slot-0.db")
        for name, query in (
            ("due", DUE),
            ("first", FIRST),
            ("waiting", WAITING),
            ("oldest", OLDEST),
            ("unpark", UNPARK),
        ):
            steps = connection.execute(f"EXPLAIN QUERY PLAN {query}", (1,) * query.count("?")).fetchall()
            print(f"- {name}: {'; '.join(step[3] for step in steps)}")
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--million", action="store_true", help="also recover and drain one million queued events")
    options = parser.parse_args()
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"{versions}, event of {EVENT_BYTES} bytes")
    acknowledged(options.seconds, options.rounds)
    drained(20_000)
    recovery([10_000, 100_000, *([1_000_000] if options.million else [])])
    plans()


if __name__ == "__main__":
    main()
