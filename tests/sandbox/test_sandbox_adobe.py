"""The emulated Adobe Target: what it answers, what it refuses, what it counts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from flagmw.sandbox import SandboxServer, Scenario, load_scenario
from flagmw.sandbox.adobe.hash import allocation, murmur3

UUID = "1ad0b2d0-2f6d-4d3e-8b0e-5f3c0e3a7d11"
SESSION = "s" * 32


class Target:
    """A caller of the Delivery API."""

    def __init__(self, server: SandboxServer, http: httpx2.Client) -> None:
        self.server, self.http = server, http

    def post(self, body: Any, session: str | None = SESSION, **query: str) -> httpx2.Response:
        parameters = {"client": "demo", **query}
        if session is not None:
            parameters["sessionId"] = session
        return self.http.post(f"{self.server.adobe_url}/rest/v1/delivery", params=parameters, json=body)

    def ask(self, *names: str, section: str = "execute", **fields: Any) -> dict[str, Any]:
        mboxes = [{"index": n, "name": name} for n, name in enumerate(names)]
        body = {"context": {"channel": "web"}, section: {"mboxes": mboxes}, **fields}
        response = self.post(body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def refusal(self, body: Any, session: str | None = SESSION, **query: str) -> tuple[int, str]:
        response = self.post(body, session, **query)
        document = response.json()
        assert document["status"] == response.status_code
        return response.status_code, document["message"]


@pytest.fixture
def target(vendor: SandboxServer, _http: httpx2.Client) -> Target:
    vendor.replace_scenario("adobe")
    return Target(vendor, _http)


def install(target: Target, **options: Any) -> None:
    scenario = load_scenario("adobe").to_mapping()
    scenario["adobe"][0] |= options
    target.server.replace_scenario(Scenario.from_mapping(scenario))


def web(**fields: Any) -> dict[str, Any]:
    return {"context": {"channel": "web"}, **fields}


def display(token: str, own: str = "n1", **more: Any) -> dict[str, Any]:
    return {
        "id": own, "type": "display", "timestamp": 1, "mbox": {"name": "ta_Hero"}, "tokens": [token], **more,
    }  # fmt: skip


# The documented hash


def test_hash_vectors() -> None:
    """The two vectors that the vendor's clients have for the hash and for the allocation."""
    visitor = "702ff4d0-83b1-4e2e-a0a6-22cbe460eb15"
    assert murmur3(f"acmeclient.1111.{visitor}.experience") == -919077116
    assert allocation("acmeclient", 1111, visitor, "experience") == 71.16
    assert allocation("acmeclient", 1111, visitor) == 89.36


# Answers


def test_an_execution(target: Target) -> None:
    """Options with content and response tokens, ids as texts, the device with the cluster's suffix, no event token."""
    answer = target.ask("ta_Checkout", "ta_None", requestId="r1")
    assert (answer["status"], answer["client"], answer["requestId"]) == (200, "demo", "r1")
    assert answer["edgeHost"] == "mboxedge35.tt.omtrdc.net" and answer["id"]["tntId"].endswith(".35_0")
    first, second = answer["execute"]["mboxes"]
    assert second == {"index": 1, "name": "ta_None"}
    (option,) = first["options"]
    assert option["type"] == "json" and option["content"]["steps"] in (1, 3) and "eventToken" not in option
    assert option["responseTokens"]["activity.id"] == "302740"
    assert "prefetch" not in answer and "notifications" not in answer


def test_a_prefetch_counts_nothing_until_it_is_told_of(target: Target) -> None:
    answer = target.ask("ta_Hero", section="prefetch")
    (mbox,) = answer["prefetch"]["mboxes"]
    assert mbox["state"] and mbox["metrics"][0]["type"] == "click"
    assert target.server.ledger()["views"] == []
    told = target.post(web(id=answer["id"], notifications=[display(mbox["options"][0]["eventToken"])])).json()
    assert told["notifications"] == [{"id": "n1"}]
    (view,) = target.server.ledger()["views"]
    assert (view["alias"], view["session"]) == ("ta_Hero", SESSION)
    assert view["system_uid"] == answer["id"]["tntId"].partition(".")[0]


def test_a_visitor_keeps_the_experience(target: Target) -> None:
    """Buckets follow from the device without its suffix, else from nothing: strangers spread over them."""
    answer = target.ask("ta_Hero")
    for suffix in ("", ".1_1"):
        device = answer["id"]["tntId"].partition(".")[0] + suffix
        assert target.ask("ta_Hero", id={"tntId": device})["execute"] == answer["execute"]
    names = {str(target.ask("ta_Hero")["execute"]["mboxes"][0]["options"][0]["responseTokens"]) for _ in range(40)}
    assert len(names) == 2


