"""What flagmw takes before it does anything, what visitors leave behind, and how cost grows."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.support import asgi_calls, imports, visitor
from benchmarks.support.answers import webtrends
from benchmarks.support.harness import Settings, Stub, timed
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw import Flagmw, Static
from flagmw._cookies import header as cookie_header
from flagmw.asgi import FlagsMiddleware
from flagmw.types import Reply, VisitorState

SIZES = (1, 10, 100)


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("footprint: import, memory, growth")
    section.tables.append(imports.table(settings))
    section.goals += imports.goals(section.tables[0])
    visitors = settings.n(10_000, 50)
    stub.mode()
    cases = {f"{visitors:,} visitors, once each": partial(remembered, stub.url, visitors)}
    section.tables.append(Table("kept after", [Column("memory", "MiB", 2)], interleave(cases, 1), next(iter(cases))))
    section.tables.append(growth(settings))
    table = section.tables[-1]
    for what in ("projects in an answer", "cookies in a request", "vendors on a request"):
        rise = table.ratio(f"100 {what}", f"10 {what}", "time")
        section.goals.append(Goal("-", f"100 {what} over 10: no worse than linear", rise, at_most=10.5))
    return section


def remembered(url: str, visitors: int) -> Mapping[str, float]:
    """Return how much more memory is in use after *visitors* different visitors asked for one page each."""

    async def main() -> float:
        fm = visitor.flagmw(url, **visitor.reuses().get("reused by memory", {}))
        await fm.astart()
        shop = FlagsMiddleware(asgi_calls.Reading(), flagmw=fm)

        async def ask() -> None:
            page = asgi_calls.scope("/", visitor.header(visitor.another()))
            await shop(page, asgi_calls.receive, asgi_calls.ignore)

        for _ in range(20):
            await ask()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(visitors):
            await ask()
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        await fm.aclose()
        return kept / 2**20

    return {"memory": asyncio.run(main())}


def growth(settings: Settings) -> Table:
    calls = settings.n(500, 5)
    cases: dict[str, Callable[[], Mapping[str, float]]] = {}
    for size in SIZES:
        cases[f"{size} projects in an answer"] = partial(timed, decided(size), calls)
    for size in SIZES:
        cases[f"{size} cookies in a request"] = partial(timed, cookies_read(size), calls)
    for size in SIZES:
        static = [Static(name=f"s{n}", flags={f"alias{n}": "b"}) for n in range(size)]
        fm = Flagmw(vendors=static, outbox=visitor.outbox())
        loop = asgi_calls.loop(FlagsMiddleware(asgi_calls.app, flagmw=fm))
        cases[f"{size} vendors on a request"] = partial(loop, calls)
    columns = [Column("time", "us", 2)]
    return Table("growth, in process, without I/O", columns, interleave(cases, settings.rounds), next(iter(cases)))


def decided(projects: int) -> Callable[[], None]:
    """Return one Webtrends decision, its call answered at once."""
    vendor, state = visitor.webtrends("https://example.test"), VisitorState(visitor.vendor_cookies())
    visit = visitor.visit()
    reply = Reply(status=200, headers={}, body=json.dumps(webtrends(11, projects)).encode())

    def decide() -> None:
        flow = vendor.decide(visit, state)
        next(flow)
        try:
            flow.send(reply)
        except StopIteration:
            return

    return decide


def cookies_read(count: int) -> Callable[[], object]:
    rule = visitor.webtrends("https://example.test").cookies
    line = visitor.header({**{f"site{n}": "x" * 40 for n in range(count)}, **visitor.vendor_cookies()})
    return lambda: cookie_header.read([line], [rule])
