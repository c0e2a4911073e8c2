"""The Monetate emulator: who gets what, what is counted, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from flagmw.exceptions import ConfigError
from flagmw.sandbox import SandboxServer, Scenario, load_scenario

CHANNEL = "a-701b337c/p/www.mysite.com"
ID = "2.309132816.1519728587304"
ALL = [f"monetate:action:{kind}" for kind in ("OmnichannelJson", "VariantSelector", "NoAction", "DataCollection")]
PAGE = {"eventType": "monetate:context:PageView", "url": "https://www.mysite.com/"}
QUESTION = {
    "eventType": "monetate:decision:DecisionRequest", "requestId": "r1", "includeReporting": True, "actionTypes": ALL
}  # fmt: skip
LINE = {"sku": "SKU1", "pid": "PID1", "quantity": 2, "currency": "USD", "value": "24.00"}

Post = Callable[..., httpx2.Response]


@pytest.fixture
def post(vendor: SandboxServer, _http: httpx2.Client) -> Post:
    """Send events to the engine with the shipped scenario; keyword arguments are fields of the body."""
    vendor.replace_scenario("monetate")

    def send(*events: Any, retailer: str = "acme", **fields: Any) -> httpx2.Response:
        body = {"channel": CHANNEL, "monetateId": ID, "events": list(events), **fields}
        return _http.post(f"{vendor.monetate_url}/decide/{retailer}", json={k: v for k, v in body.items() if v != ...})

    return send


@pytest.fixture
def experiences(vendor: SandboxServer, post: Post) -> Callable[..., None]:
    """Give the sandbox one retailer with these experiences; what is not given has its default."""

    def install(*given: dict[str, Any], **options: Any) -> None:
        made = [
            {"id": n, "label": f"E{n}", "variants": [{"label": "B", "content": {"n": n}}], **one}
            for n, one in enumerate(given, 1)
        ]
        retailer = {"retailer": "acme", "channel": CHANNEL, "experiences": made, **options}
        vendor.replace_scenario(Scenario.from_mapping({"monetate": [retailer]}))

    return install


def actions(answer: httpx2.Response, request: str = "r1") -> list[dict[str, Any]]:
    document = answer.json()
    assert (answer.status_code, document["meta"]["code"]) == (200, 200), document
    (found,) = [each["actions"] for each in document["data"]["responses"] if each["requestId"] == request]
    result: list[dict[str, Any]] = found
    return result


def labels(answer: httpx2.Response) -> list[str]:
    return [action["impressionReporting"][0]["experience_label"] for action in actions(answer)]


def short(kind: str) -> str:
    return kind.rpartition(":")[2]


# Identity


def test_a_stranger_gets_an_id(post: Post) -> None:
    """Whoever sends no id gets one in the documented form; who has one gets none."""
    answer = post(PAGE, QUESTION, monetateId=...)
    assert re.fullmatch(r"2\.\d{1,10}\.\d{13}", answer.json()["meta"]["monetateId"])
    assert "monetateId" not in post(PAGE, QUESTION).json()["meta"]
    assert "monetateId" not in post(PAGE, QUESTION, monetateId=..., deviceId="d1").json()["meta"]


def test_the_same_visitor_gets_the_same(post: Post, vendor: SandboxServer) -> None:
    """Assignment depends on visitor and experience alone: it is the same again, and differs between visitors."""
    assert actions(post(PAGE, QUESTION)) == actions(post(PAGE, QUESTION))
    seen = set()
    for n in range(40):
        for action in actions(post(PAGE, QUESTION, monetateId=f"2.{n}.1")):
            seen.add((action["impressionReporting"][0]["experience_id"], short(action["actionType"]),
                      action["impressionReporting"][0]["variant_label"]))  # fmt: skip
    assert {(1, "OmnichannelJson", "New Arrivals"), (1, "OmnichannelJson", "Clearance")} <= seen
    assert (2, "VariantSelector", "Two steps") in seen
    assert {(3, "NoAction", "Control"), (3, "OmnichannelJson", "Newest first")} <= seen
    assert {(4, "OmnichannelJson", "Control"), (4, "OmnichannelJson", "Free delivery")} <= seen
    assert not any(kind == "VariantSelector" and label == "Control" for _, kind, label in seen)
    assert len({entry["system_uid"] for entry in vendor.ledger()["views"]}) == 41


def test_the_ledger_has_no_ids(post: Post, vendor: SandboxServer) -> None:
    post(PAGE, QUESTION, customerId="person-1")
    assert ID not in str(vendor.ledger()) and "person-1" not in str(vendor.ledger())
    (request,) = vendor.ledger()["requests"]
    assert request["cookies"].keys() == {"mt.v", "customerId"}


# What comes back


def test_a_json_action(experiences: Any, post: Post) -> None:
    experiences({"component": "Hero", "segments": [], "tags": ["Default"]})
    assert actions(post(PAGE, QUESTION)) == [
        {
            "actionType": "monetate:action:OmnichannelJson",
            "actionId": 10,
            "json": {"n": 1},
            "component": "Hero",
            "impressionReporting": [
                {
                    "experience_id": 1, "experience_label": "E1", "experience_name": "E1", "variant_label": "B",
                    "is_control": False, "control_allocation": None, "experience_type": "Standard Test",
                    "has_targets": False, "tags": ["Default"],
                }
            ],
        }
    ]  # fmt: skip


def test_reporting_only_where_it_is_asked_for(experiences: Any, post: Post) -> None:
    """Without reporting actions carry none, and controls are not told either."""
    experiences({}, {"type": "Dynamic Testing", "control": 1.0})
    assert [short(action["actionType"]) for action in actions(post(PAGE, QUESTION))] == ["OmnichannelJson", "NoAction"]
    (action,) = actions(post(PAGE, {**QUESTION, "includeReporting": False}))
    assert "impressionReporting" not in action


def test_priority_slots_and_types(experiences: Any, post: Post) -> None:
    """Actions come by priority; a slot brings its first one only; both filters hold at once."""
    experiences(
        {"priority": 3, "slot": "top"}, {"priority": 1, "slot": "top"}, {"priority": 2, "slot": "side"},
        {"action": "VariantSelector", "priority": 0, "slot": "side"},
    )  # fmt: skip
    assert labels(post(PAGE, QUESTION)) == ["E4", "E2", "E3", "E1"]
    assert labels(post(PAGE, {**QUESTION, "slots": ["top"]})) == ["E2"]
    assert labels(post(PAGE, {**QUESTION, "slots": ["top", "side"], "actionTypes": ALL[:1]})) == ["E2", "E3"]
    assert labels(post(PAGE, {**QUESTION, "slots": [], "actionTypes": []})) == ["E4", "E2", "E3", "E1"]
    assert labels(post(PAGE, {**QUESTION, "slots": ["none"]})) == []


def test_a_redirect_swallows_everything(experiences: Any, post: Post) -> None:
    """With no filter that keeps it out, one redirect is all that comes back; its control gets the rest."""
    redirect = {"action": "OmnichannelRedirect", "variants": [{"label": "B", "content": "https://www.mysite.com/b"}]}
    experiences({}, redirect, {**redirect, "priority": 0})
    assert labels(post(PAGE, {**QUESTION, "actionTypes": []})) == ["E3"]
    assert labels(post(PAGE, QUESTION)) == ["E1"]
    experiences({}, {**redirect, "control": 1.0})
    assert labels(post(PAGE, {**QUESTION, "actionTypes": []})) == ["E1"]


def test_whom_an_experience_is_for(experiences: Any, post: Post) -> None:
    """Segments, page types, paths and languages narrow an experience down."""
    experiences(
        {"segments": [{"data": {"tier": "gold"}}]}, {"segments": [{"user_agent": "Firefox"}]},
        {"segments": [{"ip": ["192.0.2.0/24"]}]}, {"segments": [{"referer": "search"}]},
        {"page_types": ["pdp"]}, {"paths": ["/shoes/*"]}, {"languages": ["de"]}, {},
    )  # fmt: skip
    everything = (
        {"eventType": "monetate:context:PageView", "url": "https://www.mysite.com/shoes/1?x=y", "pageType": "pdp"},
        {"eventType": "monetate:context:CustomVariables", "customVariables": [{"variable": "tier", "value": "gold"}]},
        {"eventType": "monetate:context:UserAgent", "userAgent": "Mozilla Firefox/140"},
        {"eventType": "monetate:context:IpAddress", "ipAddress": "192.0.2.7"},
        {"eventType": "monetate:context:Referrer", "referrer": "https://search.test/"},
        {"eventType": "monetate:context:Language", "language": "de-CH"},
    )
    assert labels(post(*everything, QUESTION)) == [f"E{n}" for n in range(1, 9)]
    assert labels(post(PAGE, QUESTION)) == ["E8"]


def test_states_and_previews(experiences: Any, post: Post) -> None:
    """What is paused or archived shows nothing, except by a preview token."""
    paused = {"state": "paused", "variants": [{"label": "A"}, {"label": "B", "preview": "t0k"}]}
    experiences(paused, {"state": "archived"})
    assert actions(post(PAGE, QUESTION)) == []
    (action,) = actions(post(PAGE, QUESTION, preview="t0k"))
    assert action["impressionReporting"][0]["variant_label"] == "B"


def test_several_questions_are_answered_by_their_ids(post: Post) -> None:
    answer = post(PAGE, QUESTION, {**QUESTION, "requestId": "r2", "slots": ["none"]})
    assert actions(answer, "r1") != [] and actions(answer, "r2") == []


# What is counted


def test_an_impression_is_counted_with_the_decision(experiences: Any, post: Post, vendor: SandboxServer) -> None:
    """Each decision counts, also the second of a visitor; a managed one counts when it is reported."""
    experiences({"component": "Hero"}, {"managed": True}, {"managed": True, "control": 1.0, "component": "Banner"})
    found = actions(post(PAGE, QUESTION))
    assert [view["alias"] for view in vendor.ledger()["views"]] == ["Hero"]
    tokens = [action["impressionId"] for action in found[1:]]
    assert all(re.fullmatch(r"3\.[A-Za-z0-9_-]+", token) for token in tokens)
    assert [action["isControl"] for action in found[1:]] == [False, True]
    post({"eventType": "monetate:record:Impressions", "impressionIds": tokens})
    views = [(v["alias"], v["variation"], v["control"], v["managed"]) for v in vendor.ledger()["views"]]
    assert views == [("Hero", "B", False, False), ("E2", "B", False, True), ("Banner", "Control", True, True)]
    post(PAGE, QUESTION)
    assert len(vendor.ledger(alias="Hero")["views"]) == 2


@pytest.mark.parametrize("heeded", [True, False])
def test_a_request_may_leave_all_impressions_to_the_caller(
    experiences: Any, post: Post, vendor: SandboxServer, heeded: bool
) -> None:
    """The deprecated field of a request does for all what a template does for one; or does nothing any more."""
    experiences({}, manage_impressions=heeded)
    (action,) = actions(post(PAGE, {**QUESTION, "manageImpressions": True}))
    assert ("impressionId" in action) is heeded
    assert len(vendor.ledger()["views"]) == (not heeded)


@pytest.mark.parametrize("token", ["3.AAAA", "3.", "x", "3.?", "4.AAAA"])
def test_an_unknown_token_is_warned_of(post: Post, vendor: SandboxServer, token: str) -> None:
    answer = post({"eventType": "monetate:record:Impressions", "impressionIds": [token]})
    assert answer.json()["meta"]["warnings"] == [{"message": "unknown impressionId"}]
    assert vendor.ledger()["views"] == []


def test_a_token_of_another_visitor_is_unknown(experiences: Any, post: Post, vendor: SandboxServer) -> None:
    experiences({"managed": True})
    (action,) = actions(post(PAGE, QUESTION))
    record = {"eventType": "monetate:record:Impressions", "impressionIds": [action["impressionId"]]}
    assert post(record, monetateId="2.1.2").json()["meta"]["warnings"]
    assert vendor.ledger()["views"] == []


def test_page_events_and_purchases(experiences: Any, post: Post, vendor: SandboxServer) -> None:
    """Each is a conversion, every time it is told; an unknown page event is warned of."""
    experiences({}, page_events=["signup"])
    bought = {"eventType": "monetate:context:Purchase", "purchaseId": "o1", "purchaseLines": [LINE]}
    for _ in range(2):
        answer = post({"eventType": "monetate:record:PageEvents", "pageEvents": ["signup", "other"]}, bought)
        assert answer.json()["data"] == {"responses": []}
        assert answer.json()["meta"]["warnings"] == [{"message": "unknown page event"}]
    assert [row["metric"] for row in vendor.ledger()["conversions"]] == ["signup", "purchase"] * 2
    (first, _) = vendor.ledger(metric="purchase")["conversions"]
    assert (first["purchase_id"], first["lines"], first["vendor"]) == ("o1", [LINE], "monetate")
    assert [request["action"] for request in vendor.ledger()["requests"]] == ["record"] * 2


# What is refused

CONTEXT = "monetate:context:"
BAD = [
    ({"events": []}, "events"),
    ({"events": {}}, "events"),
    ({"events": ...}, "events"),
    ({"events": ["x"]}, "events[0].eventType"),
    ({"events": [{}]}, "events[0].eventType"),
    ({"events": [{"eventType": 7}]}, "events[0].eventType"),
    ({"events": [{"eventType": "context:UserAgent"}]}, "events[0].eventType"),
    ({"events": [{"eventType": "monetate:telepathy:Thought"}]}, "events[0].eventType"),
    ({"channel": ...}, "channel"),
    ({"channel": "shop"}, "channel"),
    ({"channel": "a/p/other.test"}, "channel"),
    ({"channel": 7}, "channel"),
    ({"monetateId": 7}, "monetateId"),
    ({"monetateId": "", "deviceId": ""}, "monetateId"),
    ({"customerId": ["x"]}, "customerId"),
]
BAD_EVENTS: list[tuple[dict[str, Any], str]] = [
    ({"eventType": "monetate:decision:DecisionRequest"}, "requestId"),
    ({**QUESTION, "requestId": 7}, "requestId"),
    ({**QUESTION, "includeReporting": "true"}, "includeReporting"),
    ({**QUESTION, "actionTypes": "OmnichannelJson"}, "actionTypes"),
    ({**QUESTION, "slots": [1]}, "slots"),
    ({"eventType": CONTEXT + "UserAgent"}, "userAgent"),
    ({"eventType": CONTEXT + "IpAddress", "ipAddress": None}, "ipAddress"),
    ({"eventType": CONTEXT + "PageView", "pageType": "pdp"}, "url"),
    ({"eventType": CONTEXT + "PageView", "url": "u", "categories": "a"}, "categories"),
    ({"eventType": CONTEXT + "Coordinates", "latitude": 1.5, "longitude": "2"}, "latitude"),
    ({"eventType": CONTEXT + "ScreenSize", "height": "762", "width": 1024}, "height"),
    ({"eventType": CONTEXT + "CustomVariables", "customVariables": [{"variable": "a"}]}, "customVariables"),
    ({"eventType": CONTEXT + "Metadata", "metadata": []}, "metadata"),
    ({"eventType": CONTEXT + "Purchase", "purchaseId": "o"}, "purchaseLines"),
    ({"eventType": CONTEXT + "Purchase", "purchaseId": 1, "purchaseLines": [LINE]}, "purchaseId"),
    ({"eventType": CONTEXT + "Cart", "cartLines": [{**LINE, "value": 24.0}]}, "cartLines"),
    ({"eventType": CONTEXT + "Cart", "cartLines": [{**LINE, "value": "24.005"}]}, "cartLines"),
    ({"eventType": CONTEXT + "Cart", "cartLines": [{**LINE, "value": "-1"}]}, "cartLines"),
    ({"eventType": CONTEXT + "AddToCart", "cartLines": [{**LINE, "quantity": "2"}]}, "cartLines"),
    ({"eventType": CONTEXT + "Cart", "cartLines": ["x"]}, "cartLines"),
    ({"eventType": CONTEXT + "ProductDetailView", "products": [{"sku": "s"}]}, "products"),
    ({"eventType": CONTEXT + "ContentView", "items": [{"id": "i"}]}, "items"),
    ({"eventType": "monetate:record:PageEvents", "pageEvents": "signup"}, "pageEvents"),
    ({"eventType": "monetate:record:Impressions", "impressionIds": []}, "impressionIds"),
    ({"eventType": "monetate:record:Impressions", "impressionIds": ["3.a", " "]}, "impressionIds"),
]


@pytest.mark.parametrize(
    ("fields", "where"), BAD + [({"events": [PAGE, event]}, f"events[1].{field}") for event, field in BAD_EVENTS]
)
def test_what_breaks_the_description_is_refused(
    post: Post, vendor: SandboxServer, fields: dict[str, Any], where: str
) -> None:
    """A wrong body is 400 in the engine's own envelope, names the field, and counts nothing."""
    answer = post(**{"events": [PAGE, QUESTION], **fields}) if "events" in fields else post(PAGE, QUESTION, **fields)
    document = answer.json()
    assert (answer.status_code, document["meta"]["code"]) == (400, 400)
    assert document["meta"]["errors"][0]["field"] == where
    assert document["data"] == {"responses": []}
    ledger = vendor.ledger()
    assert (ledger["views"], ledger["conversions"], len(ledger["requests"])) == ([], [], 1)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"'])
