"""Limits, probabilities and statuses that the vendor states."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.contentstack_admin.conftest import Box
from tests.sandbox.contentstack_admin.steps import (
    COUNTRY,
    active,
    audience,
    combined,
    done,
    refused,
    rule,
    segment,
    shares,
)

ANYWHERE = rule(COUNTRY, "HAS_ANY_VALUE")


@pytest.mark.parametrize("kind", ["attributes", "audiences", "events", "experiences"])
def test_a_project_has_a_hundred_of_a_kind(box: Box, kind: str) -> None:
    def body(number: int) -> dict[str, Any]:
        more = {"definition": combined(ANYWHERE), "__type": "AB_TEST"}
        return {"name": f"n{number}", "key": f"k{number}", **more}

    there = len([one for one in done(box, "GET", f"/{kind}") if one.get("__type") != "PRESET"])
    for number in range(there, 100):
        done(box, "POST", f"/{kind}", body(number))
    answer = box.raw("POST", f"/{kind}", body(100))
    assert (answer.status_code, answer.json()["error"]) == (400, "LIMIT_EXCEEDED")


def test_an_audience_has_fifty_rules_at_all_depths(box: Box) -> None:
    half = [ANYWHERE] * 25
    audience(box, "Fifty", *half, combined(*half))
    more = combined(*half, combined(*half, ANYWHERE))
    refused(box, "POST", "/audiences", {"name": "x", "definition": more}, field="definition", code="TOO_MANY_RULES")


def test_a_version_has_twenty_variants_with_fifty_audiences(box: Box) -> None:
    made = done(box, "POST", "/experiences", {"name": "x", "__type": "SEGMENTED"})
    path = f"/experiences/{made['uid']}/versions/{made['latestVersion']}"
    many = [audience(box, f"a{number}", ANYWHERE) for number in range(51)]
    done(box, "PUT", path, {"status": "DRAFT", "variants": [segment(f"v{n}", *many[:50]) for n in range(20)]})
    for variants, code in (
        ([segment(f"v{number}", many[0]) for number in range(21)], "TOO_MANY_VARIANTS"),
        ([segment("v", *many)], "TOO_MANY_AUDIENCES"),
        ([segment("v")], "EMPTY_ARRAY"),
        ([{**segment("v", many[0]), "audienceCombinationType": "XOR"}], "NOT_VALID_ENUM"),
        ([{**segment("v", many[0]), "__type": "ABTestVariant"}], "NOT_VALID_ENUM"),
    ):
        refused(box, "PUT", path, {"status": "DRAFT", "variants": variants}, field="variants", code=code)


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ([f"t{number}" for number in range(11)], "TOO_MANY_TAGS"),
        (["x" * 33], "INVALID_TAG"),
        (["a b"], "INVALID_TAG"),
        ([""], "INVALID_TAG"),
        ("env", "INVALID_TAG"),
    ],
)
def test_tags_are_ten_short_words(box: Box, tags: Any, code: str) -> None:
    refused(box, "POST", "/experiences", {"name": "x", "__type": "AB_TEST", "tags": tags}, field="tags", code=code)
    good = [f"{'T' * 30}{number}" for number in range(10)]
    made = done(box, "POST", "/experiences", {"name": "x", "__type": "AB_TEST", "tags": [*good, good[0].lower()]})
    assert made["tags"] == [one.lower() for one in good]


def test_the_winner_is_known_after_fourteen_days_and_enough_data(box: Box) -> None:
    """A leader with 30 conversions or 1000 impressions; a winner with 95 % and 14 whole days besides."""
    event = done(box, "POST", "/events", {"key": "buy"})
    metrics = [{"__type": "Primary", "event": event["uid"], "name": "Buy"}]
    made = active(box, "AB_TEST", shares("Red", "Blue", metrics=metrics))

    def saw(uid: str, variant: str, *more: dict[str, str]) -> None:
        box.did(uid, {"type": "IMPRESSION", "experienceShortUid": made["shortUid"], "variantShortUid": variant}, *more)

    def summary() -> tuple[str | None, str | None]:
        path = f"/experiences/{made['uid']}/analytics/summary?version={made['latestVersion']}"
        found = done(box, "GET", path)
        chances = [one["probabilityToBeBest"] for one in found["variants"]]
        assert sum(chances) == pytest.approx(1, abs=0.001)
        return found["leadingVariant"], found["winningVariant"]

    for number in range(40):
        saw(f"r{number}", "0")
    for number in range(29):
        saw(f"b{number}", "1", {"type": "EVENT", "eventKey": "buy"})
    assert summary() == (None, None)
    saw("b29", "1", {"type": "EVENT", "eventKey": "buy"})
    assert summary() == ("1", None)
    box.clock.now += 14 * 86400 - 1
    assert summary() == ("1", None)
    box.clock.now += 1
    assert summary() == ("1", "1")


@pytest.mark.parametrize("status", [500, 502, 504])
def test_statuses_of_the_gateway(box: Box, status: int) -> None:
    """A fault of the sandbox gives any of those that the vendor lists, and nothing is done."""
    box.server.faults([{"kind": "status", "status": status, "route": "admin"}])
    assert box.raw("POST", "/events", {"key": "lost"}).status_code == status
    box.server.faults([])
    assert "lost" not in [one["key"] for one in done(box, "GET", "/events")]


def test_the_limit_is_one_of_the_organisation(box: Box) -> None:
    """Ten in a second over reads, writes, deletions, tokens and projects; refusals count for none."""
    other = done(box, "POST", "/projects", {"name": "Other"})["uid"]
    box.clock.now += 2
    box.server.sandbox.personalize.calls_per_second = 10
    uid = "0" * 24
    for _ in range(3):
        assert box.raw("GET", "/events").status_code == 200
        assert box.raw("DELETE", f"/events/{uid}").status_code == 404
        answer = box.raw("GET", "/events", authtoken="", authorization="Bearer sandbox-read-token")
        assert answer.status_code == 200
    assert box.raw("GET", "/events", **{"x-project-uid": other}).status_code == 200
    assert [box.raw("GET", "/events").status_code for _ in range(3)] == [429] * 3
    box.clock.now += 1
    assert box.raw("GET", "/events").status_code == 200


def test_drafts_can_be_paused_where_that_is_set(box: Box) -> None:
    made = done(box, "POST", "/experiences", {"name": "x", "__type": "AB_TEST"})
    path = f"/experiences/{made['uid']}/versions/{made['latestVersion']}"
    body = {**shares("a", "b"), "status": "PAUSED"}
    refused(box, "PUT", path, body, field="status", code="INVALID_STATUS")
    box.server.sandbox.personalize.pause_drafts = True
    assert done(box, "PUT", path, body)["status"] == "PAUSED"
    assert box.manifest("u1")[made["shortUid"]] is None
