"""Versions: drafts, what is live, percentages, short uids that stay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.admin import ConflictError, InvalidError, NotFoundError
from flagmw.admin.contentstack.checks import checked_version
from flagmw.admin.contentstack.versions import ab_test, equal_split, segmented
from tests.support.http_vendor import Answer, HttpVendor, Request, answer
from tests.unit.admin.contentstack import ACTIVE, AUDIENCE, DRAFT, EVENT, EXPERIENCE, Scripted, async_client, client

TEST = ab_test(["Control", "Purple"], metric=EVENT, metric_name="Click")
STORED: Any = [{**one, "shortUid": str(number)} for number, one in enumerate(TEST["variants"])]


def version(uid: str, status: str, **more: Any) -> dict[str, Any]:
    stored = {
        "_id": uid,
        "uid": uid,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "createdBy": "b1",
        "referredAudiences": [],
    }
    return {**stored, **TEST, "variants": STORED, "status": status, **more}


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [("activate", "DRAFT", "ACTIVE"), ("pause", "ACTIVE", "PAUSED"), ("resume", "PAUSED", "ACTIVE")],
)
async def test_a_step_sends_the_whole_version(verb: str, before: str, after: str) -> None:
    """The vendor wants the unchanged configuration with the new status, and none of what it added itself."""
    with Scripted(version("6" * 24, "ARCHIVED"), version(ACTIVE, before)) as box:
        with client(box.vendor.url) as admin:
            getattr(admin.versions, verb)(EXPERIENCE)
        async with async_client(box.vendor.url) as later:
            await getattr(later.versions, verb)(EXPERIENCE)
        read, written = ("GET", f"/experiences/{EXPERIENCE}/versions", None), box.sent[1]
        assert box.sent == [read, written] * 2
    assert written[:2] == ("PUT", f"/experiences/{EXPERIENCE}/versions/{ACTIVE}")
    assert written[2] == {**TEST, "variants": STORED, "status": after}


def test_what_is_live_is_paused_as_it_is() -> None:
    """A version that was stored with other shares than this client would send can be paused all the same."""
    odd = [{**one, "trafficDistribution": 33.3} for one in STORED]
    with Scripted(version(ACTIVE, "ACTIVE", variants=odd)) as box, client(box.vendor.url) as admin:
        admin.versions.pause(EXPERIENCE)
        assert box.sent[-1][2]["variants"] == odd


def test_a_draft_with_wrong_shares_is_not_activated() -> None:
    """Nothing is written, and the error names the field."""
    odd = [{**one, "trafficDistribution": 49.5} for one in STORED]
    with Scripted(version(DRAFT, "DRAFT", variants=odd)) as box, client(box.vendor.url) as admin:
        with pytest.raises(InvalidError, match="99, not 100"):
            admin.versions.activate(EXPERIENCE)
        assert [method for method, *_ in box.sent] == ["GET"]


@pytest.mark.parametrize("verb", ["activate", "pause", "resume", "discard"])
def test_a_step_from_nowhere(verb: str) -> None:
    """The error says what there is; nothing is written."""
    with Scripted(version("6" * 24, "ARCHIVED")) as box, client(box.vendor.url) as admin:
        with pytest.raises(NotFoundError, match="there are: ARCHIVED"):
            getattr(admin.versions, verb)(EXPERIENCE)
        assert [method for method, *_ in box.sent] == ["GET"]


def test_short_uids_stay() -> None:
    """Variants of the same name keep theirs in a new version and in an update; a new one has none."""
    three = ab_test(["Purple", "Red", "Control"])
    kept = ["1", None, "0"]
    with Scripted(version(ACTIVE, "ACTIVE")) as box, client(box.vendor.url) as admin:
        admin.versions.create(EXPERIENCE, three)
        assert box.sent[-1][0] == "POST"
        assert [one.get("shortUid") for one in box.sent[-1][2]["variants"]] == kept
        admin.versions.update(EXPERIENCE, DRAFT, {**three, "status": "DRAFT"})
        assert [one.get("shortUid") for one in box.sent[-1][2]["variants"]] == kept
        admin.versions.update(EXPERIENCE, DRAFT, {**three, "status": "DRAFT"}, keep_short_uids=False)
        assert [one.get("shortUid") for one in box.sent[-1][2]["variants"]] == [None] * 3


def test_a_second_draft() -> None:
    """It is refused before it is sent, and writes the first one when asked to."""
    with Scripted(version(ACTIVE, "ACTIVE"), version(DRAFT, "DRAFT")) as box, client(box.vendor.url) as admin:
        with pytest.raises(ConflictError, match=DRAFT):
            admin.versions.create(EXPERIENCE, TEST)
        assert [method for method, *_ in box.sent] == ["GET"]
        admin.versions.create(EXPERIENCE, TEST, status="ACTIVE", on_draft="update")
        method, path, body = box.sent[-1]
    assert (method, path) == ("PUT", f"/experiences/{EXPERIENCE}/versions/{DRAFT}")
    assert body == {**TEST, "variants": STORED, "status": "ACTIVE"}


@pytest.mark.parametrize("on_draft", ["error", "update"])
def test_a_draft_that_somebody_makes_meanwhile(on_draft: Any) -> None:
    """The vendor's refusal is the same conflict, or the draft is written."""
    sent: list[str] = []

    def handle(request: Request) -> Answer:
        sent.append(request.method)
        if request.method == "GET":
            return answer([version(DRAFT, "DRAFT")] if "POST" in sent else [version(ACTIVE, "ACTIVE")])
        if request.method == "POST":
            code = "personalize.EXPERIENCES.VERSIONS.CANNOT_CREATE_VERSION_AS_DRAFT_ALREADY_EXISTS"
            return answer({"errors": {"status": [{"code": code, "message": "A draft exists"}]}}, 400)
        return answer({"uid": DRAFT})

    with HttpVendor(handle) as vendor, client(vendor.url) as admin:
        if on_draft == "update":
            assert admin.versions.create(EXPERIENCE, TEST, on_draft="update")["uid"] == DRAFT
            assert sent == ["GET", "POST", "GET", "PUT"]
        else:
            with pytest.raises(ConflictError, match=DRAFT):
                admin.versions.create(EXPERIENCE, TEST)
            assert sent == ["GET", "POST", "GET"]