def test_a_body_that_is_no_object(post: Post, vendor: SandboxServer, body: bytes) -> None:
    answer = httpx2.post(f"{vendor.monetate_url}/decide/acme", content=body)
    assert (answer.status_code, answer.json()["meta"]["code"]) == (400, 400)


def test_other_refusals(post: Post, vendor: SandboxServer, _http: httpx2.Client) -> None:
    """An unknown retailer is 404 in the same envelope, another method is 405, a huge body 413."""
    assert post(PAGE, QUESTION, retailer="none").json()["meta"]["code"] == 404
    assert _http.get(f"{vendor.monetate_url}/decide/acme").status_code == 405
    assert _http.post(f"{vendor.monetate_url}/decide/acme", content=b" " * (1 << 21)).status_code == 413


def test_an_unknown_event_is_warned_of(post: Post) -> None:
    answer = post(PAGE, {"eventType": "monetate:context:Weather"}, QUESTION)
    assert actions(answer)
    assert answer.json()["meta"]["warnings"][0]["field"] == "events[1]"


def test_text_plain_is_read_too(vendor: SandboxServer, post: Post, _http: httpx2.Client) -> None:
    """The vendor advises browsers to send JSON as text."""
    body = b'{"channel": "%s", "events": [{"eventType": "monetate:record:PageEvents", "pageEvents": ["a"]}]}'
    sent = _http.post(
        f"{vendor.monetate_url}/decide/acme", content=body % CHANNEL.encode(), headers={"content-type": "text/plain"}
    )
    assert sent.status_code == 200 and vendor.ledger()["requests"][0]["lint"] == []


