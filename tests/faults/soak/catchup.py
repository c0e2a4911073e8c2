"""Let a backlog pile up while the vendor is away, bring it back, and see how fast it leaves while more comes in."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass

from flagmw import Flagmw, Visit, Webtrends
from tests.faults.soak.slow_vendor import SlowVendor

DOMAIN = 2490593


@dataclass(frozen=True)
class CatchUp:
    """What came of a run; rates in events per second."""

    backlog: int
    live: float
    answer_s: float
    gone_s: float | None
    left: int
    mean_rate: float
    peak_rate: float
    repeated: int

    def text(self) -> str:
        gone = (
            f"{self.left} still wait" if self.gone_s is None else f"gone {self.gone_s:.1f} s after the vendor is back"
        )
        return (
            f"catch-up run: {self.backlog} events of an outage, {self.live:g}/s go on, answers take "
            f"{self.answer_s * 1000:.0f} ms: {gone}, {self.mean_rate:.0f}/s on average and {self.peak_rate:.0f}/s at "
            f"most over five seconds, {self.repeated} repeats"
        )


def run(backlog: int, live: float, answer_s: float = 0.02, timeout_s: float = 420.0, before_s: float = 0.0) -> CatchUp:
    """Deliver *backlog* events of an outage while *live* a second go on; they do so *before_s* before it ends, too."""
    with tempfile.TemporaryDirectory(prefix="flagmw-soak-") as folder, SlowVendor() as vendor:
        fm = Flagmw(
            vendors=[Webtrends(DOMAIN, "token-token-token", "https://www.mysite.com", base_url=vendor.url)],
            outbox=f"sqlite://{folder}/outbox",
            tracks_per_visitor=1_000_000,
        )
        vendor.set(up=False)
        for n in range(backlog):
            _buy(fm, f"old{n}")
        stop = threading.Event()
        on = threading.Thread(target=_go_on, args=(fm, live, stop))
        on.start()
        time.sleep(max(before_s, 1.0))
        vendor.set(answer_s=answer_s)
        back = time.monotonic()
        gone_s, left = None, backlog
        while left and time.monotonic() < back + timeout_s:
            time.sleep(0.2 if backlog < 5_000 else 2.0)
            there = {order: at for at, order in reversed(vendor.received()) if order.startswith("old")}
            left = backlog - len(there)
            gone_s = None if left else max(there.values()) - back
        stop.set()
        on.join()
        received = vendor.received()
        fm.close(1.0)
    seconds = Counter(int(at - back) for at, _ in received)
    span_s = max(1.0, gone_s or timeout_s)
    whole = range(max(1, int(span_s) - 4))
    return CatchUp(
        backlog=backlog,
        live=live,
        answer_s=answer_s,
        gone_s=gone_s,
        left=left,
        mean_rate=sum(at - back <= span_s for at, _ in received) / span_s,
        peak_rate=max(sum(seconds[at + step] for step in range(5)) / 5 for at in whole),
        repeated=len(received) - len({order for _, order in received}),
    )


def _go_on(fm: Flagmw, rate: float, stop: threading.Event) -> None:
    begun, n = time.monotonic(), 0
    while not stop.wait(0.02):
        while n < (time.monotonic() - begun) * rate:
            _buy(fm, f"new{n}")
            n += 1


def _buy(fm: Flagmw, order: str) -> None:
    cookies = {f"_wt.user-{DOMAIN}": order, f"_wt.control-{DOMAIN}-ta_A": "x"}
    fm.track("purchase", visitor=Visit(url="https://shop.example/", cookies=cookies), data={"order": order})
