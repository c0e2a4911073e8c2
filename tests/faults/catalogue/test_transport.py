"""Faults of the transport that need more than an answer: names, certificates, time, several calls, several vendors."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from typing import Any

import orjson
import pytest

from flagmw.sandbox import SandboxServer
from tests.contracts.drivers.conftest import authority
from tests.contracts.edges.driver import Answer, AsgiEdge, Edge, Make, Seen, Sent, webtrends
from tests.faults.catalogue.rows import decided, eventually
from tests.support.authority import Authority
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import (
    Action,
    RawVendor,
    always,
    answer,
    close,
    forever,
    hang,
    http,
    read_request,
    reset,
    send,
    sleep,
)

__all__ = ["authority"]

GOOD = orjson.dumps(decided())
DEADLINE_MS = 200
# What a noisy machine may add.
SLACK_S = 0.3


def show(seen: Seen) -> Answer:
    variant = seen.flags.variant("ta_A")
    return Answer(f"{variant.key} {variant.reason} {variant.error_code or '-'}".encode())


def shown(edge: Edge, app: Any) -> str:
    """Return what one visitor is shown; the page is whole in any case."""
    page = edge.get(app)
    assert page.status == 200 and page.values("set-cookie") == []
    return page.body.decode()


def test_U2_unknown_name(edge: Edge, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor's name that does not resolve gives defaults at once and opens the breaker."""

    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    fm = make(vendors=[webtrends("https://unknown.test")])
    app = edge.mount(show, fm)
    assert [shown(edge, app) for _ in range(6)] == ["control ERROR DNS"] * 5 + ["control ERROR BREAKER_OPEN"]
    assert fm.counts() == {("undecided", "wt", "DNS"): 5, ("undecided", "wt", "BREAKER_OPEN"): 1}


