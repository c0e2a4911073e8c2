"""Visitors kept on the server: they keep their variant without vendors' cookies; a store that is away harms no page."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flagmw import ErrorCode, Flagmw, Identity, Visit
from flagmw._visitor_store.factory import open_store
from flagmw._visitor_store.sqlite import SqliteVisitors
from flagmw.exceptions import ConfigError
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Answer, Edge, Make, Seen, Visitor, webtrends
from tests.support.busy import HELD_UP_S

KEYS = ["a-signing-key-of-the-tests-0123456789"]


@pytest.fixture
def store(tmp_path: Path) -> SqliteVisitors:
    return SqliteVisitors(tmp_path / "visitors")


def options(vendor: SandboxServer, store: Any, **more: Any) -> dict[str, Any]:
    return {"vendors": [webtrends(vendor.webtrends_url)], "visitor_store": store, "signing_keys": KEYS, **more}


def variant(seen: Seen) -> Answer:
    return Answer(seen.flags["ta_Project1"].encode())


def test_browser_gets_one_cookie_of_ours_and_none_of_the_vendors(
    edge: Edge, make: Make, vendor: SandboxServer, store: SqliteVisitors
) -> None:
    """The vendor knows the visitor again by what is kept under the signed id; a forged id is a new visitor."""
    fm = make(**options(vendor, store))
    app = edge.mount(variant, fm)
    first = edge.get(app)
    assert first.cookies.keys() == {"flagmw_visitor"}
    token = first.cookies["flagmw_visitor"]
    second = edge.get(app, cookies={"flagmw_visitor": token})
    assert second.body == first.body
    assert second.cookies == {}
    forged = edge.get(app, cookies={"flagmw_visitor": token[:-4] + "AAAA"})
    assert forged.cookies.keys() == {"flagmw_visitor"}
    uids = [request["system_uid"] for request in vendor.ledger()["requests"] if request["action"] == "control"]
    assert len(uids) == 3 and uids[0] == uids[1] != uids[2]


def test_a_user_is_the_same_on_every_device(
    edge: Edge, make: Make, vendor: SandboxServer, store: SqliteVisitors
) -> None:
    """With `user_id` no cookie is set at all, and two clients of one user are one visitor."""
    fm = make(**options(vendor, store, identify=lambda inbound: Identity(user_id=inbound.header("x-user"))))
    app = edge.mount(variant, fm)
    pages = [edge.get(app, headers=[("x-user", user)]) for user in ("ada", "ada", "bob")]
    assert [page.cookies for page in pages] == [{}, {}, {}]
    uids = [request["system_uid"] for request in vendor.ledger()["requests"] if request["action"] == "control"]
    assert uids[0] == uids[1] != uids[2]


def test_a_job_converts_for_a_user(vendor: SandboxServer, store: SqliteVisitors) -> None:
    """Pure server-side use: decide and track by the user's id alone."""
    fm = Flagmw(deadline_ms=5000, outbox="memory://", **options(vendor, store))
    variant = fm.decide(Visit(url="https://www.mysite.com/", user_id="ada"))["ta_Project1"]
    again = Flagmw(deadline_ms=5000, outbox="memory://", **options(vendor, store))
    assert again.decide(Visit(url="https://www.mysite.com/", user_id="ada"))["ta_Project1"] == variant
    assert again.track("purchase", visitor=Visit(url="https://www.mysite.com/", user_id="ada"), aliases=["ta_Project1"])
    assert again.flush(5)
    (conversion,) = vendor.ledger(metric="purchase")["conversions"]
    assert conversion["alias"] == "ta_Project1"
    for each in (fm, again):
        each.close(1.0)


class Broken:
    """A store that is away, or that takes its time."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.wait_s, self.go = wait_s, threading.Event()

    def load(self, key: str) -> bytes | None:
        self.go.wait(self.wait_s)
        raise OSError("the store is away")

    save = load  # type: ignore[assignment]


def test_store_that_is_away(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Everybody is a new visitor then, and gets a page."""
    fm = make(**options(vendor, Broken(), identify=lambda inbound: Identity(user_id="ada")))
    app = edge.mount(variant, fm)
    assert [edge.get(app).status for _ in range(2)] == [200, 200]
    assert fm.counts()["visitor_store_failed", "", ""] >= 2


class Flaky(SqliteVisitors):
    """A store that can be switched off."""

    away = False

    def load(self, key: str) -> bytes | None:
        if self.away:
            raise OSError("the store is away")
        return super().load(key)


def test_a_load_that_fails_does_not_overwrite_the_visitor(
    edge: Edge, make: Make, vendor: SandboxServer, tmp_path: Path
) -> None:
    """The visitor is a new one meanwhile, and the old one again afterwards."""
    store = Flaky(tmp_path / "visitors")
    fm = make(**options(vendor, store, identify=lambda inbound: Identity(user_id="ada")))
    app = edge.mount(variant, fm)
    edge.get(app)
    store.away = True
    edge.get(app)
    store.away = False
    edge.get(app)
    uids = [request["system_uid"] for request in vendor.ledger()["requests"] if request["action"] == "control"]
    assert uids[0] == uids[2] != uids[1]


