"""Requests of Adobe's documentation page, sent to the sandbox as printed; its answers have the printed fields."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from flagmw.sandbox import SandboxServer
from flagmw.sandbox.adobe_admin.store import AccountStore, ManagedRecord
from flagmw.sandbox.adobe_admin.table import ENDPOINTS
from tests.sandbox.adobe_admin import boxed
from tests.sandbox.adobe_admin.conftest import Raw

SAMPLES = Path(__file__).parents[2] / "samples" / "adobe_admin"
# The page's curl says /orders/performance, its path line and the published description /report/orders.
PATHS = {"reports.ab.orders": "/activities/ab/167169/report/orders", "properties.get": "/properties/1"}
CASES = sorted(
    path.parent.name for path in SAMPLES.glob("*/call.json") if not path.parent.name.startswith(("auth", "profiles"))
)
RULE = {"and": [{"profile": "a", "equals": ["b"]}, {"geo": "region", "matches": ["c"]}]}
RULES = {1537214: {"and": [{"page": "url", "equals": ["b"]}, {"geo": "region", "matches": ["c"]}]}}
# Fields of the printed answers that not every account has.
OPTIONAL = {"thirdPartyId", "workspace", "workspaces", "token", "startsAt", "endsAt"}


def document(case: str, name: str) -> Any:
    return json.loads((SAMPLES / case / name).read_text("utf-8"))


def ids_in(value: Any, key: str) -> set[int]:
    if isinstance(value, dict):
        own = value.get(key)
        found = own if isinstance(own, list) else [own]
        inner = [ids_in(one, key) for one in value.values()]
        return {one for one in found if isinstance(one, int)}.union(*inner)
    return set().union(*(ids_in(one, key) for one in value)) if isinstance(value, list) else set()


@pytest.fixture
def printed(raw: Raw, box: SandboxServer) -> AccountStore:
    """Give the account everything that the samples name."""
    raw("GET", "/environments")  # the store is made with the first call
    store = box.sandbox.target.stores["demo"]
    documents = [document(path.parent.name, path.name) for path in SAMPLES.glob("*/call.json")]
    bodies = [one["body"] for one in documents if isinstance(one.get("body"), dict)]
    common = {"workspace": "1", "modifiedAt": "2026-01-01T00:00:00Z"}
    for own in ids_in(bodies, "offerId") | {391902, 438180}:
        store.offers[own] = {"id": own, "name": f"{own}", "type": "content", "content": "", **common}
    for own in ids_in(bodies, "audienceIds") | {1397972, 1537195, 1537214}:
        store.audiences[own] = {
            "id": own, "name": f"{own}", "description": "", "origin": "target", **common,
            "targetRule": RULES.get(own, RULE),
        }  # fmt: skip
    for own in (1, 2):
        store.properties[own] = {**document("properties.get", "answer.json"), "id": own, "token": "", "modifiedAt": ""}
    store.changed()
    httpx2.post(
        f"{box.url}/rest/v1/delivery?client=demo&sessionId=s",
        json={"context": {"channel": "web"}, "execute": {"mboxes": [{"index": 0, "name": "a1-mobile-mboxparams"}]}},
    ).raise_for_status()
    return store


def path_of(case: str) -> str:
    parts = urlsplit(document(case, "call.json")["url"])
    path = parts.path.partition("/target")[2]
    return PATHS.get(case, path) + (f"?{parts.query}" if parts.query else "")


@pytest.mark.parametrize("case", CASES)
def test_a_printed_request_is_answered_with_the_printed_fields(raw: Raw, printed: AccountStore, case: str) -> None:
    """Every field of the printed answer is there, of the same type."""
    call, path = document(case, "call.json"), path_of(case)
    _add_activity(printed, path)
    given = {name: value for name, value in call["headers"].items() if name.lower() in ("accept", "content-type")}
    body = call.get("body")
    answer = raw(call["method"], path, headers=given, content=None if body is None else json.dumps(body))
    assert answer.status_code in (200, 201), answer.text
    expected = document(case, "answer.json") if (SAMPLES / case / "answer.json").exists() else {}
    assert missing_of(answer.json(), expected, case) == []


def _add_activity(store: AccountStore, path: str) -> None:
    """Give the account the activity of an address; one with two kinds on the page is of each in turn."""
    found = re.match(r"/activities/(?:(ab|xt)/)?(\d+)", path)
    if found is not None:
        kind, own = found[1] or "ab", int(found[2])
        body = {**document(f"activities.{kind}.get", "answer.json"), "thirdPartyId": f"{own}"}
        body = {name: value for name, value in body.items() if name not in ("id", "modifiedAt")}
        store.activities[own] = ManagedRecord(own, kind, body, boxed.NEW_YEAR, boxed.NEW_YEAR)
        store.changed()


def missing_of(answered: Any, expected: Any, at: str) -> list[str]:
    """Return the fields of *expected* that *answered* lacks or has in another type; of lists, the first rows count."""
    if isinstance(expected, bool) or isinstance(answered, bool):
        return [] if isinstance(answered, bool) == isinstance(expected, bool) else [f"{at} is {answered!r}"]
    if isinstance(expected, int | float) and isinstance(answered, int | float):
        return []
    if type(answered) is not type(expected):
        return [f"{at} is {type(answered).__name__}, not {type(expected).__name__}"]
    found: list[str] = []
    if isinstance(expected, dict):
        for name, value in expected.items():
            if name in answered:
                found += missing_of(answered[name], value, f"{at}.{name}")
            elif name not in OPTIONAL:
                found.append(f"{at}.{name} is missing")
    if isinstance(expected, list) and expected and answered and "Changelogs" not in at:
        found += missing_of(answered[0], expected[0], f"{at}[0]")
    return found


def test_the_samples_cover_the_endpoints_of_the_page() -> None:
    """All but those that the page prints no request for."""
    assert len(CASES) >= 30 and len({one.number for one in ENDPOINTS if one.number}) == 36
