"""Conveniences on whole activities: split, another experience, pause, clone; and dry runs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from flagmw.admin import Between, InvalidError, Not, PlannedRequest
from flagmw.exceptions import ConfigError
from tests.support.http_vendor import Answer, HttpVendor, Request, answer
from tests.unit.admin.adobe import API_KEY, TOKEN, answer_of, async_client, client

ACTIVITY = answer_of("activities.ab.get")
OPTIONS = {
    **ACTIVITY,
    "options": [{"optionLocalId": 3, "name": "one", "offerId": 11}, {"optionLocalId": 4, "name": "two", "offerId": 12}],
    "experiences": [
        {"experienceLocalId": 0, "name": "A", "optionLocations": [{"locationLocalId": 0, "optionLocalId": 3}]},
        {"experienceLocalId": 1, "name": "B", "optionLocations": [{"locationLocalId": 0, "optionLocalId": 4}]},
    ],
    "unknownField": {"kept": True},
}


class Store:
    """One activity that can be read, replaced and copied."""

    def __init__(self, activity: dict[str, Any]) -> None:
        self.activity = deepcopy(activity)

    def __call__(self, request: Request) -> Answer:
        if request.method == "POST":
            return answer({**request.json(), "id": 2}, 201)
        if request.method == "PUT":
            self.activity = {**request.json(), "id": 1}
        return answer(self.activity)


def test_split() -> None:
    """The shares are set by name or local id, and everything else is sent back as it was."""
    store = Store({**ACTIVITY, "unknownField": {"kept": True}})
    with HttpVendor(store) as vendor, client(vendor.url) as admin:
        made = admin.activities.ab.split(168824, {"Experience A": 80, 2: 20})
    assert [one["visitorPercentage"] for one in made["experiences"]] == [80, 0, 20]
    read, written = vendor.requests
    assert (read.method, written.method) == ("GET", "PUT")
    expected = {**store.activity, "unknownField": {"kept": True}}
    assert {**written.json(), "id": 1} == expected
    assert not {"id", "modifiedAt"} & written.json().keys()


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ({"Experience A": 50, "Experience B": 49}, "make 99"),
        ({"Experience A": 50, "Experience X": 50}, "no experience"),
        ({"Experience A": 50, 0: 50}, "same experience"),
        ({"Experience A": 50.5, 1: 49.5}, "whole number"),
        ({}, "make 0"),
    ],
)
def test_splits_that_are_none(shares: Any, says: str) -> None:
    """A split that does not make 100, or names nothing, is not written."""
    with HttpVendor(Store(ACTIVITY)) as vendor, client(vendor.url) as admin:
        with pytest.raises(InvalidError, match=says):
            admin.activities.ab.split(168824, shares)
        assert [request.method for request in vendor.requests] == ["GET"]


def test_add_experience() -> None:
    """Another experience is served in every mbox, and the visitors are split evenly again."""
    with HttpVendor(Store(ACTIVITY)) as vendor, client(vendor.url) as admin:
        made = admin.activities.ab.add_experience(ACTIVITY, "Experience D", 7)
        again = admin.activities.ab.add_experience(
            ACTIVITY, "Experience E", {"a6-serverside-ab": 8}, shares={"Experience E": 100}
        )
        with pytest.raises(InvalidError, match="already"):
            admin.activities.ab.add_experience(ACTIVITY, "Experience D")
        with pytest.raises(InvalidError, match="no mbox"):
            admin.activities.ab.add_experience(ACTIVITY, "Experience F", {"footer": 1})
    added = made["experiences"][3]
    assert added == {
        "experienceLocalId": 3,
        "name": "Experience D",
        "visitorPercentage": 25,
        "offerLocations": [{"locationLocalId": 0, "offerId": 7}],
    }
    assert [one["visitorPercentage"] for one in again["experiences"]] == [0, 0, 0, 0, 100]


def test_add_experience_in_the_other_form() -> None:
    """Where experiences refer to options, the new one does too, with an option for an offer that has none."""
    with HttpVendor(Store(OPTIONS)) as vendor, client(vendor.url) as admin:
        first = admin.activities.xt.add_experience(1, "C", 12, audience_ids=[5])
        second = admin.activities.xt.add_experience(1, "D", 13)
    assert first["experiences"][2] == {
        "experienceLocalId": 2,
        "name": "C",
        "audienceIds": [5],
        "optionLocations": [{"locationLocalId": 0, "optionLocalId": 4}],
    }
    assert second["experiences"][3]["optionLocations"] == [{"locationLocalId": 0, "optionLocalId": 5}]
    assert second["options"][2] == {"optionLocalId": 5, "name": "D", "offerId": 13}
    assert second["unknownField"] == {"kept": True}  # type: ignore[typeddict-item]


async def test_clone_pause_and_activate() -> None:
    """A copy is inactive, has a name of its own and no ids; pausing and activating set the state."""
    with HttpVendor(Store(ACTIVITY)) as vendor:
        async with async_client(vendor.url) as admin:
            copy = await admin.activities.ab.clone(168824, "A copy")
            await admin.activities.pause(168824)
            await admin.activities.activate(168824)
    assert (copy["name"], copy["state"], copy["id"]) == ("A copy", "saved", 2)
    assert "thirdPartyId" not in copy
    assert copy["experiences"] == ACTIVITY["experiences"]
    assert [request.json() for request in vendor.requests[2:]] == [{"state": "saved"}, {"state": "approved"}]
    assert vendor.requests[2].target == "/acme/target/activities/168824/state"


def test_dry_run_sends_nothing() -> None:
    """`request` returns what would be sent, as an object and as a command, with secrets masked."""
    with HttpVendor(lambda _: answer({})) as vendor, client(vendor.url) as admin:
        planned = admin.offers.content.create.request({"name": "It's", "content": "<b>"})
        listed = admin.activities.list.request(state="approved")
        assert vendor.requests == []
        base = vendor.url
    assert planned.json() == {"name": "It's", "content": "<b>"}
    assert (planned.operation, planned.cost) == ("offers.content.create", 1)
    assert listed.url == f"{base}/acme/target/activities?state=approved&sortBy=id&limit=1000&offset=0"
    command = planned.curl()
    assert command.startswith(f"curl -X POST {base}/acme/target/offers/content -H 'Cache-Control: no-cache'")
    assert "'Authorization: Bearer ***'" in command
    assert TOKEN not in command
    assert API_KEY not in command
    assert command.endswith("""--data-binary '{"name":"It'"'"'s","content":"<b>"}'""")


async def test_a_client_that_only_plans() -> None:
    """With `dry_run=True` every method returns the request, in both clients; a token is not obtained either."""
    with client("https://mc.adobe.io", dry_run=True) as admin:
        planned: Any = admin.activities.set_priority(5, 100)
        assert isinstance(planned, PlannedRequest)
        assert planned.json() == {"priority": "100"}
        assert isinstance(admin.offers.list(), PlannedRequest)
    async with async_client("https://mc.adobe.io", dry_run=True) as other:
        planned = await other.audiences.delete(5)
        assert (planned.method, planned.url) == ("DELETE", "https://mc.adobe.io/acme/target/audiences/5")


def test_dry_run_of_a_change_reads_first() -> None:
    """What can only be written after it was read is read, and the write is returned."""
    with HttpVendor(Store(ACTIVITY)) as vendor, client(vendor.url) as admin:
        planned = admin.activities.ab.split.request(168824, {"Experience A": 100})
        assert [request.method for request in vendor.requests] == ["GET"]
    assert planned.method == "PUT"
    assert [one["visitorPercentage"] for one in planned.json()["experiences"]] == [100, 0, 0]


@pytest.mark.parametrize(
    ("filters", "query"),
    [
        ({"id": [3, 4], "name": "ab"}, "id=3&id=4&name=ab"),
        ({"priority": Not(4)}, "priority=!4"),
        ({"sort_by": ["name", "id"]}, "sortBy=name&sortBy=id"),
        ({"sort_by": "-id", "limit": 10}, "sortBy=-id&limit=10"),
        ({"limit": 2, "offset": 2}, "limit=2&offset=2"),
        (
            {"startsAt": Between("1800-09-01T02:04:00.000-07:00", "2114-11-30T14:10:00.000-07:00")},
            "startsAt=1800-09-01T02:04:00.000-07:00/2114-11-30T14:10:00.000-07:00",
        ),
        ({"workspace": ["1234567", "12345678"]}, "workspace=1234567,12345678"),
        ({"name": "a&b+c d=é"}, "name=a%26b%2Bc%20d%3D%C3%A9"),
        (
            {"startsAt": Between("2017-05-01T08:00:00+02:00", "2017-05-02")},
            "startsAt=2017-05-01T08:00:00%2B02:00/2017-05-02",
        ),
    ],
)
def test_filters_as_the_documentation_prints_them(filters: dict[str, Any], query: str) -> None:
    """Repeated, negated, ranges, several orders, workspaces: each is sent in its printed form."""
    with HttpVendor(lambda _: answer({"activities": []})) as vendor, client(vendor.url) as admin:
        admin.activities.page(**filters)
    assert vendor.requests[0].target == f"/acme/target/activities?{query}"


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "http://mc.adobe.io"},
        {"base_url": "mc.adobe.io"},
        {"api_key": None},
        {"api_key": "a\nb"},
        {"profile_url": None, "client_code": "evil.example/x"},
    ],
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    """Credentials do not cross a network in the clear, and a client code cannot name another host."""
    with pytest.raises(ConfigError):
        client("https://mc.adobe.io", **options)
