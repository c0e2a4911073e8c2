"""The emulated Personalize Edge API: decisions, what it counts, what it refuses, and how it goes wrong."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Any

import httpx2
import pytest

from flagmw._drivers.blocking import BlockingDriver
from flagmw._support.deadline import Deadline
from flagmw.exceptions import ConfigError
from flagmw.sandbox import SandboxServer, Scenario, load_scenario
from flagmw.sandbox.contentstack.visitors import CONVERSION_WINDOW_S, Visitors
from flagmw.types import Delivered, Flow, T, VisitorState
from tests.unit.vendors.contentstack.codec import PROJECT, contentstack, exposure, track
from tests.unit.vendors.webtrends.codec import visit

HEADERS = {"x-project-uid": PROJECT, "x-forwarded-for": "198.51.100.0", "user-agent": "Mozilla/5.0"}


class Edge:
    """A caller of the edge on behalf of one visitor."""

    def __init__(self, server: SandboxServer, http: httpx2.Client) -> None:
        self.server, self.http = server, http

    def send(self, method: str, path: str, *, uid: str | None = "u1", body: Any = None, **headers: str) -> Any:
        named = {} if uid is None else {"x-cs-personalize-user-uid": uid}
        more = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.http.request(
            method, self.server.contentstack_url + path, json=body, headers={**HEADERS, **named, **more}
        )

    def manifest(self, query: str = "", **more: Any) -> dict[str, str | None]:
        """Return the active variants, by priority."""
        answer = self.send("GET", f"/manifest{query}", **more).json()
        listed = {each["shortUid"]: each["activeVariantShortUid"] for each in answer["experiences"]}
        assert listed == answer["activeVariants"]
        return listed


@pytest.fixture
def edge(vendor: SandboxServer, _http: httpx2.Client) -> Edge:
    vendor.replace_scenario("contentstack")
    return Edge(vendor, _http)


def request(edge: Edge) -> dict[str, Any]:
    """Return the last request in the ledger."""
    found: dict[str, Any] = edge.server.ledger()["requests"][-1]
    return found


# Decisions


def test_manifest_is_by_priority_with_null_for_what_is_not_active(edge: Edge) -> None:
    """A paused experience stays listed, one that never ran does not."""
    active = edge.manifest()
    assert list(active) == ["b", "0", "c", "d", "a"]
    assert active["0"] in ("0", "1", "2")
    assert [short for short, variant in active.items() if variant is None] == ["b", "c", "d", "a"]


def test_a_new_visitor_is_named_and_a_known_one_kept(edge: Edge) -> None:
    minted = edge.send("GET", "/manifest", uid=None).headers["x-cs-personalize-user-uid"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", minted)
    assert edge.send("GET", "/manifest", uid="known-1").headers["x-cs-personalize-user-uid"] == "known-1"


def test_same_visitor_same_variant_and_even_shares(edge: Edge) -> None:
    """The shares need not add up to 100; a visitor stays where they are."""
    assert edge.manifest(uid="u1") == edge.manifest(uid="u1")
    seen = Counter(edge.manifest(uid=f"u{n}")["0"] for n in range(300))
    assert set(seen) == {"0", "1", "2"}
    assert all(70 <= count <= 130 for count in seen.values())


@pytest.mark.parametrize(
    ("headers", "variant"),
    [
        ({"x-forwarded-for": "203.0.113.9"}, "0"),
        ({"x-forwarded-for": "192.0.2.1"}, None),
        ({"x-page-url": "https://shop.example/?utm_campaign=BF"}, "1"),
        ({"x-page-url": "https://shop.example/?utm_campaign=XX"}, None),
        ({"x-forwarded-for": "203.0.113.9", "x-page-url": "https://s/?utm_campaign=BF"}, "0"),
    ],
)
def test_segments_in_the_order_of_variants(edge: Edge, headers: dict[str, str], variant: str | None) -> None:
    assert edge.manifest(**headers)["b"] == variant


def test_targeting_by_live_and_stored_attributes(edge: Edge) -> None:
    """A live attribute holds for its request only, and wins over the stored one."""
    assert edge.manifest(x_live_attributes='{"age":20}')["c"] in ("0", "1")
    assert edge.manifest()["c"] is None
    assert edge.send("PATCH", "/user-attributes", body={"age": "30", "plan": "gold"}).status_code == 204
    stored = edge.manifest()
    assert (stored["c"] in ("0", "1"), stored["d"]) == (True, "0")
    assert edge.manifest(x_live_attributes='{"age":5}')["c"] is None
    assert edge.manifest(uid="u2")["d"] is None


def test_tags_choose_experiences(edge: Edge) -> None:
    assert list(edge.manifest("?tags[]=ENV%3Aproduction")) == ["b", "0"]
    assert edge.manifest("?tags[]=none") == {}


RULES = [
    ("DEVICE_TYPE", "STRING_EQUALS", {"value": "MOBILE"}, {"user-agent": "Mozilla/5.0 (iPhone)"}, True),
    ("OPERATING_SYSTEM", "STRING_EQUALS", {"value": "MacOS"}, {"user-agent": "Mozilla/5.0 (Macintosh)"}, True),
    ("REFERRER", "CONTAINS_SUBSTRING", {"value": "search"}, {"referer": "https://search.example/"}, True),
    ("REFERRER", "HAS_ANY_VALUE", {}, {}, False),
    ("REFERRER", "HAS_ANY_VALUE", {"invert": True}, {}, True),
    ("vip", "IS_TRUE", {}, {"x-live-attributes": '{"vip":true}'}, True),
    ("vip", "IS_FALSE", {}, {"x-live-attributes": '{"vip":true}'}, False),
    ("age", "NUMBER_LESS_THAN", {"value": 18}, {"x-live-attributes": '{"age":"10"}'}, True),
    ("age", "NUMBER_EQUAL_TO", {"value": 18}, {"x-live-attributes": '{"age":"many"}'}, False),
    ("LYTICS_AUDIENCE", "IS_MEMBER_OF", {"value": "b"}, {"x-live-attributes": '{"__lytics_audiences":"|a|b|"}'}, True),
    ("DATE_AND_TIME", "AFTER_TIME", {"start": "2020-01-01T00:00:00"}, {}, True),
    ("DATE_AND_TIME", "BEFORE_TIME", {"end": "2020-01-01T00:00:00"}, {}, False),
    ("DATE_AND_TIME", "BETWEEN_TIME", {"start": "2020-01-01", "end": "2200-01-01"}, {}, True),
]


@pytest.mark.parametrize(("attribute", "condition", "more", "headers", "matches"), RULES)
def test_rules(
    edge: Edge, attribute: str, condition: str, more: dict[str, Any], headers: dict[str, str], matches: bool
) -> None:
    rule = {"attribute": attribute, "condition": condition, **more}
    segment = {"short_uid": "x", "kind": "SEGMENTED", "variants": [{"short_uid": "0", "audiences": ["some"]}]}
    project = {
        "project_uid": PROJECT,
        "audiences": [{"name": "some", "rules": [rule]}, {"name": "nobody"}],
        "experiences": [segment],
    }
    edge.server.replace_scenario(Scenario.from_mapping({"contentstack": [project]}))
    assert edge.manifest(**headers)["x"] == ("0" if matches else None)


# What it counts


def test_impressions_count_once_and_conversions_only_after_one(edge: Edge) -> None:
    """A conversion without an impression, or of an unknown key, is taken and counts for no experience."""
    variant = edge.manifest()["0"]
    event = [{"type": "EVENT", "eventKey": "purchase"}]
    shown = [{"type": "IMPRESSION", "experienceShortUid": "0", "variantShortUid": variant}]
    for body in (event, shown, shown, event, [{"type": "EVENT", "eventKey": "other"}]):
        assert edge.send("POST", "/events", body=body).status_code == 202
    ledger = edge.server.ledger()
    (view,) = ledger["views"]
    assert (view["alias"], view["variation"], view["system_uid"]) == ("0", variant, "u1")
    assert [(each["metric"], each["alias"], each["variation"]) for each in ledger["conversions"]] == [
        ("purchase", None, None),
        ("purchase", "0", variant),
        ("other", None, None),
    ]
    assert request(edge)["lint"] == ["events: the project has no event 'other'"]
    assert len(edge.server.ledger(metric="purchase", alias="0")["conversions"]) == 1


def test_impression_older_than_30_days_converts_no_more() -> None:
    project = load_scenario("contentstack").contentstack[0]
    visitors = Visitors()
    visitors.saw(project, "u1", "0", "1", 0.0)
    assert [variant for _, variant in visitors.converts(project, "u1", "purchase", CONVERSION_WINDOW_S)] == ["1"]
    assert visitors.converts(project, "u1", "purchase", CONVERSION_WINDOW_S + 1) == []


def test_stored_visitors_are_bounded() -> None:
    project = load_scenario("contentstack").contentstack[0]
    visitors = Visitors(limit=2)
    for n in range(3):
        visitors.store(project, f"u{n}", {"age": n})
    assert [dict(visitors.attributes(project, f"u{n}")) for n in range(3)] == [{}, {"age": 1}, {"age": 2}]


def test_merge_gives_the_target_the_source_s_values(edge: Edge) -> None:
    """Where both have a value the anonymous source wins; that is the vendor's rule."""
    edge.send("PATCH", "/user-attributes", uid="anonymous", body={"plan": "gold"})
    edge.send("PATCH", "/user-attributes", uid="known", body={"plan": "none", "age": 40})
    body = {"sourceUserUid": "anonymous", "targetUserUid": "known"}
    assert edge.send("POST", "/user-attributes/actions/merge", uid=None, body=body).status_code == 204
    project = edge.server.sandbox.scenario.contentstack[0]
    assert edge.server.sandbox.contentstack_visitors.attributes(project, "known") == {"plan": "gold", "age": 40}
    assert request(edge)["lint"] == []


