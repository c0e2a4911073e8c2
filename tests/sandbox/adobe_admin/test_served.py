"""What the client changes decides what visitors are served."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from flagmw import AdobeTarget, Flagmw, Visit
from flagmw.admin import AdobeAdmin
from flagmw.admin.adobe.rules import audience, geo, mbox, page, profile
from flagmw.sandbox import SandboxServer
from tests.sandbox.adobe_admin import boxed

PAGE = "https://shop.example/checkout?color=red"


class Shop:
    """A shop in front of the sandbox."""

    def __init__(self, box: SandboxServer) -> None:
        vendor = AdobeTarget("demo", (boxed.MBOX, "ta_Hero"), base_url=box.adobe_url)
        self.fm = Flagmw(vendors=[vendor], defaults={boxed.MBOX: "default", "ta_Hero": "default"}, deadline_ms=3000)

    def visit(self, **more: Any) -> Any:
        return self.fm.decide(Visit(url=PAGE, now=time.time(), **more))


@pytest.fixture
def shop(box: SandboxServer) -> Iterator[Shop]:
    made = Shop(box)
    yield made
    made.fm.close()


@pytest.fixture
def ask(box: SandboxServer) -> Iterator[Any]:
    """Ask the Delivery API for the mbox of the tests; return the content of its first option, None for none."""
    with httpx2.Client(timeout=5) as http:

        def asked(
            device: str = "d1", name: str = boxed.MBOX, *, more: dict[str, Any] | None = None, **wanted: Any
        ) -> Any:
            body = {"context": {"channel": "web"}, "id": {"tntId": device}, **(more or {})}
            body["execute"] = {"mboxes": [{"index": 0, "name": name, **wanted}]}
            answer = http.post(f"{box.url}/rest/v1/delivery?client=demo&sessionId=s-{device}", json=body).json()
            options = answer["execute"]["mboxes"][0].get("options")
            return options[0].get("content") if options else None

        yield asked


def test_from_an_audience_to_a_report_and_back_to_defaults(admin: AdobeAdmin, shop: Shop, box: SandboxServer) -> None:
    """Audience, offers, activity, approval, three orders, report, pause, deletion."""
    visitors = admin.audiences.create({"name": "Checkout", "targetRule": page("path").equals("/checkout").json()})
    offers = [admin.offers.json.create({"name": name, "content": {"variant": name}})["id"] for name in ("red", "blue")]
    body = boxed.activity(tuple(offers), priority=10)
    body["locations"]["mboxes"][0]["audienceIds"] = [visitors["id"]]
    made = admin.activities.ab.create(body)
    assert shop.visit()[boxed.MBOX] == "default"  # saved, not approved

    admin.activities.activate(made["id"])
    shown = [shop.visit() for _ in range(6)]
    names = [flags[boxed.MBOX] for flags in shown]
    assert set(names) <= {"A", "B"} and all(flags.payload(boxed.MBOX)["variant"] in ("red", "blue") for flags in shown)
    for number, flags in enumerate(shown[:3]):
        shop.fm.track(boxed.GOAL, visitor=flags.save(), key=f"o-{number}", value=10.0 * (number + 1))
    assert shop.fm.flush(5)

    report = admin.reports.ab.performance(made["id"])
    counts = report["report"]["statistics"]["totals"]["visitor"]["totals"]
    assert counts == {"entries": 6, "conversions": 3}
    by_experience = {
        one["experienceLocalId"]: one["totals"]["visitor"]["totals"]
        for one in report["report"]["statistics"]["experiences"]
    }
    for number, name in enumerate("AB"):
        expected = {"entries": names.count(name), "conversions": names[:3].count(name)}
        assert by_experience[number] == expected
    orders = admin.reports.ab.orders(made["id"])["orders"]
    assert sorted((one["id"], one["total"], "AB"[one["experienceLocalId"]]) for one in orders) == [
        (f"o-{number}", 10.0 * (number + 1), names[number]) for number in range(3)
    ]

    admin.activities.pause(made["id"])
    assert shop.visit()[boxed.MBOX] == "default"
    assert admin.activities.ab.delete(made["id"])["state"] == "deleted"
    assert shop.visit()[boxed.MBOX] == "default"
    assert made["id"] not in [row["id"] for row in admin.activities.list()]
    states = [one["activityParameters"]["state"] for one in _changes(box, made["id"])]
    assert states[0] == {"previousValue": "saved", "changedValue": "deleted"}


def _changes(box: SandboxServer, own: int) -> list[dict[str, Any]]:
    """Return the changes of an activity that the API no longer shows, the latest first."""
    return list(reversed(box.sandbox.target.stores["demo"].activities[own].changes))


def test_an_activity_of_the_scenario_is_paused_renamed_and_resumed(admin: AdobeAdmin, shop: Shop) -> None:
    """What the scenario has is managed as well; its visitors keep their experience."""
    hero = next(row for row in admin.activities.list(name="Hero"))
    saved = shop.visit()
    assert saved["ta_Hero"] in ("summer", "winter")
    admin.activities.pause(hero["id"])
    assert shop.visit()["ta_Hero"] == "default"
    admin.activities.set_name(hero["id"], "Hero again")
    admin.activities.activate(hero["id"])
    assert shop.visit(cookies=_jar(saved))["ta_Hero"] == saved["ta_Hero"]
    admin.activities.ab.split(hero["id"], {"summer": 0, "winter": 100})
    assert {shop.visit()["ta_Hero"] for _ in range(5)} == {"winter"}


def _jar(flags: Any) -> dict[str, str]:
    pairs = (line.partition(";")[0].partition("=") for line in flags.set_cookies)
    return {name: value for name, _, value in pairs}


def approved(admin: AdobeAdmin, *texts: str, kind: str = "ab", **more: Any) -> dict[str, Any]:
    """Create a live activity with an offer for each text."""
    offers = tuple(admin.offers.content.create({"name": text, "content": text})["id"] for text in texts)
    body = boxed.activity(offers, **{"name": "-".join(texts), "state": "approved", **more})
    made: dict[str, Any] = getattr(admin.activities, kind).create(body)
    return made


def test_a_changed_offer_is_in_the_next_answer(admin: AdobeAdmin, ask: Any) -> None:
    made = approved(admin, "first")
    offer = made["experiences"][0]["offerLocations"][0]["offerId"]
    assert ask() == "first"
    admin.offers.content.update(offer, {"name": "first", "content": "second"})
    assert ask() == "second"
    assert next(iter(admin.activities.changelog(made["id"])))["modifiedOffer"] == {"id": offer, "name": "first"}
    admin.offers.content.delete(offer)
    assert ask() is None  # an experience without its offer leaves the page as it is


def test_priorities_schedules_and_properties_decide(admin: AdobeAdmin, ask: Any, clock: boxed.Clock) -> None:
    """The higher priority wins, within its schedule, for pages of its property."""
    low = approved(admin, "low", priority=1)
    high = approved(admin, "high", priority=9)
    assert ask() == "high"
    admin.activities.set_priority(low["id"], 10)
    assert ask() == "low"
    admin.activities.set_schedule(low["id"], "2026-01-02", "2026-01-03")
    assert ask() == "high"
    clock.now += 36 * 3600
    assert ask() == "low"
    clock.now += 24 * 3600
    assert ask() == "high"
    shop = admin.properties.create({"name": "Shop", "channel": "web"})
    body = {**admin.activities.ab.get(high["id"]), "propertyIds": [shop["id"]]}
    admin.activities.ab.update(high["id"], body)
    assert ask() is None and ask(more={"property": {"token": shop["token"]}}) == "high"


def test_profile_attributes_move_a_visitor_into_an_audience(admin: AdobeAdmin, ask: Any, clock: boxed.Clock) -> None:
    """By a single update, by a bulk update once it is done, by a parameter of the page."""
    gold = admin.audiences.create({"name": "Gold", "targetRule": profile("level").equals("gold").json()})
    made = approved(admin, "for gold")
    made["locations"]["mboxes"][0]["audienceIds"] = [gold["id"]]
    admin.activities.ab.update(made["id"], made)
    for device in ("d1", "d2", "d3"):
        assert ask(device) is None
    admin.profiles.update({"level": "gold"}, tnt_id="d1")
    assert (ask("d1"), ask("d2")) == ("for gold", None)
    admin.profiles.bulk_update([{"pcId": "d2", "level": "gold"}], id_kind="pcId")
    assert ask("d2") is None
    clock.now += 2
    assert ask("d2") == "for gold"
    assert ask("d3", profileParameters={"level": "gold"}) == "for gold"
    assert ask("d3") == "for gold"
    admin.audiences.update(gold["id"], {"name": "Gold", "targetRule": profile("level").equals("platinum").json()})
    assert ask("d1") is None


RULES: list[tuple[Any, dict[str, Any], bool]] = [
    (mbox("tier").equals("gold", "silver"), {"parameters": {"tier": "silver"}}, True),
    (mbox("tier").equals("gold"), {"parameters": {"tier": "Gold"}}, False),
    (mbox("tier").matches("gold"), {"parameters": {"tier": "Gold"}}, True),
    (mbox("tier").contains("ol"), {"parameters": {"tier": "gold"}}, True),
    (mbox("tier").not_equals("gold"), {"parameters": {"tier": "gold"}}, False),
    (mbox("tier").not_equals("gold"), {}, True),
    (~mbox("tier").equals("gold"), {"parameters": {"tier": "gold"}}, False),
    (mbox("a").equals("1") & mbox("b").equals("2"), {"parameters": {"a": "1", "b": "2"}}, True),
    (mbox("a").equals("1") & mbox("b").equals("2"), {"parameters": {"a": "1"}}, False),
    (mbox("a").equals("1") | mbox("b").equals("2"), {"parameters": {"b": "2"}}, True),
    (geo("countryCode").matches("de"), {"more": {"context": {"channel": "web", "geo": {"countryCode": "DE"}}}}, True),
    (geo("countryCode").matches("de"), {}, False),
]


@pytest.mark.parametrize(("rule", "given", "inside"), RULES, ids=str)
def test_rules_hold_as_they_are_built(admin: AdobeAdmin, ask: Any, rule: Any, given: Any, inside: bool) -> None:
    """Alone, and through an audience of the audience."""
    one = admin.audiences.create({"name": "One", "targetRule": rule.json()})["id"]
    two = admin.audiences.create({"name": "Two", "audienceRule": audience(one).json()})["id"]
    made = approved(admin, "inside")
    for wanted in (one, two):
        made["locations"]["mboxes"][0]["audienceIds"] = [wanted]
        admin.activities.ab.update(made["id"], made)
        assert (ask(**given) == "inside") == inside


def test_experience_targeting_serves_the_first_audience_that_fits(admin: AdobeAdmin, ask: Any) -> None:
    """An experience without audiences is for everybody else."""
    gold = admin.audiences.create({"name": "Gold", "targetRule": mbox("tier").equals("gold").json()})["id"]
    offers = [admin.offers.content.create({"name": text, "content": text})["id"] for text in ("gold", "all")]
    body = boxed.activity(tuple(offers), state="approved")
    for one in body["experiences"]:
        del one["visitorPercentage"]
    body["experiences"][0]["audienceIds"] = [gold]
    admin.activities.xt.create(body)
    assert ask(parameters={"tier": "gold"}) == "gold" and ask() == "all"


def test_several_mboxes_both_forms_of_offers_and_entry_constraints(admin: AdobeAdmin, ask: Any) -> None:
    """The published description's `options` are served like the documentation's `offerLocations`."""
    one, two = (admin.offers.content.create({"name": text, "content": text})["id"] for text in ("one", "two"))
    body = boxed.activity((one,), state="approved", name="Options")
    body["locations"]["mboxes"].append({"locationLocalId": 1, "name": "ta_Second"})
    body["options"] = [
        {"optionLocalId": 4, "name": "1", "offerId": one},
        {"optionLocalId": 5, "name": "2", "offerId": two},
    ]
    del body["experiences"][0]["offerLocations"]
    body["experiences"][0]["optionLocations"] = [
        {"locationLocalId": 0, "optionLocalId": 4},
        {"locationLocalId": 1, "optionLocalId": 5},
    ]
    made = admin.activities.ab.create(body)
    assert (ask(), ask(name="ta_Second")) == ("one", "two")
    body["entryConstraint"] = {"visitorPercentage": 40}
    admin.activities.ab.update(made["id"], body)
    shown = sum(ask(f"device-{number}") == "one" for number in range(60))
    assert 10 < shown < 40


def test_a_link_for_testers_shows_what_is_not_live(admin: AdobeAdmin, ask: Any) -> None:
    """Its token opens an activity that nobody else sees, and is counted for nobody."""
    made = approved(admin, "red", "blue", state="saved")
    for number, link in enumerate(admin.activities.ab.qa_links(made["id"], PAGE)["qaModeExperiences"]):
        token = httpx2.URL(link["url"]).params["at_preview_token"]
        preview = [{"activityIndex": 1, "experienceIndex": number + 1}]
        more = {"qaMode": {"token": token, "previewIndexes": preview}}
        assert ask(more=more) == ("red", "blue")[number]
    assert ask() is None
    totals = admin.reports.ab.performance(made["id"])["report"]["statistics"]["totals"]
    assert totals["impression"]["totals"]["entries"] == 0


def test_response_tokens_are_switched_on_and_off(admin: AdobeAdmin, shop: Shop) -> None:
    """A flag's variant is named by a response token; without it the sandbox answers content alone."""
    approved(admin, "text")
    names = {row["token"]: row["id"] for row in admin.response_tokens.list()}
    assert shop.visit()[boxed.MBOX] == "A"
    admin.response_tokens.delete(names["experience.name"])
    assert "experience.name" not in [row["token"] for row in admin.response_tokens.list()]
    assert shop.visit()[boxed.MBOX] != "A"


