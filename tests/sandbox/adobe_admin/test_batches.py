"""Batches in the sandbox."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flagmw.admin import AdobeAdmin, Batch
from flagmw.sandbox import SandboxServer
from tests.sandbox.adobe_admin import boxed
from tests.sandbox.adobe_admin.conftest import Raw

OFFER = {"name": "In a batch", "content": "text"}


def operation(own: int, url: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    return {"operationId": own, "method": method, "relativeUrl": url, **more}


def test_what_depends_on_a_failure_is_skipped(raw: Raw) -> None:
    """Directly or not; what does not depend on it is done."""
    operations = [
        operation(2, "/v1/environments", dependsOnOperationIds=[1]),
        operation(1, "/v1/environments", dependsOnOperationIds=[0]),
        operation(0, "/v2/offers/content", "POST", body={"name": ""}),
        operation(3, "/v1/environments"),
    ]
    results = raw("POST", "/batch", 1, json={"operations": operations}).json()["results"]
    assert [one["operationId"] for one in results] == [2, 1, 0, 3]
    assert results[0] == {"operationId": 2, "skipped": True} and results[1]["skipped"]
    assert (results[2]["statusCode"], results[3]["statusCode"]) == (400, 200)
    assert json.loads(results[2]["body"])["errors"][0]["meta"] == {"field": "name"}


def test_ids_of_what_was_created_are_put_in(admin: AdobeAdmin, box: SandboxServer) -> None:
    """As numbers in bodies, as text in addresses; bodies come back as text or, by a switch, as objects."""
    for settings in ({}, {"batch_bodies": "object", "legacy_200": True}):
        box.replace_scenario(boxed.scenario(**settings))
        batch = Batch()
        offer = batch.add(admin.offers.content.create.request(OFFER))
        body = boxed.activity((offer.created_id,), name=f"With {len(settings)}")
        made = batch.add(admin.activities.ab.create.request(body))
        live = batch.add(admin.activities.set_state.request(made.created_id, "approved"))
        read = batch.add(admin.activities.ab.get.request(made.created_id), after=[live])
        results = admin.batch.run(batch)
        assert all(one.ok for one in results)
        assert results.of(read).body["state"] == "approved"
        (served,) = results.of(read).body["experiences"][0]["offerLocations"]
        assert served["offerId"] == results.of(offer).body["id"]


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [operation(n % 256, "/v1/environments") for n in range(257)],
        [operation(0, "/v1/environments"), operation(0, "/v1/environments")],
        [operation(256, "/v1/environments")],
        [operation(0, "/v1/environments", dependsOnOperationIds=[1])],
        [operation(0, "/v1/environments", dependsOnOperationIds=[{}])],
        [operation(0, "/v1/environments", dependsOnOperationIds=[0])],
        [operation(n, "/v1/environments", dependsOnOperationIds=[(n + 1) % 3]) for n in range(3)],
        [operation(0, "/v1/environments", "HEAD")],
        [operation(0, "v1/environments")],
        [operation(0, "/v1/environments", headers=[{"value": "x"}])],
        [operation(0, "/v1/environments"), operation(1, "/v2/offers/content/{operationIdResponse:0}")],
        ["x"],
        {"0": {}},
    ],
    ids=lambda value: str(value)[:40],
)
def test_impossible_batches_are_refused_whole(raw: Raw, operations: Any) -> None:
    assert raw("POST", "/batch", 1, json={"operations": operations}).status_code == 400


@pytest.mark.parametrize(
    ("url", "method", "status"),
    [
        ("/v2/offers?limit=1", "GET", 200), ("/environments", "GET", 200), ("/v2/campaigns?limit=10", "GET", 404),
        ("/v1/activities", "GET", 406), ("/v1/batch", "POST", 400), ("/v1/environments", "DELETE", 405),
        ("/acme/target/offers", "GET", 404), ("/v1/mbox/a%2Fb", "GET", 404),
    ],
)  # fmt: skip
def test_addresses_in_batches(raw: Raw, url: str, method: str, status: int) -> None:
    """They have the version and no tenant; one without a version has the first."""
    answer = raw("POST", "/batch", 1, json={"operations": [operation(0, url, method)]})
    assert (answer.status_code, answer.json()["results"][0]["statusCode"]) == (200, status)
