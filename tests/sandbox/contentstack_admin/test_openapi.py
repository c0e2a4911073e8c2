"""The description of Contentstack's management API, and answers by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flagmw.sandbox.contentstack_admin.table import ENDPOINTS, TOOL_ENDPOINTS
from tests.sandbox.contentstack_admin.conftest import Box
from tests.sandbox.contentstack_admin.steps import (
    COUNTRY,
    audience,
    combined,
    done,
    problems,
    rule,
    segment,
    shares,
    text,
)


@pytest.fixture
def document(box: Box) -> dict[str, Any]:
    found: dict[str, Any] = box.http.get(f"{box.server.url}/openapi/contentstack").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def test_it_describes_every_published_endpoint_and_no_other(box: Box, document: dict[str, Any]) -> None:
    """28 of them, at both addresses; the first description names the others."""
    assert document == box.http.get(f"{box.url}/openapi").json()
    assert document["servers"] == [{"url": box.url}] and document["openapi"] == "3.1.0"
    described = {(method, path) for path, method, _ in operations(document)}
    assert described == {(one.method, one.path) for one in ENDPOINTS} and len(described) == 28
    assert not described & {(one.method, one.path) for one in TOOL_ENDPOINTS}
    others = box.http.get(f"{box.server.url}/openapi").json()["info"]["x-others"]
    assert [box.http.get(url).json()["openapi"] for url in others] == ["3.1.0", "3.1.0"]


def test_it_holds_together(document: dict[str, Any]) -> None:
    """Names are unique, parameters are those of the paths, and every reference leads to a schema."""
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names) and {"createAttribute", "getTimeSeries", "listCities"} <= set(names)
    for path, method, operation in operations(document):
        declared = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}, path
        assert ("requestBody" in operation) == (method in ("POST", "PUT")), path
        scope = "personalize:read" if method == "GET" else "personalize:manage"
        assert {"oauth": [scope]} in operation["security"], path
        assert {"400", "401", "403", "404", "429"} < set(operation["responses"]), path
    assert set(_references(document)) == set(document["components"]["schemas"])


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from [one.rpartition("/")[2]] if name == "$ref" else _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


class Checked:
    """Calls whose bodies and answers are compared with the description."""

    def __init__(self, box: Box, document: dict[str, Any]) -> None:
        self.box, self.document, self.called = box, document, set[str]()

    def __call__(self, name: str, body: Any = None, query: str = "", **values: str) -> Any:
        path, method, operation = next(one for one in operations(self.document) if one[2]["operationId"] == name)
        if body is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert problems(self.document, schema, body) == []
        answer = self.box.raw(method, path.format(**values) + query, body)
        assert str(answer.status_code) in operation["responses"] and answer.status_code < 300, answer.text
        described = operation["responses"][str(answer.status_code)]
        self.called.add(name)
        if "content" not in described:
            assert answer.content == b""
            return None
        found = answer.json()
        assert problems(self.document, described["content"]["application/json"]["schema"], found) == []
        return found


def test_every_answer_is_as_described(box: Box, document: dict[str, Any]) -> None:
    """Each endpoint once at least, with all that the sandbox puts into its answers."""
    call = Checked(box, document)
    attribute = call("createAttribute", {"name": "Age", "key": "years", "description": "d"})
    call("updateAttribute", {"name": "Years", "key": "years"}, uid=attribute["uid"])
    custom = {"__type": "CustomAttributeReference", "ref": attribute["uid"]}
    rules = [
        rule(custom, "NUMBER_LESS_THAN", {"__type": "NumberMatchOptions", "value": 3.5}, invert=True),
        rule(COUNTRY, "HAS_ANY_VALUE"),
        combined(rule(COUNTRY, "STRING_EQUALS", text("US")), by="OR"),
    ]
    who = call("createAudience", {"name": "A", "description": "d", "definition": combined(*rules)})
    call("updateAudience", {"name": "B", "definition": combined(*rules)}, uid=who["uid"])
    event = call("createEvent", {"key": "click"})
    call("updateEvent", {"key": "clicked", "description": "d"}, uid=event["uid"])
    made = call("createExperience", {"name": "E", "__type": "AB_TEST", "tags": ["env:x"]})
    call("updateExperience", {"name": "F", "description": "d"}, uid=made["uid"])
    metrics = [{"__type": "Primary", "event": event["uid"], "name": "Click"}]
    targeting = {"audience": {"audiences": [who["uid"]], "audienceCombinationType": "AND"}}
    body = shares("a", "b", metrics=metrics, targeting=targeting)
    first = {"uid": made["uid"], "version": made["latestVersion"]}
    call("updateVersion", body, **first)
    draft = call("createVersion", {**body, "status": "DRAFT"}, uid=made["uid"])
    call("getExperience", uid=made["uid"])
    call("listVersions", uid=made["uid"])
    call("deleteVersion", uid=made["uid"], version=draft["uid"])
    shown = {"type": "IMPRESSION", "experienceShortUid": made["shortUid"], "variantShortUid": "0"}
    box.did("u1", shown)
    for name in ("getSummary", "getTimeSeries"):
        counted = call(name, query=f"?version={made['latestVersion']}&start=2025-01-01", uid=made["uid"])
        assert "impressions" in str(counted)
    call("setPriority", call("getPriority"))
    for name in ("listRegions", "listCountries", "listCities", "listExperiences", "listAudiences", "listEvents"):
        assert call(name)
    assert call("listAttributes")[0]["__type"] == "PRESET"
    call("deleteExperience", uid=made["uid"])
    call("deleteAudience", uid=who["uid"])
    call("deleteEvent", uid=event["uid"])
    call("deleteAttribute", uid=attribute["uid"])
    assert len(call.called) == 28


def test_printed_bodies_are_as_described(document: dict[str, Any], sample: Any) -> None:
    """Those of the vendor's documentation."""
    names = {
        "AudienceInput": ("audience_custom", "audience_query", "audience_time"),
        "ExperienceInput": ("experience_segmented",),
        "VersionInput": ("version_create_active", "version_create_draft"),
        "VersionChange": ("version_activate", "version_pause", "version_update_draft"),
    }
    for schema, samples in names.items():
        for name in samples:
            assert problems(document, {"$ref": schema}, sample(name)) == [], name
    wrong = {"name": "x", "definition": combined({**rule(COUNTRY, "STRING_EQUALS", text("US")), "__type": "Rules"})}
    assert problems(document, {"$ref": "AudienceInput"}, wrong)