def test_a_site_s_own_id_leads_to_one_device(target: Target) -> None:
    first = target.ask("ta_Hero", id={"thirdPartyId": "u1"})
    other = target.ask("ta_Hero", id={"thirdPartyId": "u1", "tntId": "elsewhere"})
    assert other["id"]["tntId"] == first["id"]["tntId"] and other["id"]["thirdPartyId"] == "u1"
    assert target.ask("ta_Hero", id={"thirdPartyId": "u2"})["id"]["tntId"] != first["id"]["tntId"]


def test_the_page_s_load(target: Target) -> None:
    """It brings the offers of all activities at the global mbox."""
    experiences = [{"name": "x", "type": "html", "content": "x"}]
    install(target, activities=[{"name": n, "mbox": "target-global-mbox", "experiences": experiences} for n in "ab"])
    answer = target.post(web(execute={"pageLoad": {}})).json()
    assert len(answer["execute"]["pageLoad"]["options"]) == 2


def test_audiences(target: Target) -> None:
    body = web(execute={"mboxes": [{"index": 0, "name": "ta_Banner", "parameters": {"tier": "gold"}}]})
    assert target.post(body).json()["execute"]["mboxes"][0]["options"][0]["content"] == "<b>Thank you</b>"
    assert "options" not in target.ask("ta_Banner")["execute"]["mboxes"][0]
    chrome = {"channel": "web", "userAgent": "Mozilla/5.0 Chrome/120.0 Safari/537.36"}
    assert "options" in target.ask("ta_Search", context=chrome)["execute"]["mboxes"][0]
    assert "options" not in target.ask("ta_Search")["execute"]["mboxes"][0]


def test_properties(target: Target) -> None:
    """Where the account has properties, a missing or unknown token is a plain answer without options."""
    install(target, properties=[UUID])
    assert "options" in target.ask("ta_Hero", property={"token": UUID})["execute"]["mboxes"][0]
    for more in ({}, {"property": {"token": UUID.replace("1", "2")}}):
        assert target.ask("ta_Hero", **more)["execute"]["mboxes"] == [{"index": 0, "name": "ta_Hero"}]
    assert target.refusal(web(property={"token": "nonsense"})) == (400, "Invalid property token")


def test_accounts_are_found_by_client_or_organization(target: Target) -> None:
    plain = web()
    assert (
        target.http.post(
            f"{target.server.adobe_url}/rest/v1/delivery",
            params={"imsOrgId": "0123456789ABCDEF@AdobeOrg", "sessionId": "x"},
            json=plain,
        ).json()["client"]
        == "demo"
    )
    assert target.refusal(plain, client="other") == (400, "client is unknown")


def test_edge_hints_off(target: Target) -> None:
    install(target, edge_hints=False)
    answer = target.ask("ta_Hero")
    assert "edgeHost" not in answer and "." not in answer["id"]["tntId"]
    assert target.ask("ta_Hero", id={"tntId": "abc.28_20"})["id"]["tntId"] == "abc.28_20"


def test_preview(target: Target) -> None:
    """A preview shows the experience that it names, and counts nothing."""
    for nth, title in ((1, "Summer sale"), (2, "Winter sale")):
        mode = {"token": "t", "previewIndexes": [{"activityIndex": 2, "experienceIndex": nth}]}
        (mbox,) = target.ask("ta_Hero", qaMode=mode)["execute"]["mboxes"]
        assert mbox["options"][0]["content"]["title"] == title
    assert target.server.ledger()["views"] == []


def test_what_clients_send_besides_is_taken(target: Target) -> None:
    """An empty id, telemetry, a location ping: the vendor's own clients send them."""
    assert target.post(web(id={})).status_code == 200
    assert target.post(web(telemetry={"entries": [{"requestId": "x"}]}, environmentId=1)).status_code == 200
    assert target.post({"context": {"channel": "web", "beacon": True}}).status_code == 204


# Refusals


