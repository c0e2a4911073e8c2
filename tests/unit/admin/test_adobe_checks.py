"""Bodies that Adobe would refuse are refused before they are sent; the error names the field and the cure."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from flagmw.admin import InvalidError
from flagmw.admin.adobe.checks.activity import check_activity
from flagmw.admin.adobe.checks.content import check_audience, check_json_offer, check_offer, check_property
from flagmw.admin.adobe.checks.dates import checked_date
from tests.support.http_vendor import HttpVendor, answer
from tests.unit.admin.adobe import answer_of, call_of, client

ACTIVITY = call_of("activities.ab.create")["body"]


def changed(**values: Any) -> dict[str, Any]:
    """Return the printed activity with *values* put in, by paths such as `experiences__1__name`."""
    body: dict[str, Any] = deepcopy(ACTIVITY)
    for path, value in values.items():
        *way, last = [int(part) if part.isdigit() else part for part in path.split("__")]
        place: Any = body
        for step in way:
            place = place[step]
        place[last] = value
    return body


@pytest.mark.parametrize("case", ["activities.ab.create", "activities.ab.update", "activities.xt.create"])
def test_printed_bodies_pass(case: str) -> None:
    """What the documentation sends is accepted, dates and all."""
    check_activity(call_of(case)["body"])


@pytest.mark.parametrize("case", ["activities.ab.get", "activities.xt.get", "activities.ab.update"])
def test_answers_pass_when_sent_back(case: str) -> None:
    """An activity that was read can be sent back."""
    check_activity(answer_of(case))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": ""}, "name"),
    "blank name": ({"name": "  "}, "name"),
    "name of 251 characters": ({"name": "n" * 251}, "name"),
    "name that is a number": ({"name": 5}, "name"),
    "third party id of 251": ({"thirdPartyId": "t" * 251}, "thirdPartyId"),
    "workspace of 251": ({"workspace": "w" * 251}, "workspace"),
    "priority 1000": ({"priority": 1000}, "priority"),
    "priority -1": ({"priority": -1}, "priority"),
    "priority high": ({"priority": "high"}, "priority"),
    "priority true": ({"priority": True}, "priority"),
    "unknown state": ({"state": "live"}, "state"),
    "state deleted": ({"state": "deleted"}, "state"),
    "date": ({"startsAt": "2017-13-01"}, "startsAt"),
    "ends first": ({"endsAt": "2017-04-01T00:00Z"}, "endsAt"),
    "no experience": ({"experiences": []}, "experiences"),
    "experiences no list": ({"experiences": {"a": 1}}, "experiences"),
    "experience no object": ({"experiences__0": "A"}, "experiences[0]"),
    "shares of 99": ({"experiences__0__visitorPercentage": 33}, "visitorPercentage"),
    "shares of 101": ({"experiences__0__visitorPercentage": 35}, "visitorPercentage"),
    "share of half a percent": ({"experiences__0__visitorPercentage": 33.5}, "experiences[0].visitorPercentage"),
    "share missing": ({"experiences__0__visitorPercentage": None}, "visitorPercentage"),
    "entry share of 101": ({"entryConstraint": {"visitorPercentage": 101}}, "entryConstraint.visitorPercentage"),
    "id twice": ({"experiences__1__experienceLocalId": 0}, "experiences[1].experienceLocalId"),
    "id missing": ({"experiences__1": {"name": "B", "visitorPercentage": 33}}, "experiences[1].experienceLocalId"),
    "no mbox": ({"locations": {"mboxes": []}}, "locations.mboxes"),
    "locations a list": ({"locations": []}, "locations"),
    "mbox without a name": ({"locations__mboxes__0__name": ""}, "locations.mboxes[0].name"),
    "unknown location": (
        {"experiences__2__offerLocations__0__locationLocalId": 7},
        "experiences[2].offerLocations[0].locationLocalId",
    ),
    "offer that is a text": (
        {"experiences__2__offerLocations__0__offerId": "10OFF"},
        "experiences[2].offerLocations[0].offerId",
    ),
    "both forms": (
        {"experiences__0__optionLocations": [{"locationLocalId": 0, "optionLocalId": 0}]},
        "experiences[0]",
    ),
    "unknown option": (
        {"experiences__0__offerLocations": None, "experiences__0__optionLocations": [{"locationLocalId": 0}]},
        "experiences[0].optionLocations[0].optionLocalId",
    ),
    "no conversion": ({"metrics__0__conversion": False}, "metrics"),
    "metric twice": ({"metrics": [ACTIVITY["metrics"][0]] * 2}, "metrics[1].metricLocalId"),
    "unknown event": ({"metrics__0__mboxes__0__successEvent": "mbox_seen"}, "metrics[0].mboxes[0].successEvent"),
    "unknown action": ({"metrics__0__action": {"type": "restart"}}, "metrics[0].action.type"),
    "conditions for nothing": (
        {"metrics__0__action": {"type": "count_once", "conditions": {"maxVisitCount": 1}}},
        "metrics[0].action.conditions",
    ),
    "negative visits": (
        {"metrics__0__action": {"type": "ban_from_campaign", "conditions": {"maxVisitCount": -1}}},
        "metrics[0].action.conditions.maxVisitCount",
    ),
    "condition on nothing": (
        {
            "metrics__0__action": {
                "type": "experience_frequency_capping",
                "conditions": {"experiences": [{"experienceLocalId": 9, "maxImpressionCount": 2}]},
            }
        },
        "metrics[0].action.conditions.experiences[0].experienceLocalId",
    ),
    "unknown follow-up": (
        {"metrics__0__action": {"type": "experience_frequency_capping", "onConditionsMetAction": "stop"}},
        "metrics[0].action.onConditionsMetAction",
    ),
    "audience of nothing": (
        {"reportingAudiences": [{"reportingAudienceLocalId": 0, "audienceId": 5, "metricLocalId": 1}]},
        "reportingAudiences[0].metricLocalId",
    ),
    "criteria": (
        {"autoAllocateTraffic__successEvaluationCriteria": "money"},
        "autoAllocateTraffic.successEvaluationCriteria",
    ),
    "audiences no list": ({"experiences__0__audienceIds": 5}, "experiences[0].audienceIds"),
    "audience of an mbox": ({"locations__mboxes__0__audienceIds": ["a"]}, "locations.mboxes[0].audienceIds[0]"),
    "properties no list": ({"propertyIds": 1}, "propertyIds"),
    "property": ({"propertyIds": ["1"]}, "propertyIds[0]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_activities(case: str) -> None:
    """Nothing is sent, and the error names the field."""
    values, field = WRONG[case]
    with HttpVendor(lambda _: answer({"id": 1})) as vendor, client(vendor.url) as admin:
        with pytest.raises(InvalidError) as caught:
            admin.activities.ab.create(changed(**values))
        assert vendor.requests == []
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert isinstance(caught.value, ValueError)


def test_conditions_in_both_spellings_pass() -> None:
    """Frequency capping with its conditions is accepted, in the page's and in the description's spelling."""
    for spelling in ("onConditionMetAction", "onConditionsMetAction"):
        action = {
            "type": "experience_frequency_capping",
            "conditions": {"maxImpressionCount": 3, "experiences": [{"experienceLocalId": 0, "maxVisitCount": 2}]},
            spelling: "restart_new_experience",
        }
        check_activity(changed(metrics__0__action=action, entryConstraint={"visitorPercentage": 50}))


def test_checks_can_be_switched_off() -> None:
    """What the checks do not know can be sent all the same."""
    with HttpVendor(lambda request: answer({**request.json(), "id": 1})) as vendor, client(vendor.url) as admin:
        assert admin.activities.ab.create({"name": ""}, check=False) == {"name": "", "id": 1}


@pytest.mark.parametrize(
    "good",
    [
        "2017-05-01T08:00:00+02:00", "2017-05-01T08:00:00Z", "2017-05-01T08:00:00", "2017-05-01T08", "2017-05-01",
        "2017-05-01T08:00:00.123", "2017-05-01T08:00:00.123-07:00", "2017-05-01T08:00Z",
    ],
)  # fmt: skip
def test_dates(good: str) -> None:
    """The six documented forms are accepted, and that of the documentation's own sample."""
    assert checked_date(good, "startsAt") == good


