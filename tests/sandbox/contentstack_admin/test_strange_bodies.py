"""Bodies with something else in any place: refused or taken, never an error of the sandbox itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.contentstack_admin.conftest import Box
from tests.sandbox.contentstack_admin.steps import COUNTRY, audience, combined, done, rule, segment, shares, text

JUNK: tuple[Any, ...] = (None, True, -1, 1e300, "", "\0x", [], [[]], {}, {"x": 1}, [None], ["y", {}])


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in *value*."""
    yield at
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*at, key))


def spoilt(body: Any) -> Iterator[Any]:
    """Yield *body* with each junk in each place."""
    for path in places(body):
        for junk in JUNK:
            found = {"whole": copy.deepcopy(body)}
            where: Any = found
            for key in ("whole", *path)[:-1]:
                where = where[key]
            where[("whole", *path)[-1]] = junk
            yield found["whole"]


@pytest.mark.parametrize(
    "name", ["attributes", "events", "audiences", "experiences", "segmented", "test", "priority", "projects", "group"]
)
def test_every_place_of_a_body(box: Box, name: str) -> None:
    """What was taken is served: the manifest is made from it."""
    box.server.sandbox.personalize.max_of_a_kind = 10_000
    who = audience(box, "A", rule(COUNTRY, "HAS_ANY_VALUE"))
    event = done(box, "POST", "/events", {"key": "click"})["uid"]
    kind = "SEGMENTED" if name == "segmented" else "AB_TEST"
    made = done(box, "POST", "/experiences", {"name": "x", "__type": kind})
    uid, order = made["uid"], done(box, "GET", "/experiences-priority")
    when = {"__type": "PresetAttributeReference", "ref": "DATE_AND_TIME"}
    times = {"__type": "DateTimeMatchOptions", "startTime": "2026-01-01T00:00:00", "useVisitorTimezone": True}
    query = {"__type": "PresetAttributeReference", "ref": "QUERY_PARAMETERS"}
    inner = {"matchCondition": "STRING_EQUALS", "matchOptions": text("b"), "invertCondition": False}
    options = {"__type": "JSONMatchOptions", "pointer": "/a", **inner}
    definition = combined(rule(when, "AFTER_TIME", times), combined(rule(query, "JSON_MATCH", options), by="OR"))
    targeting = {"audience": {"audiences": [who], "audienceCombinationType": "AND"}}
    metrics = [{"__type": "Primary", "event": event, "name": "Click"}]
    draft = ("PUT", f"/experiences/{uid}/versions/{made['latestVersion']}")
    method, path, body = {
        "attributes": ("POST", "/attributes", {"name": "n", "key": "k", "description": "d"}),
        "events": ("POST", "/events", {"key": "k", "description": "d"}),
        "audiences": ("POST", "/audiences", {"name": "n", "definition": definition}),
        "experiences": ("PUT", f"/experiences/{uid}", {"name": "n", "__type": kind, "tags": ["a"]}),
        "segmented": (
            *draft,
            {"status": "DRAFT", "variants": [segment("a", who, target=definition, lyticsAudiences=[])]},
        ),
        "test": (*draft, {**shares("a", "b", targeting=targeting, metrics=metrics), "status": "DRAFT"}),
        "priority": ("PUT", "/experiences-priority", order),
        "projects": ("POST", "/projects", {"name": "n", "description": "d", "connectedStackApiKey": "s"}),
        "group": ("POST", f"/experiences/{uid}/cms-integration/variant-group", {"content_types": [{"uid": "page"}]}),
    }[name]
    taken = 0
    for strange in spoilt(body):
        answer = box.raw(method, path, strange) if strange is not None else box.raw(method, path, [])
        assert answer.status_code in (200, 201, 400, 404), (strange, answer.text)
        if answer.status_code == 400:
            continue
        taken += 1
        if name in ("segmented", "test") and strange.get("variants") and answer.json()["status"] == "DRAFT":
            live = box.raw("PUT", path, {**strange, "status": "ACTIVE"})
            assert live.status_code in (200, 400), (strange, live.text)
        box.manifest("u1")
        if name in ("segmented", "test") and answer.status_code == 200:
            done(box, "DELETE", f"/experiences/{uid}")
            made = done(box, "POST", "/experiences", {"name": "x", "__type": kind})
            uid, path = made["uid"], f"/experiences/{made['uid']}/versions/{made['latestVersion']}"
    # An order of priority with anything else in it is none.
    assert taken or name == "priority"
