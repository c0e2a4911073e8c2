"""Every operation of the client once, in an order in which each finds what it needs; one script for both clients."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from flagmw.admin import Batch
from tests.sandbox.adobe_admin.boxed import MBOX, activity

# What a step yields: the method, its arguments; it is sent back the result, a list for lists.
Step = tuple[str, tuple[Any, ...], dict[str, Any]]
Steps = Generator[Step, Any, None]

RULE = {"and": [{"profile": "memberLevel", "equals": ["gold"]}]}


def every_operation() -> Steps:
    """Yield a step for each operation; check on the way that reading returns what was written."""
    yield from _content()
    yield from _activities()
    yield from _reports()
    yield from _account()
    yield from _batch()
    yield from _profiles()


def _content() -> Steps:
    for kind, content in (("content", "<b>Hi</b>"), ("json", {"price": 9})):
        made = yield f"offers.{kind}.create", ({"name": "One", "content": content},), {}
        assert made["content"] == content and made["id"] > 0
        changed = yield f"offers.{kind}.update", (made["id"], {"name": "Two", "content": content}), {}
        assert (changed["id"], changed["name"]) == (made["id"], "Two")
        assert (yield f"offers.{kind}.get", (made["id"],), {}) == changed
        rows = yield "offers.list", (), {"name": "Two"}
        assert [row["id"] for row in rows] == [made["id"]] and rows[0]["type"] == kind
        assert (yield f"offers.{kind}.delete", (made["id"],), {}) == changed
    made = yield "audiences.create", ({"name": "Gold", "targetRule": RULE},), {}
    changed = yield "audiences.update", (made["id"], {"name": "Gold members", "targetRule": RULE}), {}
    moved = yield "audiences.move", (made["id"], "7654321"), {}
    assert moved["workspace"] == "7654321" and moved["targetRule"] == RULE
    assert (yield "audiences.get", (made["id"],), {}) == moved
    rows = yield "audiences.list", (), {"workspace": "7654321"}
    assert [row["name"] for row in rows] == ["Gold members"] and "targetRule" not in rows[0]
    assert (yield "audiences.delete", (made["id"],), {}) == moved


def _activities() -> Steps:
    for kind in ("ab", "xt", "auto_allocate", "ap"):
        body = activity(name=kind)
        if kind == "ap":
            body = {"name": kind, "targetedExperience": {"modelProvider": "target"}}
        if kind == "xt":
            del body["experiences"][0]["visitorPercentage"]
        made = yield f"activities.{kind}.create", (body,), {}
        assert (made["name"], made["state"], made["priority"]) == (kind, "saved", 5)
        changed = yield f"activities.{kind}.update", (made["id"], {**body, "name": f"{kind} 2"}), {}
        assert (yield f"activities.{kind}.get", (made["id"],), {}) == changed
        if kind != "ap":
            split = yield f"activities.{kind}.split", (made["id"], {"A": 100}), {}
            assert split["experiences"][0]["visitorPercentage"] == 100
            more = yield f"activities.{kind}.add_experience", (made["id"], "B"), {}
            assert [one["name"] for one in more["experiences"]] == ["A", "B"]
            copy = yield f"activities.{kind}.clone", (made["id"], "A copy"), {}
            assert (copy["name"], copy["state"], len(copy["experiences"])) == ("A copy", "saved", 2)
            body = more
        links = yield f"activities.{kind}.qa_links", (made["id"], "https://shop.example/"), {}
        assert len(links["qaModeExperiences"]) == len(body.get("experiences", ()))
        gone = yield f"activities.{kind}.delete", (made["id"],), {}
        assert gone["state"] == "deleted"
    made = yield "activities.ab.create", (activity(),), {}
    own = made["id"]
    assert (yield "activities.set_name", (own, "Renamed"), {})["name"] == "Renamed"
    assert (yield "activities.set_state", (own, "approved"), {})["state"] == "approved"
    assert (yield "activities.set_priority", (own, 7), {})["priority"] == 7
    dates = ("2026-01-01", "2026-06-30T08:00:00+02:00")
    assert (yield "activities.set_schedule", (own, *dates), {})["endsAt"] == dates[1]
    rows = yield "activities.list", (), {"name": "Renamed", "priority": 7}
    assert [row["id"] for row in rows] == [own]
    changes = yield "activities.changelog", (own,), {}
    assert changes[0]["activityParameters"] == {"endsAt": {"changedValue": dates[1]}}
    assert {name for one in changes for name in one["activityParameters"]} == {
        "activityName", "state", "priority", "startsAt", "endsAt",
    }  # fmt: skip
    assert (yield "activities.pause", (own,), {})["state"] == "saved"
    assert (yield "activities.activate", (own,), {})["state"] == "approved"
    page = yield "activities.page", (), {"limit": 1, "offset": 1, "sort_by": ["-id"]}
    assert (page["limit"], page["offset"], len(page["activities"])) == (1, 1, 1)
    for name in ("audiences", "offers"):
        page = yield f"{name}.page", (), {"limit": 1}
        assert len(page[name]) == 1 <= page["total"]


def _reports() -> Steps:
    for kind in ("ab", "xt", "ap"):
        body = {"name": "Reported"} if kind == "ap" else activity(name="Reported")
        own = (yield f"activities.{kind}.create", (body,), {})["id"]
        report = yield f"reports.{kind}.performance", (own,), {}
        assert report["report"]["statistics"]["totals"]["visitor"]["totals"] == {"entries": 0, "conversions": 0}
        assert report["reportParameters"]["activityId"] == own
        assert (yield f"reports.{kind}.orders", (own,), {})["orders"] == []


def _account() -> Steps:
    made = yield "properties.create", ({"name": "Shop", "channel": "web"},), {}
    changed = yield "properties.update", (made["id"], {"name": "App", "channel": "mobile"}), {}
    assert changed["token"] == made["token"]
    assert (yield "properties.get", (made["id"],), {}) == changed
    assert [row["name"] for row in (yield "properties.list", (), {"channel": "mobile"})] == ["App"]
    assert (yield "properties.delete", (made["id"],), {}) == changed
    assert {row["name"] for row in (yield "mboxes.list", (), {})} >= {MBOX}
    parameters = yield "mboxes.parameters", (MBOX,), {}
    assert parameters["mboxParameters"] == [{"name": "color", "parameterType": "MBOX"}]
    assert "memberLevel" in (yield "profile_attributes.list", (), {})
    rows = yield "environments.list", (), {"sort_by": ["-name"]}
    assert [row["name"] for row in rows] == ["Staging", "Production", "Development"]
    made = yield "response_tokens.create", ("profile.memberLevel", "SCRIPT"), {}
    assert made in (yield "response_tokens.list", (), {})
    assert (yield "response_tokens.delete", (made["id"],), {}) == made
    for scope in ("profile_api", "debug_tools"):
        made = yield "tokens.create", (scope,), {}
        assert (yield "tokens.current", (scope,), {})["accessToken"] == made["accessToken"]
        assert (made["scope"], made["expiresIn"]) == (scope, 7775999)
        assert (yield "tokens.get", (scope,), {})["accessToken"] == made["accessToken"]


def _batch() -> Steps:
    batch = Batch()
    offer = batch.add_call("POST", "/v2/offers/content", {"name": "In a batch", "content": "hello"})
    read = batch.add_call("GET", "/v2/offers/content/{operationIdResponse:0}")
    test = batch.add_call("POST", "/v3/activities/ab", activity((offer.created_id,), name="In a batch"))
    results = yield "batch.run", (batch,), {}
    assert [one.status for one in results] == [201, 200, 201]
    made = results.of(offer).body["id"]
    assert results.of(read).body["id"] == made
    served = results.of(test).body["experiences"][0]["offerLocations"]
    assert served == [{"locationLocalId": 0, "offerId": made}]


def _profiles() -> Steps:
    done = yield "profiles.update", ({"memberLevel": "gold"},), {"tnt_id": "d1"}
    assert done.success and done.message == "Request successfully submitted"
    for method, ids in (("fetch", "d1"), ("fetch_by_third_party_id", "user-1"), ("fetch_by_ecid", "ecid-1")):
        found = yield f"profiles.{method}", (ids,), {}
        assert found["profileAttributes"]["memberLevel"]["value"] == "gold"
        assert (found["client"], found["visitorId"]) == ("demo", ids)
    rows = [{"pcId": "d1", "city": "Köln, Süd"}, {"pcId": "d2", "city": "Bonn"}]
    result = yield "profiles.bulk_update", (rows,), {"id_kind": "pcId"}
    assert result.rows == 2
    yield "profiles.fetch", ("d1",), {}
    state = yield "profiles.bulk_status", (result.parts[0].status_url,), {}
    assert (state.state, state.size) in (("incomplete", 2), ("complete", 2))
