"""After a restart: what waits on the disk is read, decoded and settled; and nothing that was acknowledged is lost."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import orjson

from benchmarks.support.bare_writer import connect
from benchmarks.support.events import event, plain
from benchmarks.support.harness import ROOT, Settings, Stub
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw.outbox.base import Lease
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.types import Delivered

READ, DELETE = "sqlite, read by 1000 + decode", "sqlite, delete by 100"
CLAIM, SETTLE = "flagmw: claim by 1000, decoded", "flagmw: settle by 100"
RATE = [Column("rate", "events/s", 0)]
LEASE_S = 600.0


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("recovery: events that wait on the disk")
    count, rounds = settings.n(6_000, 200), min(settings.rounds, 3)
    reads = interleave({READ: partial(bare_read, count), CLAIM: partial(claimed, count)}, rounds)
    section.tables.append(Table("read what is pending, after opening", RATE, reads, READ))
    settles = interleave({DELETE: partial(bare_delete, count), SETTLE: partial(settled, count)}, rounds)
    section.tables.append(Table("settle", RATE, settles, DELETE))
    kills = settings.n(3, 1)
    ends = interleave({"flagmw, killed with signal 9": partial(killed, count)}, kills)
    columns = [Column("lost", "events", 0), Column("acknowledged", "events", 0), Column("after", "s", 2)]
    section.tables.append(Table("acknowledged, then killed", columns, ends, next(iter(ends))))
    for table, ours, floor, bound in ((0, CLAIM, READ, 0.45), (1, SETTLE, DELETE, 0.55)):
        ratio = section.tables[table].ratio(ours, floor, "rate")
        section.goals.append(Goal("G19", f"{ours}: rate over {floor}", ratio, at_least=bound))
    lost = max(ends["flagmw, killed with signal 9"]["lost"])
    section.goals.append(Goal("G19", "acknowledged events lost", lost, at_most=0, unit="events"))
    return section


@contextlib.contextmanager
def bare_filled(count: int) -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(connect(Path(folder), "FULL")) as connection:
        rows = [(f"e{number}", orjson.dumps(plain(event()))) for number in range(count)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO event (id, body) VALUES (?, ?)", rows)
        connection.execute("COMMIT")
        yield connection


@contextlib.contextmanager
def filled(count: int) -> Iterator[SqliteOutbox]:
    """Yield an outbox that was closed with *count* events in it and is open again."""
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.closing(SqliteOutbox(folder, max_bytes=1 << 40)) as before:
            for _ in range(0, count, 100):
                before.put_many([event() for _ in range(100)], time.time())
        with contextlib.closing(SqliteOutbox(folder, max_bytes=1 << 40)) as outbox:
            outbox.open()
            yield outbox


def bare_read(count: int) -> Mapping[str, float]:
    with bare_filled(count) as connection:
        last, found, started = 0, 0, time.perf_counter()
        while rows := connection.execute(
            "SELECT seq, body FROM event WHERE seq > ? ORDER BY seq LIMIT 1000", (last,)
        ).fetchall():
            found += len([orjson.loads(body) for _, body in rows])
            last = rows[-1][0]
        taken = time.perf_counter() - started
    assert found == count
    return {"rate": count / taken}


def bare_delete(count: int) -> Mapping[str, float]:
    with bare_filled(count) as connection:
        every = [(seq,) for (seq,) in connection.execute("SELECT seq FROM event ORDER BY seq")]
        started = time.perf_counter()
        for start in range(0, count, 100):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("DELETE FROM event WHERE seq = ?", every[start : start + 100])
            connection.execute("COMMIT")
        return {"rate": count / (time.perf_counter() - started)}


def leases(outbox: SqliteOutbox, batch: int) -> list[Lease]:
    found = []
    while (lease := outbox.claim(time.time(), batch, LEASE_S)) is not None:
        found.append(lease)
    return found


def claimed(count: int) -> Mapping[str, float]:
    with filled(count) as outbox:
        started = time.perf_counter()
        found = sum(len(lease.rows) for lease in leases(outbox, 1000))
        taken = time.perf_counter() - started
    assert found == count, f"{found} of {count} events came"
    return {"rate": count / taken}


def settled(count: int) -> Mapping[str, float]:
    with filled(count) as outbox:
        held = leases(outbox, 100)
        started = time.perf_counter()
        for lease in held:
            outbox.ack(lease, [Delivered()] * len(lease.rows), time.time())
        taken = time.perf_counter() - started
        left = outbox.stats(time.time() + 10)
    assert (left.queued, left.delivered) == (0, count), left
    return {"rate": count / taken}


def killed(count: int) -> Mapping[str, float]:
    """Kill a process that has had *count* events acknowledged; return how many of them another one does not find."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.sections.recovery", folder, str(count)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
        found, started = 0, time.perf_counter()
        with contextlib.closing(SqliteOutbox(folder, max_bytes=1 << 40)) as outbox:
            while found < acknowledged and time.perf_counter() - started < 20:
                lease = outbox.claim(time.time(), 1000, LEASE_S)
                if lease is None:
                    # The dead process's file is taken over within seconds.
                    time.sleep(0.05)
                else:
                    found += len(lease.rows)
        after = time.perf_counter() - started
    return {"lost": acknowledged - found, "acknowledged": acknowledged, "after": after}


def main() -> None:
    """Put events, say how many were acknowledged, and wait for the end."""
    folder, count = sys.argv[1], int(sys.argv[2])
    outbox, acknowledged = SqliteOutbox(folder, max_bytes=1 << 40), 0
    for _ in range(0, count, 100):
        acknowledged += len(outbox.put_many([event() for _ in range(100)], time.time()))
    print(acknowledged, flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main()