# Lint


@pytest.mark.parametrize(
    ("event", "fields", "note"),
    [
        (QUESTION, {}, None),
        ({**QUESTION, "manageImpressions": True}, {}, None),
        ({**QUESTION, "actionTypes": []}, {}, "actionTypes: without it"),
        ({**QUESTION, "includeReporting": False}, {}, "includeReporting: without it"),
        ({**QUESTION, "filters": ["a"]}, {}, "filters is deprecated"),
        ({**QUESTION, "colour": "red"}, {}, "unknown field colour"),
        ({"eventType": "monetate:decision:ServerSideRequest", "requestId": "r"}, {}, "deprecated"),
        (QUESTION, {"deviceId": "d"}, "deviceId: stands in place of monetateId"),
        (QUESTION, {"monetateId": "null"}, "monetateId: is none of the engine's"),
        (PAGE, {}, "context:PageView: more than one"),
        ({"eventType": "monetate:record:Dreams"}, {}, "an unknown eventType"),
    ],
)
def test_lint(post: Post, vendor: SandboxServer, event: Any, fields: dict[str, Any], note: str | None) -> None:
    """What is taken but careless is noted in the ledger."""
    assert post(PAGE, event, **fields).status_code == 200
    (request,) = vendor.ledger()["requests"]
    assert [note in text for text in request["lint"]] == [True] if note else request["lint"] == []