def test_refusals_are_as_described(box: Box, document: dict[str, Any]) -> None:
    """Of a field, of a whole call, of the gateway."""
    uid = "0" * 24
    who = audience(box, "A", rule(COUNTRY, "HAS_ANY_VALUE"))
    made = done(box, "POST", "/experiences", {"name": "x", "__type": "SEGMENTED"})
    draft = f"/experiences/{made['uid']}/versions/{made['latestVersion']}"
    done(box, "PUT", draft, {"status": "ACTIVE", "variants": [segment("a", who)]})
    answers = [
        box.raw("POST", "/events", {"key": ""}),
        box.raw("POST", "/events", []),
        box.raw("GET", "/events", authtoken="wrong"),
        box.raw("POST", "/events", {"key": "x"}, authtoken="", authorization="Bearer sandbox-read-token"),
        box.raw("GET", f"/experiences/{uid}"),
        box.raw("GET", "/events", **{"x-project-uid": uid}),
        box.raw("GET", "/events", **{"x-project-uid": ""}),
        box.raw("DELETE", f"/audiences/{who}"),
        box.raw("DELETE", draft),
        box.raw("PATCH", "/events"),
    ]
    assert [one.status_code for one in answers] == [400, 400, 401, 403, 404, 404, 400, 400, 400, 404]
    box.server.sandbox.personalize.calls_per_second = 1
    box.clock.now += 2
    answers += [box.raw("GET", "/events"), box.raw("DELETE", "/events/x")][1:]
    assert answers[-1].status_code == 429
    for answer in answers:
        assert problems(document, {"$ref": "Error"}, answer.json()) == [], answer.text


@pytest.mark.parametrize("endpoint", TOOL_ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_routes_of_the_importer_need_a_token_too(box: Box, endpoint: Any) -> None:
    assert box.raw(endpoint.method, endpoint.path.format(uid="x"), authtoken="").status_code == 401