def test_unknown_attribute_is_ignored_and_noted(edge: Edge) -> None:
    assert edge.send("PATCH", "/user-attributes", body={"shoe": 43, "age": 1}).status_code == 204
    assert request(edge)["lint"] == ["attributes: the project has no 'shoe'"]


def test_reset_forgets_visitors(edge: Edge) -> None:
    edge.send("PATCH", "/user-attributes", body={"plan": "gold"})
    edge.server.reset()
    edge.server.replace_scenario("contentstack")
    assert edge.manifest()["d"] is None


# What it refuses


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "code"),
    [
        ("GET", "/manifest", {"x_project_uid": ""}, 400, "PROJECT_UID_REQUIRED"),
        ("GET", "/manifest", {"x_project_uid": "0" * 24}, 404, "MANIFEST.PROJECT_NOT_FOUND"),
        ("POST", "/events", {"x_project_uid": "0" * 24, "body": []}, 404, "MANIFEST.PROJECT_NOT_FOUND"),
        ("GET", "/manifest?" + "&".join(["tags[]=a"] * 11), {}, 400, "MANIFEST.TOO_MANY_TAGS"),
        ("GET", "/manifest", {"x_live_attributes": "{"}, 400, "BAD_REQUEST"),
        ("GET", "/manifest", {"x_live_attributes": "[1]"}, 400, "BAD_REQUEST"),
        ("GET", "/manifest", {"x_live_attributes": '{"a":{"b":1}}'}, 400, "BAD_REQUEST"),
        ("GET", "/manifest", {"uid": "x" * 129}, 400, "USER_UID_INVALID"),
        ("POST", "/events", {"uid": None, "body": []}, 400, "USER_UID_REQUIRED"),
        ("POST", "/events", {"body": {"type": "EVENT"}}, 400, "BAD_REQUEST"),
        ("POST", "/events", {"body": [{"type": "CLICK"}]}, 400, "BAD_REQUEST"),
        ("POST", "/events", {"body": [{"type": "EVENT"}]}, 400, "BAD_REQUEST"),
        ("POST", "/events", {"body": [{"type": "IMPRESSION", "experienceShortUid": "0"}]}, 400, "BAD_REQUEST"),
        ("PATCH", "/user-attributes", {"uid": None, "body": {"age": 1}}, 400, "USER_UID_REQUIRED"),
        ("PATCH", "/user-attributes", {"body": {"age": None}}, 400, "BAD_REQUEST"),
        ("PATCH", "/user-attributes", {"body": {"age": {"years": 1}}}, 400, "BAD_REQUEST"),
        ("PATCH", "/user-attributes", {"body": [1]}, 400, "BAD_REQUEST"),
        ("POST", "/user-attributes/actions/merge", {"body": {"sourceUserUid": "a"}}, 400, "BAD_REQUEST"),
        ("POST", "/user-attributes/actions/merge", {"body": "a"}, 400, "BAD_REQUEST"),
    ],
)
def test_refusals(edge: Edge, method: str, path: str, more: dict[str, Any], status: int, code: str) -> None:
    """They have the vendor's form, and change nothing."""
    response = edge.send(method, path, **more)
    assert (response.status_code, response.json()["error"]) == (status, f"personalize.{code}")
    assert edge.server.ledger()["views"] == edge.server.ledger()["conversions"] == []