GOOD = {"index": 0, "name": "ta_Hero"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the body must be an object"),
        ({}, "context.channel"),
        ({"context": {"channel": "tv"}}, "context.channel"),
        (web(id={"tntId": "a.b.c"}), "tntId is invalid"),
        (web(id={"thirdPartyId": "a+b"}), "thirdPartyId is invalid"),
        (web(id=[]), "id must be an object"),
        (web(requestId="x" * 129), "requestId is invalid"),
        (web(qaMode={"token": ""}), "qaMode.token"),
        (web(execute={"mboxes": [{"name": "x", "index": n} for n in range(51)]}), "size must be between 0 and 50"),
        (web(execute={"mboxes": [GOOD, GOOD]}), "index must be unique"),
        (web(execute={"mboxes": [{"name": "ta_Hero"}]}), "index must not be null"),
        (web(execute={"mboxes": [{"index": 0}]}), "mbox name is invalid"),
        (web(execute={"mboxes": [{"index": 0, "name": "two words"}]}), "mbox name is invalid"),
        (web(prefetch={"mboxes": [{"index": 0, "name": "x-clicked"}]}), "mbox name is invalid"),
        (web(execute={"mboxes": {}}), "mboxes must be a list"),
        (web(execute={"mboxes": [{**GOOD, "parameters": {"a": 1}}]}), "parameters: invalid value"),
        (web(execute={"mboxes": [{**GOOD, "parameters": {"profile.a": "1"}}]}), "parameters: invalid name"),
        (web(execute={"mboxes": [{**GOOD, "parameters": {"orderId": "1"}}]}), "parameters: invalid name"),
        (
            web(execute={"mboxes": [{**GOOD, "profileParameters": {"a": "v" * 257}}]}),
            "profileParameters: invalid value",
        ),
        (web(execute={"pageLoad": {"parameters": {f"p{n}": "" for n in range(51)}}}), "size must be between"),
        (web(execute={"mboxes": [{**GOOD, "order": {"total": -1}}]}), "order.total"),
        (web(execute={"mboxes": [{**GOOD, "order": {"purchasedProductIds": ["x" * 49] * 6}}]}), "purchasedProductIds"),
        (web(notifications=[display("nonsense")]), "Invalid notification token"),
        (web(notifications=[display("", tokens="x")]), "notification tokens"),
        (web(notifications=[display("", id="")]), "notification id"),
        (web(notifications=[display("", type="seen")]), "notification type"),
        (web(notifications=[display("", timestamp="now")]), "notification timestamp"),
        (web(notifications=[display("", view={})]), "exclusive"),
    ],
)
def test_requests_that_the_service_refuses(target: Target, body: Any, message: str) -> None:
    status, text = target.refusal(body)
    assert status == 400 and message in text
    assert target.server.ledger()["requests"][-1]["answer"]["status"] == 400


@pytest.mark.parametrize("session", [None, "", "a b", "a/b", "a?b", "x" * 129])
def test_session_ids(target: Target, session: str | None) -> None:
    assert target.refusal(web(), session) == (400, "sessionId is missing or invalid")


def test_a_body_that_is_no_json(target: Target) -> None:
    url = f"{target.server.adobe_url}/rest/v1/delivery?client=demo&sessionId=x"
    assert target.http.post(url, content=b"{").status_code == 400


def test_tokens_are_validated_all_or_nothing(target: Target) -> None:
    """One forged token refuses the whole request, and nothing of it is counted; so does one for a click."""
    (mbox,) = target.ask("ta_Hero", section="prefetch")["prefetch"]["mboxes"]
    good, click = mbox["options"][0]["eventToken"], mbox["metrics"][0]["eventToken"]
    for bad in ("x", good[:-4] + "AAAA", click):
        body = web(notifications=[display(good), display(bad, "n2")])
        assert target.refusal(body) == (400, "Invalid notification token")
    assert target.server.ledger()["views"] == []


def test_more_than_so_many_requests_of_one_session(target: Target) -> None:
    """Further requests of the same session at once are answered 420; other sessions are not."""
    install(target, max_per_session=2, latency_ms=300)
    found: list[int] = []

    def ask(session: str) -> None:
        found.append(target.post(web(), session).status_code)

    threads = [threading.Thread(target=ask, args=(session,)) for session in ("one",) * 4 + ("two",)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 200, 200, 420, 420]


# The ledger


def test_notifications_count_once(target: Target) -> None:
    """The same id in the same session is processed once and listed again."""
    (mbox,) = target.ask("ta_Hero", section="prefetch")["prefetch"]["mboxes"]
    body = web(notifications=[display(mbox["options"][0]["eventToken"])])
    for _ in range(2):
        assert target.post(body).json()["notifications"] == [{"id": "n1"}]
    assert len(target.server.ledger()["views"]) == 1