def test_a_slow_store_holds_no_page_past_the_deadline(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    store = Broken(3 * HELD_UP_S)
    fm = make(**options(vendor, store, identify=lambda inbound: Identity(user_id="ada"), deadline_ms=300))
    started = time.monotonic()
    assert edge.get(edge.mount(variant, fm)).status == 200
    assert time.monotonic() - started < HELD_UP_S
    store.go.set()


def test_cookies_that_the_caller_names_count(vendor: SandboxServer, store: SqliteVisitors) -> None:
    """A job that has the visitor's cookies asks with them, and gets the vendor's back."""
    fm = Flagmw(deadline_ms=5000, outbox="memory://", **options(vendor, store))
    first = fm.decide(Visit(url="https://www.mysite.com/", user_id="ada"))
    bare = Flagmw(vendors=[webtrends(vendor.webtrends_url)], deadline_ms=5000, outbox="memory://")
    lines = bare.decide(Visit(url="https://www.mysite.com/")).set_cookies
    jar = dict(line.partition(";")[0].split("=", 1) for line in lines)
    flags = fm.decide(Visit(url="https://www.mysite.com/", cookies=jar))
    assert flags.error_code is None and first.set_cookies == ()
    asked = [request for request in vendor.ledger()["requests"] if request["action"] == "control"]
    assert asked[-1]["cookies"].keys() == jar.keys()
    for each in (fm, bare):
        each.close(1.0)


def test_lazy_flags_track_with_the_kept_cookies(
    edge: Edge, make: Make, vendor: SandboxServer, store: SqliteVisitors
) -> None:
    """A purchase page that reads no flag converts all the same."""
    fm = make(**options(vendor, store, mode="lazy", identify=lambda inbound: Identity(user_id="ada")))

    def buy(seen: Seen) -> Answer:
        return Answer(str(seen.flags.track("purchase", aliases=["ta_Project1"])).encode())

    fm.decide(Visit(url="https://www.mysite.com/", user_id="ada"))
    assert edge.get(edge.mount(buy, fm)).body != b"None"
    assert fm.flush(5)
    assert len(vendor.ledger(metric="purchase")["conversions"]) == 1


@pytest.mark.parametrize("stored", [b"", b"junk", b"[]", b'{"wt": 5}', b'{"wt": {"sessionid": "x"}, "other": {}}'])
def test_what_cannot_be_read_is_nothing(vendor: SandboxServer, stored: bytes) -> None:
    """Nor is a cookie that is not the vendor's sent to it."""

    class Odd:
        def load(self, key: str) -> bytes:
            return stored

        def save(self, key: str, value: bytes, ttl_s: float) -> None:
            self.saved = value

    odd = Odd()
    fm = Flagmw(deadline_ms=5000, outbox="memory://", **options(vendor, odd))
    assert fm.decide(Visit(url="https://www.mysite.com/", user_id="ada")).error_code is None
    (request,) = vendor.ledger()["requests"]
    assert request["cookies"] == {}
    assert re.search(rb'"wt":\{"_wt\.', odd.saved)
    fm.close(1.0)


def test_sqlite_forgets_in_time(tmp_path: Path) -> None:
    now = [1000.0]
    store = SqliteVisitors(tmp_path, clock=lambda: now[0])
    store.save("a", b"1", 10)
    store.save("a", b"2", 10)
    assert store.load("a") == b"2"
    now[0] = 1010.0
    assert store.load("a") is None
    assert (tmp_path / "visitors.db").stat().st_mode & 0o777 == 0o600
    store.close()


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///", "sqlite://host/dir", "sqlite:///dir?key_env=A"])
def test_address_of_no_store(address: str) -> None:
    with pytest.raises(ConfigError, match="directory"):
        open_store(address)


def test_flags_of_a_visitor_without_consent_touch_no_store(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    fm = make(**options(vendor, Broken(), consent=lambda inbound: "none"))
    page = edge.get(edge.mount(lambda seen: Answer(str(seen.flags.error_code).encode()), fm))
    assert page.body == ErrorCode.NO_CONSENT.encode()
    assert ("visitor_store_failed", "", "") not in fm.counts()


@pytest.mark.parametrize("who", ["anonymous", "user"])
@pytest.mark.parametrize("reuse_s", [0, 86_400])
def test_a_daily_visitor_is_the_same_after_a_hundred_days(
    edge: Edge, make: Make, vendor: SandboxServer, tmp_path: Path, who: str, reuse_s: int
) -> None:
    """The id and what is kept are renewed once a day; a visitor who stays away for longer than they live is new."""
    now = [time.time()]
    store = SqliteVisitors(tmp_path, clock=lambda: now[0])
    identify = (lambda inbound: Identity(user_id="ada")) if who == "user" else None
    fm = make(**options(vendor, store, identify=identify, reuse_s=reuse_s))
    fm._context.clock = lambda: now[0]
    app, visitor = edge.mount(variant, fm), Visitor(edge, None)
    visitor.app = app
    renewed = 0
    for _ in range(100):
        for _ in range(2):
            renewed += "flagmw_visitor" in visitor.get().cookies
        now[0] += 86_400
    uids = {request["system_uid"] for request in vendor.ledger()["requests"] if request["action"] == "control"}
    assert len(uids) == 1
    assert renewed == (0 if who == "user" else 100)
    now[0] += 91 * 86_400
    visitor.get()
    after = {request["system_uid"] for request in vendor.ledger()["requests"] if request["action"] == "control"}
    assert len(after) == 2
