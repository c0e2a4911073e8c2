"""A vendor whose answers take two seconds one time in twenty: what the slow ones cost the others."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.support import asgi_calls, visitor, wsgi_calls
from benchmarks.support.clients import NAIVE as NAIVE_ASYNC
from benchmarks.support.clients import SYNC_NAIVE, looped, naive, naive_threads, request
from benchmarks.support.harness import Settings, Stub, tasks, threads
from benchmarks.support.peers_venv import probe, ready
from benchmarks.support.servers import GUNICORN, UVICORN, measure
from benchmarks.support.shops import COLD, NAIVE
from benchmarks.support.table import Column, Goal, Section, Table, interleave, void_failures
from flagmw.asgi import FlagsMiddleware as ASGI
from flagmw.wsgi import FlagsMiddleware as WSGI

CALLERS, DEADLINE_MS = 16, 150
COLUMNS = [
    *(Column("p50", "ms"), Column("p99", "ms"), Column("p99.9", "ms"), Column("rate", "/s", 0), Column("cpu", "us")),
    *(Column("calls", "each", 3), Column("defaults", "%", 2)),
]
# One that is asked from an event loop and one from threads; all of them wait for the slow answers.
TAIL_PEERS = ("growthbook", "amplitude-pool-16")
QUICK, USUAL = "httptools", "httpx2"
WRAPPED, HEDGED = "flagmw {}, {}, deadline 150 ms", "flagmw {}, {}, deadline 150 ms, hedge 30 ms"
WAITING = {"p99": (DEADLINE_MS + 5, "ms"), "p99.9": (DEADLINE_MS + 15, "ms")}
HEDGING = {"p99": (60, "ms"), "p99.9": (160, "ms"), "defaults": (0.6, "%"), "calls": (1.08, "each")}


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("the tail: 5 % of the vendor's answers take 2 s, the others 20 ms")
    calls = settings.n(2000, 32)
    # The others wait two seconds for each slow answer: fewer calls say the same of them.
    few = min(calls, 800)
    slow = {"delay_ms": 20, "slow": 0.05, "slow_s": 0.3 if settings.quick else 2}
    sample, others = request(stub.url), [] if settings.quick else ready(TAIL_PEERS, stub)
    cases: dict[str, tuple[Callable[[], Mapping[str, float]], int]] = {
        NAIVE_ASYNC: (partial(looped(partial(naive, sample)), few, CALLERS), few),
        SYNC_NAIVE: (partial(naive_threads, sample, few, CALLERS), few),
        **{title: (partial(probe, name, stub, few, CALLERS), few) for name, title in others},
    }
    for name, options in variants().items():
        cases[name.format("ASGI", options["transport"])] = (partial(asgi, stub.url, calls, options), calls)
        cases[name.format("WSGI", options["transport"])] = (partial(wsgi, stub.url, calls, options), calls)
    counted = {name: partial(_counted, stub, slow, n, case) for name, (case, n) in cases.items()}
    rounds = interleave(counted, min(settings.rounds, 3))
    failing = void_failures(rounds)
    section.tables.append(Table("decisions by 16 callers", COLUMNS, rounds, NAIVE_ASYNC, ["rate", "p99"]))
    section.goals += goals(section.tables[0], [title for _, title in others])
    section.notes += [f"Most decisions of {row!r} are defaults, so its times are left out." for row in failing]
    if len(others) < len(TAIL_PEERS):
        section.notes.append("Peers are not installed or were left out: `peers` installs them.")
    if not settings.quick:
        stub.mode(**slow)
        section.tables.append(servers(settings, stub))
        section.goals += server_goals(section.tables[1])
    stub.mode()
    return section


def quickest() -> str:
    """Return the transport that the goals are measured with."""
    return QUICK if importlib.util.find_spec(QUICK) else USUAL


def variants() -> dict[str, dict[str, Any]]:
    """Return options by the name of the row; the transport that is always installed stands beside the quick one."""
    plain = {"deadline_ms": DEADLINE_MS, "pool_size": 2 * CALLERS, "transport": quickest(), **visitor.asking()}
    found = {WRAPPED: plain, HEDGED: {**plain, "hedge_ms": 30}}
    usual = WRAPPED.replace("{}, {}", f"{{}}, {USUAL}")
    return found if quickest() == USUAL else {**found, usual: {**plain, "transport": USUAL}}


def goals(table: Table, others: list[str]) -> list[Goal]:
    """Return what is wanted of both edges; *others* are the rows of peers, the quickest of which counts."""
    others = [row for row in others if not math.isnan(table.median(row, "rate"))]
    rivals = {f"quickest peer ({max(others, key=lambda row: table.median(row, 'rate'))})": others} if others else {}
    rivals["naive"] = [NAIVE_ASYNC, SYNC_NAIVE]
    found = []
    for edge_name in ("ASGI", "WSGI"):
        for number, name, limits, faster in (("G11", WRAPPED, WAITING, 4.7), ("G12", HEDGED, HEDGING, 6.0)):
            row = name.format(edge_name, quickest())
            for column, (bound, unit) in limits.items():
                found.append(Goal(number, f"{row}: {column}", table.median(row, column), at_most=bound, unit=unit))
            for who, rows in rivals.items():
                measured = table.median(row, "rate") / max(table.median(each, "rate") for each in rows)
                found.append(Goal(number, f"{row}: rate over {who}", measured, at_least=faster))
    return found


def servers(settings: Settings, stub: Stub) -> Table:
    """Return what real servers make of it, their clients' latencies included."""
    cases = {}
    for server, command in (("FastAPI", UVICORN), ("Flask", GUNICORN)):
        for mode in (NAIVE, COLD):
            transport = quickest() if mode == COLD else ""
            cases[f"{server}, {mode}"] = partial(measure, command, mode, stub, settings, transport, seconds=5)
    rounds = interleave(cases, min(settings.rounds, 3))
    void_failures(rounds)
    return Table("end to end, 16 connections, deadline 150 ms", COLUMNS, rounds, f"FastAPI, {NAIVE}", ["rate", "p99"])


def server_goals(table: Table) -> list[Goal]:
    found = []
    for server in ("FastAPI", "Flask"):
        row = f"{server}, {COLD}"
        measured = table.ratio(row, f"{server}, {NAIVE}", "rate")
        found.append(Goal("G13", f"{row}: rate over naive", measured, at_least=3.3))
        for column, bound in (("p99", DEADLINE_MS + 15), ("p99.9", DEADLINE_MS + 25)):
            found.append(Goal("G13", f"{row}: {column}", table.median(row, column), at_most=bound, unit="ms"))
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
    return visitor.header(visitor.another())


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
