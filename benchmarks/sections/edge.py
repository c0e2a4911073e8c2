"""What a request costs over a middleware that does nothing, in process: ASGI and WSGI, and the parts of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from benchmarks.support import asgi_calls, visitor, wsgi_calls, yardsticks
from benchmarks.support.harness import Settings, Stub, timed
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw import Flagmw, Static
from flagmw._cookies import header as cookie_header

US = [Column("time", "us", 2)]
BARE, NOOP, HAND = "bare app", "no-op, wraps the answer", "by hand: split, f-string set x3"
NOTHING, USUAL = "BaseHTTPMiddleware, no-op", "BaseHTTPMiddleware, cookies x6, set x3"
MEMORY, AGAIN, COOKIE = "reused by memory", "reused by memory, cookies set again", "reused by cookie"
Cases = dict[str, Callable[[int], Mapping[str, float]]]


def run(settings: Settings, stub: Stub) -> Section:
    stub.mode()
    section = Section("edge: overhead of a request, in process")
    calls = settings.n(4000, 50)
    for title, side in (("ASGI", asgi), ("WSGI", wsgi)):
        readings: list[Any] = []
        cases = side(stub.url, readings)
        for case in cases.values():
            case(calls // 10 + 1)
        asked = stub.count()
        bound = {name: partial(case, calls) for name, case in cases.items()}
        table = Table(f"{title} request", US, interleave(bound, settings.rounds), NOOP)
        made = stub.count() - asked
        assert not made, f"{made} decisions were made again, so these would be the times of calls"
        assert all(reading.seen == "variation" for reading in readings), "not every decision was reused"
        section.tables.append(table)
        section.goals += goals(title, table)
        section.goals.append(Goal("-", f"{title}, reused: vendor calls", made, at_most=0, at_least=0, unit="calls"))
        section.goals += quiet(title, cases, settings.n(1000, 100))
    noop, hand = (section.tables[0].median(row, "time") for row in (NOOP, HAND))
    section.notes.append(
        "The visitor sends six vendor cookies of 200 bytes. Requests are made before the clock starts, which is that "
        f'of the CPU. Microseconds belong to the machine: "{NOOP}" takes {noop:.2f} us here, and the work by hand '
        f"{hand:.2f} us."
    )
    section.tables.append(parts(settings, calls))
    return section


def goals(title: str, table: Table) -> list[Goal]:
    found = []
    for row in [f"flagmw, {name}" for name in (MEMORY, AGAIN, COOKIE)]:
        over = table.ratio(row, HAND, "time")
        if title == "ASGI":
            found.append(Goal("G1", f"{title}, {row}: in all", table.median(row, "time"), at_most=10, unit="us"))
            found.append(Goal("G1", f"{title}, {row}: over the work by hand", over, at_most=2.0))
            usual = table.ratio(row, USUAL, "time")
            found.append(Goal("G1", f"{title}, {row}: over {USUAL}", usual, at_most=0.08))
        else:
            found.append(Goal("G3", f"{title}, {row}: over the work by hand", over, at_most=2.0))
    for row in [row for row in table.rounds if row.startswith("nothing due")]:
        text = f"{title}, {row.partition(': ')[2]}: over {NOOP}"
        found.append(Goal("G2", text, table.ratio(row, NOOP, "time"), at_most=2.0))
    return found


def quiet(title: str, cases: Cases, calls: int) -> list[Goal]:
    """Count what goes to the system for a reused decision: neither disk nor network has a part in it."""
    found = []
    for name in (MEMORY, COOKIE):
        before = transfers()
        cases[f"flagmw, {name}"](calls)
        # Opening and closing the event loop takes some, once.
        each = (transfers() - before) / calls
        goal = f"{title}, {name}: reads and writes of the system a request"
        found.append(Goal("-", goal, each, at_most=0.1 if calls < 1000 else 0.02, unit="each"))
    return found


def transfers() -> float:
    """Return how many reads and writes this process has asked the system for; 0 where it does not tell."""
    with contextlib.suppress(OSError):
        told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return float(told["syscr"]) + float(told["syscw"])
    return 0.0


def asgi(url: str, readings: list[Any]) -> Cases:
    app, loop, front = asgi_calls.app, asgi_calls.loop, asgi_calls.Middleware
    excluding = Flagmw(vendors=[Static(flags={"11/ta_A": "b"})], exclude=["/excluded"], outbox=visitor.outbox())
    left_out = front(app, flagmw=excluding)
    return {
        BARE: loop(app),
        NOOP: loop(yardsticks.Wrapping(app)),
        HAND: loop(yardsticks.Hand(app)),
        NOTHING: loop(yardsticks.Nothing(app)),
        USUAL: loop(yardsticks.Usual(app)),
        **common(url, asgi_calls, readings),
        "nothing due: websocket, path left out": loop(left_out, "/excluded", kind="websocket"),
        "nothing due: lifespan": loop(left_out, kind="lifespan"),
        "nothing due: a scope of another type": loop(left_out, kind="other"),
    }


def wsgi(url: str, readings: list[Any]) -> Cases:
    app, loop = wsgi_calls.app, wsgi_calls.loop
    return {
        BARE: loop(app),
        NOOP: loop(yardsticks.wsgi_wrapping(app)),
        HAND: loop(yardsticks.wsgi_hand(app)),
        **common(url, wsgi_calls, readings),
    }


def common(url: str, side: Any, readings: list[Any]) -> Cases:
    """Return the cases that both sides have; *readings* gets the applications that have to see a variant."""
    static = Flagmw(vendors=[Static(flags={"11/ta_A": "b"})], exclude=["/excluded"], outbox=visitor.outbox())
    cases = {"flagmw, Static, one flag read": side.loop(side.Middleware(side.Reading(), flagmw=static))}
    remembering = visitor.reuses()
    for name, kind, more in (
        (MEMORY, MEMORY, {}),
        # Cookies that did not reach the visitor come along again: two of the tests and who it is.
        (AGAIN, MEMORY, {"cookies": {**visitor.vendor_cookies(), **dict.fromkeys(CHANGED, "WT3b~")}, "keeps": False}),
        (COOKIE, COOKIE, {}),
    ):
        reading = side.Reading()
        readings.append(reading)
        fm = visitor.flagmw(url, **remembering[kind])
        cases[f"flagmw, {name}"] = side.loop(side.Middleware(reading, flagmw=fm), **more)
    lazy = side.Middleware(side.app, flagmw=visitor.flagmw(url, mode="lazy"))
    elsewhere = side.Middleware(side.app, flagmw=visitor.flagmw(url, paths=["/shop/*"]))
    return {
        **cases,
        "nothing due: path left out": side.loop(side.Middleware(side.app, flagmw=static), "/excluded"),
        "nothing due: lazy, no flag read": side.loop(lazy),
        "nothing due: lazy, no flag read, no vendor cookie": side.loop(lazy, cookies={}),
        "nothing due: not among the paths, no vendor cookie": side.loop(elsewhere, cookies={}),
    }


CHANGED = ("_wt.control-11-ta_A", "_wt.control-11-ta_B")


def parts(settings: Settings, calls: int) -> Table:
    rule = visitor.webtrends("https://example.test").cookies
    cases = {
        "SimpleCookie.load": lambda: timed(lambda: SimpleCookie().load(visitor.COOKIES), calls),
        "by hand: split": lambda: timed(lambda: yardsticks.read(visitor.COOKIES), calls),
        "flagmw's cookie reader": lambda: timed(lambda: cookie_header.read([visitor.COOKIES], [rule]), calls),
    }
    return Table("cookies alone", US, interleave(cases, settings.rounds), "by hand: split")
