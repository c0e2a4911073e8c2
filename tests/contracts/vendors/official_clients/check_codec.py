"""The codec beside Adobe's clients: the same cookies, the same visitors, the same decisions."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import orjson
import pytest

from flagmw import AdobeTarget, Flagmw, Visit
from flagmw._drivers.blocking import BlockingDriver
from flagmw._support.deadline import Deadline
from flagmw.sandbox import SandboxServer
from flagmw.types import Reply, VisitorState
from tests.contracts.vendors.official_clients.conftest import Official, Process
from tests.unit.vendors.webtrends.codec import run

NOW_MS = 1_800_000_000_250
REQUEST = {"execute": {"mboxes": [{"index": 0, "name": "ta_Hero"}]}}


def ours(device: str, session: str, edge_host: str | None, cookies: dict[str, str]) -> dict[str, Any]:
    """Return the cookies that the codec writes for this answer, at the frozen moment."""
    mboxes = {"execute": {"mboxes": [{"index": 0, "name": "ta_Hero"}]}}
    answer = {
        "status": 200,
        "id": {"tntId": device},
        **mboxes,
        **({} if edge_host is None else {"edgeHost": edge_host}),
    }
    visit = Visit(url="https://www.mysite.com/", now=NOW_MS / 1000, fresh_id=session)
    flow = AdobeTarget("demo", ["ta_Hero"]).decide(visit, VisitorState(cookies))
    decision, _ = run(flow, Reply(status=200, headers={}, body=orjson.dumps(answer)))
    return {change.name: (change.value, change.max_age_s) for change in decision.cookies}


def theirs(found: dict[str, Any]) -> dict[str, Any]:
    cookies = [found["cookie"], *([found["hint"]] if found.get("hint") else [])]
    return {one["name"]: (one["value"], one["maxAge"]) for one in cookies}


def test_cookies_are_equal_under_a_frozen_clock(official: Official) -> None:
    """Name, value and lifetime, byte for byte: of a new visitor, of a returning one, of one whose session ran out."""
    kept: dict[str, str] = {}
    for session in ("first-session", "unused", "late"):
        if session == "late":
            kept["mbox"] = f"session#gone#{NOW_MS // 1000}|{kept['mbox'].partition('|')[2]}"
        asked = {"targetCookie": kept["mbox"]} if kept else {}
        found = official.offers(REQUEST, NOW_MS, sessionId=session, **asked)
        response = found["response"]
        mine = ours(response["id"]["tntId"], session, response.get("edgeHost"), kept)
        assert mine == theirs(found)
        kept = {name: value for name, (value, _) in mine.items()}


def test_our_visitors_are_theirs(official: Official) -> None:
    """A visitor who was decided for here is the same one to the official client, by the cookie that was set."""
    vendor = AdobeTarget("demo", ["ta_Hero"], base_url=official.sandbox.adobe_url)
    with_flags = Flagmw(vendors=[vendor], deadline_ms=5000)
    try:
        flags = with_flags.decide(Visit(url="https://www.mysite.com/", now=time.time()))
        variant = flags["ta_Hero"]
        cookie = next(text for text in flags.set_cookies if text.startswith("mbox="))
    finally:
        with_flags.close()
    value = cookie.partition("=")[2].partition(";")[0]
    found = official.offers(REQUEST, targetCookie=value)
    assert found["response"]["execute"]["mboxes"][0]["options"][0]["responseTokens"]["experience.name"] == variant
    one, two = official.sandbox.ledger()["requests"]
    assert (one["session"], one["system_uid"]) == (two["session"], two["system_uid"])


VISITORS = [f"visitor-{n}" for n in range(10_000)]
MBOXES = ["ta_Checkout", "ta_Hero", "ta_Banner", "ta_Search"]
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"


@pytest.fixture
def on_device(sandbox: SandboxServer) -> AdobeTarget:
    """Return the codec with the rules of the sandbox."""
    url = sandbox.adobe_artifact_url()
    vendor = AdobeTarget("demo", MBOXES, decisioning="on-device", artifact_url=url, base_url=sandbox.adobe_url)
    response = httpx2.get(url)
    run(vendor.refresh(0.0), Reply(status=200, headers={}, body=response.content))
    return vendor


def decided(vendor: AdobeTarget, visitor: str, tier: str) -> list[str | None]:
    now = time.time()
    cookies = {"mbox": f"PC#{visitor}#{int(now) + 999}"}
    visit = Visit(url="https://www.mysite.com/", now=now, user_agent=CHROME, data={"tier": tier})
    decision, calls = run(vendor.decide(visit, VisitorState(cookies)))
    assert calls == []
    return [decision.variants[mbox].key if mbox in decision.variants else None for mbox in MBOXES]


def test_on_device_agreement_over_ten_thousand_visitors(
    node: Process, sandbox: SandboxServer, on_device: AdobeTarget
) -> None:
    """The codec and Adobe's Node client decide the same by the same rules, audiences included."""
    official = Official(node, "on-device", sandbox, "fetchApi")
    config = {
        "decisioningMethod": "on-device",
        "artifactLocation": sandbox.adobe_artifact_url(),
        "pollingInterval": 0,
    }
    official.call("create", port=sandbox.port, wiring="fetchApi", config=config)
    context = {"channel": "web", "userAgent": CHROME, "address": {"url": "https://www.mysite.com/"}}
    for tier, visitors in (("gold", VISITORS[:5000]), ("silver", VISITORS[5000:])):
        asked = {"visitors": visitors, "mboxes": MBOXES, "parameters": {"tier": tier}, "context": context}
        names = official.call("many", **asked)["names"]
        mine = [decided(on_device, visitor, tier) for visitor in visitors]
        assert mine == names
        assert {name for row in names for name in row} >= {"control", "variation", "summer", "winter", "suggest"}


def test_on_device_agrees_with_the_service(sandbox: SandboxServer, on_device: AdobeTarget) -> None:
    """What is decided here is what the emulated service answers."""
    vendor = AdobeTarget("demo", MBOXES, base_url=sandbox.adobe_url)
    driver = BlockingDriver(pool_size=1)
    for visitor in VISITORS[:200]:
        now = time.time()
        cookies = {"mbox": f"PC#{visitor}#{int(now) + 999}"}
        visit = Visit(url="https://www.mysite.com/", now=now, user_agent=CHROME, data={"tier": "gold"})
        flow = vendor.decide(visit, VisitorState(cookies))
        decision = driver.run(flow, Deadline.after(5.0, time.monotonic()))
        asked = [decision.variants[mbox].key if mbox in decision.variants else None for mbox in MBOXES]
        assert asked == decided(on_device, visitor, "gold")
    driver.close()


def test_an_unknown_mbox_is_partial_content(node: Process, sandbox: SandboxServer) -> None:
    """The rules say which mboxes they leave to the service; Adobe's client reads that."""
    official = Official(node, "partial", sandbox, "fetchApi")
    config = {"decisioningMethod": "on-device", "artifactLocation": sandbox.adobe_artifact_url(), "pollingInterval": 0}
    official.call("create", port=sandbox.port, wiring="fetchApi", config=config)
    found = official.offers({"execute": {"mboxes": [{"index": 0, "name": "ta_Recs"}]}})
    assert found["response"]["status"] == 206 and found["meta"]["remoteMboxes"] == ["ta_Recs"]