# Faults


def test_an_error_in_a_success(post: Post, vendor: SandboxServer) -> None:
    """The body says that it failed while the status says it did not, unless a status is named; nothing counts."""
    vendor.faults([{"kind": "error", "code": 500, "route": "monetate.decide"}])
    answer = post(PAGE, QUESTION)
    assert (answer.status_code, answer.json()["meta"]["code"]) == (200, 500)
    vendor.faults([{"kind": "error", "code": 200, "status": 503, "route": "decide"}])
    answer = post(PAGE, QUESTION)
    assert (answer.status_code, answer.json()["meta"]["code"]) == (503, 200)
    assert vendor.ledger()["views"] == []


@pytest.mark.parametrize("kind", ["huge_cookie", "bad_cookie"])
def test_ids_that_no_client_should_keep(post: Post, vendor: SandboxServer, kind: str) -> None:
    vendor.faults([{"kind": kind}])
    given = post(PAGE, QUESTION).json()["meta"]["monetateId"]
    assert len(given) == 8192 if kind == "huge_cookie" else "\r\n" in given


@pytest.mark.parametrize("kind", ["trailing_comma", "comments"])
def test_json_that_is_none(post: Post, vendor: SandboxServer, kind: str) -> None:
    vendor.faults([{"kind": kind}])
    with pytest.raises(ValueError):
        post(PAGE, QUESTION).json()


