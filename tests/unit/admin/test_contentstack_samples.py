"""Every request that Contentstack's page prints, and every endpoint: sent exactly so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flagmw.admin import AsyncContentstackAdmin, ContentstackAdmin, GivenToken
from flagmw.admin.contentstack.endpoints import ENDPOINTS
from flagmw.admin.contentstack.rules import Country, Custom, DateAndTime, QueryParameter, rules_from_json
from flagmw.admin.contentstack.versions import ab_test, segmented
from tests.unit.admin.contentstack import (
    ACTIVE,
    AUDIENCE,
    DRAFT,
    EVENT,
    EXPERIENCE,
    PROJECT,
    SAMPLES,
    TOKEN,
    Scripted,
    async_client,
    client,
    sample,
)

Use = Callable[[Any, Any], Any]
CAMPAIGN = QueryParameter("utm_campaign").equals("BLACK_FRIDAY")
BLACK_FRIDAY = DateAndTime.between("2024-11-29T00:00:00", "2024-11-29T23:59:59", visitor_zone=True)
BUTTON = {"metric": "244444400000000087654321", "metric_name": "Click on CTA"}


def audience(rules: Any) -> Use:
    return lambda admin, body: admin.audiences.create(body["name"], rules, description=body["description"])


def created(admin: Any, body: Any) -> Any:
    made = {name: value for name, value in body.items() if name != "status"}
    return admin.versions.create(EXPERIENCE, made, status=body["status"])


# By sample: how the client is used with the printed body, and the request that this makes.
USES: dict[str, tuple[Use, str, str]] = {
    "audience_custom": (
        audience(Country.equals("US") & Custom("66702e03d84509d0106bec05").greater_than(1000)),
        "POST",
        "/audiences",
    ),
    "audience_query": (audience(CAMPAIGN), "POST", "/audiences"),
    "audience_time": (audience(CAMPAIGN & BLACK_FRIDAY), "POST", "/audiences"),
    "experience_segmented": (
        lambda admin, body: admin.experiences.create(body["name"], body["__type"], description=body["description"]),
        "POST",
        "/experiences",
    ),
    "version_create_draft": (created, "POST", f"/experiences/{EXPERIENCE}/versions"),
    "version_create_active": (created, "POST", f"/experiences/{EXPERIENCE}/versions"),
    "version_update_draft": (
        lambda admin, body: admin.versions.update(
            EXPERIENCE,
            DRAFT,
            {
                "status": "DRAFT",
                **segmented({"Australian Visitors": ["388888800000000087654321"]}, combination="AND"),
            },
        ),
        "PUT",
        f"/experiences/{EXPERIENCE}/versions/{DRAFT}",
    ),
    "version_activate": (
        lambda admin, body: admin.versions.update(
            EXPERIENCE, DRAFT, {"status": "ACTIVE", **ab_test(["Control", "Purple"], **BUTTON)}
        ),
        "PUT",
        f"/experiences/{EXPERIENCE}/versions/{DRAFT}",
    ),
    "version_pause": (
        lambda admin, body: admin.versions.pause(EXPERIENCE),
        "PUT",
        f"/experiences/{EXPERIENCE}/versions/{ACTIVE}",
    ),
}


def test_every_sample_is_used() -> None:
    """Each printed body has a call that sends it."""
    assert set(USES) == {path.stem for path in SAMPLES.glob("*.json")}


@pytest.mark.parametrize("name", USES)
def test_printed_request(name: str) -> None:
    """The client sends the printed body, to the page's endpoint, with the page's headers."""
    use, method, path = USES[name]
    body = sample(name)
    known = [{"uid": ACTIVE, **body, "status": "ACTIVE", "createdAt": "now"}] if name == "version_pause" else []
    with Scripted(*known) as box, client(box.vendor.url) as admin:
        result = use(admin, body)
        request = box.vendor.requests[-1]
    assert (request.method, request.path, request.json()) == (method, path, body)
    assert request.headers["x-project-uid"] == PROJECT
    assert request.headers["authtoken"] == TOKEN and "authorization" not in request.headers
    assert request.headers["content-type"] == "application/json"
    assert result["uid"] == "9" * 24


@pytest.mark.parametrize("name", ["audience_custom", "audience_query", "audience_time"])
def test_printed_audience_reads_back(name: str) -> None:
    """The vendor's JSON goes through the builders unchanged."""
    body = sample(name)
    assert rules_from_json(body["definition"]).to_json() == body["definition"]
    with Scripted() as box, client(box.vendor.url) as admin:
        admin.audiences.create(body["name"], body["definition"], description=body["description"])
        assert box.vendor.requests[-1].json() == body


