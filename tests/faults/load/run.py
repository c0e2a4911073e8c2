"""Put every fault of a vendor under load against real shops, and print what visitors noticed: `make faults`."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from statistics import median

from flagmw.sandbox import SandboxServer
from tests.faults.load.cookies import HEADER_BYTES, PAGES, PROJECTS, junk_ms, longest_cookie_header
from tests.faults.load.load import DEADLINE_S, SERVERS, Browser, Memory, Page, jar, shop
from tests.faults.load.rows import BOMB_BYTES, ROWS, Row, dealt

VISITORS = 8
PER_ROW = 60
JARS = 60
BARE = 40
# Visitors who come at the same moment are each asked for twice: only among more does it show that it is once.
LEAST_TWICE = 160
GROWTH_MB = 5.0
PROMISED_S = DEADLINE_S + 0.025
JUNK_MS = 1.0
RECOVERY_S = 60.0
SEED = 1
PASS = {"kind": "delay", "ms": 0, "route": "control"}


@dataclass
class Result:
    """What one fault did to one server's visitors. Times in ms, over the same page's median without faults."""

    fault: str
    server: str
    requests: int = 0
    non_200: int = 0
    wrong: int = 0
    decided: int = 0
    hit: int = 0
    calls: int = 0
    allowed: float = 1.0
    p50: float = 0.0
    p999: float = 0.0
    max: float = 0.0
    grown_mb: float | None = None
    grown_allowed_mb: float | None = None
    added: list[float] = field(default_factory=list, repr=False)
    bare: list[float] = field(default_factory=list, repr=False)
    samples: list[Page] = field(default_factory=list)

    @property
    def per_request(self) -> float:
        return self.calls / max(1, self.requests)

    @property
    def good(self) -> bool:
        served = not self.non_200 and not self.wrong and self.per_request <= self.allowed
        return served and (
            self.grown_mb is None or self.grown_allowed_mb is None or self.grown_mb < self.grown_allowed_mb
        )

    def take(self, page: Page) -> None:
        self.requests += 1
        self.non_200 += page.status != 200
        self.wrong += page.wrong
        self.decided += page.decided
        self.added.append(page.took_s * 1000)
        if (page.wrong or page.status != 200) and len(self.samples) < 2:
            self.samples.append(page)

    def finish(self) -> None:
        bare = median(self.bare)
        self.added = sorted(max(0.0, took - bare) for took in self.added)
        self.p50, self.p999, self.max = quantile(self.added, 0.5), quantile(self.added, 0.999), self.added[-1]


def quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Lane:
    """One shop with a vendor of its own, taken through some of the rows."""

    def __init__(self, server: str, rows: Sequence[Row], requests: int) -> None:
        self._server, self._rows, self._requests = server, rows, requests
        self._vendor = SandboxServer(seed=SEED)

    def run(self) -> list[Result]:
        with self._vendor, shop(self._server, self._vendor.webtrends_url) as (port, memory):
            return asyncio.run(self._run(port, memory))

    async def _run(self, port: int, memory: Memory) -> list[Result]:
        browsers = [Browser(port) for _ in range(VISITORS)]
        results = []
        try:
            for row in self._rows:
                results.append(await self._row(row, browsers, memory))
        finally:
            for browser in browsers:
                await browser.close()
        return results

    async def _row(self, row: Row, browsers: Sequence[Browser], memory: Memory) -> Result:
        self._vendor.clear_ledger()
        result = Result(row.name, self._server, allowed=row.allowed, grown_allowed_mb=GROWTH_MB if row.bomb else None)
        wanted = max(self._requests, LEAST_TWICE) if row.twice else self._requests
        jars = await self._healthy(result, browsers, wanted)
        memory.start()
        if row.stopped:
            self._vendor.stop()
        shares = [1.0] if row.share is None else [row.share, 1.0]
        for n, share in enumerate(shares):
            rules = [PASS]
            if row.fault is not None:
                rules = [{"probability": share, "route": "control", **row.fault}, PASS]
            self._vendor.sandbox.faults.reset(SEED)  # the same calls are hit in every run
            self._vendor.faults(rules)
            requests = wanted // len(shares)
            await self._phase(result, browsers, jars, requests if n else wanted - requests * (len(shares) - 1))
            hits = await self._hits()
            result.calls += sum(hits)
            result.hit += sum(hits[:-1])
        result.grown_mb = memory.grown_mb()
        self._vendor.clear_faults()
        self._vendor.start()
        result.finish()
        return result

    async def _healthy(self, result: Result, browsers: Sequence[Browser], requests: int) -> list[dict[str, str]]:
        """Wait until the shop has left the last row behind; time the page; return the cookies of visitors."""
        end = time.monotonic() + RECOVERY_S
        jars: list[dict[str, str]] = []
        for browser in browsers:
            await browser.close()  # servers hang up on connections that were idle for seconds
        wanted = min(JARS, max(2, requests // 16))
        while len(result.bare) < BARE or len(jars) < wanted:
            pages = await asyncio.gather(*(browser.open("/checkout") for browser in browsers))
            decided = [page for page in pages if page.decided]
            jars += [jar(page) for page in decided]
            if len(decided) == len(pages):
                result.bare += [page.took_s * 1000 for page in pages]
            elif time.monotonic() > end:
                raise RuntimeError(f"{self._server} does not recover from what was before: {pages[0]}")
            else:
                await asyncio.sleep(0.1)
        return jars[:wanted]

    async def _phase(
        self, result: Result, browsers: Sequence[Browser], jars: Sequence[dict[str, str]], requests: int
    ) -> None:
        """Open the checkout *requests* times, every other time as a visitor who was here."""
        numbers = iter(range(requests))
        for browser in browsers:
            await browser.close()  # servers hang up on connections that were idle for seconds

        async def visit(browser: Browser) -> None:
            for n in numbers:
                result.take(await browser.open("/checkout", jars[n // 2 % len(jars)] if n % 2 else None))

        await asyncio.gather(*(visit(browser) for browser in browsers))

    async def _hits(self) -> list[int]:
        """Return how often each rule was hit, once nothing is on its way to the vendor any more."""
        known: list[int] = []
        while True:
            hits = [rule["hits"] for rule in self._vendor.sandbox.faults.shown()]
            if hits == known:
                return hits
            known = hits
            await asyncio.sleep(0.1)


def run(requests: int, *, lanes: int = 1) -> list[Result]:
    """Return the results of all rows, *requests* in total; each server's rows in *lanes* parts side by side."""
    per_row = max(4, round(requests / len(ROWS) / len(SERVERS)))
    parts = dealt(lanes)
    results: list[Result] = []
    with ThreadPoolExecutor(lanes * len(SERVERS)) as pool:
        if lanes > 1:
            tasks = [pool.submit(Lane(server, part, per_row).run) for server in SERVERS for part in parts]
            results = [result for task in tasks for result in task.result()]
        else:
            # One after another: nothing else disturbs what is measured.
            for server in SERVERS:
                results += Lane(server, parts[0], per_row).run()
    names = [row.name for row in ROWS]
    return sorted(results, key=lambda result: (list(SERVERS).index(result.server), names.index(result.fault)))