@pytest.mark.parametrize(
    "bad",
    [
        "", "today", "2017-5-1", "2017-02-30", "2017-05-01 08:00", "2017-05-01T25", "2017-05-01T08:00:60Z",
        "2017-05-01T08:00:00.12", "2017-05-01T08Zulu", "2017-05-01T08:00:00+2:00", "01/05/2017", 20170501, None,
        datetime(2017, 5, 1),  # noqa: DTZ001 - that is what is wrong with it
    ],
)  # fmt: skip
def test_dates_that_are_none(bad: Any) -> None:
    """What is no date, or no moment, is refused with the forms that are."""
    with pytest.raises(InvalidError) as caught:
        checked_date(bad, "startsAt")
    assert caught.value.field == "startsAt"


def test_datetimes() -> None:
    """A datetime that knows its zone is sent in UTC."""
    paris = timezone(timedelta(hours=2))
    assert checked_date(datetime(2017, 5, 1, 8, tzinfo=paris), "startsAt") == "2017-05-01T06:00:00Z"
    assert checked_date(datetime(2017, 5, 1, 8, 0, 0, 123456, tzinfo=UTC), "startsAt") == "2017-05-01T08:00:00.123Z"


def test_datetimes_in_an_activity() -> None:
    """Dates of a body may be datetimes; one without a zone is refused."""
    body = changed(startsAt=datetime(2026, 1, 1, 8, 0, 0, 500, tzinfo=UTC), endsAt=datetime(2026, 2, 1, tzinfo=UTC))
    with HttpVendor(lambda request: answer({**request.json(), "id": 1})) as vendor, client(vendor.url) as admin:
        made = admin.activities.ab.create(body)  # type: ignore[arg-type]
        with pytest.raises(InvalidError, match="zone"):
            admin.activities.ab.create(changed(endsAt=datetime(2026, 2, 1)))  # type: ignore[arg-type]  # noqa: DTZ001
    assert (made["startsAt"], made["endsAt"]) == ("2026-01-01T08:00:00.000Z", "2026-02-01T00:00:00Z")