def test_shared_faults_reach_the_route(post: Post, vendor: SandboxServer) -> None:
    """Faults of the wire name this vendor's route as they do any other's, and leave other vendors alone."""
    vendor.faults([{"kind": "status", "status": 429, "retry_after": 3, "route": "monetate.*"}])
    answer = post(PAGE, QUESTION)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert vendor.ledger()["requests"][0]["vendor"] == "monetate"


# Scenarios


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"retailer": "a b"}, "retailer"),
        ({"channel": "shop"}, "channel"),
        ({"experiences": [{"id": 1, "label": "a"}]}, "variants"),
        ({"experiences": [{"id": 1, "label": "a", "variants": [{"label": "x", "split": 0}]}]}, "split"),
        ({"experiences": [{"id": 1, "label": "a", "variants": [{"label": "x", "split": -1}]}]}, "split"),
        ({"experiences": [{"id": 1, "label": "a", "variants": [{"label": "x"}, {"label": "x"}]}]}, "label"),
        ({"experiences": [{"id": 1, "label": "a", "variants": [{"label": "x"}], "control": 2}]}, "control"),
        ({"experiences": [{"id": 1, "label": "a", "variants": [{"label": "x"}], "action": "Dance"}]}, "action"),
        ({"experiences": [{"id": 1, "label": n, "variants": [{"label": "x"}]} for n in "ab"]}, "same id"),
        ({"experiences": [{"id": n, "label": "a", "variants": [{"label": "x"}]} for n in (1, 2)]}, "same label"),
    ],
)
def test_wrong_scenarios_are_named(change: dict[str, Any], named: str) -> None:
    retailer = {"retailer": "acme", "channel": CHANNEL, **change}
    with pytest.raises(ConfigError, match=named):
        Scenario.from_mapping({"monetate": [retailer]})


def test_two_accounts_of_one_name() -> None:
    retailer = {"retailer": "acme", "channel": CHANNEL}
    with pytest.raises(ConfigError, match="retailer must be different"):
        Scenario.from_mapping({"monetate": [retailer, retailer]})


def test_the_scenario_goes_over_the_console(vendor: SandboxServer, _http: httpx2.Client) -> None:
    """A scenario with this vendor can be read and put back over HTTP."""
    shape = load_scenario("monetate").to_mapping()
    url = f"{vendor.url}/__sandbox__/scenario"
    assert _http.put(url, json=shape).json() == _http.get(url).json() == shape