def in_time(results: Sequence[Result], server: str) -> bool:
    """Say whether *server* kept the promise but for one page in a thousand, which the machine may have held up."""
    added = sorted(took for result in results if result.server == server for took in result.added)
    return quantile(added, 0.999) <= 1000 * PROMISED_S


def table(results: Sequence[Result]) -> str:
    """Return the results as people read them."""
    lines = [
        f"{'fault':<18}{'server':<10}{'requests':>9}{'non-200':>9}{'wrong':>7}{'decided':>9}{'hit':>7}"
        f"{'p50 ms':>9}{'p99.9':>8}{'max':>8}{'decides/req':>13}{'RSS MiB':>9}"
    ]
    for r in results:
        grown = "-" if r.grown_mb is None else f"{r.grown_mb:+.1f}"
        lines.append(
            f"{r.fault:<18}{r.server:<10}{r.requests:>9}{r.non_200:>9}{r.wrong:>7}{r.decided / r.requests:>9.0%}"
            f"{r.hit:>7}{r.p50:>9.1f}{r.p999:>8.1f}{r.max:>8.1f}{r.per_request:>13.2f}{grown:>9}"
            f"{'' if r.good else '  <-- WRONG'}"
        )
        lines += [f"    {page}"[:500] for page in r.samples]
    for server in SERVERS:
        own = [r for r in results if r.server == server]
        added = sorted(took for r in own for took in r.added)
        bare = sorted(took for r in own for took in r.bare)
        late = sum(took > 1000 * PROMISED_S for took in added)
        lines.append(
            f"{server}: added latency p99.9 {quantile(added, 0.999):.1f} ms, max {added[-1]:.1f} ms, {late} of "
            f"{len(added)} above the promised {PROMISED_S * 1000:.0f} ms; without faults the page took "
            f"p50 {quantile(bare, 0.5):.1f}, p99.9 {quantile(bare, 0.999):.1f}, max {bare[-1]:.1f} ms"
        )
    bombs = [r for r in results if r.grown_allowed_mb is not None and r.grown_mb is not None]
    blown = max((r.grown_mb or 0.0 for r in bombs), default=0.0)
    once = max((r.per_request for r in results if r.allowed == 1.0), default=0.0)
    twice = max((r.per_request for r in results if r.allowed > 1.0), default=0.0)
    lines.append(
        f"total: {sum(r.requests for r in results)} requests, {sum(r.non_200 for r in results)} non-200, "
        f"{sum(r.wrong for r in results)} wrong bodies, {sum(r.hit for r in results)} calls met a fault; "
        f"at most {once:.2f} decides per request, {twice:.2f} where the vendor blames the visitor's cookies; "
        f"a bomb of {BOMB_BYTES >> 20} MiB took {blown:.1f} MiB"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=PER_ROW * len(ROWS) * len(SERVERS), help="in total")
    parser.add_argument("--lanes", type=int, default=1, help="parts run side by side: quicker, but latencies suffer")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    started = time.monotonic()
    results = run(given.requests, lanes=given.lanes)
    good = all(result.good for result in results)
    if given.lanes == 1:  # several shops side by side hold each other up
        good &= all(in_time(results, server) for server in SERVERS)
    if given.json:
        hidden = ("added", "bare", "samples")
        rows = [{k: v for k, v in asdict(r).items() if k not in hidden} | {"good": r.good} for r in results]
        print(json.dumps(rows, indent=1))
    else:
        print(table(results))
        junk, longest = junk_ms(), longest_cookie_header()
        good &= max(junk.values()) < JUNK_MS and longest < HEADER_BYTES
        told = ", ".join(f"{edge} {ms:.3f} ms" for edge, ms in junk.items())
        print(f"32 KB of quoted junk in a cookie: {told} of processor time")
        print(
            f"gunicorn, {PAGES} pages of {PROJECTS} new cookies each: never 431, longest Cookie header {longest} bytes"
        )
        print(f"{time.monotonic() - started:.0f} s; {'every promise kept' if good else 'A PROMISE IS BROKEN'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
