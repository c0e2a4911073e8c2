"""Take the vendor away under load and bring it back: everything arrives, at the allowed rate, and no page is slower."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from flagmw.sandbox import SandboxServer
from tests.faults.soak.shop import Load, arrived, running

WORKERS = 2
MAX_RATE = 40.0
STEP_S = 0.25


@dataclass(frozen=True)
class Outage:
    """What came of a run. Times of requests in milliseconds; rates in events per second over a whole second."""

    down_s: float
    acknowledged: int
    lost: int
    repeated: int
    backlog: int
    peak_rate: float
    mean_rate: float
    allowed_rate: float
    drain_s: float
    p99_before: float
    p99_during: float

    def text(self) -> str:
        return (
            f"outage run: vendor away for {self.down_s:.0f} s of load; {self.acknowledged} events acknowledged, "
            f"{self.lost} lost, {self.repeated} repeated; a backlog of {self.backlog} left within {self.drain_s:.0f} s "
            f"at {self.mean_rate:.0f}/s, at most {self.peak_rate:.0f}/s ({self.allowed_rate:.0f}/s allowed); requests "
            f"that track took p99 {self.p99_before:.1f} ms before and {self.p99_during:.1f} ms during the outage"
        )


def run(down_s: float, seed: int = 1) -> Outage:
    """Buy before, during and after an outage of *down_s* seconds."""
    with (
        tempfile.TemporaryDirectory(prefix="flagmw-soak-") as folder,
        SandboxServer("single", seed=seed) as vendor,
        running(Path(folder), vendor, workers=WORKERS, max_rate=MAX_RATE) as shop,
    ):
        with Load(shop, visitors=4, pause_s=0.08) as load:
            time.sleep(max(3.0, down_s / 3))
            vendor.stop()
            stopped = time.monotonic()
            time.sleep(down_s)
            up = time.monotonic()
        vendor.start()
        before_drain = arrived(vendor).total()
        backlog = len(load.acknowledged) - before_drain
        seen = _drain(vendor, load, timeout_s=60 + 4 * backlog / MAX_RATE)
        times = arrived(vendor)
        per_second = round(1 / STEP_S)
        # By the time that really went by: on a busy machine it is more than a second.
        rates = [(b.total - a.total) / (b.after - a.before) for a, b in zip(seen, seen[per_second:], strict=False)]
        busy = [rate for rate in rates if rate]
        return Outage(
            down_s=down_s,
            acknowledged=len(load.acknowledged),
            lost=sum(order not in times for order in load.acknowledged),
            repeated=times.total() - len(times),
            backlog=backlog,
            peak_rate=max(rates, default=0),
            mean_rate=sum(busy) / max(1, len(busy)),
            allowed_rate=WORKERS * MAX_RATE,
            drain_s=seen[-1].after - seen[0].before,
            p99_before=_p99([took for begun, took in load.took_s if begun < stopped]),
            p99_during=_p99([took for begun, took in load.took_s if stopped <= begun < up]),
        )


@dataclass(frozen=True)
class Reading:
    """How much was there at a moment between two."""

    before: float
    after: float
    total: int


def _drain(vendor: SandboxServer, load: Load, timeout_s: float) -> list[Reading]:
    """Wait until everything is there; return how much was, step by step."""
    seen, end, at = [], time.monotonic() + timeout_s, time.monotonic()
    while True:
        before = time.monotonic()
        times = arrived(vendor)
        seen.append(Reading(before, time.monotonic(), times.total()))
        if all(order in times for order in load.acknowledged) or at > end:
            return seen
        at += STEP_S
        time.sleep(max(0.0, at - time.monotonic()))


def _p99(took_s: list[float]) -> float:
    ordered = sorted(took_s)
    return ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)] * 1000 if ordered else math.nan
