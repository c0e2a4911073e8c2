"""Requests per second of real servers with a shop behind them: uvicorn with FastAPI, gunicorn with Flask."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.sections.decide import installed
from benchmarks.support import shops
from benchmarks.support.harness import Settings, Stub
from benchmarks.support.servers import GUNICORN, UVICORN, measure
from benchmarks.support.table import Column, Goal, Section, Table, interleave, void_failures
from flagmw.config.checks import ASYNC_TRANSPORTS, BLOCKING_TRANSPORTS

TIMES = [Column("p50", "ms", 2), Column("p99", "ms", 2)]
COLUMNS = [Column("rate", "/s", 0), Column("cpu", "us"), *TIMES, Column("calls", "each", 2), Column("defaults", "%", 2)]
BARE = frozenset({shops.BARE})
COLD = f"{shops.COLD}, {{}}"
SERVERS = {"uvicorn + FastAPI": UVICORN, "gunicorn gthread + Flask": GUNICORN}


TRANSPORTS = {UVICORN[0]: ASYNC_TRANSPORTS, GUNICORN[0]: BLOCKING_TRANSPORTS}


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("end to end: a shop under load, 16 connections")
    for server, command in SERVERS.items():
        for delay_ms in (0,) if settings.quick else (0, 20):
            stub.mode(delay_ms=delay_ms)
            cases = rows(command, stub, settings, delayed=delay_ms > 0)
            title = f"{server}, vendor {delay_ms} ms"
            rounds = interleave(cases, min(settings.rounds, 3))
            section.notes += [f"{server}: most pages of {row!r} show a default." for row in void_failures(rounds, BARE)]
            table = Table(title, COLUMNS, rounds, shops.BARE, ["rate"])
            section.tables.append(table)
            section.goals += goals(server, delay_ms, table)
    section.notes.append(
        "In `calls` is how many requests came to the vendor for one page. Where every request asks, each row names "
        "its transport. The goals are for the best one and, on uvicorn, for aiohttp; without a word "
        f"{ASYNC_TRANSPORTS[0]} is used."
    )
    return section


def rows(
    command: list[str], stub: Stub, settings: Settings, *, delayed: bool
) -> dict[str, Callable[[], Mapping[str, float]]]:
    """Return the cases of one server; what the vendor's delay does not touch is measured without one only."""
    asking, seconds = installed(TRANSPORTS[command[0]]), 2.5 if delayed else 3.0
    if settings.quick:
        plain, asking = [shops.BARE], asking[:1]
    elif delayed:
        plain = [shops.BARE, shops.NAIVE]
    else:
        plain = [shops.BARE, shops.NAIVE, shops.CACHED, *shops.warm()]
    cases = {mode: partial(measure, command, mode, stub, settings, seconds=seconds) for mode in plain}
    for transport in asking:
        cases[COLD.format(transport)] = partial(measure, command, shops.COLD, stub, settings, transport, seconds)
    return cases


def goals(server: str, delay_ms: int, table: Table) -> list[Goal]:
    if server.startswith("uvicorn"):
        return cold_goals(server, delay_ms, table) + warm_goals(server, table, "G8", 0.88, 2.4)
    cold = cold_goals(server, delay_ms, table) if delay_ms == 0 else []
    return cold + warm_goals(server, table, "G10", 0.92, 1.4)


def warm_goals(server: str, table: Table, number: str, bare: float, cached: float) -> list[Goal]:
    found = []
    for row in [row for row in table.rounds if "reused" in row]:
        text = f"{server}, {row}"
        found.append(Goal(number, f"{text}: rate over bare", table.ratio(row, shops.BARE, "rate"), at_least=bare))
        measured = table.ratio(row, shops.CACHED, "rate")
        found.append(Goal(number, f"{text}: rate over {shops.CACHED}", measured, at_least=cached))
        if number == "G8":
            found.append(Goal(number, f"{text}: rate over naive", table.ratio(row, shops.NAIVE, "rate"), at_least=13))
            late = table.ratio(row, shops.BARE, "p99")
            found.append(Goal(number, f"{text}: p99 over bare", late, at_most=1.25))
            stretch = table.ratio(row, shops.BARE, "rate")
            found.append(Goal(number, f"stretch, {text}: rate over bare", stretch, at_least=0.92))
    return found


def cold_goals(server: str, delay_ms: int, table: Table) -> list[Goal]:
    """Return the goals of a shop whose every request asks: of its best transport, and of aiohttp."""
    asking = [row for row in table.rounds if row.startswith(COLD.format(""))]
    best = max(asking, key=lambda row: (not math.isnan(table.median(row, "rate")), table.median(row, "rate")))
    also = [row for row in asking if row == COLD.format("aiohttp")]
    number, bare, naive = ("G9", 0.37, 6.0) if server.startswith("uvicorn") else ("G10", 0.44, 2.0)
    found = []
    for row in dict.fromkeys([best, *also]):
        text = f"{server}, {delay_ms} ms, {row}"
        if delay_ms == 0:
            found.append(Goal(number, f"{text}: rate over bare", table.ratio(row, shops.BARE, "rate"), at_least=bare))
        else:
            # 16 connections can be answered 800 times a second when each answer takes 20 ms.
            found.append(Goal(number, f"{text}: rate over 800/s", table.median(row, "rate") / 800, at_least=0.87))
            naive = 1.2
        if table.has(shops.NAIVE):
            measured = table.ratio(row, shops.NAIVE, "rate")
            found.append(Goal(number, f"{text}: rate over naive", measured, at_least=naive))
    if number == "G9" and delay_ms == 0:
        measured = table.ratio(best, shops.BARE, "rate")
        found.append(
            Goal(number, f"stretch for an own transport, {server}, {best}: rate over bare", measured, at_least=0.6)
        )
    return found
