"""Filters, orders and pages of the sandbox's lists."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw.admin import AdobeAdmin, Between, Not
from flagmw.sandbox import SandboxServer
from tests.sandbox.adobe_admin import boxed
from tests.sandbox.adobe_admin.conftest import Raw


@pytest.fixture
def rows(admin: AdobeAdmin, clock: boxed.Clock) -> dict[str, int]:
    """Create four activities; return their ids by name."""
    made = {}
    for name, priority, workspace, start in (
        ("ab", 4, "1", "2026-01-01"), ("abc", 4, "2", "2026-02-01T10:00:00+02:00"), ("b", 7, "1", None),
        ("c", 1, "3", None),
    ):  # fmt: skip
        more = {} if start is None else {"startsAt": start}
        body = boxed.activity(name=name, priority=priority, workspace=workspace, **more)
        made[name] = admin.activities.ab.create(body)["id"]
        clock.now += 10
    return made


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"name": "ab"}, ["ab"]),
        ({"name": ["ab", "c"]}, ["ab", "c"]),
        ({"name": ["ab", "abc"], "priority": 4}, ["ab", "abc"]),
        ({"name": ["ab", "b"], "priority": 4}, ["ab"]),
        ({"priority": Not(4)}, ["b", "c"]),
        ({"priority": [Not(4), Not(1)]}, ["b"]),
        ({"priority": [4, Not(7)]}, ["ab", "abc"]),
        ({"workspace": ["1", "3"]}, ["ab", "b", "c"]),
        ({"workspace": [Not("1"), Not("3")]}, ["abc"]),
        ({"startsAt": Between("2025-12-31", "2026-01-01")}, ["ab"]),
        ({"startsAt": Between("2026-02-01T08:00:00Z", "2026-02-01T08:00:00Z")}, ["abc"]),
        ({"startsAt": Between("1800-09-01T02:04:00.000-07:00", "2114-11-30T14:10:00.000-07:00")}, ["ab", "abc"]),
        ({"type": "xt"}, []),
        ({"state": "saved"}, ["ab", "abc", "b", "c"]),
        ({"color": "red"}, ["ab", "abc", "b", "c"]),
    ],
    ids=str,
)
def test_filters(admin: AdobeAdmin, rows: dict[str, int], filters: dict[str, Any], expected: list[str]) -> None:
    """Values of one field are alternatives, fields and negations narrow; parameters that are no field do nothing."""
    found = admin.activities.list(**filters)
    assert [row["name"] for row in found if row["id"] in rows.values()] == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["name"], ["ab", "abc", "b", "c"]),
        (["-name"], ["c", "b", "abc", "ab"]),
        (["priority", "-name"], ["c", "abc", "ab", "b"]),
        (["-priority", "id"], ["b", "ab", "abc", "c"]),
        (["-modifiedAt"], ["c", "b", "abc", "ab"]),
        (["startsAt", "name"], ["ab", "abc", "b", "c"]),
    ],
    ids=str,
)
def test_orders(admin: AdobeAdmin, rows: dict[str, int], order: list[str], expected: list[str]) -> None:
    """The first field weighs most; numbers are compared as numbers, what is missing comes last."""
    found = admin.activities.list(id=list(rows.values()), sort_by=order)
    assert [row["name"] for row in found] == expected


def test_pages_and_totals(admin: AdobeAdmin, raw: Raw, rows: dict[str, int]) -> None:
    """`total` counts before paging; the whole list is the default, and a page may be beyond the end."""
    page = raw("GET", "/activities?sortBy=-id&limit=2&offset=1", 3).json()
    assert (page["total"], page["offset"], page["limit"]) == (9, 1, 2)
    assert [row["name"] for row in page["activities"]] == ["b", "abc"]
    page = raw("GET", "/activities/", 3).json()
    assert (page["total"], page["offset"], page["limit"], len(page["activities"])) == (9, 0, 2147483647, 9)
    assert raw("GET", "/activities?offset=99", 3).json()["activities"] == []
    assert raw("GET", "/activities?limit=0", 3).json()["total"] == 9


def test_paging_while_rows_come_and_go(admin: AdobeAdmin, box: SandboxServer) -> None:
    """The client's list has every activity that was there throughout exactly once."""
    made = [admin.activities.ab.create(boxed.activity(name=str(n)))["id"] for n in range(30)]
    gone, seen = made[:9:2], []
    for row in admin.activities.list(page_size=4):
        seen.append(row["id"])
        if gone and len(seen) % 3 == 0:
            admin.activities.ab.delete(gone.pop(0))
            admin.activities.ab.create(boxed.activity(name="New"))
    assert set(made) - set(made[:9:2]) <= set(seen) and len(set(seen)) == len(seen)


def test_samples_of_the_documentation_are_taken(raw: Raw) -> None:
    """Its own queries, as they are printed."""
    for query in (
        "", "?limit=1", "?limit=2&offset=2", "?id=3&id=4&name=ab", "?priority=!4", "?sortBy=name&sortBy=id",
        "?startsAt=1800-09-01T02:04:00.000-07:00/2114-11-30T14:10:00.000-07:00", "?workspace=1234567,12345678",
    ):  # fmt: skip
        assert raw("GET", f"/activities/{query}", 3).status_code == 200
    for query in ("?priority=!4", "?sortBy=name&sortBy=id", "?limit=10"):
        assert raw("GET", f"/audiences/{query}", 3).status_code == 200
