"""The description of the sandbox's management APIs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from flagmw.admin.adobe.endpoints import ENDPOINTS as CALLED
from flagmw.admin.adobe.endpoints import PROFILE_ENDPOINTS
from flagmw.sandbox import SandboxServer
from flagmw.sandbox.adobe_admin.table import ENDPOINTS


@pytest.fixture
def document(box: SandboxServer) -> dict[str, Any]:
    answer = httpx2.get(f"{box.url}/openapi")
    assert answer.headers["content-type"].startswith("application/json")
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_it_describes_what_the_sandbox_serves_and_the_client_calls(
    document: dict[str, Any], box: SandboxServer
) -> None:
    """Every endpoint with its versions, every path of the Profile API, the token service."""
    assert document["openapi"] == "3.1.0" and document["servers"] == [{"url": box.url}]
    described = {(method.upper(), path) for path, method, _ in operations(document)}
    served = {(one.method, f"/{{tenant}}/target{one.path}") for one in ENDPOINTS}
    assert served < described
    assert {(one.method, f"/{{tenant}}/target{one.path}") for one in CALLED.values()} == served
    versions = {(one.method, one.path): one.versions for one in ENDPOINTS}
    assert all((one.version or 1) in versions[one.method, one.path] for one in CALLED.values())
    profiles = {path for _, path in described if "/target/" not in path}
    for one in PROFILE_ENDPOINTS.values():
        if one.path.startswith("/"):
            assert one.path.partition("?")[0].replace("profiles/{id}", "profiles/{tntId}") in profiles
    assert {"/ims/token/v3", "/ims/exchange/jwt/", "/m2/{client}/profile/batchStatus"} <= profiles


def test_it_holds_together(document: dict[str, Any]) -> None:
    """Names are unique, references lead somewhere, every name in a path is a parameter."""
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    schemas = document["components"]["schemas"]
    assert {one.removeprefix("#/components/schemas/") for one in references(document)} <= schemas.keys()
    for path, _, operation in operations(document):
        declared = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}, path
        assert operation["responses"]


def test_every_described_route_is_there(document: dict[str, Any], box: SandboxServer) -> None:
    """None is answered as a path that the sandbox does not have."""
    with httpx2.Client(base_url=box.url) as http:
        for path, method, _ in operations(document):
            url = path.replace("{tenant}", "acme").replace("{client}", "demo").replace("{id}", "1")
            answer = http.request(method, url.replace("{tntId}", "d1").replace("{name}", "m"))
            assert answer.status_code not in (405, 500), (method, path)
            assert answer.status_code != 404 or "message" in answer.json(), (method, path)