def test_robots_are_turned_away_by_the_network_in_front(edge: Edge) -> None:
    response = edge.send("GET", "/manifest", user_agent="Googlebot/2.1")
    assert (response.status_code, response.headers["content-type"]) == (403, "text/html")


def test_routes_there_are_not(edge: Edge) -> None:
    assert edge.send("POST", "/merge-users").status_code == 404
    assert edge.send("GET", "/events").status_code == 405


def test_pages_may_ask_from_any_origin(edge: Edge) -> None:
    response = edge.send("OPTIONS", "/events", origin="https://shop.example")
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (204, "*")
    assert "x-cs-personalize-user-uid" in edge.send("GET", "/manifest").headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("method", "path", "more", "note"),
    [
        ("GET", "/manifest", {"uid": "null"}, "names nobody"),
        ("GET", "/manifest", {"cookie": "a=1"}, "cookie: must not be sent"),
        ("GET", "/manifest", {"user_agent": "python-httpx/1"}, "a library's own"),
        ("GET", "/manifest", {"x_forwarded_for": ""}, "located where the caller is"),
        ("GET", "/manifest", {"x_forwarded_for": "1.2.3.4, 10.0.0.1"}, "the one address"),
        ("GET", "/manifest?tag=a", {}, "only tags[] is known"),
        ("POST", "/events", {"body": []}, "says nothing"),
        ("POST", "/events", {"body": [], "content_type": "text/plain"}, "must be application/json"),
        ("POST", "/user-attributes/actions/merge", {"body": {}}, "not sent with a merge"),
    ],
)
def test_what_a_careful_client_would_not_send(
    edge: Edge, method: str, path: str, more: dict[str, Any], note: str
) -> None:
    edge.send(method, path, **more)
    assert any(note in each for each in request(edge)["lint"])


