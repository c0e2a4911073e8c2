"""A vendor whose answers take two seconds one time in twenty: what the slow ones cost the others."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks import asgi_calls, visitor, wsgi_calls
from benchmarks.clients import looped, naive, naive_threads, request
from benchmarks.endtoend import GUNICORN, UVICORN, measure
from benchmarks.harness import Settings, Stub, tasks, threads
from benchmarks.shops import COLD, NAIVE
from benchmarks.table import Column, Goal, Section, Table, interleave
from flagmw.asgi import FlagsMiddleware as ASGI
from flagmw.wsgi import FlagsMiddleware as WSGI

CALLERS, DEADLINE_MS = 16, 150
COLUMNS = [
    *(Column("p50", "ms"), Column("p99", "ms"), Column("p99.9", "ms"), Column("rate", "/s", 0), Column("cpu", "us")),
    *(Column("calls", "each", 3), Column("defaults", "%", 2)),
]
WRAPPED = "flagmw {}, deadline 150 ms"
HEDGING = {"p99": (60, "ms"), "p99.9": (160, "ms"), "defaults": (0.6, "%"), "calls": (1.08, "")}
HEDGED = "flagmw {}, deadline 150 ms, hedge 30 ms"


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("the tail: 5 % of the vendor's answers take 2 s, the others 20 ms")
    calls = settings.n(2000, 32)
    slow = {"delay_ms": 20, "slow": 0.05, "slow_s": 0.3 if settings.quick else 2}
    cases: dict[str, Callable[[], Mapping[str, float]]] = {
        "naive httpx.AsyncClient": lambda: looped(lambda: naive(request(stub.url)))(calls, CALLERS),
        "naive httpx.Client": lambda: naive_threads(request(stub.url), calls, CALLERS),
    }
    for name, options in variants().items():
        cases[name.format("ASGI")] = lambda options=options: asgi(stub.url, calls, options)
        cases[name.format("WSGI")] = lambda options=options: wsgi(stub.url, calls, options)
    counted = {name: (lambda case=case: _counted(stub, slow, calls, case)) for name, case in cases.items()}
    rounds = interleave(counted, min(settings.rounds, 3))
    section.tables.append(Table("decisions by 16 callers", COLUMNS, rounds, "naive httpx.AsyncClient", ["rate", "p99"]))
    section.goals += goals(section.tables[0])
    failing = [row for row in rounds if section.tables[0].median(row, "defaults") > 50]
    if failing and not settings.quick:
        raise RuntimeError(f"most decisions fail, so these would be the times of failures: {', '.join(failing)}")
    if not settings.quick:
        stub.mode(**slow)
        section.tables.append(servers(settings, stub))
        section.goals += server_goals(section.tables[1])
    return section


def variants() -> dict[str, dict[str, Any]]:
    plain = {"deadline_ms": DEADLINE_MS, "pool_size": 2 * CALLERS, **visitor.asking()}
    return {WRAPPED: plain, **({HEDGED: {**plain, "hedge_ms": 30}} if visitor.has("hedge_ms") else {})}


def goals(table: Table) -> list[Goal]:
    found = []
    for edge_name in ("ASGI", "WSGI"):
        row = WRAPPED.format(edge_name)
        found.append(Goal("G11", f"{row}: p99.9", table.median(row, "p99.9"), at_most=DEADLINE_MS + 25, unit="ms"))
        measured = table.ratio(row, "naive httpx.AsyncClient", "rate")
        found.append(Goal("G11", f"{row}: rate over naive", measured, at_least=4.7))
        row = HEDGED.format(edge_name)
        if table.has(row):
            for column, (bound, unit) in HEDGING.items():
                found.append(Goal("G12", f"{row}: {column}", table.median(row, column), at_most=bound, unit=unit))
    return found


def servers(settings: Settings, stub: Stub) -> Table:
    """Return what real servers make of it, their clients' latencies included."""
    cases = {}
    for server, command in (("FastAPI", UVICORN), ("Flask", GUNICORN)):
        for mode in (NAIVE, COLD):
            cases[f"{server}, {mode}"] = partial(measure, command, mode, stub, settings)
    columns = [column for column in COLUMNS if column.name not in ("calls", "defaults")]
    rounds = interleave(cases, min(settings.rounds, 3))
    return Table("end to end, 16 connections, deadline 150 ms", columns, rounds, f"FastAPI, {NAIVE}", ["rate", "p99"])


def server_goals(table: Table) -> list[Goal]:
    found = []
    for server in ("FastAPI", "Flask"):
        row = f"{server}, {COLD}"
        measured = table.ratio(row, f"{server}, {NAIVE}", "rate")
        found.append(Goal("G13", f"{row}: rate over naive", measured, at_least=3.3))
        found.append(Goal("G13", f"{row}: p99.9", table.median(row, "p99.9"), at_most=DEADLINE_MS + 25, unit="ms"))
    return found


def _counted(
    stub: Stub, slow: dict[str, float], calls: int, case: Callable[[], Mapping[str, float]]
) -> Mapping[str, float]:
    stub.mode(**slow)
    figures = case()
    # Each case warms up with two calls per caller.
    return {"defaults": 0.0, **figures, "calls": stub.count() / (calls + 2 * CALLERS)}


def page() -> str:
    """Return the Cookie header of a page view of another visitor."""
    return visitor.header({**visitor.another()})


def asgi(url: str, calls: int, options: dict[str, Any]) -> Mapping[str, float]:
    defaults = [0]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        defaults[0] += scope["state"]["flags"].get("11/ta_A") is None
        await asgi_calls.app(scope, receive, send)

    async def main() -> Mapping[str, float]:
        fm = visitor.flagmw(url, **options)
        await fm.astart()
        shop = ASGI(app, flagmw=fm)

        async def ask() -> None:
            await shop(asgi_calls.scope("/", page()), asgi_calls.receive, asgi_calls.ignore)

        await tasks(ask, CALLERS * 2, CALLERS)
        defaults[0] = 0
        figures = await tasks(ask, calls, CALLERS)
        await fm.aclose()
        return {**figures, "defaults": 100 * defaults[0] / calls}

    return asyncio.run(main())


def wsgi(url: str, calls: int, options: dict[str, Any]) -> Mapping[str, float]:
    defaults: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["flagmw.flags"].get("11/ta_A") is None:
            defaults.append(1)
        return wsgi_calls.app(environ, start_response)

    fm = visitor.flagmw(url, **options)
    fm.start()
    shop = WSGI(app, flagmw=fm)

    def ask() -> None:
        body = shop({**wsgi_calls.environ("/", page()), "wsgi.input": io.BytesIO()}, lambda *_: None)
        for _ in body:
            pass
        getattr(body, "close", int)()

    threads(ask, CALLERS * 2, CALLERS)
    defaults.clear()
    figures = threads(ask, calls, CALLERS)
    fm.close()
    return {**figures, "defaults": 100 * len(defaults) / calls}
