"""Every endpoint is called as the table says: method, path, and the version where it belongs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flagmw.admin import PlannedRequest
from flagmw.admin.adobe.endpoints import ENDPOINTS, Endpoint
from tests.support.http_vendor import HttpVendor, answer
from tests.unit.admin.adobe import call_of, client

ACTIVITY = call_of("activities.ab.create")["body"]
AUDIENCE = call_of("audiences.create")["body"]
PROPERTY = {"name": "Shop", "channel": "web"}
OFFER = {"name": "Spring", "content": "<b>Spring</b>"}
# What follows the id, or stands in its place.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "activities.set_name": (5, "Spring"),
    "activities.set_state": (5, "saved"),
    "activities.set_priority": (5, 10),
    "activities.set_schedule": (5, "2026-01-01", "2026-02-01"),
    "audiences.create": (AUDIENCE,),
    "audiences.update": (5, AUDIENCE),
    "audiences.move": (5, "1234567"),
    "properties.create": (PROPERTY,),
    "properties.update": (5, PROPERTY),
    "mboxes.parameters": ("home/top",),
    "batch.run": ([{"operationId": 0, "method": "GET", "relativeUrl": "/v2/offers"}],),
    "tokens.create": ("profile_api",),
    "tokens.get": ("debug_tools",),
    "response_tokens.create": ("profile.memberLevel", "SCRIPT"),
}


def arguments(endpoint: Endpoint) -> tuple[Any, ...]:
    if endpoint.name in ARGUMENTS:
        return ARGUMENTS[endpoint.name]
    body = OFFER if endpoint.name.startswith("offers.") else ACTIVITY
    if endpoint.name.endswith(".qa_links"):
        return (5, "https://www.example.com/")
    if endpoint.method == "POST":
        return (body,)
    if endpoint.method == "PUT":
        return (5, body)
    return (5,) if "{id}" in endpoint.path else ()


def method_of(admin: Any, name: str) -> Any:
    for part in name.split("."):
        admin = getattr(admin, part)
    return admin


@pytest.mark.parametrize("name", ENDPOINTS)
def test_endpoint(name: str) -> None:
    """The planned request is that of the table; what is sent and what a dry run shows are the same."""
    endpoint = ENDPOINTS[name]
    sent = {"results": [{"operationId": 0, "statusCode": 200}], "responseTokens": [], "mboxProfileAttributes": []}
    if endpoint.collection:
        sent[endpoint.collection] = []
    with HttpVendor(lambda _: answer(sent)) as vendor, client(vendor.url) as admin:
        method, given = method_of(admin, name), arguments(endpoint)
        planned = method.request(*given)
        result = method(*given)
        if endpoint.collection and endpoint.collection != "responseTokens":
            assert list(result) == []
    assert isinstance(planned, PlannedRequest)
    (request,) = vendor.requests
    assert planned.url == f"{vendor.url}{request.target}"
    assert (planned.method, planned.body) == (request.method, request.body)
    path = re.sub(r"\{id\}", "5", endpoint.path).replace("{name}", "home%2Ftop")
    assert (request.method, request.path) == (endpoint.method, f"/acme/target{path}")
    carries = "accept" if endpoint.method in ("GET", "DELETE") else "content-type"
    assert request.headers[carries] == endpoint.media_type
