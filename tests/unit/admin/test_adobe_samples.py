"""Every request and answer of Adobe's documentation page: sent exactly so, read whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from flagmw.admin import AmbiguousError, AnswerError
from flagmw.admin.adobe.endpoints import ENDPOINTS
from tests.support.http_vendor import Answer, HttpVendor, Request, answer
from tests.unit.admin.adobe import API_KEY, SAMPLES, TENANT, TOKEN, answer_of, async_client, call_of, client

Use = Callable[[Any, Any], Any]

# By sample: how the client is used; the body of the sample is passed in.
USES: dict[str, Use] = {
    "activities.list": lambda admin, body: admin.activities.page(),
    "activities.ab.get": lambda admin, body: admin.activities.ab.get(168824),
    "activities.ab.create": lambda admin, body: admin.activities.ab.create(body),
    "activities.ab.update": lambda admin, body: admin.activities.ab.update(183916, body),
    "activities.ab.delete": lambda admin, body: admin.activities.ab.delete(168805),
    "activities.xt.get": lambda admin, body: admin.activities.xt.get(168824),
    "activities.xt.create": lambda admin, body: admin.activities.xt.create(body),
    "activities.xt.delete": lambda admin, body: admin.activities.xt.delete(168333),
    "activities.set_name": lambda admin, body: admin.activities.set_name(168816, body["name"]),
    "activities.set_state": lambda admin, body: admin.activities.set_state(168816, body["state"]),
    "activities.set_priority": lambda admin, body: admin.activities.set_priority(168816, int(body["priority"])),
    "activities.set_schedule": lambda admin, body: admin.activities.set_schedule(
        168816, body["startsAt"], body["endsAt"]
    ),
    "offers.list": lambda admin, body: admin.offers.page(limit=10),
    "offers.content.get": lambda admin, body: admin.offers.content.get(391902),
    "offers.content.create": lambda admin, body: admin.offers.content.create(body),
    "offers.content.update": lambda admin, body: admin.offers.content.update(438180, body),
    "offers.content.delete": lambda admin, body: admin.offers.content.delete(438180),
    "audiences.list": lambda admin, body: admin.audiences.page(),
    "audiences.get": lambda admin, body: admin.audiences.get(1397972),
    "audiences.create": lambda admin, body: admin.audiences.create(body),
    "audiences.update": lambda admin, body: admin.audiences.update(1537195, body),
    "audiences.delete": lambda admin, body: admin.audiences.delete(1537214),
    "properties.get": lambda admin, body: admin.properties.get(1),
    "reports.ab.performance": lambda admin, body: admin.reports.ab.performance(166423),
    "reports.xt.performance": lambda admin, body: admin.reports.xt.performance(167169),
    "reports.ab.orders": lambda admin, body: admin.reports.ab.orders(167169),
    "mboxes.parameters": lambda admin, body: admin.mboxes.parameters("a1-mobile-mboxparams", limit=5),
    "tokens.create_profile": lambda admin, body: admin.tokens.create("profile_api"),
}
# The page's curl says /orders/performance, its path line and the published description /report/orders.
PATHS = {
    "reports.ab.orders": "/acme/target/activities/ab/167169/report/orders",
    "properties.get": "/acme/target/properties/1",
}


def expected_target(case: str) -> str:
    parts = urlsplit(call_of(case)["url"].replace("<your-tenant-name>", TENANT))
    path = PATHS.get(case, parts.path.rstrip("/"))
    return f"{path}?{parts.query}" if parts.query else path


def served(case: str) -> HttpVendor:
    return HttpVendor(lambda request: Answer(200, (SAMPLES / case / "answer.json").read_bytes()))


def check(case: str, request: Request) -> None:
    """Compare what was sent with what is printed."""
    printed = call_of(case)
    assert (request.method, request.target) == (printed["method"], expected_target(case))
    endpoint = ENDPOINTS[case.removesuffix("_profile")]
    versions = {name.lower(): value for name, value in printed["headers"].items() if value.startswith("application/")}
    assert list(versions.values()) == [endpoint.media_type]
    # Where the body may be, the version stands in Content-Type; some printed reads have it there too, to no effect.
    place = "content-type" if request.method in ("POST", "PUT") else "accept"
    assert request.headers[place] == endpoint.media_type
    assert request.headers["cache-control"] == "no-cache"
    assert (request.headers["x-api-key"], request.headers["authorization"]) == (API_KEY, f"Bearer {TOKEN}")
    assert (request.json() if request.body else None) == printed["body"]


@pytest.mark.parametrize("case", USES)
def test_request_and_answer_are_the_printed_ones(case: str) -> None:
    """The blocking client sends what the page prints and returns the whole answer."""
    with served(case) as vendor, client(vendor.url) as admin:
        result = USES[case](admin, call_of(case)["body"])
    assert result == answer_of(case)
    (request,) = vendor.requests
    check(case, request)


async def test_asynchronous_client_sends_and_reads_the_same() -> None:
    """The asynchronous client, which has no code of its own for any of it, does the same for every sample."""
    with HttpVendor(lambda request: current) as vendor:
        async with async_client(vendor.url) as admin:
            for case, use in USES.items():
                current = Answer(200, (SAMPLES / case / "answer.json").read_bytes())
                assert await use(admin, call_of(case)["body"]) == answer_of(case), case
                check(case, vendor.requests[-1])


LISTS: dict[str, Use] = {
    "activities.list": lambda admin, _: admin.activities.list(),
    "activities.changelog": lambda admin, _: admin.activities.changelog(173980),
    "offers.list": lambda admin, _: admin.offers.list(limit=10),
    "audiences.list": lambda admin, _: admin.audiences.list(limit=10),
    "properties.list": lambda admin, _: admin.properties.list(),
    "mboxes.list": lambda admin, _: admin.mboxes.list(limit=5),
    "environments.list": lambda admin, _: admin.environments.list(),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_are_read_whole(case: str) -> None:
    """The rows of a printed list come in its order, also where its `total` does not fit or it is not sorted."""
    printed = answer_of(case)
    with served(case) as vendor, client(vendor.url) as admin:
        rows = LISTS[case](admin, None)
        found = list(rows)
    assert found == printed[ENDPOINTS[case].collection]
    assert rows.total == printed["total"]
    assert vendor.requests[0].path == expected_target(case).partition("?")[0]
    assert vendor.requests[0].headers["accept"] == ENDPOINTS[case].media_type


def test_profile_attributes_are_names() -> None:
    """The list of profile attributes is a list of texts."""
    case = "profile_attributes.list"
    with served(case) as vendor, client(vendor.url) as admin:
        assert admin.profile_attributes.list() == answer_of(case)["mboxProfileAttributes"]
    assert vendor.requests[0].target == "/acme/target/profileattributes/mbox"


def test_orders_of_personalization() -> None:
    """The orders of an Automated Personalization activity have decision stacks and product ids."""
    with served("reports.ap.orders") as vendor, client(vendor.url) as admin:
        orders = admin.reports.ap.orders(5)["orders"]
    assert [(order["decisionStackId"], order["productIds"]) for order in orders] == [(0, ["5"]), (1, ["5"]), (2, ["9"])]
    assert vendor.requests[0].target == "/acme/target/activities/abt/5/report/orders"


def test_malformed_answers_are_not_taken_for_answers() -> None:
    """What the page prints with a brace missing or a literal `...` is no answer; a write may have been done."""
    broken = {
        case: (SAMPLES / case / "answer.as_printed.txt").read_bytes()
        for case in ("activities.ab.update", "reports.ab.orders")
    }
    with HttpVendor(lambda request: Answer(200, broken[case])) as vendor, client(vendor.url) as admin:
        case = "activities.ab.update"
        with pytest.raises(AmbiguousError, match="not JSON or was cut"):
            USES[case](admin, call_of(case)["body"])
        case = "reports.ab.orders"
        with pytest.raises(AnswerError, match="not JSON or was cut"):
            USES[case](admin, None)


def test_debug_token_is_asked_for_as_printed() -> None:
    """A token for traces is a POST without a body, with the scope in the query."""
    printed = call_of("tokens.create_debug")
    with HttpVendor(lambda _: answer({"accessToken": "a"}, 201)) as vendor, client(vendor.url) as admin:
        assert admin.tokens.create("debug_tools") == {"accessToken": "a"}
    (request,) = vendor.requests
    assert request.target == expected_target("tokens.create_debug")
    assert request.headers["content-type"] == printed["headers"]["Content-Type"]
    assert request.body == b""
