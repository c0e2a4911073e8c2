"""Bodies with something strange anywhere in them: refused as 400, or taken and harmless."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flagmw.sandbox import SandboxServer
from tests.sandbox.adobe_admin import boxed
from tests.sandbox.adobe_admin.conftest import Raw

STRANGE = st.sampled_from(
    [None, True, -1, 0, 1.5, 10**18, "", "x", "x" * 300, [], [[]], [{}], [None], {}, {"a": {}}, [1, "1"], {"name": []}]
)
RULE = {"and": [{"profile": "a", "equals": ["b"]}, {"not": [{"or": [{"geo": "country", "matches": ["de"]}]}]}]}


def full_activity() -> dict[str, Any]:
    body = boxed.activity((0, 0), state="approved", entryConstraint={"visitorPercentage": 50, "mboxes": []})
    body["options"] = [{"optionLocalId": 0, "name": "O", "offerId": 0}]
    body["experiences"][0]["optionLocations"] = [{"locationLocalId": 0, "optionLocalId": 0}]
    body["experiences"][0]["audienceIds"] = []
    body["metrics"][0]["action"]["mboxes"] = [{"name": "m", "successEvent": "mbox_clicked"}]
    return {
        **body,
        "propertyIds": [],
        "startsAt": "2025-01-01",
        "endsAt": "2027-01-01",
        "thirdPartyId": "t",
        "priority": 9,
    }


BODIES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "ab": ("/activities/ab", 3, full_activity()),
    "xt": ("/activities/xt", 3, full_activity()),
    "ap": ("/activities/abt", 2, full_activity()),
    "offer": ("/offers/content", 2, {"name": "O", "content": "text", "workspace": "1"}),
    "json": ("/offers/json", 2, {"name": "O", "content": {"a": 1}}),
    "audience": ("/audiences", 3, {"name": "A", "description": "", "targetRule": RULE}),
    "property": ("/properties", 1, {"name": "P", "channel": "web", "workspaces": ["1"]}),
    "batch": (
        "/batch", 1,
        {
            "operations": [
                {
                    "operationId": 0, "method": "POST", "relativeUrl": "/v2/offers/content",
                    "dependsOnOperationIds": [],
                    "headers": [{"name": "Content-Type", "value": "x"}],
                    "body": {"name": "O", "content": "c"},
                },
                {"operationId": 1, "method": "GET", "relativeUrl": "/v2/offers/content/{operationIdResponse:0}"},
            ]
        },
    ),
}  # fmt: skip


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in *value*."""
    if way:
        yield way
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*way, key))


@pytest.mark.parametrize("name", BODIES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_body_breaks_the_sandbox(raw: Raw, box: SandboxServer, name: str, data: st.DataObject) -> None:
    """Neither its own answer nor the next ones: of the visitors' API, of lists, reports and change logs."""
    box.reset()
    raw = Raw(box, raw.http)
    path, version, good = BODIES[name]
    body = copy.deepcopy(good)
    *way, last = data.draw(st.sampled_from(list(places(good))))
    holder: Any = body
    for key in way:
        holder = holder[key]
    if data.draw(st.integers(0, 5)) == 0 and isinstance(holder, dict):
        del holder[last]
    else:
        holder[last] = data.draw(STRANGE)
    answer = raw("POST", path, version, json=body)
    assert answer.status_code in (200, 201, 400), answer.text
    delivery = {"context": {"channel": "web"}, "execute": {"mboxes": [{"index": 0, "name": boxed.MBOX}]}}
    url = f"{box.url}/rest/v1/delivery?client=demo&sessionId=s"
    assert raw.http.post(url, json=delivery).status_code == 200
    assert raw.http.get(box.adobe_artifact_url()).status_code == 200
    for listed, of in (
        ("/activities?sortBy=name&sortBy=workspace", 3),
        ("/offers?sortBy=workspace", 2),
        ("/audiences", 3),
    ):
        assert raw("GET", listed, of).status_code == 200
    if name in ("ab", "xt", "ap") and answer.status_code == 201:
        own = answer.json()["id"]
        assert raw("GET", f"/activities/{own}/changelog", 1).status_code == 200
        kind = path.rpartition("/")[2]
        assert raw("GET", f"/activities/{kind}/{own}/report/performance", 1).status_code == 200
        assert raw("GET", f"/activities/{kind}/{own}/report/orders", 1).status_code == 200
        links = raw("POST", f"/activities/{kind}/{own}/qamode", version, json={"url": "https://shop.example/"})
        assert links.status_code == 200
        assert raw("PUT", f"/activities/{kind}/{own}", version, json=good).status_code == 200


def test_a_notification_without_a_proper_mbox(box: SandboxServer) -> None:
    """Mboxes of notifications that are no objects do not break the visitors' API."""
    url = f"{box.url}/rest/v1/delivery?client=demo&sessionId=s"
    notification = {"id": "n", "type": "display", "timestamp": 1, "tokens": [], "mbox": "x"}
    body = {"context": {"channel": "web"}, "notifications": [notification]}
    assert httpx2.post(url, json=body).status_code == 200
