"""Adobe's clients against the sandbox: what they ask is taken, what they are answered is understood."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.contracts.vendors.official_clients.conftest import Official, install

UUID = "1ad0b2d0-2f6d-4d3e-8b0e-5f3c0e3a7d11"


def execute(*names: str, **more: Any) -> dict[str, Any]:
    return {"execute": {"mboxes": [{"index": n, "name": name} for n, name in enumerate(names)]}, **more}


def requests(official: Official) -> list[dict[str, Any]]:
    return list(official.sandbox.ledger()["requests"])


def mbox_of(found: dict[str, Any], section: str = "execute") -> dict[str, Any]:
    (mbox,) = found["response"][section]["mboxes"]
    return dict(mbox)


def test_a_new_visitor(official: Official) -> None:
    """The request is taken as it is, the device comes back, and a cookie is made of it."""
    found = official.offers(execute("ta_Hero"))
    device = found["response"]["id"]["tntId"]
    assert f"|PC#{device}#" in found["cookie"]["value"]
    assert mbox_of(found)["options"][0]["content"]["title"] in ("Summer sale", "Winter sale")
    (entry,) = requests(official)
    assert entry["answer"]["status"] == 200 and entry["sdk"].startswith("AdobeTarget")
    assert len(official.sandbox.ledger()["views"]) == 1


def test_a_returning_visitor(official: Official) -> None:
    """Session, device and experience stay; the client that may leave for the edge does."""
    first = official.offers(execute("ta_Hero"))
    again = official.offers(execute("ta_Hero"), targetCookie=first["cookie"]["value"])
    assert again["response"]["id"]["tntId"] == first["response"]["id"]["tntId"]
    assert mbox_of(again) == mbox_of(first)
    one, two = requests(official)
    assert one["session"] == two["session"]
    if official.wiring == "fetchApi":
        assert again["hosts"] == ["mboxedge35.tt.omtrdc.net"]
        assert again["hint"]["value"] == "35"


def test_an_expired_session(official: Official) -> None:
    """A session part that has run out is replaced, the device stays."""
    device = "feedface" + (".35_0" if official.wiring == "fetchApi" else "")
    later = int(time.time()) + 9999
    cookie = f"session#old#1000|PC#{device}#{later}"
    found = official.offers(execute("ta_Hero"), targetCookie=cookie)
    assert found["response"]["id"]["tntId"] == device
    (entry,) = requests(official)
    assert entry["session"] not in ("old", "")


def test_property_tokens(official: Official) -> None:
    install(official.sandbox, properties=[UUID])
    assert not mbox_of(official.offers(execute("ta_Hero"))).get("options")
    assert mbox_of(official.offers(execute("ta_Hero", property={"token": UUID})))["options"]


def notification(token: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"n-{kind}",
        "type": kind,
        "timestamp": 1_800_000_000_000,
        "mbox": {"name": "ta_Hero"},
        "tokens": [token],
    }


def test_prefetch_display_and_click(official: Official) -> None:
    """Nothing is counted before it is told of; a display and a click then are."""
    found = official.offers({"prefetch": {"mboxes": [{"index": 0, "name": "ta_Hero"}]}})
    mbox = mbox_of(found, "prefetch")
    assert official.sandbox.ledger()["views"] == []
    told = [
        notification(mbox["options"][0]["eventToken"], "display"),
        notification(mbox["metrics"][0]["eventToken"], "click"),
    ]
    done = official.call(
        "notify", options={"request": {"notifications": told}, "targetCookie": found["cookie"]["value"]}
    )
    assert sorted(one["id"] for one in done["response"]["notifications"]) == ["n-click", "n-display"]
    ledger = official.sandbox.ledger()
    assert len(ledger["views"]) == 1
    assert [entry["metric"] for entry in ledger["conversions"]] == ["ta_Hero-clicked"]


@pytest.mark.parametrize("code", [400, 420])
def test_errors(official: Official, code: int) -> None:
    """An error is told to the caller; how often the clients ask for one is theirs (Node: eleven times)."""
    official.sandbox.faults([{"kind": "error", "route": "delivery", "code": code}])
    assert official.offers(execute("ta_Hero"))["error"]
    statuses = [entry["answer"]["status"] for entry in requests(official)]
    assert statuses == [code] * (1 if official.wiring == "" else 11)


def test_no_options(official: Official) -> None:
    found = official.offers(execute("ta_Nothing"))
    assert not mbox_of(found).get("options")


def test_html_content(official: Official) -> None:
    asked = {"execute": {"mboxes": [{"index": 0, "name": "ta_Banner", "parameters": {"tier": "gold"}}]}}
    (option,) = mbox_of(official.offers(asked))["options"]
    assert (option["type"], option["content"]) == ("html", "<b>Thank you</b>")


def test_attributes(official: Official) -> None:
    """The clients' own way from offers to flags reads the sandbox's answers."""
    found = official.call("attributes", mboxes=["ta_Checkout"], keys=["steps"], options={})
    assert found["values"][0][0] in (1, 3)