# How it goes wrong


def test_faults_of_its_own(edge: Edge) -> None:
    def fault(**rule: Any) -> httpx2.Response:
        edge.server.faults([{"route": "contentstack.manifest", **rule}])
        response: httpx2.Response = edge.send("GET", "/manifest")
        return response

    assert fault(kind="error").json()["error"] == "personalize.MANIFEST.PROJECT_NOT_FOUND"
    assert fault(kind="bad_cookie").headers["x-cs-personalize-user-uid"] == "null"
    assert fault(kind="bad_cookie", value="a=b c").headers["x-cs-personalize-user-uid"] == "a=b c"
    assert len(fault(kind="huge_cookie", bytes=5000).content) > 5000
    for kind in ("comments", "trailing_comma"):
        with pytest.raises(ValueError):
            fault(kind=kind).json()
    assert fault(kind="status", status=500).status_code == 500
    assert edge.send("POST", "/events", body=[]).status_code == 202


AB = {"short_uid": "a", "variants": [{"short_uid": "0"}, {"short_uid": "1"}]}
LATER = {"attribute": "b", "condition": "AFTER_TIME", "start": "x"}


@pytest.mark.parametrize(
    ("project", "words"),
    [
        ({"project_uid": "x"}, "24 hex digits"),
        ({"experiences": [{**AB, "short_uid": "a_b"}]}, "short_uid"),
        ({"experiences": [AB, AB]}, "different"),
        ({"experiences": [{**AB, "variants": [{"short_uid": "0"}]}]}, "needs two"),
        ({"experiences": [{**AB, "kind": "SEGMENTED"}]}, "each needs audiences"),
        ({"experiences": [{**AB, "metrics": ["m"]}]}, "not among events"),
        ({"experiences": [{**AB, "targeting": ["t"]}]}, "not among audiences"),
        ({"audiences": [{"name": "a"}, {"name": "a"}]}, "different"),
        ({"audiences": [{"name": "a", "rules": [LATER]}]}, "start: write a time"),
    ],
)
def test_scenarios_that_cannot_be(project: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Scenario.from_mapping({"contentstack": [{"project_uid": PROJECT, **project}]})


def test_two_projects_of_one_uid() -> None:
    with pytest.raises(ConfigError, match="different"):
        Scenario.from_mapping({"contentstack": [{"project_uid": PROJECT}, {"project_uid": PROJECT}]})


# Our codec against it


def test_codec_sends_nothing_that_a_careful_client_would_not(edge: Edge) -> None:
    """Every request of ours, through a real connection: decided, counted, and without a note."""
    vendor = contentstack(base_url=edge.server.contentstack_url, tags=["env:production"])
    driver = BlockingDriver(pool_size=1)

    def run(flow: Flow[T]) -> T:
        return driver.run(flow, Deadline(time.monotonic() + 5))

    who = visit(client_ip="203.0.113.0", user_agent="Mozilla/5.0", data={"name": "日本"}, now=time.time())
    decision = run(vendor.decide(who, VisitorState()))
    uid = next(change.value for change in decision.cookies if change.name == "cs-personalize-user-uid")
    shown = [(each.ids["experience"], each.ids["variant"]) for each in decision.variants.values()]
    assert decision.hints["variant_param"] == ",".join(f"{short}_{variant}" for short, variant in shown)
    assert [short for short, _ in shown] == ["b", "0"]
    batch = [
        exposure(*shown, uid=uid),
        track("purchase", uid=uid),
        track("$set", uid=uid, data={"age": 30}),
        track("$merge", uid=uid, data={"into": "known-1"}),
    ]
    assert run(vendor.deliver(batch)) == [Delivered()] * 4
    driver.close()
    ledger = edge.server.ledger()
    assert [request["lint"] for request in ledger["requests"]] == [[]] * 4
    assert {(view["alias"], view["variation"]) for view in ledger["views"]} == set(shown)
    assert [(each["alias"], each["system_uid"]) for each in ledger["conversions"]] == [("0", uid)]
    assert edge.server.sandbox.contentstack_visitors.attributes(
        edge.server.sandbox.scenario.contentstack[0], "known-1"
    ) == {"age": 30}