def test_U2_slow_name_server(edge: Edge, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up the name is within the deadline."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(3 * HELD_UP_S) and [])
    # Callers that ask for one name share the lookup.
    fm = make(vendors=[webtrends(f"https://slow-{edge.name}.test")], deadline_ms=DEADLINE_MS)
    app, started = edge.mount(show, fm), time.monotonic()
    assert shown(edge, app) == "control ERROR DEADLINE"
    assert time.monotonic() - started < HELD_UP_S
    release.set()
    assert fm.counts() == {("undecided", "wt", "DEADLINE"): 1}


@pytest.mark.parametrize("kind", ["expired", "wrong_host", "self_signed", "old_protocol", "unknown_authority"])
def test_U3_certificate(edge: Edge, make: Make, authority: Authority, kind: str) -> None:
    """A server that cannot prove who it is gets no request, over no protocol; the page has its defaults."""
    good = kind == "unknown_authority"
    with RawVendor(always(GOOD), tls=authority.context("good" if good else kind)) as raw:
        fm = make(vendors=[webtrends(raw.url)], **({} if good else {"ca_file": str(authority.ca_file)}))
        assert shown(edge, edge.mount(show, fm)) == "control ERROR TLS"
        assert fm.counts() == {("undecided", "wt", "TLS"): 1}
        assert (raw.requests, raw.connections) == ([], 1)


def test_U3_good_certificate(edge: Edge, make: Make, authority: Authority) -> None:
    """One that can is asked."""
    with RawVendor(always(GOOD), tls=authority.context()) as raw:
        fm = make(vendors=[webtrends(raw.url)], ca_file=str(authority.ca_file))
        assert shown(edge, edge.mount(show, fm)) == "b SPLIT -"
        assert fm.counts() == {("decided", "wt", ""): 1}


def test_U8_slow_tail(edge: Edge, make: Make) -> None:
    """Of 60 calls 3 never end: these visitors have defaults at the deadline, and all others their variants."""
    asked = 0
    # The other calls are not late because the machine is busy.
    deadline_ms = 3 * DEADLINE_MS

    def act(connection: Any) -> None:
        nonlocal asked
        while True:
            connection.read_request()
            asked += 1
            if asked % 20 == 0:
                hang(connection)
            connection.send(http(GOOD))

    with RawVendor(act) as raw:
        fm = make(vendors=[webtrends(raw.url)], deadline_ms=deadline_ms)
        app, pages, times = edge.mount(show, fm), Counter[str](), []
        for _ in range(60):
            started = time.monotonic()
            pages[shown(edge, app)] += 1
            times.append(time.monotonic() - started)
        assert pages == {"b SPLIT -": 57, "control ERROR DEADLINE": 3}
        assert fm.counts() == {("decided", "wt", ""): 57, ("undecided", "wt", "DEADLINE"): 3}
        assert sorted(times)[-3] < deadline_ms / 1000 + SLACK_S and max(times) < HELD_UP_S
        assert fm.health()["vendors"]["wt"]["breaker"] == "closed"


# How each connection goes, what "exposure" is, and what three pages in a row show.
IDLE: dict[str, tuple[list[Action | list[Action]], str, list[str]]] = {
    "U30_closed_while_idle": ([[answer(GOOD)]], "decide", ["b SPLIT -"] * 3),
    "U30_closed_upon_a_view_that_counts": (
        [[answer(GOOD), read_request, close], always(GOOD)],
        "decide",
        ["b SPLIT -", "control ERROR RESET", "b SPLIT -"],
    ),
    "U30_closed_upon_a_view_that_does_not": (
        [[answer(GOOD), read_request, close], always(GOOD)],
        "off",
        ["b SPLIT -"] * 3,
    ),
    "U30_reset_upon_a_view_that_does_not": (
        [[answer(GOOD), read_request, reset], always(GOOD)],
        "off",
        ["b SPLIT -"] * 3,
    ),
    "U30_broken_off_after_a_byte": (
        [[answer(GOOD), read_request, lambda connection: connection.send(b"H"), close], always(GOOD)],
        "off",
        ["b SPLIT -", "control ERROR TRUNCATED", "b SPLIT -"],
    ),
}


@pytest.mark.parametrize("name", IDLE)
def test_kept_connection_that_closes(edge: Edge, make: Make, name: str) -> None:
    """A kept connection that is gone is replaced; the request is repeated only where that counts nothing twice."""
    scripts, exposure, wanted = IDLE[name]
    with RawVendor(*scripts) as raw:
        fm = make(vendors=[webtrends(raw.url, exposure=exposure)])
        app, pages = edge.mount(show, fm), []
        for _ in wanted:
            pages.append(shown(edge, app))
            if name == "U30_closed_while_idle":
                assert raw.wait_open(0)
        assert pages == wanted
        failed = sum(page != "b SPLIT -" for page in wanted)
        assert sum(n for (what, *_), n in fm.counts().items() if what == "undecided") == failed
        assert fm.counts()[("decided", "wt", "")] == 3 - failed
        assert fm.health()["vendors"]["wt"]["breaker"] == "closed"


def test_U31_down_at_start(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """The application starts and serves while the vendor is down, and decides once that is up."""
    vendor.stop()
    try:
        fm = make(vendors=[webtrends(vendor.webtrends_url)])
        if isinstance(edge, AsgiEdge):
            edge.run(fm.astart())
        else:
            fm.start()
        app = edge.mount(show, fm)
        assert shown(edge, app) == "control ERROR CONNECT"
        assert fm.counts() == {("undecided", "wt", "CONNECT"): 1}
        assert fm.health()["vendors"]["wt"]["breaker"] == "closed"
    finally:
        vendor.start()
    assert edge.get(app).cookies != {}
    assert fm.counts() == {("undecided", "wt", "CONNECT"): 1, ("decided", "wt", ""): 1}


def test_U32_flapping(edge: Edge, make: Make) -> None:
    """A vendor that goes up and down is asked until the breaker opens, and then left alone for the open time."""
    with RawVendor(*[[read_request, reset]] * 5, always(GOOD)) as raw:
        fm = make(vendors=[webtrends(raw.url)])
        app, end, pages = edge.mount(show, fm), time.monotonic() + 1.0, Counter[str]()
        while time.monotonic() < end:
            pages[shown(edge, app)] += 1
            time.sleep(0.002)
        assert len(raw.requests) == 5 == pages.pop("control ERROR RESET")
        # It is well again, and nobody asks yet: the breaker has not been open for two seconds.
        assert list(pages) == ["control ERROR BREAKER_OPEN"]
        refused = pages["control ERROR BREAKER_OPEN"]
        assert fm.counts() == {("undecided", "wt", "RESET"): 5, ("undecided", "wt", "BREAKER_OPEN"): refused}
        assert fm.health()["vendors"]["wt"]["breaker"] == "open"


def test_U33_one_of_two_is_dead(edge: Edge, make: Make) -> None:
    """The other's flags are decided, in time; each vendor has a breaker of its own."""
    with RawVendor(hang) as hung, RawVendor(always(GOOD)) as well:
        vendors = [webtrends(hung.url, name="hung"), webtrends(well.url, name="well")]
        fm = make(vendors=vendors, deadline_ms=3 * DEADLINE_MS)
        app = edge.mount(show, fm)
        assert [shown(edge, app) for _ in range(8)] == ["b SPLIT -"] * 8
        assert fm.counts() == {
            ("decided", "well", ""): 8,
            ("undecided", "hung", "DEADLINE"): 5,
            ("undecided", "hung", "BREAKER_OPEN"): 3,
        }
        breakers = {name: lane["breaker"] for name, lane in fm.health()["vendors"].items()}
        assert breakers == {"hung": "open", "well": "closed"}


def test_U34_more_than_the_room(edge: Edge, make: Make) -> None:
    """Calls beyond those that may be under way wait; those for which no place comes in time are not made."""
    with RawVendor(forever(read_request, sleep(0.6), send(http(GOOD)))) as raw:
        fm = make(vendors=[webtrends(raw.url)], max_in_flight=4, pool_size=4, deadline_ms=400, late_ms=0)
        pages = Counter(page.body.decode() for page in edge.at_once(edge.mount(show, fm), [Sent()] * 12))
        assert pages == {"control ERROR DEADLINE": 4, "control ERROR SHED": 8}
        assert len(raw.requests) == 4
        assert fm.counts() == {("undecided", "wt", "DEADLINE"): 4, ("undecided", "wt", "SHED"): 8}
        assert eventually(lambda: fm.health()["vendors"]["wt"]["in_flight"] == 0)
        assert fm.health()["vendors"]["wt"]["breaker"] == "closed"