def test_an_impression_counts_once(target: Target) -> None:
    device = {"tntId": "abc.35_0"}
    for impression in ("i1", "i1", "i2"):
        target.ask("ta_Hero", id=device, impressionId=impression)
    assert len(target.server.ledger(alias="ta_Hero")["views"]) == 2


def test_orders_and_clicks(target: Target) -> None:
    order = {"id": "o-1", "total": 49.9, "purchasedProductIds": ["p1"]}
    body = web(execute={"mboxes": [{"index": 0, "name": "purchase", "order": order, "parameters": {"x": "y"}}]})
    for _ in range(2):
        target.post(body)
    first, second = target.server.ledger(metric="purchase")["conversions"]
    assert (first["order"], first["duplicate"], first["data"]) == (order, False, {"x": "y"})
    assert second["duplicate"]
    (mbox,) = target.ask("ta_Hero", section="prefetch")["prefetch"]["mboxes"]
    click = display(mbox["metrics"][0]["eventToken"], type="click")
    target.post(web(notifications=[click]))
    assert len(target.server.ledger(metric="ta_Hero-clicked")["conversions"]) == 1


# Faults


@pytest.mark.parametrize("code", [400, 413, 420, 500])
def test_errors_on_demand(target: Target, code: int) -> None:
    target.server.faults([{"kind": "error", "route": "adobe.delivery", "code": code, "times": 1}])
    assert target.refusal(web())[0] == code
    assert target.post(web()).status_code == 200


def test_a_lost_notification(target: Target) -> None:
    """With an alias the error is that mbox's notification alone: it is not processed and not listed."""
    (mbox,) = target.ask("ta_Hero", section="prefetch")["prefetch"]["mboxes"]
    body = web(notifications=[display(mbox["options"][0]["eventToken"])])
    target.server.faults([{"kind": "error", "route": "delivery", "alias": "ta_Hero", "times": 1}])
    assert target.post(body).json()["notifications"] == []
    assert target.post(body).json()["notifications"] == [{"id": "n1"}]
    assert len(target.server.ledger()["views"]) == 1


@pytest.mark.parametrize(
    ("rule", "read"),
    [
        ({"kind": "huge_cookie"}, lambda response: len(response.json()["id"]["tntId"]) == 8192),
        ({"kind": "bad_cookie"}, lambda response: "\r\n" in response.json()["id"]["tntId"]),
        (
            {"kind": "bad_cookie", "name": "edgeHost", "value": "@localhost:9999/"},
            lambda response: response.json()["edgeHost"] == "@localhost:9999/",
        ),
        ({"kind": "trailing_comma"}, lambda response: response.content.endswith(b",}")),
        ({"kind": "comments"}, lambda response: response.content.startswith(b"/*")),
        ({"kind": "status", "status": 503}, lambda response: response.status_code == 503),
    ],
)
def test_faults(target: Target, rule: Mapping[str, Any], read: Any) -> None:
    target.server.faults([{"route": "delivery", **rule}])
    assert read(target.post(web()))


# On-device rules


def test_rules(target: Target) -> None:
    """The rules are JSON with an ETag, answered 304 to who has them; what is not there is 403."""
    url = target.server.adobe_artifact_url()
    response = target.http.get(url)
    rules = response.json()
    assert rules["version"].startswith("1.") and rules["meta"]["clientCode"] == "demo"
    assert "ta_Recs" in rules["remoteMboxes"] and "ta_Hero" in rules["localMboxes"]
    again = target.http.get(url, headers={"if-none-match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for other in (target.server.adobe_artifact_url("other"), url.replace("rules.json", "rules.bin")):
        assert target.http.get(other).status_code == 403
    assert [entry["action"] for entry in target.server.ledger()["requests"]] == ["artifact"] * 4


def test_rules_of_a_property(target: Target) -> None:
    install(target, properties=[UUID])
    scenario = target.server.sandbox.scenario.to_mapping()
    scenario["adobe"][0]["activities"][0]["properties"] = [UUID]
    target.server.replace_scenario(Scenario.from_mapping(scenario))
    plain = target.http.get(target.server.adobe_artifact_url()).json()
    assert "ta_Checkout" not in plain["localMboxes"]
    own = target.http.get(target.server.adobe_artifact_url(property_token=UUID)).json()
    assert own["rules"]["mboxes"]["ta_Checkout"][0]["propertyTokens"] == [UUID]
