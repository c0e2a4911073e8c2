"""Kill workers at random while visitors buy: nothing that was acknowledged may be lost."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from flagmw.outbox.sqlite.directory import Directory
from flagmw.sandbox import SandboxServer
from tests.faults.soak.shop import START_S, Load, Shop, arrived, running

RATE = 400
DRAIN_S = 180.0
PER_KILL = 15


@dataclass(frozen=True)
class Crash:
    """What came of a run.

    Attributes:
        arrived: orders that reached the vendor, acknowledged or not.
        lost: acknowledged orders that did not.
        late: answers that did not wait for the disk any longer, and `late_lost` those of them that did not arrive.
        left: events that still lie in the outbox: what is missing at the vendor is not gone.
        repeated: how often an order reached the vendor beyond the first time.
        unmarked: orders that came more than once although the attempt that was settled was called the first.
    """

    kills: int
    acknowledged: int
    arrived: int
    lost: tuple[str, ...]
    late: int
    late_lost: int
    left: int
    repeated: int
    unmarked: tuple[str, ...]
    refused: tuple[str, ...]
    load_s: float
    drain_s: float

    def text(self) -> str:
        return (
            f"crash run: {self.kills} SIGKILLs in {self.load_s:.0f} s of load on 4 workers; "
            f"{self.acknowledged} events acknowledged, {len(self.lost)} of them lost, {self.left} left in the outbox; "
            f"{self.late} more answers did not wait for a slow disk, {self.late_lost} of their events were lost; "
            f"{self.arrived} different events reached the vendor, {self.repeated} repeats, "
            f"{len(self.unmarked)} of them not marked as second attempts; drained {self.drain_s:.0f} s after the load"
        )


def run(kills: int, seed: int = 1) -> Crash:
    """Kill *kills* workers, let the rest be delivered, and compare."""
    rng = random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="flagmw-soak-") as folder,
        SandboxServer("single", seed=seed) as vendor,
        running(Path(folder), vendor, max_rate=RATE) as shop,
    ):
        begun = time.monotonic()
        with Load(shop, visitors=8, pause_s=0.01) as load:
            for n in range(kills):
                time.sleep(rng.uniform(0.05, 0.6))
                _sold(load, PER_KILL * (n + 1))
                _kill_one(shop, rng)
            time.sleep(0.5)
        load_s = time.monotonic() - begun
        drain_s = _drained(vendor, load)
        times = arrived(vendor)
        taken = shop.delivered_at()
        repeats = Counter({order: n - 1 for order, n in times.items() if n > 1})
        # The id of an order that nobody was told of is not known here. Nor is the attempt where the process was killed
        # in the moment between settling and noting.
        told = {**load.acknowledged, **load.late}
        first = tuple(order for order in repeats if taken.get(told.get(order, "")) == 1)
        return Crash(
            kills=kills,
            acknowledged=len(load.acknowledged),
            arrived=len(times),
            lost=tuple(order for order in load.acknowledged if order not in times),
            late=len(load.late),
            late_lost=sum(order not in times for order in load.late),
            left=sum(slot.stats.queued for slot in Directory(shop.outbox).status()),
            repeated=repeats.total(),
            unmarked=first,
            refused=tuple(load.refused[:5]),
            load_s=load_s,
            drain_s=drain_s,
        )


def _sold(load: Load, orders: int) -> None:
    """Wait until so many are acknowledged: on a busy machine workers would be killed before they serve anybody."""
    end = time.monotonic() + START_S
    while len(load.acknowledged) < orders and time.monotonic() < end:
        time.sleep(0.01)


def _kill_one(shop: Shop, rng: random.Random) -> None:
    end = time.monotonic() + 10
    while not (workers := shop.workers()) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(rng.choice(workers), signal.SIGKILL)


def _drained(vendor: SandboxServer, load: Load) -> float:
    """Wait until every acknowledged order is there and nothing more comes; return how long that took, in seconds."""
    begun, known, quiet_since = time.monotonic(), -1, time.monotonic()
    while time.monotonic() - begun < DRAIN_S:
        times = arrived(vendor)
        if times.total() != known:
            known, quiet_since = times.total(), time.monotonic()
        if all(order in times for order in load.acknowledged) and time.monotonic() - quiet_since > 3.0:
            return quiet_since - begun
        time.sleep(0.2)
    return time.monotonic() - begun
