"""Other vendors' SDKs on the same stub: what a remote decision costs, and what each does when nobody answers."""

from __future__ import annotations

import asyncio
import math
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.sections.decide import ASYNC, BLOCKING, best, installed
from benchmarks.support import asgi_calls, visitor
from benchmarks.support.clients import (
    FLOOR,
    NAIVE,
    RAW,
    SYNC_NAIVE,
    bare_aiohttp,
    bare_protocol,
    deciding,
    deciding_threads,
    looped,
    naive,
    naive_threads,
    request,
)
from benchmarks.support.harness import Settings, Stub, tasks
from benchmarks.support.peers_venv import PEERS, WARM, ask, install, present, probe, ready, refused
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw.config.checks import ASYNC_TRANSPORTS, BLOCKING_TRANSPORTS

COLUMNS = [Column("cpu", "us"), Column("p50", "ms", 2), Column("p99", "ms", 2), Column("rate", "/s", 0)]
POOL = "amplitude-pool-16"
OUTDONE = ("flagsmith", "ofrep", "posthog", "target")
OURS_WARM = "flagmw ASGI request, reused by memory"
Cases = dict[str, Callable[[], Mapping[str, float]]]


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("peers: a remote decision for a visitor seen for the first time")
    missing = install()
    if missing:
        section.notes.append(f"Not installed, so left out: {', '.join(sorted(missing))}.")
    here = present()
    versions = sorted({f"{package} {here[package]}" for _, package in PEERS.values() if package in here})
    section.notes.append(f"Measured: {', '.join(versions)}.")
    stub.mode()
    usable = {name: title for name, (title, package) in PEERS.items() if package not in missing}
    broken = {name: why for name in usable if (why := refused(name, stub)) is not None}
    section.notes += [f"{usable[name]} is left out: {why}" for name, why in broken.items()]
    usable = {name: title for name, title in usable.items() if name not in broken}
    rounds = min(settings.rounds, 3)
    for callers in (1, 16):
        calls = settings.n(800, 32)
        cases = ours(stub, calls, callers)
        cases.update({title: partial(probe, name, stub, calls, callers) for name, title in usable.items()})
        table = Table(f"{callers} at once, 0 ms", COLUMNS, interleave(cases, rounds), FLOOR, ["cpu", "rate"])
        section.tables.append(table)
    section.goals += goals(section.tables[-1], usable)
    warmed = warm(settings, stub, rounds)
    section.tables.append(warmed)
    for row in [row for row in warmed.rounds if row != OURS_WARM]:
        section.goals.append(
            Goal("G1", f"{OURS_WARM}: CPU over {row}", warmed.ratio(OURS_WARM, row, "cpu"), at_most=0.28)
        )
    section.notes += hung(usable, stub, settings.n(11, 1))
    stub.mode()
    return section


def goals(table: Table, usable: Mapping[str, str]) -> list[Goal]:
    found = []
    usable = {name: title for name, title in usable.items() if not math.isnan(table.median(title, "cpu"))}
    if usable:
        least, row = min(usable.values(), key=lambda title: table.median(title, "cpu")), best(table, "flagmw async")
        text = f"CPU of {row} over the cheapest peer ({least})"
        found.append(Goal("G5", text, table.ratio(row, least, "cpu"), at_most=1.0))
    row = best(table, "flagmw blocking")
    for name in [name for name in (POOL, *OUTDONE) if name in usable]:
        ratio = table.ratio(row, usable[name], "cpu")
        text = f"CPU in 16 threads of {row} over {usable[name]}"
        found.append(Goal("G6", text, ratio, at_most=1.1 if name == POOL else 0.35))
    return found


def ours(stub: Stub, calls: int, callers: int) -> Cases:
    sample = request(stub.url)
    cases: Cases = {
        RAW: partial(looped(partial(bare_protocol, sample)), calls, callers),
        FLOOR: partial(looped(partial(bare_aiohttp, sample)), calls, callers),
        NAIVE: partial(looped(partial(naive, sample)), calls, callers),
        SYNC_NAIVE: partial(naive_threads, sample, calls, callers),
    }
    for name in installed(ASYNC_TRANSPORTS):
        cases[ASYNC.format(name)] = partial(looped(partial(deciding, stub.url, transport=name)), calls, callers)
    for name in installed(BLOCKING_TRANSPORTS):
        cases[BLOCKING.format(name)] = partial(deciding_threads, stub.url, calls, callers, name)
    return cases


def warm(settings: Settings, stub: Stub, rounds: int) -> Table:
    """Return what a remembered decision costs: a whole request of ours against a call of theirs."""
    calls = settings.n(5000, 50)
    cases: Cases = {OURS_WARM: partial(reused, stub.url, calls)}
    cases.update({title: partial(probe, name, stub, calls, 1) for name, title in ready(WARM, stub)})
    return Table("remembered, one at a time", COLUMNS, interleave(cases, rounds), OURS_WARM)


def reused(url: str, calls: int) -> Mapping[str, float]:
    jar, reading = visitor.Jar(), asgi_calls.Reading()

    async def main() -> Mapping[str, float]:
        fm = visitor.flagmw(url, **visitor.reuses().get("reused by memory", {}))
        shop = asgi_calls.Middleware(reading, flagmw=fm)

        async def keep(message: Any) -> None:
            for name, value in message.get("headers", ()):
                if name == b"set-cookie":
                    jar.take(value.decode("latin-1"))

        for _ in range(2):
            await shop(asgi_calls.scope("/", jar.header), asgi_calls.receive, keep)

        async def call() -> None:
            await shop(asgi_calls.scope("/", jar.header), asgi_calls.receive, asgi_calls.ignore)

        measured = await tasks(call, calls, 1)
        await fm.aclose()
        return measured

    measured = asyncio.run(main())
    assert reading.seen == "variation", "the decision was not reused"
    return measured


def hung(usable: Mapping[str, str], stub: Stub, patience_s: int) -> list[str]:
    """Say how long each waits for a vendor that never answers, flagmw with its default deadline among them."""
    stub.mode(hang=1)

    def waited(name: str) -> str:
        try:
            found = ask(name, stub, "--hung", str(patience_s))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return f"Hung vendor: {usable[name]}: it ended badly."
        return f"Hung vendor: {usable[name]}: {found['end']} after {found['waited_s']:.1f} s."

    # They only wait: all at once.
    with ThreadPoolExecutor(len(usable) or 1) as pool:
        lines = list(pool.map(waited, usable))
    fm = visitor.flagmw(stub.url, deadline_ms=300, **visitor.asking())
    started = time.perf_counter()
    fm.decide(visitor.visit())
    lines.append(f"Hung vendor: flagmw: a default after {time.perf_counter() - started:.1f} s.")
    fm.close()
    return lines