def test_clicks_and_repeated_orders_are_counted_as_such(admin: AdobeAdmin, box: SandboxServer, ask: Any) -> None:
    """A click counts where the goal is a click; an order that comes twice is marked."""
    made = approved(admin, "text")
    goal = [{"name": boxed.MBOX, "successEvent": "mbox_clicked"}, {"name": boxed.GOAL, "successEvent": "mbox_shown"}]
    made["metrics"][0]["mboxes"] = goal
    admin.activities.ab.update(made["id"], made)
    body = {"context": {"channel": "web"}, "id": {"tntId": "d1"}}
    mbox_ = {"index": 0, "name": boxed.MBOX}
    url = f"{box.url}/rest/v1/delivery?client=demo&sessionId=s-d1"
    answer = httpx2.post(url, json={**body, "execute": {"mboxes": [mbox_]}}).json()
    token = answer["execute"]["mboxes"][0]["metrics"][0]["eventToken"]
    click = {"id": "n1", "type": "click", "timestamp": 1, "tokens": [token], "mbox": {"name": boxed.MBOX}}
    httpx2.post(url, json={**body, "notifications": [click]}).raise_for_status()
    for _ in range(2):
        ask(name=boxed.GOAL, order={"id": "o-1", "total": 5, "purchasedProductIds": ["p"]})
    ask(device="stranger", name=boxed.GOAL, order={"id": "o-2", "total": 5})
    totals = admin.reports.ab.performance(made["id"])["report"]["statistics"]["totals"]
    assert totals["visitor"]["totals"] == {"entries": 1, "conversions": 1}
    assert totals["impression"]["totals"]["conversions"] == 3
    orders = admin.reports.ab.orders(made["id"])["orders"]
    assert [(one["id"], one.get("duplicate", False)) for one in orders if one["id"]] == [("o-1", False), ("o-1", True)]


