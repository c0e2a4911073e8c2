"""Session Stream of the sandbox: what visitors of the engine did, with names of the Metadata API."""

from __future__ import annotations

import io

import httpx2

from flagmw import Flagmw, Monetate, Visit
from flagmw.admin import MonetateAdmin
from flagmw.admin.monetate.sessions.counting import count_sessions
from flagmw.sandbox import SandboxServer
from tests.sandbox.monetate_admin import boxed


def test_visitors_become_sessions(box: SandboxServer, admin: MonetateAdmin, http: httpx2.Client) -> None:
    """Decisions and page events of the middleware, counted with the names that the client reads."""
    box.sandbox.replace(boxed.scenario(page_events=[{"id": 132, "title": "signup"}]))
    vendor = Monetate("acme", "a-701b337c/p/www.mysite.com", base_url=box.monetate_url)
    fm = Flagmw(vendors=[vendor], defaults={"HomepageHero": "none"}, deadline_ms=3000, outbox="memory://")
    try:
        for number in range(5):
            visit = Visit(url="https://www.mysite.com/", cookies={"mt.v": f"2.{number}.1767225600000"})
            flags = fm.decide(visit)
            assert flags["HomepageHero"] in ("New Arrivals", "Clearance")
            flags.track("signup")
    finally:
        fm.close(5.0)
    answer = http.get(f"{box.url}/__sandbox__/monetate/acme/session-stream")
    report = count_sessions([io.BytesIO(answer.content)], admin.sessions.names())
    hero = next(one for one in report.experiences if one.id == "1")
    assert (report.sessions, report.broken) == (5, 0)
    assert (hero.name, hero.sessions) == ("Homepage Hero Replacement", 5)
    assert {one.name for one in hero.variants} <= {"A New Arrivals", "B Clearance"}
    assert report.unmatched == {"experiences": [], "page_events": [], "targets": []}
    assert [(one.name, one.sessions) for one in report.page_events] == [("signup", 5)]
    assert http.get(f"{box.url}/__sandbox__/monetate/nobody/session-stream").status_code == 404
