"""Versions of experiences, what is served of them, and what is counted."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw.admin import ConflictError, ContentstackAdmin, InvalidError, NotFoundError
from flagmw.admin.contentstack.checks import checked_version
from flagmw.admin.contentstack.rules import Country, QueryParameter, rules_from_json
from flagmw.admin.contentstack.versions import ab_test, equal_split, segmented
from flagmw.sandbox.contentstack_admin.table import ENDPOINTS

US, DE = {"x-forwarded-for": "198.51.100.7"}, {"x-forwarded-for": "192.0.2.7"}


def started(admin: ContentstackAdmin, **more: Any) -> dict[str, Any]:
    event = admin.events.create("click")
    made = admin.experiences.create("Button", "AB_TEST")
    body = ab_test(["Control", "Purple"], metric=event["uid"], metric_name="Click on CTA", **more)
    admin.versions.update(made["uid"], made["latestVersion"], {**body, "status": "ACTIVE"})
    return admin.experiences.get(made["uid"])


def test_an_activated_experience_is_in_the_next_manifest_and_counted(box: Any, admin: ContentstackAdmin) -> None:
    before = box.manifest("u1")
    experience = started(admin)
    short, uid = experience["shortUid"], experience["uid"]
    version = admin.versions.list(uid)[0]["uid"]
    seen: dict[str, int] = {"0": 0, "1": 0}
    for number in range(40):
        variant = box.manifest(f"u{number}")[short]
        assert variant is not None
        seen[variant] += 1
        shown = {"type": "IMPRESSION", "experienceShortUid": short, "variantShortUid": variant}
        box.did(f"u{number}", shown, shown)
        if variant == "1":
            box.did(f"u{number}", {"type": "EVENT", "eventKey": "click"})
    box.did("stranger", {"type": "EVENT", "eventKey": "click"})
    summary = admin.analytics.summary(uid, version)
    assert [(one["impressions"], one["conversions"]) for one in summary["variants"]] == [
        (seen["0"], 0),
        (seen["1"], seen["1"]),
    ]
    assert min(seen.values()) > 5
    assert summary["variants"][1]["probabilityToBeBest"] > 0.95
    assert summary["winningVariant"] is None  # not before 14 days
    series = admin.analytics.time_series(uid, version)
    assert series["series"][0]["interval"] == "2026-01-01T00:00:00Z/PT1H"
    assert sum(one["impressions"] for one in series["series"][0]["variants"]) == 40
    assert admin.analytics.summary(uid, version, start="2027-01-01")["variants"][0]["impressions"] == 0
    admin.versions.pause(uid)
    assert box.manifest("u1") == {**before, short: None}
    admin.versions.resume(uid)
    assert box.manifest("u1")[short] is not None
    assert {name: box.manifest("u1")[name] for name in before} == before


def test_segments_priority_and_deletion_are_served(box: Any, admin: ContentstackAdmin) -> None:
    us = admin.audiences.create("US", Country.equals("US") & ~QueryParameter("utm").equals("no"))
    made = admin.experiences.create("Greeting", "SEGMENTED")
    admin.versions.update(made["uid"], made["latestVersion"], {**segmented({"US": [us["uid"]]}), "status": "DRAFT"})
    assert made["shortUid"] not in box.manifest("u", **US)  # a draft is not served
    admin.versions.activate(made["uid"])
    assert box.manifest("u", **US)[made["shortUid"]] == "0"
    assert box.manifest("u", **DE)[made["shortUid"]] is None
    assert box.manifest("u", **US, **{"x-page-url": "https://s.example/?utm=no"})[made["shortUid"]] is None
    with pytest.raises(InvalidError, match="used by an experience"):
        admin.audiences.delete(us["uid"])
    assert list(box.manifest("u")) == ["0", made["shortUid"]]
    admin.priority.set(admin.priority.get()[::-1])
    assert list(box.manifest("u")) == [made["shortUid"], "0"]
    admin.experiences.delete(made["uid"])
    assert list(box.manifest("u")) == ["0"]


def test_states_and_their_refusals(box: Any, admin: ContentstackAdmin) -> None:
    experience = started(admin)
    uid, active = experience["uid"], admin.versions.list(experience["uid"])[0]
    with pytest.raises(InvalidError) as error:
        admin.versions.delete(uid, active["uid"])
    assert "draft" in str(error.value)
    body = ab_test(["Control", "Purple", "Red"])
    draft = admin.versions.create(uid, body)
    assert [one["shortUid"] for one in draft["variants"]] == ["0", "1", "2"]
    with pytest.raises(ConflictError, match=draft["uid"]):
        admin.versions.create(uid, body)
    refused = box.raw("POST", f"/experiences/{uid}/versions", {**body, "status": "ACTIVE"})
    assert refused.status_code == 400
    assert "DRAFT_ALREADY_EXISTS" in refused.text
    again = admin.versions.create(uid, ab_test(["Control", "Purple"]), on_draft="update")
    assert again["uid"] == draft["uid"]
    with pytest.raises(InvalidError, match="locked"):
        admin.versions.update(uid, active["uid"], {**body, "status": "PAUSED"})
    with pytest.raises(InvalidError, match="cannot be a draft"):
        admin.versions.update(uid, active["uid"], {**body, "status": "DRAFT"})
    admin.versions.discard(uid)
    with pytest.raises(NotFoundError, match="DRAFT"):
        admin.versions.discard(uid)
    fresh = admin.versions.create(uid, body, status="ACTIVE")
    # The short uid of the discarded variant is not given again.
    assert [one["shortUid"] for one in fresh["variants"]] == ["0", "1", "3"]
    assert [one["status"] for one in admin.versions.list(uid)] == ["ACTIVE", "ARCHIVED"]
    with pytest.raises(InvalidError, match="type cannot"):
        admin.experiences.update(uid, "Button", "SEGMENTED")
    other = admin.experiences.create("Empty", "AB_TEST")
    with pytest.raises(InvalidError, match="only version"):
        admin.versions.discard(other["uid"])
    with pytest.raises(NotFoundError, match="no analytics"):
        admin.analytics.summary(other["uid"], other["latestVersion"])
    box.server.sandbox.personalize.strict_lock = True
    with pytest.raises(InvalidError, match="locked"):
        admin.versions.pause(uid)


def test_the_seeds_bodies_are_taken(box: Any, admin: ContentstackAdmin, sample: Any) -> None:
    """Each printed request is sent as it stands; only its uids are those of this project."""
    for name in ("audience_custom", "audience_query", "audience_time"):
        body = sample(name)
        assert rules_from_json(body["definition"]).to_json() == body["definition"]
        assert box.raw("POST", "/audiences", body).status_code == 201
        made = admin.audiences.create(
            body["name"], rules_from_json(body["definition"]), description=body["description"]
        )
        assert {key: made[key] for key in body} == body
    audiences = itertools.cycle(one["uid"] for one in admin.audiences.list())
    made = box.raw("POST", "/experiences", sample("experience_segmented")).json()
    versions = f"/experiences/{made['uid']}/versions"

    def own(name: str) -> dict[str, Any]:
        body = sample(name)
        for part in [*body["variants"], (body.get("targeting") or {}).get("audience") or {}]:
            if "audiences" in part:
                part["audiences"] = [next(audiences) for _ in part["audiences"]]
        for metric in body.get("metrics") or ():
            metric["event"] = admin.events.list()[0]["uid"]
        return checked_version(body)

    answer = box.raw("PUT", f"{versions}/{made['latestVersion']}", own("version_update_draft"))
    assert answer.json()["variants"][0]["shortUid"] == "0"  # made by the server
    admin.versions.activate(made["uid"])
    assert box.raw("POST", versions, own("version_create_draft")).json()["status"] == "DRAFT"
    test = admin.experiences.create("Test", "AB_TEST")
    versions = f"/experiences/{test['uid']}/versions"
    for name, status in (("version_activate", "ACTIVE"), ("version_pause", "PAUSED"), ("version_activate", "ACTIVE")):
        assert box.raw("PUT", f"{versions}/{test['latestVersion']}", own(name)).json()["status"] == status
    created = box.raw("POST", versions, own("version_create_active"))
    assert created.json()["status"] == "ACTIVE"
    assert [one["shortUid"] for one in created.json()["variants"]] == ["0", "1", "2"]
    assert [one["status"] for one in admin.versions.list(test["uid"])] == ["ACTIVE", "ARCHIVED"]


@pytest.mark.parametrize("parts", range(2, 51))
def test_equal_parts_are_rounded_and_taken(parts: int) -> None:
    body = ab_test([f"v{number}" for number in range(parts)])
    assert checked_version({**body, "status": "ACTIVE"})
    assert equal_split(3) == [33.33] * 3


@pytest.mark.parametrize(
    "shares",
    [[50, 49], [50, 51], [33, 33, 33], [34, 34, 33], [100.5, -0.5], [float("nan"), 50], [True, 99], ["50", 50]],
)
def test_shares_that_do_not_make_100_are_refused(box: Any, shares: list[Any]) -> None:
    body = ab_test([f"v{number}" for number in range(len(shares))], shares=shares)
    with pytest.raises(InvalidError):
        checked_version({**body, "status": "ACTIVE"})


class Model:
    """The vendor's state machine in a few lines."""

    def __init__(self) -> None:
        self.states = ["DRAFT"]

    def create(self, status: str) -> bool:
        if "DRAFT" in self.states:
            return False
        self.states.append("DRAFT")
        self.move(len(self.states) - 1, status)
        return True

    def put(self, number: int, status: str) -> bool:
        allowed = {"DRAFT": ("DRAFT", "ACTIVE"), "ACTIVE": ("ACTIVE", "PAUSED"), "PAUSED": ("ACTIVE", "PAUSED")}
        if status not in allowed.get(self.states[number], ()):
            return False
        self.move(number, status)
        return True

    def move(self, number: int, status: str) -> None:
        if status == "ACTIVE":
            live = ("ACTIVE", "PAUSED")
            self.states = ["ARCHIVED" if one in live and at != number else one for at, one in enumerate(self.states)]
        self.states[number] = status

    def delete(self, number: int) -> bool:
        if self.states[number] != "DRAFT" or len(self.states) == 1:
            return False
        del self.states[number]
        return True


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["create", "put", "delete"]), st.integers(0, 5), st.sampled_from(["DRAFT", "ACTIVE", "PAUSED"])
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_the_state_machine_is_the_models(actions: list[tuple[str, int, str]]) -> None:
    from flagmw.sandbox import load_scenario
    from flagmw.sandbox.contentstack_admin.call import AdminCall
    from flagmw.sandbox.contentstack_admin.errors import ApiError
    from flagmw.sandbox.contentstack_admin.serving import live_version, store_of
    from flagmw.sandbox.state import Sandbox

    sandbox = Sandbox(load_scenario("shop"))
    store = store_of(sandbox, sandbox.scenario.contentstack[0])
    body = ab_test(["a", "b"])

    def ask(method: str, path: str, sent: dict[str, Any] | None = None) -> bool:
        for endpoint in ENDPOINTS:
            values = endpoint.values(path) if endpoint.method == method else None
            if values is not None:
                try:
                    endpoint.handler(AdminCall(sandbox, store, values, {}, sent or {}))
                except ApiError as error:
                    assert error.status == 400
                    return False
                return True
        raise AssertionError(path)

    assert ask("POST", "/experiences", {"name": "x", "__type": "AB_TEST"})
    uid = store.priority[-1]
    model = Model()
    assert ask("PUT", f"/experiences/{uid}/versions/{store.versions[uid][0]['uid']}", {**body, "status": "DRAFT"})
    for action, number, status in actions:
        number %= len(model.states)
        version = store.versions[uid][number]["uid"]
        if action == "create":
            if status != "PAUSED":
                assert ask("POST", f"/experiences/{uid}/versions", {**body, "status": status}) == model.create(status)
        elif action == "put":
            current = store.versions[uid][number]
            sent = {**{k: current[k] for k in ("variants", "variantSplit") if k in current}, "status": status}
            assert ask("PUT", f"/experiences/{uid}/versions/{version}", sent) == model.put(number, status)
        else:
            assert ask("DELETE", f"/experiences/{uid}/versions/{version}") == model.delete(number)
        assert [one["status"] for one in store.versions[uid]] == model.states
        assert sum(state in ("ACTIVE", "PAUSED") for state in model.states) <= 1
        assert (live_version(store, uid) is not None) == any(one in ("ACTIVE", "PAUSED") for one in model.states)