def test_an_experience_that_is_removed_stays_in_the_report(admin: AdobeAdmin, ask: Any) -> None:
    """With the time of its removal, and what visitors did."""
    made = approved(admin, "red", "blue")
    for number in range(8):
        ask(f"device-{number}")
    body = admin.activities.ab.get(made["id"])
    body["experiences"] = [{**body["experiences"][0], "visitorPercentage": 100}]
    admin.activities.ab.update(made["id"], body)
    report = admin.reports.ab.performance(made["id"])
    assert [("deletedAt" in one) for one in report["activity"]["experiences"]] == [False, True]
    assert report["report"]["statistics"]["totals"]["visitor"]["totals"]["entries"] == 8
    assert ask("device-9") == "red"


def test_reports_of_each_kind_count_alike(admin: AdobeAdmin, ask: Any, clock: boxed.Clock) -> None:
    """Auto-Allocate is reported with the AB tests; orders are found by the printed path for every kind."""
    for kind in ("auto_allocate", "xt"):
        clock.now += 1
        made = approved(admin, kind, kind=kind)
        ask()
        ask(name=boxed.GOAL, order={"id": kind, "total": 1})
        report = admin.reports.xt if kind == "xt" else admin.reports.ab
        totals = report.performance(made["id"])["report"]["statistics"]["totals"]
        assert totals["visit"]["totals"] == {"entries": 1, "conversions": 1}
        assert [one["id"] for one in admin.reports.ab.orders(made["id"])["orders"]] == [kind]
        admin.activities.pause(made["id"])


def test_rules_for_on_device_decisions_follow(admin: AdobeAdmin, box: SandboxServer) -> None:
    """What is paused is not in them; what has an audience is left to the service."""

    def rules() -> dict[str, Any]:
        document: dict[str, Any] = httpx2.get(box.adobe_artifact_url()).json()
        return document

    made = approved(admin, "red", "blue")
    assert len(rules()["rules"]["mboxes"][boxed.MBOX]) == 2
    admin.activities.pause(made["id"])
    assert boxed.MBOX not in rules()["rules"]["mboxes"]
    gold = admin.audiences.create({"name": "Gold", "targetRule": mbox("tier").equals("gold").json()})["id"]
    made["locations"]["mboxes"][0]["audienceIds"] = [gold]
    admin.activities.ab.update(made["id"], {**made, "state": "approved"})
    assert rules()["remoteMboxes"] == [boxed.MBOX, "ta_Recs"]
