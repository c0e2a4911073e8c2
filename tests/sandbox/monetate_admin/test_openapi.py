"""The description of the sandbox's management APIs of Monetate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from flagmw.admin import MonetateAdmin
from flagmw.admin.monetate.endpoints import ENDPOINTS as CALLED
from flagmw.sandbox import SandboxServer
from flagmw.sandbox.monetate_admin.table import ENDPOINTS, ROOTS
from tests.sandbox.monetate_admin import boxed

VALUES = {"retailer": "acme", "id": "1", "schema": "customers", "name": "event"}


@pytest.fixture
def document(box: SandboxServer, http: httpx2.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"{box.url}/openapi/monetate").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def test_it_describes_what_is_served_and_called(document: dict[str, Any], box: SandboxServer) -> None:
    """The client calls what the sandbox serves and describes, and nothing else."""
    described = {(method, path) for path, method, _ in operations(document)}
    assert document["openapi"] == "3.1.0" and document["servers"] == [{"url": box.url}]
    assert {(one.method, f"{ROOTS[one.api]}{one.path}") for one in ENDPOINTS} < described
    assert {(one.method, one.template) for one in CALLED.values()} == described


def test_it_holds_together(document: dict[str, Any]) -> None:
    """Names are unique, and every name in a path is a parameter."""
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for path, _, operation in operations(document):
        declared = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}, path


def test_every_described_route_is_there(document: dict[str, Any], box: SandboxServer, http: httpx2.Client) -> None:
    """None is answered as a path that the sandbox does not have."""
    for path, method, _ in operations(document):
        answer = http.request(method, f"{box.url}{path.format(**VALUES)}")
        assert answer.status_code == 401 and answer.json()["meta"]["code"] == 401, path


Use = Callable[[MonetateAdmin], Any]
FIELDS: Any = {"id": {"data_type": "STRING", "identifier": True}}
# Each endpoint by a call of the client.
USES: dict[str, Use] = {
    "auth.refresh": lambda admin: admin.accounts.get(1),
    "page_events.list": lambda admin: list(admin.page_events.list()),
    "page_events.get": lambda admin: admin.page_events.get(132),
    "variants.list": lambda admin: list(admin.variants.list(name="hero")),
    "variants.get": lambda admin: admin.variants.get(101),
    "custom_targets.list": lambda admin: list(admin.custom_targets.list()),
    "custom_targets.get": lambda admin: admin.custom_targets.get(7),
    "experiences.list": lambda admin: list(admin.experiences.list()),
    "experiences.get": lambda admin: admin.experiences.get(2),
    "accounts.list": lambda admin: list(admin.accounts.list()),
    "accounts.get": lambda admin: admin.accounts.get(1),
    "data.upsert": lambda admin: admin.data.upsert("customers", {"customer_id": "c1"}, check=False),
    "data.check": lambda admin: admin.data.check("customers", "c1"),
    "schemas.list": lambda admin: list(admin.schemas.list(row_count=True, latest_upload=True)),
    "schemas.get": lambda admin: admin.schemas.get("customers"),
    "schemas.create": lambda admin: admin.schemas.create({"name": "more", "fields": FIELDS}),
    "schemas.add_fields": lambda admin: admin.schemas.add_fields("customers", {"x": {"data_type": "NUMBER"}}),
    "schemas.set_identifier": lambda admin: admin.schemas.set_identifier("customers", "customer"),
    "schema_types.list": lambda admin: list(admin.schema_types.list()),
    "schema_types.get": lambda admin: admin.schema_types.get("event"),
    "uploads.list": lambda admin: list(admin.uploads.list("customers")),
    "default_catalogs.list": lambda admin: list(admin.default_catalogs.list()),
    "default_catalogs.set": lambda admin: admin.default_catalogs.set("1", "1003"),
}


def test_every_endpoint_is_used() -> None:
    assert list(USES) == list(CALLED)


@pytest.mark.parametrize("name", USES)
def test_answers_are_as_described(
    name: str, document: dict[str, Any], box: SandboxServer, clock: boxed.Clock, http: httpx2.Client
) -> None:
    """Status and body of each endpoint's answer, as the client gets it."""
    uploads = [{"status": "COMPLETE", "upload_time": "2026-01-01T00:00:00.000000Z", "validation_errors": []}]
    heard: list[tuple[httpx2.Request, httpx2.Response]] = []

    class Listening(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            response = super().handle_request(request)
            response.read()
            heard.append((request, response))
            return response

    with boxed.admin(box, clock, transport=Listening()) as admin:
        if name in ("data.check", "default_catalogs.list"):
            USES["data.upsert"](admin)
            USES["default_catalogs.set"](admin)
        admin.schemas.get("customers")
        box.sandbox.monetate.stores["acme"].datasets["customers"].uploads = uploads
        if name == "auth.refresh":
            box.sandbox.monetate.tokens.clear()
        heard.clear()
        USES[name](admin)
    request, response = next((one for one in heard if "refresh" in one[0].url.path), heard[0])
    template = CALLED[name].template
    operation = document["paths"][template][CALLED[name].method.lower()]
    status, described = next(iter(operation["responses"].items()))
    assert (request.method, response.status_code) == (CALLED[name].method, int(status))
    schema = described["content"]["application/json"]["schema"]
    assert boxed.problems(document, schema, response.json()) == []
