"""What it costs to hand over a track, encoded, without waiting for it to be stored."""

from __future__ import annotations

import contextlib
import queue
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from benchmarks.support import visitor
from benchmarks.support.bare_writer import BareWriter
from benchmarks.support.events import event, plain
from benchmarks.support.harness import Settings, Stub
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw import Flagmw
from flagmw.outbox.sqlite import SqliteOutbox

COLUMNS = [Column("cpu", "us", 2), Column("time", "us", 2)]
ENQUEUE, BARE = "enqueue only: encode, queue.put", "enqueue only, a bare writer behind it"
SUBMIT, TRACK = "flagmw's outbox: encode, hand over", "flags.track(): checks, event, encode, hand over"
# Fewer than would fill the outbox's hand-over, after which events wait or are refused.
BURST = 500


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("track: handed over, not awaited")
    stub.mode()
    bursts = settings.n(6, 1)
    cases = {
        ENQUEUE: partial(enqueued, bursts),
        BARE: partial(behind, bursts),
        SUBMIT: partial(submitted, bursts),
        TRACK: partial(tracked, stub.url, bursts),
    }
    for case in cases.values():
        case()
    table = Table("one track", COLUMNS, interleave(cases, settings.rounds), ENQUEUE, ["cpu", "time"])
    section.tables.append(table)
    section.notes.append(
        f"Bursts of {BURST}. CPU is that of the thread that hands over; in the time there is what the writer, a thread "
        "of the same process on the same core here, takes meanwhile."
    )
    for row in (SUBMIT, TRACK):
        section.goals.append(Goal("G16", f"{row}: CPU", table.median(row, "cpu"), at_most=5.0, unit="us"))
        rate = 1 / table.ratio(row, ENQUEUE, "cpu")
        section.goals.append(Goal("G16", f"{row}: rate over {ENQUEUE}", rate, at_least=0.33))
    return section


def handed(
    hand_over: Callable[[Any], Any], items: Callable[[], list[Any]], settle: Callable[[list[Any]], Any], bursts: int
) -> Mapping[str, float]:
    """Return what handing over one of *items* takes its own thread; *settle* gets all results after each burst."""
    cpu = wall = 0.0
    for _ in range(bursts):
        ahead, results = items(), []
        before, started = time.thread_time(), time.perf_counter()
        for one in ahead:
            results.append(hand_over(one))
        wall += time.perf_counter() - started
        cpu += time.thread_time() - before
        settle(results)
    return {"cpu": cpu / bursts / BURST * 1e6, "time": wall / bursts / BURST * 1e6}


def fresh() -> list[Any]:
    return [event() for _ in range(BURST)]


def by_hand() -> list[Any]:
    return [plain(one) for one in fresh()]


def stored(results: list[Any]) -> None:
    for one in results:
        one.result(30)


def enqueued(bursts: int) -> Mapping[str, float]:
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    return handed(lambda one: waiting.put(orjson.dumps(one)), by_hand, lambda _: None, bursts)


def behind(bursts: int) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as folder, BareWriter(Path(folder)) as writer:
        return handed(writer.submit, by_hand, stored, bursts)


def submitted(bursts: int) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(SqliteOutbox(folder)) as outbox:
        outbox.open()
        return handed(lambda one: outbox.submit([one], time.time()), fresh, stored, bursts)


def tracked(url: str, bursts: int) -> Mapping[str, float]:
    """Track as a view does, with flags that were decided before. Nothing is delivered meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        outbox = SqliteOutbox(folder)
        options = {**visitor.reuses().get("reused by memory", {}), "tracks_per_visitor": 1_000_000}
        fm = Flagmw(vendors=[visitor.webtrends(url)], outbox=outbox, deadline_ms=5000, deliver="off", **options)

        visit = visitor.visit()

        def flags() -> list[Any]:
            return [fm.decide(visit) for _ in range(BURST)]

        def settled(ids: list[Any]) -> None:
            assert all(ids), "a track was not taken"
            # Whatever is put last is stored last.
            stored([outbox.submit([event()], time.time())])

        data = {"revenue": 49.9, "order": "A1"}
        measured = handed(lambda one: one.track("purchase", data=data), flags, settled, bursts)
        kept = outbox.stats(time.time() + 10).accepted
        fm.close(0.1)
        outbox.close()
    assert kept >= bursts * BURST, f"{kept} events were stored"
    return measured