def test_discard_deletes_the_draft() -> None:
    """The draft is found by its status; an active version is never deleted so."""
    with Scripted(version(ACTIVE, "ACTIVE"), version(DRAFT, "DRAFT")) as box, client(box.vendor.url) as admin:
        admin.versions.discard(EXPERIENCE)
        assert box.sent[-1][:2] == ("DELETE", f"/experiences/{EXPERIENCE}/versions/{DRAFT}")


@given(st.integers(2, 20))
def test_equal_parts(parts: int) -> None:
    """Equal parts of any number are taken, however they round; so are those rounded the other way."""
    body = ab_test([f"v{number}" for number in range(parts)])
    shares = [one["trafficDistribution"] for one in body["variants"]]
    assert shares == equal_split(parts) and len(set(shares)) == 1
    checked_version({**body, "status": "ACTIVE"})
    floor = [{**one, "trafficDistribution": int(10_000 / parts) / 100} for one in body["variants"]]
    checked_version({**body, "status": "ACTIVE", "variants": floor})


@given(st.lists(st.integers(0, 100), min_size=2, max_size=6))
def test_shares_make_a_hundred(shares: list[int]) -> None:
    """Whole percentages are taken exactly when they make 100; equal thirds aside, nothing else is."""
    body = {**ab_test([f"v{number}" for number in range(len(shares))], shares=shares), "status": "ACTIVE"}
    if sum(shares) == 100:
        assert checked_version(body)["variantSplit"] == "CUSTOM"
    else:
        with pytest.raises(InvalidError, match=f"make {sum(shares)}, not 100"):
            checked_version(body)


