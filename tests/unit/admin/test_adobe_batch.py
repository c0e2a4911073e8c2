"""Batches: the graph is checked before it is sent, answers are read in both forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.admin import AmbiguousError, Batch, InvalidError, NotFoundError
from flagmw.admin.adobe.batch.graph import check_batch
from tests.support.http_vendor import HttpVendor, answer
from tests.unit.admin.adobe import SAMPLES, answer_of, client

Change = Callable[[list[dict[str, Any]]], object]


def operation(number: int, *before: int, **values: Any) -> dict[str, Any]:
    return {
        "operationId": number,
        "dependsOnOperationIds": list(before),
        "method": "POST",
        "relativeUrl": "/v2/offers/content",
        "headers": [],
        "body": {"name": "a"},
        **values,
    }


def without_marks(value: Any) -> Any:
    """Return the printed sample with real keys: a `~` only marks that a field is optional."""
    if isinstance(value, dict):
        return {name.rstrip("~"): without_marks(inner) for name, inner in value.items()}
    return [without_marks(inner) for inner in value] if isinstance(value, list) else value


def test_printed_batch() -> None:
    """The printed operation is sent as it is, and its printed answer, whose body is an object, is read."""
    printed = without_marks(json.loads((SAMPLES / "batch.run" / "call_body.json").read_text()))["operations"]
    first = operation(0)
    reply = without_marks(answer_of("batch.run"))
    reply["results"].append({"operationId": 0, "skipped": False, "statusCode": 201, "body": '{"id":4}'})
    with HttpVendor(lambda _: answer(reply)) as vendor, client(vendor.url) as admin:
        results = admin.batch.run([first, *printed])
    (request,) = vendor.requests
    assert (request.method, request.target) == ("POST", "/acme/target/batch")
    assert request.headers["content-type"] == "application/json"
    assert request.json() == {"operations": [first, *printed]}
    assert [(one.ok, one.status, one.body) for one in results] == [(True, 201, {"id": 4}), (True, 200, {"id": 5})]
    assert results.of(1).headers == {"content-type": "application/json; charset=UTF-8"}


def test_a_batch_that_is_put_together() -> None:
    """What refers to an id that another operation creates depends on it by itself."""
    admin = client("https://mc.adobe.io")
    batch = Batch()
    offer = batch.add(admin.offers.content.create.request({"name": "Spring", "content": "<b>Spring</b>"}))
    activity = batch.add(
        admin.activities.ab.create.request(
            {
                "name": "Spring",
                "locations": {"mboxes": [{"locationLocalId": 0, "name": "home"}]},
                "experiences": [
                    {
                        "experienceLocalId": 0,
                        "name": "A",
                        "offerLocations": [{"locationLocalId": 0, "offerId": offer.created_id}],
                    }
                ],
            }
        )
    )
    batch.add(admin.activities.set_state.request(activity.created_id, "approved"))
    batch.add_call("GET", "/v2/offers?limit=10", after=[offer])
    created, made, approved, listed = batch.json()["operations"]
    assert (created["relativeUrl"], created["dependsOnOperationIds"]) == ("/v2/offers/content", [])
    assert (made["relativeUrl"], made["dependsOnOperationIds"]) == ("/v3/activities/ab", [0])
    assert made["body"]["experiences"][0]["offerLocations"][0]["offerId"] == "{operationIdResponse:0}"
    assert approved["relativeUrl"] == "/v1/activities/{operationIdResponse:1}/state"
    assert (approved["method"], approved["dependsOnOperationIds"]) == ("PUT", [1])
    assert listed["dependsOnOperationIds"] == [0]
    assert len(batch) == 4


def test_what_came_of_each_operation() -> None:
    """A failed operation has the error that it would have raised alone, a skipped one says so."""
    gone = {"httpStatus": 404, "errors": [{"errorCode": "Not.Found", "message": "no offer 9"}]}
    reply = {
        "results": [
            {"operationId": 2, "skipped": True},
            {"operationId": 0, "statusCode": 200, "body": "<html>"},
            {"operationId": 1, "statusCode": 404, "body": json.dumps(gone)},
        ]
    }
    sent = [operation(0), operation(1), operation(2, 1)]
    with HttpVendor(lambda _: answer(reply)) as vendor, client(vendor.url) as admin:
        results = admin.batch.run(sent)
    assert [one.operation_id for one in results] == [0, 1, 2]
    assert [one.ok for one in results] == [True, False, False]
    assert results[0].body == "<html>"
    assert isinstance(results[1].error, NotFoundError)
    assert "no offer 9" in str(results[1].error)
    assert "skipped" in str(results[2].error)
    with pytest.raises(NotFoundError):
        results.raise_for_failures()


def test_an_answer_that_leaves_operations_out() -> None:
    """When the answer says nothing of an operation, it may have been done."""
    missing = pytest.raises(AmbiguousError, match="operations 0, 1")
    with HttpVendor(lambda _: answer({"results": []})) as vendor, client(vendor.url) as admin, missing:
        admin.batch.run([operation(0), operation(1)])


def put(place: str, value: Any, at: int = 1) -> Change:
    def change(operations: list[dict[str, Any]]) -> None:
        operations[at][place] = value

    return change


WRONG: dict[str, tuple[Change, str]] = {
    "nothing": (lambda all: all.clear(), "operations"),
    "257": (lambda all: all.extend(operation(number) for number in range(3, 257)), "operations"),
    "id 256": (put("operationId", 256), "operations[1].operationId"),
    "id twice": (put("operationId", 0), "operations[1].operationId"),
    "id a text": (put("operationId", "1"), "operations[1].operationId"),
    "no object": (lambda all: all.insert(1, "x"), "operations[1]"),  # type: ignore[arg-type]
    "headers no list": (put("headers", {"a": "b"}), "operations[1].headers"),
    "dependency no list": (put("dependsOnOperationIds", 0), "operations[1].dependsOnOperationIds"),
    "unknown method": (put("method", "HEAD"), "operations[1].method"),
    "whole address": (put("relativeUrl", "https://mc.adobe.io/acme/target/offers"), "operations[1].relativeUrl"),
    "no version": (put("relativeUrl", "/offers"), "operations[1].relativeUrl"),
    "not encoded": (put("relativeUrl", "/v2/offers?name=a b"), "operations[1].relativeUrl"),
    "body of a GET": (put("method", "GET"), "operations[1].body"),
    "51 headers": (put("headers", [{"name": "a", "value": "b"}] * 51), "operations[1].headers"),
    "header without a name": (put("headers", [{"value": "b"}]), "operations[1].headers[0]"),
    "singular": (put("dependsOnOperationId", 0), "operations[1].dependsOnOperationId"),
    "unknown dependency": (put("dependsOnOperationIds", [9]), "operations[1].dependsOnOperationIds"),
    "dependency twice": (put("dependsOnOperationIds", [0, 0]), "operations[1].dependsOnOperationIds"),
    "on itself": (put("dependsOnOperationIds", [1]), "operations[1].dependsOnOperationIds"),
    "circle": (put("dependsOnOperationIds", [2]), "operations"),
    "placeholder without dependency": (
        put("body", {"id": "{operationIdResponse:2}"}),
        "operations[1].body.id",
    ),
    "placeholder of nothing": (put("relativeUrl", "/v2/offers/{operationIdResponse:9}"), "operations[1].relativeUrl"),
    "placeholder with blanks": (put("body", [{"a": "{ operationIdResponse: 0 }"}]), "operations[1].body[0].a"),
    "placeholder as a key": (put("body", {"{operationIdResponse:0}": 1}), "operations[1].body.{operationIdResponse:0}"),
    "placeholder in a header": (
        put("headers", [{"name": "x", "value": "{operationIdResponse:0}"}]),
        "operations[1].headers[0].value",
    ),
    "placeholder of a DELETE": (
        lambda all: (all[0].update(method="DELETE", body=None), all[1].update(body="{operationIdResponse:0}")),
        "operations[1].body",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_batches(case: str) -> None:
    """A batch that would be refused, or whose operations would be skipped or fail, is not sent."""
    change, field = WRONG[case]
    operations = [operation(0), operation(1, 0), operation(2, 1)]
    change(operations)
    with HttpVendor(lambda _: answer({})) as vendor, client(vendor.url) as admin:
        with pytest.raises(InvalidError) as caught:
            admin.batch.run(operations)
        assert vendor.requests == []
    assert caught.value.field == field


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30))
def test_any_graph(edges: list[tuple[int, int]]) -> None:
    """A graph is accepted exactly when it can be put into an order."""
    before: dict[int, set[int]] = {number: set() for number in range(12)}
    for left, right in edges:
        before[left].add(right)
    done: set[int] = set()
    while ready := {number for number, needed in before.items() if number not in done and needed <= done}:
        done |= ready
    operations = [operation(number, *needed) for number, needed in before.items()]
    if len(done) == 12:
        check_batch(operations)
    else:
        with pytest.raises(InvalidError):
            check_batch(operations)
