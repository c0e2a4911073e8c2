"""Shadow vendors through both edges: asked when the page has gone, compared with it, heard of by nobody."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flagmw import Monetate, Static
from flagmw.codes import ErrorCode
from flagmw.config import Identity
from flagmw.sandbox import SandboxServer
from flagmw.types import Visit
from tests.contracts.edges.driver import Answer, AsgiEdge, Edge, Make, Probe, Seen, Sent, Visitor, webtrends
from tests.support.busy import HELD_UP_S


def eventually(holds: Callable[[], bool], within_s: float = 15.0) -> bool:
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def served(seen: Seen) -> Answer:
    return Answer(seen.flags["ta_Project1"].encode())


def turn(edge: Edge, seconds: float = 0.02) -> None:
    """Let some time pass; what waits on an event loop has its turn only then."""
    if isinstance(edge, AsgiEdge):
        edge.run(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def compared(fm: Any) -> int:
    return sum(n for (what, *_), n in fm.counts().items() if what in ("shadow_same", "shadow_differs"))


def settled(edge: Edge, fm: Any, wanted: int) -> bool:
    """Wait until *wanted* aliases were compared."""

    def done() -> bool:
        turn(edge)
        return compared(fm) >= wanted

    return eventually(done)


def monetate(server: SandboxServer, **options: Any) -> Monetate:
    return Monetate(
        "acme", "a-701b337c/p/www.mysite.com", base_url=server.monetate_url,
        flag_map={"Checkout_Content": "ta_Project1"}, **options,
    )  # fmt: skip


def test_page_and_visitor_know_nothing_of_it(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Its variants are not served, its cookies not set; at the vendor it is one visitor, of whom nothing is counted."""
    fm = make(vendors=[webtrends(vendor.webtrends_url), monetate(vendor, shadow=True)])
    visitor = Visitor(edge, edge.mount(served, fm))
    pages = []
    for n in range(4):
        pages.append(visitor.get())
        assert settled(edge, fm, n + 1)
    assert {page.body for page in pages} < {b"control", b"variation"}
    assert not any("mt.v" in line for page in pages for line in page.values("set-cookie"))
    assert fm.flush(5)
    told = [request for request in vendor.ledger()["requests"] if request["vendor"] == "monetate"]
    assert len(told) == 4 and len({request["system_uid"] for request in told}) == 1
    assert not any(view["vendor"] == "monetate" for view in vendor.ledger()["views"])
    report = fm.shadow_report()["vendors"]["monetate"]
    assert report["asked"] == 4 and report["failed"] == {}
    # Its variants have other names, so that every page differs from it.
    assert report["aliases"]["ta_Project1"]["differs"] == 4
    assert fm.counts()[("shadow_missing", "monetate", "")] == 12  # Webtrends' three other projects


def test_known_disagreement_of_a_thousand_visitors(edge: Edge, make: Make) -> None:
    """The report shows which alias differs, how often, and in what; and no alias that agrees."""
    shares = {"split": {"a": 1, "b": 1}}
    serving = Static(flags={"same": shares, "moved": shares, "gone": "x"}, name="now")
    # The same visitors by the same salt, but every b of "moved" is a c there.
    other = Static(
        flags={"same": shares, "moved": {"split": {"a": 1, "c": 1}, "salt": "moved"}}, name="later", shadow=True
    )
    fm = make(vendors=[serving, other], identify=lambda inbound: Identity(inbound.query))
    app = edge.mount(lambda seen: Answer(seen.flags["moved"].encode()), fm)
    shown: list[bytes] = []

    def all_asked() -> bool:
        turn(edge, 0.005)
        return bool(fm.shadow_report()["vendors"]["later"]["asked"] == len(shown))

    for first in range(0, 1000, 50):
        shown += [edge.get(app, query=f"n={n}").body for n in range(first, first + 50)]
        assert eventually(all_asked)
    rows = fm.shadow_report()["vendors"]["later"]["aliases"]
    moved = shown.count(b"b")
    assert 400 < moved < 600
    assert rows["same"] == {"same": 1000, "differs": 0, "missing": 0, "pairs": []}
    assert rows["gone"] == {"same": 0, "differs": 0, "missing": 1000, "pairs": []}
    assert rows["moved"] == {
        "same": 1000 - moved, "differs": moved, "missing": 0,
        "pairs": [{"served": "b", "shadow": "c", "count": moved}],
    }  # fmt: skip
    counts = fm.counts()
    assert (counts[("shadow_same", "later", "")], counts[("shadow_differs", "later", "")]) == (2000 - moved, moved)