@pytest.mark.parametrize(
    ("check", "body", "field"),
    [
        (check_offer, {"name": "a", "content": {"json": 1}}, "content"),
        (check_offer, {"content": "a"}, "name"),
        (check_offer, {"name": "n" * 251, "content": "a"}, "name"),
        (check_offer, [], "offer"),
        (check_json_offer, {"name": "a"}, "content"),
        (check_audience, {"name": "a"}, "targetRule"),
        (check_audience, {"name": "a", "targetRule": {"a": 1}, "audienceRule": {"b": 1}}, "audienceRule"),
        (check_audience, {"name": "a" * 256, "targetRule": {"a": 1}}, "name"),
        (check_audience, {"name": "a", "targetRule": "gold"}, "targetRule"),
        (check_property, {"name": "a", "channel": "tv"}, "channel"),
    ],
)
def test_wrong_content(check: Any, body: Any, field: str) -> None:
    """Offers, audiences and properties are checked the same way."""
    with pytest.raises(InvalidError) as caught:
        check(body)
    assert caught.value.field == field


def test_single_fields() -> None:
    """The calls that set one field check it, and nothing is sent."""
    with HttpVendor(lambda _: answer({"id": 1})) as vendor, client(vendor.url) as admin:
        for use in (
            lambda: admin.activities.set_name(1, ""),
            lambda: admin.activities.set_state(1, "deleted"),
            lambda: admin.activities.set_priority(1, 1000),
            lambda: admin.activities.set_schedule(1, "2017-05-01", "2017-05-01"),
            lambda: admin.activities.ab.get(-1),
            lambda: admin.activities.ab.get("../ab/2"),  # type: ignore[arg-type]
            lambda: admin.mboxes.parameters(""),
            lambda: admin.tokens.create("admin"),  # type: ignore[arg-type]
            lambda: admin.activities.ab.qa_links(1, "ftp://x"),
            lambda: admin.activities.ab.qa_links(1, "https://x", true_audience_ids=[1], false_audience_ids=[1]),
        ):
            with pytest.raises(InvalidError):
                use()
        assert [request.target for request in vendor.requests] == []


def test_what_json_cannot_hold() -> None:
    """Not a number, half a character, an object: nothing is sent, and nothing becomes null on the way."""
    with HttpVendor(lambda _: answer({"id": 1})) as vendor, client(vendor.url) as admin:
        for content in (float("nan"), {"a": [float("inf")]}, {"a": object()}, "\ud800", {1: 2}, 2**70):
            with pytest.raises(InvalidError):
                admin.offers.json.create({"name": "a", "content": content})
        for use in (
            lambda: admin.activities.page(name="\ud800"),
            lambda: admin.mboxes.parameters("\ud800"),
            lambda: admin.profiles.update({"a": 1}, third_party_id="\ud800"),
        ):
            with pytest.raises(InvalidError):
                use()
        assert vendor.requests == []