@pytest.mark.parametrize("shares", [[49, 50], [50, 51], [49.99, 49.99], [33, 33, 33], [33.34, 33.34, 33.35], [25] * 5])
def test_wrong_sums_are_refused(shares: list[float]) -> None:
    """99, 101, and what is near 100 without being equal parts."""
    with pytest.raises(InvalidError, match="not 100"):
        checked_version({**ab_test(list("abcde")[: len(shares)], shares=shares), "status": "DRAFT"})


@pytest.mark.parametrize("shares", [[33.33, 33.33, 33.33], [33.33, 33.33, 33.34], [12.5, 87.5], [100, 0], [14.28] * 7])
def test_right_sums_are_taken(shares: list[float]) -> None:
    """99.99 in three equal parts is what the vendor itself prints."""
    assert checked_version({**ab_test(list("abcdefg")[: len(shares)], shares=shares), "status": "DRAFT"})


def test_metrics_and_targeting() -> None:
    """The first metric is the primary one; the audiences say who takes part."""
    body = ab_test(
        ["a", "b"],
        metric=EVENT,
        metric_name="Buy",
        further_metrics={DRAFT: "Look"},
        audiences=[AUDIENCE],
        combination="OR",
    )
    assert body["metrics"] == [
        {"__type": "Primary", "event": EVENT, "name": "Buy"},
        {"__type": "Secondary", "event": DRAFT, "name": "Look"},
    ]
    assert body["targeting"] == {"audience": {"audiences": [AUDIENCE], "audienceCombinationType": "OR"}}
    checked_version({**body, "status": "ACTIVE"})


GOOD: dict[str, Any] = {**TEST, "status": "ACTIVE"}
SEGMENT: dict[str, Any] = {**segmented({"AU": [AUDIENCE]}), "status": "ACTIVE"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**GOOD, "status": "LIVE"}, "status"),
        ({**GOOD, "status": "ARCHIVED"}, "status"),
        ({"variants": GOOD["variants"]}, "status"),
        ({"status": "PAUSED"}, "variants"),
        ({**GOOD, "variants": []}, "variants"),
        ({**GOOD, "variants": GOOD["variants"][:1]}, "variants"),
        ({**GOOD, "variants": [*GOOD["variants"], *SEGMENT["variants"]]}, "variants"),
        ({**GOOD, "variants": [{"__type": "Variant", "name": "x"}]}, "variants"),
        ({**GOOD, "variants": [{**one, "shortUid": "0"} for one in GOOD["variants"]]}, "variants"),
        ({**GOOD, "variants": [{**one, "name": " "} for one in GOOD["variants"]]}, "variants[0].name"),
        (
            {**GOOD, "variants": [{**one, "trafficDistribution": "50"} for one in GOOD["variants"]]},
            "variants[0].trafficDistribution",
        ),
        ({**GOOD, "metrics": [{"__type": "Primary", "event": "click", "name": "x"}]}, "metrics[0].event"),
        ({**GOOD, "metrics": [{"__type": "Secondary", "event": EVENT, "name": "x"}]}, "metrics[0]"),
        ({**GOOD, "targeting": []}, "targeting"),
        ({**GOOD, "targeting": {"audience": {"audiences": [AUDIENCE]}}}, "targeting.audience.audienceCombinationType"),
        ({**SEGMENT, "variants": [{**SEGMENT["variants"][0], "audiences": []}]}, "variants[0]"),
        ({**SEGMENT, "variants": [{**SEGMENT["variants"][0], "audiences": ["a" * 32]}]}, "variants[0].audiences[0]"),
    ],
)
def test_bodies_that_are_refused(body: dict[str, Any], field: str) -> None:
    """The error names the field, and nothing is sent."""
    with Scripted() as box, client(box.vendor.url) as admin:
        with pytest.raises(InvalidError) as caught:
            admin.versions.update(EXPERIENCE, DRAFT, body)
        assert caught.value.field == field
        assert box.sent == []