RULES = Country.equals("US")
VERSION = ab_test(["Control", "Purple"], metric=EVENT)
# By endpoint: the call.
CALLS: dict[str, Callable[[Any], Any]] = {
    "attributes.create": lambda admin: admin.attributes.create("Age", "age"),
    "attributes.list": lambda admin: admin.attributes.list(),
    "attributes.update": lambda admin: admin.attributes.update(EVENT, "Age", "age", description="In years"),
    "attributes.delete": lambda admin: admin.attributes.delete(EVENT),
    "audiences.create": lambda admin: admin.audiences.create("US", RULES),
    "audiences.list": lambda admin: admin.audiences.list(),
    "audiences.update": lambda admin: admin.audiences.update(AUDIENCE, "US", RULES),
    "audiences.delete": lambda admin: admin.audiences.delete(AUDIENCE),
    "experiences.create": lambda admin: admin.experiences.create("Button", "AB_TEST", tags=["Shop", "shop"]),
    "experiences.list": lambda admin: admin.experiences.list(),
    "experiences.update": lambda admin: admin.experiences.update(EXPERIENCE, "Button", "AB_TEST"),
    "experiences.get": lambda admin: admin.experiences.get(EXPERIENCE),
    "experiences.delete": lambda admin: admin.experiences.delete(EXPERIENCE),
    "versions.create": lambda admin: admin.versions.create(EXPERIENCE, VERSION),
    "versions.list": lambda admin: admin.versions.list(EXPERIENCE),
    "versions.update": lambda admin: admin.versions.update(
        EXPERIENCE, DRAFT, {**VERSION, "status": "DRAFT"}, keep_short_uids=False
    ),
    "versions.delete": lambda admin: admin.versions.delete(EXPERIENCE, DRAFT),
    "events.create": lambda admin: admin.events.create("clickCTA"),
    "events.list": lambda admin: admin.events.list(),
    "events.update": lambda admin: admin.events.update(EVENT, "clickCTA"),
    "events.delete": lambda admin: admin.events.delete(EVENT),
    "priority.get": lambda admin: admin.priority.get(),
    "priority.set": lambda admin: admin.priority.set([EXPERIENCE]),
    "analytics.summary": lambda admin: admin.analytics.summary(EXPERIENCE, ACTIVE, start="2026-11-27T00:00:00Z"),
    "analytics.time_series": lambda admin: admin.analytics.time_series(EXPERIENCE, ACTIVE),
    "geolocation.regions": lambda admin: admin.geolocation.regions(name="Cali"),
    "geolocation.countries": lambda admin: admin.geolocation.countries(codes=["US"]),
    "geolocation.cities": lambda admin: admin.geolocation.cities(limit=3),
}


def test_all_28_endpoints() -> None:
    """The page's 28 requests are there, each with its scope."""
    assert len(ENDPOINTS) == 28 and set(CALLS) == set(ENDPOINTS)
    for name, endpoint in ENDPOINTS.items():
        manages = endpoint.method != "GET"
        # Of a single experience the page names one scope.
        reads = "personalize:read" if name == "experiences.get" else "personalize:read or personalize:manage"
        assert endpoint.right == ("personalize:manage" if manages else reads)


@pytest.mark.parametrize("name", CALLS)
async def test_request_of_an_endpoint(name: str) -> None:
    """Both clients plan the same request, with the endpoint's method and path, and hide the credentials."""
    endpoint = ENDPOINTS[name]
    with Scripted() as box:
        with client(box.vendor.url, dry_run=True) as admin:
            planned = CALLS[name](admin)
        async with async_client(box.vendor.url, dry_run=True) as later:
            assert await CALLS[name](later) == planned
        url = planned.url.removeprefix(box.vendor.url)
    values = {"uid": planned_uid(name), "version": DRAFT}
    assert (planned.operation, planned.method) == (name, endpoint.method)
    assert url.partition("?")[0] == endpoint.path.format(**values)
    assert planned.headers["authtoken"] == "***" and TOKEN not in planned.curl()
    assert ("x-project-uid" in planned.headers) is endpoint.project


def planned_uid(name: str) -> str:
    group = name.partition(".")[0]
    return {"attributes": EVENT, "events": EVENT, "audiences": AUDIENCE}.get(group, EXPERIENCE)


def test_oauth_is_sent_as_a_bearer() -> None:
    """A function's token stands in Authorization; a token that was made elsewhere too."""
    for auth in (lambda: "oauth-token", GivenToken("oauth-token")):
        with Scripted() as box, client(box.vendor.url, auth=auth) as admin:
            admin.events.list()
            headers = box.vendor.requests[0].headers
        assert headers["authorization"] == "Bearer oauth-token" and "authtoken" not in headers


def test_regions() -> None:
    """Each region has its host; those of the page and the two that came later."""
    hosts = {
        "NA": "", "EU": "eu-", "AZURE_NA": "azure-na-", "AZURE_EU": "azure-eu-", "GCP_NA": "gcp-na-",
        "AU": "au-", "gcp-eu": "gcp-eu-", "aws-eu": "eu-",
    }  # fmt: skip
    for region, prefix in hosts.items():
        for kind in (ContentstackAdmin, AsyncContentstackAdmin):
            admin = kind(PROJECT, lambda: "token", region=region)
            assert admin.root == f"https://{prefix}personalize-api.contentstack.com"
