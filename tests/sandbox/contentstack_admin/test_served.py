"""What the management side changes decides what the middleware serves, and what visitors do is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flagmw import Contentstack, Flagmw
from tests.contracts.edges.driver import EDGES, Answer, Edge, Seen, Visitor
from tests.sandbox.contentstack_admin.conftest import PROJECT, Box
from tests.sandbox.contentstack_admin.steps import (
    IN_GERMANY,
    IN_US,
    active,
    audience,
    combined,
    done,
    rule,
    segment,
    shares,
    text,
)


class Shop:
    """A shop behind the middleware, whose page shows one experience; the page /buy reports a conversion."""

    def __init__(self, box: Box, edge: Edge) -> None:
        self.short, self.edge = "", edge
        vendor = Contentstack(PROJECT, base_url=box.server.contentstack_url)
        self.fm = Flagmw(vendors=[vendor], deadline_ms=5000, reuse_s=0, outbox="memory://")
        self.app = edge.mount(self._page, self.fm)

    def _page(self, seen: Seen) -> Answer:
        variant = seen.flags.get(f"exp:{self.short}", "default")
        if seen.path == "/buy":
            seen.flags.track("buy")
        return Answer(str(variant).encode())

    def visitor(self) -> Visitor:
        return Visitor(self.edge, self.app)


@pytest.fixture
def shop(box: Box) -> Iterator[Shop]:
    with EDGES[next(iter(EDGES))]() as edge:
        made = Shop(box, edge)
        yield made
        edge.close(made.fm)


def test_from_activation_to_analytics_and_back_to_defaults(box: Box, shop: Shop) -> None:
    """Before: the default. Active: both variants, each visitor the same. Conversions counted. Paused: the default."""
    event = done(box, "POST", "/events", {"key": "buy"})
    made = done(box, "POST", "/experiences", {"name": "Button", "__type": "AB_TEST"})
    shop.short, uid = made["shortUid"], made["uid"]
    version = f"/experiences/{uid}/versions/{made['latestVersion']}"
    analytics = f"/experiences/{uid}/analytics/{{}}?version={made['latestVersion']}"
    assert shop.visitor().get().body == b"default"
    assert box.raw("GET", analytics.format("summary")).status_code == 404

    body = shares("Red", "Blue", metrics=[{"__type": "Primary", "event": event["uid"], "name": "Buy"}])
    running = done(box, "PUT", version, body)
    visitors = [shop.visitor() for _ in range(12)]
    shown = [one.get().body.decode() for one in visitors]
    assert set(shown) == {"0", "1"}
    assert [one.get().body.decode() for one in visitors] == shown
    box.clock.now += 3600
    for one in visitors[:4]:
        one.get("/buy")
    assert shop.fm.flush(5)

    rows = done(box, "GET", analytics.format("summary"))["variants"]
    by_variant = [(one["shortUid"], one["impressions"], one["conversions"]) for one in rows]
    assert by_variant == [(short, shown.count(short), shown[:4].count(short)) for short in ("0", "1")]
    series = done(box, "GET", analytics.format("time-series"))["series"]
    assert [one["interval"] for one in series] == ["2026-01-01T00:00:00Z/PT1H", "2026-01-01T01:00:00Z/PT1H"]
    for hour, counted in zip(series, ([12, 0], [0, 4]), strict=True):
        assert [sum(one[what] for one in hour["variants"]) for what in ("impressions", "conversions")] == counted

    unchanged = {name: running[name] for name in ("variants", "variantSplit", "metrics")}
    done(box, "PUT", version, {**unchanged, "status": "PAUSED"})
    assert visitors[0].get().body == b"default"
    done(box, "PUT", version, {**unchanged, "status": "ACTIVE"})
    assert [one.get().body.decode() for one in visitors] == shown


def test_a_new_version_counts_from_zero(box: Box) -> None:
    """A late conversion of a visitor who saw the version before counts for neither."""
    event = done(box, "POST", "/events", {"key": "buy"})
    body = shares("Red", "Blue", metrics=[{"__type": "Primary", "event": event["uid"], "name": "Buy"}])
    made = active(box, "AB_TEST", body)
    path, short = f"/experiences/{made['uid']}", made["shortUid"]
    shown = {"type": "IMPRESSION", "experienceShortUid": short, "variantShortUid": "0"}
    box.did("u1", shown, {"type": "EVENT", "eventKey": "buy"})
    box.did("u2", shown)
    old = done(box, "GET", f"{path}/versions")[0]
    variants = [{**one, "trafficDistribution": share} for one, share in zip(old["variants"], (20, 80), strict=True)]
    new = done(box, "POST", f"{path}/versions", {**body, "variants": variants, "variantSplit": "CUSTOM"})
    box.did("u2", {"type": "EVENT", "eventKey": "buy"})

    def counts(version: str) -> list[tuple[int, int]]:
        rows = done(box, "GET", f"{path}/analytics/summary?version={version}")["variants"]
        return [(one["impressions"], one["conversions"]) for one in rows]

    assert counts(new["uid"]) == [(0, 0), (0, 0)]
    assert counts(old["uid"]) == [(2, 1), (0, 0)]
    box.did("u2", shown, {"type": "EVENT", "eventKey": "buy"})
    assert counts(new["uid"]) == [(1, 1), (0, 0)]


@pytest.mark.parametrize(("days", "counted"), [(29.9, 1), (30.1, 0)])
def test_conversions_count_for_thirty_days(box: Box, days: float, counted: int) -> None:
    event = done(box, "POST", "/events", {"key": "buy"})
    metrics = [{"__type": "Primary", "event": event["uid"], "name": "Buy"}]
    made = active(box, "AB_TEST", shares("Red", "Blue", metrics=metrics))
    box.did("u1", {"type": "IMPRESSION", "experienceShortUid": made["shortUid"], "variantShortUid": "1"})
    box.clock.now += days * 86400
    box.did("u1", {"type": "EVENT", "eventKey": "buy"}, {"type": "EVENT", "eventKey": "buy"})
    path = f"/experiences/{made['uid']}/analytics/summary?version={made['latestVersion']}"
    assert [one["conversions"] for one in done(box, "GET", path)["variants"]] == [0, counted]


def test_segmented_experiences_have_no_conversions(box: Box) -> None:
    who = audience(box, "A", rule({"__type": "PresetAttributeReference", "ref": "COUNTRY"}, "HAS_ANY_VALUE"))
    made = active(box, "SEGMENTED", {"variants": [segment("a", who)]})
    box.did("u1", {"type": "IMPRESSION", "experienceShortUid": made["shortUid"], "variantShortUid": "0"})
    path = f"/experiences/{made['uid']}/analytics/summary?version={made['latestVersion']}"
    assert done(box, "GET", path) == {"variants": [{"shortUid": "0", "impressions": 1}]}


def served(box: Box, made: dict[str, Any], **headers: str) -> str | None:
    return box.manifest("u1", **headers)[made["shortUid"]]


@pytest.mark.parametrize("zone", [True, False])
def test_times_are_those_of_the_visitor_or_universal(box: Box, zone: bool) -> None:
    """From 09:00 on the first of January: at 08:30 UTC it is 09:30 in Berlin and 00:30 in San Francisco."""
    options = {"__type": "DateTimeMatchOptions", "startTime": "2026-01-01T09:00:00", "endTime": "2026-01-02T00:00:00"}
    when = {"__type": "PresetAttributeReference", "ref": "DATE_AND_TIME"}
    who = audience(box, "Morning", rule(when, "BETWEEN_TIME", {**options, "useVisitorTimezone": zone}))
    made = active(box, "SEGMENTED", {"variants": [segment("a", who)]})
    box.clock.now += 8.5 * 3600
    assert [served(box, made, **place) for place in (IN_GERMANY, IN_US)] == (["0", None] if zone else [None, None])
    box.clock.now += 3600
    assert [served(box, made, **place) for place in (IN_GERMANY, IN_US)] == (["0", None] if zone else ["0", "0"])


def test_lytics_audiences_are_matched_by_their_slug(box: Box) -> None:
    """In a rule; 32 digits among audiences are no uid of an audience."""
    reference = {"__type": "LyticsAttributeReference", "ref": "LYTICS_AUDIENCE"}
    who = audience(
        box, "Frequent", rule(reference, "IS_MEMBER_OF", {"__type": "AudienceMatchOptions", "value": "frequent"})
    )
    made = active(box, "SEGMENTED", {"variants": [segment("a", who)]})
    assert served(box, made) is None
    live = {"x-live-attributes": '{"__lytics_audiences": "|new|frequent|"}'}
    assert served(box, made, **live) == "0"
    other = done(box, "POST", "/experiences", {"name": "Other", "__type": "SEGMENTED"})
    path = f"/experiences/{other['uid']}/versions/{other['latestVersion']}"
    answer = box.raw("PUT", path, {"status": "DRAFT", "variants": [segment("a", "f" * 32)]})
    assert answer.status_code == 400 and "not a valid ObjectId" in answer.text
    slugs = {"lyticsAudiences": ["f" * 32]}
    done(box, "PUT", path, {"status": "ACTIVE", "variants": [{**segment("a", **slugs), "audiences": []}]})
    assert served(box, other) is None


def test_attributes_and_audiences_decide_at_once(box: Box) -> None:
    """A new attribute is stored for visitors, a renamed key is another one, a changed definition matches anew."""
    attribute = done(box, "POST", "/attributes", {"name": "Points", "key": "points"})
    custom = {"__type": "CustomAttributeReference", "ref": attribute["uid"]}
    many = rule(custom, "NUMBER_GREATER_THAN", {"__type": "NumberMatchOptions", "value": 10})
    country = rule({"__type": "PresetAttributeReference", "ref": "COUNTRY"}, "STRING_EQUALS", text("US"))
    who = audience(box, "Rich", many, combined(country, by="OR"))
    made = active(box, "SEGMENTED", {"variants": [segment("a", who)]})
    headers = {"x-project-uid": PROJECT, "x-cs-personalize-user-uid": "u1"}
    edge = box.server.contentstack_url
    box.http.patch(f"{edge}/user-attributes", headers=headers, json={"points": 11})
    assert (served(box, made, **IN_US), served(box, made, **IN_GERMANY)) == ("0", None)
    done(box, "PUT", f"/audiences/{who}", {"name": "Rich", "definition": combined(many)})
    assert served(box, made, **IN_GERMANY) == "0"
    done(box, "PUT", f"/attributes/{attribute['uid']}", {"name": "Points", "key": "coins"})
    assert served(box, made) is None
    box.http.patch(f"{edge}/user-attributes", headers=headers, json={"coins": 12})
    assert served(box, made) == "0"
    done(box, "DELETE", f"/attributes/{attribute['uid']}")
    assert served(box, made) is None


def test_inline_rules_are_served(box: Box) -> None:
    """Of a variant, and of a whole test."""
    country = {"__type": "PresetAttributeReference", "ref": "COUNTRY"}
    target = combined(rule(country, "STRING_EQUALS", text("DE")))
    one = active(box, "SEGMENTED", {"variants": [{"__type": "SegmentedVariant", "name": "a", "target": target}]})
    two = active(box, "AB_TEST", shares("a", "b", targeting={"target": target}), name="Two")
    assert (served(box, one, **IN_GERMANY), served(box, one, **IN_US)) == ("0", None)
    assert served(box, two, **IN_GERMANY) in ("0", "1") and served(box, two, **IN_US) is None