def test_never_before_the_response(edge: Edge, make: Make, everyone_b: Static) -> None:
    """The page is whole at the client before the vendor hears of it, however slow that is, streams included."""
    log: list[str] = []

    def act(visit: Visit) -> None:
        log.append("asked")
        assert not visit.record and not visit.cookies

    probe = Probe(act)
    probe.shadow = True  # type: ignore[attr-defined]
    fm = make(vendors=[everyone_b, probe])
    for body in (b"whole", [b"in ", b"pieces"], iter([b"in ", b"pieces"])):
        log.clear()
        page = edge.call(
            edge.mount(
                lambda seen, body=body: Answer(f"{seen.flags['ta_A']}".encode() if body == b"whole" else body), fm
            ),
            Sent(),
            lambda piece: log.append("piece"),
        )
        assert page.status == 200
        assert eventually(lambda: (turn(edge), "asked" in log)[1])
        assert log[-1] == "asked" and log.count("asked") == 1


@pytest.mark.parametrize("kind", ["hang", "reset", "html"])
def test_its_faults_are_nobodys(edge: Edge, make: Make, vendor: SandboxServer, kind: str) -> None:
    """Whatever it does, pages stay as they are and as quick; failures are in the report, by their code."""
    fm = make(vendors=[webtrends(vendor.webtrends_url), monetate(vendor, shadow=True)], deadline_ms=400)
    app = edge.mount(served, fm)
    edge.get(app)
    assert settled(edge, fm, 1)
    vendor.faults([{"route": "monetate.decide", "kind": kind}])
    times = []
    for _ in range(3):
        started = time.monotonic()
        assert edge.get(app).body in (b"control", b"variation")
        times.append(time.monotonic() - started)
    assert min(times) < 0.3, "nobody waits for it"

    def failed() -> bool:
        turn(edge, 0.05)
        return sum(fm.shadow_report()["vendors"]["monetate"]["failed"].values()) == 3

    assert eventually(failed)
    assert fm.counts()[("decided", "wt", "")] == 4


def test_who_is_left_alone(edge: Edge, make: Make, everyone_b: Static) -> None:
    """Nobody without full consent, no robot, no page that nobody decided, and no page that was decided before."""
    probe = Probe()
    probe.shadow = True  # type: ignore[attr-defined]
    for options in (
        {"consent": lambda inbound: "functional"},
        {"consent": lambda inbound: "none"},
        {"bots": lambda inbound: True},
        {"paths": ["/shop/*"]},
        {"mode": "lazy"},
    ):
        fm = make(vendors=[everyone_b, probe], **options)
        edge.get(edge.mount(lambda seen: Answer(), fm))
        turn(edge, 0.05)
    assert probe.visits == []


def test_tags_cookies_go_first(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A site that moves from one vendor to another has the other's cookies already: the visitor is theirs."""
    fm = make(vendors=[Static(flags={"ta_Project1": "x"}), monetate(vendor, shadow=True)])
    known = "2.309132816.1519728587304"
    page = edge.get(edge.mount(served, fm), cookies={"mt.v": known})
    assert page.values("set-cookie") == []
    assert settled(edge, fm, 1)
    (request,) = vendor.ledger()["requests"]
    assert not request.get("minted", False)


def test_it_is_told_nothing_of_what_visitors_do(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A conversion goes to the vendors that serve, even one that names the shadow vendor."""

    def buying(seen: Seen) -> Answer:
        seen.flags.track("purchase")
        seen.flags.track("purchase", vendors=["monetate"])
        return Answer(seen.flags["ta_Project1"].encode())

    fm = make(vendors=[webtrends(vendor.webtrends_url), monetate(vendor, shadow=True)])
    visitor = Visitor(edge, edge.mount(buying, fm))
    visitor.get()
    visitor.get()
    assert settled(edge, fm, 2) and fm.flush(5)
    assert {sale["vendor"] for sale in vendor.ledger()["conversions"]} == {"webtrends"}


def test_the_file(edge: Edge, make: Make, tmp_path: Path, everyone_b: Static) -> None:
    """The report is in its file soon after the first comparison and at the end, with those of other processes."""
    file = tmp_path / "shadow.json"
    other = Static(flags={"ta_A": "c"}, name="later", shadow=True)
    for n in (1, 2):
        fm = make(vendors=[everyone_b, other], shadow_report=file)
        app = edge.mount(lambda seen: Answer(seen.flags["ta_A"].encode()), fm)
        edge.get(app)
        assert eventually(lambda: (turn(edge), file.exists())[1])
        edge.get(app)
        assert settled(edge, fm, 2)
        edge.close(fm)
        assert fm.shadow_report()["vendors"]["later"]["asked"] == 2
        processes = json.loads(file.read_text())["processes"]
        assert len(processes) == n
        assert all(each["vendors"]["later"]["asked"] == 2 for each in processes.values())


def test_shutdown_waits_for_nothing(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Questions under way are given up when the server goes."""
    vendor.faults([{"route": "monetate.decide", "kind": "hang"}])
    fm = make(vendors=[Static(flags={"ta_Project1": "x"}), monetate(vendor, shadow=True)], deadline_ms=30_000)
    app = edge.mount(served, fm)
    for _ in range(70):
        edge.get(app)
    assert fm.counts()[("shadow_shed", "monetate", ErrorCode.SHED)] == 6
    turn(edge, 0.1)
    started = time.monotonic()
    edge.close(fm)
    assert time.monotonic() - started < HELD_UP_S
