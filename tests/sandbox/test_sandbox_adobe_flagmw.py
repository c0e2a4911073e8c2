"""`AdobeTarget` through the runtime, against the emulated service: what arrives, and what no fault gets through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flagmw import AdobeTarget, Flagmw, Visit
from flagmw.sandbox import SandboxServer, load_scenario

PAGE = "https://www.mysite.com/checkout"


@pytest.fixture
def target(vendor: SandboxServer) -> SandboxServer:
    vendor.replace_scenario(load_scenario("adobe"))
    return vendor


@pytest.fixture
def shop(target: SandboxServer) -> Iterator[Any]:
    """Make a `Flagmw` with the vendor; all are closed at the end."""
    made: list[Flagmw] = []

    def make(*mboxes: str, **options: Any) -> Flagmw:
        one = AdobeTarget("demo", mboxes or ("ta_Hero",), base_url=target.adobe_url, **options)
        made.append(Flagmw(vendors=[one], defaults={"ta_Hero": "default"}, deadline_ms=3000))
        return made[-1]

    yield make
    for fm in made:
        fm.close()


def visit(**more: Any) -> Visit:
    return Visit(url=PAGE, now=time.time(), **more)


def jar(flags: Any) -> dict[str, str]:
    pairs = (line.partition(";")[0].partition("=") for line in flags.set_cookies)
    return {name: value for name, _, value in pairs}


def test_a_visitor_decides_returns_and_buys(shop: Any, target: SandboxServer) -> None:
    """The experience stays, the purchase arrives with its order, and all of it is one visitor's."""
    fm = shop("ta_Hero", "ta_Checkout")
    flags = fm.decide(visit())
    assert flags["ta_Hero"] in ("summer", "winter") and flags.payload("ta_Hero")["discount"] in (20, 30)
    again = fm.decide(visit(cookies=jar(flags)))
    assert dict(again) == dict(flags)
    fm.track("purchase", visitor=flags.save(), key="o-1", value=49.9, items=[{"id": "p1"}])
    assert fm.flush(5)
    ledger = target.ledger()
    (sale,) = [one for one in ledger["conversions"] if one["metric"] == "purchase"]
    order = dict(sale["order"])
    assert order.pop("time").endswith("Z")
    assert order == {"id": "o-1", "total": 49.9, "purchasedProductIds": ["p1"]}
    assert len({one["system_uid"] for one in ledger["requests"]} | {sale["system_uid"]}) == 1
    assert len({one["session"] for one in ledger["requests"]}) == 1
    assert fm.outbox_stats().balanced()


def test_it_decides_on_an_event_loop(shop: Any) -> None:
    fm = shop()
    flags = asyncio.run(fm.adecide(visit()))
    assert flags.variant("ta_Hero").vendor == "adobe_target"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "error", "code": 400}, "VENDOR_400"),
        ({"kind": "error", "code": 420}, "RATE_LIMITED"),
        ({"kind": "error", "code": 500}, "HTTP_STATUS"),
        ({"kind": "html"}, "HTTP_STATUS"),
        ({"kind": "redirect"}, "REDIRECT"),
        ({"kind": "reset"}, "RESET"),
        ({"kind": "truncate"}, "TRUNCATED"),
        ({"kind": "trailing_comma"}, "NOT_JSON"),
        ({"kind": "comments"}, "NOT_JSON"),
        ({"kind": "gzip_bomb"}, "TOO_LARGE"),
    ],
)
def test_faults_give_defaults_and_no_cookie(shop: Any, target: SandboxServer, fault: dict[str, Any], code: str) -> None:
    target.faults([{"route": "adobe.delivery", **fault}])
    flags = shop().decide(visit())
    assert (flags["ta_Hero"], flags.set_cookies) == ("default", ())
    assert flags.variant("ta_Hero").error_code == code


def test_hostile_answers_reach_nobody(shop: Any, target: SandboxServer) -> None:
    """Ids that break out of a cookie, or fill it, and hosts from nowhere are left out; the decision stands."""
    for fault in (
        {"kind": "bad_cookie"},
        {"kind": "huge_cookie"},
        {"kind": "bad_cookie", "name": "edgeHost", "value": "@localhost:9999/"},
        {"kind": "bad_cookie", "name": "edgeHost", "value": "28.evil.example"},
    ):
        target.faults([{"route": "delivery", **fault}])
        flags = shop().decide(visit())
        assert flags["ta_Hero"] in ("summer", "winter")
        assert "evil" not in str(flags.set_cookies) and "\r" not in str(flags.set_cookies)
        assert "localhost" not in str(flags.set_cookies)
        if "name" not in fault:
            assert "PC#" not in jar(flags)["mbox"]
        else:
            assert "mboxEdgeCluster" not in jar(flags)
    assert all(one["action"] == "delivery" for one in target.ledger()["requests"])


def test_a_lost_conversion_is_sent_again_as_the_same_order(shop: Any, target: SandboxServer) -> None:
    fm = shop()
    flags = fm.decide(visit())
    target.faults([{"kind": "status", "route": "delivery", "status": 503, "processed": True, "times": 1}])
    fm.track("purchase", visitor=flags.save(), key="o-2", value=1.0)
    assert fm.flush(15)
    sales = target.ledger(metric="purchase")["conversions"]
    assert [(one["order"]["id"], one["duplicate"]) for one in sales] == [("o-2", False), ("o-2", True)]
