"""What each vendor costs: its codec in CPU, and four of them at once in time, against the sandbox."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from benchmarks.support.harness import Settings, Stub
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw import AdobeTarget, Contentstack, Flagmw, Monetate, Visit, Webtrends
from flagmw.sandbox import SandboxServer
from flagmw.types import Reply, VisitorState

DELAY_MS = 100
FOUR = "all four at once"
ROUTES = ("webtrends.control", "adobe.delivery", "monetate.decide", "contentstack.manifest")
VISIT = Visit(url="https://www.mysite.com/checkout", user_agent="Mozilla/5.0", fresh_id="f" * 32)


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("vendors: what each costs, and four at once")
    with SandboxServer("shop", seed=3) as sandbox:
        vendors = makers(sandbox)
        cases = {name: codec(make(), settings.n(2000, 20)) for name, make in vendors.items()}
        first = next(iter(cases))
        codecs = Table(
            "codec: request and answer, no I/O", [Column("cpu", "us")], interleave(cases, settings.rounds), first
        )
        sandbox.faults([{"route": route, "kind": "delay", "ms": DELAY_MS} for route in ROUTES])
        fms = {name: Flagmw(vendors=[make()], deadline_ms=5000, outbox="memory://") for name, make in vendors.items()}
        fms[FOUR] = Flagmw(vendors=[make() for make in vendors.values()], deadline_ms=5000, outbox="memory://")
        try:
            waits = {name: page(fm, settings.n(8, 2)) for name, fm in fms.items()}
            columns = [Column("p50", "ms", 1), Column("cpu", "us")]
            walls = Table(
                f"a decision, each answers in {DELAY_MS} ms", columns, interleave(waits, settings.rounds), first
            )
        finally:
            for fm in fms.values():
                fm.close(1)
    section.tables += [codecs, walls]
    slowest = max(walls.median(name, "p50") for name in vendors)
    section.goals.append(
        Goal(
            "-",
            "four vendors at once against the slowest alone: p50",
            walls.median(FOUR, "p50") / slowest,
            at_most=1.15,
        )
    )
    section.notes.append("The sandbox runs in this process: its own work is in the CPU of the second table.")
    return section


def makers(sandbox: SandboxServer) -> dict[str, Callable[[], Any]]:
    """Return how each vendor is made, by its name."""
    token = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"
    return {
        "Webtrends": lambda: Webtrends(2490593, token, "https://www.mysite.com", base_url=sandbox.webtrends_url),
        "Adobe Target": lambda: AdobeTarget("demo", ["ta_Checkout"], base_url=sandbox.adobe_url),
        "Monetate": lambda: Monetate("acme", "a-701b337c/p/www.mysite.com", base_url=sandbox.monetate_url),
        "Contentstack": lambda: Contentstack("64c7787b333555469a861224", base_url=sandbox.contentstack_url),
    }


def codec(vendor: Any, times: int) -> Callable[[], Mapping[str, float]]:
    """Return what measures *vendor*'s own work for a decision: the answer is one that was fetched before."""
    call = next(vendor.decide(VISIT, VisitorState()))
    got = httpx2.request(call.method, call.url, headers=dict(call.headers), content=call.body)
    headers = {name.lower(): value for name, value in got.headers.items()}
    reply = Reply(status=got.status_code, headers=headers, body=got.content)

    def once() -> Any:
        flow = vendor.decide(VISIT, VisitorState())
        next(flow)
        try:
            flow.send(reply)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("more than one call")

    assert once().variants, f"{vendor!r} decides nothing"

    def measure() -> Mapping[str, float]:
        started = time.process_time()
        for _ in range(times):
            once()
        return {"cpu": (time.process_time() - started) / times * 1e6}

    return measure


def page(fm: Flagmw, times: int) -> Callable[[], Mapping[str, float]]:
    """Return what measures a decision of *fm* for somebody new."""

    def measure() -> Mapping[str, float]:
        taken, cpu = [], time.process_time()
        for _ in range(times):
            started = time.perf_counter()
            flags = fm.decide(Visit(url=VISIT.url, user_agent=VISIT.user_agent))
            taken.append((time.perf_counter() - started) * 1000)
            assert flags.error_code is None, flags.error_code
        return {"p50": statistics.median(taken), "cpu": (time.process_time() - cpu) / times * 1e6}

    return measure
