"""Adobe's own client of the Admin API against the sandbox, by its own description."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from flagmw.admin import AdobeAdmin
from flagmw.admin.adobe.rules import page
from flagmw.sandbox import SandboxServer
from tests.contracts.vendors.official_clients.conftest import HERE, PLACE, Process
from tests.sandbox.adobe_admin import boxed

# Where the description is at odds with every answer that Adobe's documentation prints.
AT_ODDS = {
    "/offset must be string",  # printed as a number in every list
    "/priority must be string",  # printed as a number after a change of priority
}
# Described as lists, printed as the one that was read, changed or deleted.
AT_ODDS_WHOLE = {"updateOffer", "deleteOffer", "getAudienceById", "updateAudience", "deleteAudience"}
OPERATIONS = {
    "getActivities": "getActivities", "createABActivity": "createABActivity", "createXTActivity": "createXTActivity",
    "getABActivityById": "getABActivity", "getXTActivityById": "getXTActivity",
    "updateABActivity": "updateABActivity", "updateXTActivity": "updateXTActivity", "setActivityName": "setName",
    "setActivityState": "setState", "setActivityPriority": "setPriority", "setActivitySchedule": "setSchedule",
    "deleteABActivity": "deleteABActivity", "deleteXTActivity": "deleteXTActivity",
    "getActivityChangeLog": "getChangeLog", "getOffers": "getOffers", "getOfferById": "getOfferById",
    "createOffer": "createOffer", "updateOffer": "updateOffer", "deleteOffer": "deleteOffer",
    "getAudiences": "getAudiences", "createAudience": "createAudience", "getAudienceById": "getAudienceById",
    "updateAudience": "updateAudience", "deleteAudience": "deleteAudience", "getProperties": "getProperties",
    "getPropertyById": "getAPropertyById", "getMBoxes": "getMBoxes", "getMBoxByName": "getMBoxByName",
    "getMBoxProfileAttributes": "getProfileAttributes", "getEnvironments": "getEnvironments",
    "getABActivityPerformance": "getABPerformance", "getXTActivityPerformance": "getXTPerformance",
    "getActivityPerformance": "getABTPerformance", "getOrdersReport": "getAuditReport", "executeBatch": "executeBatch",
}  # fmt: skip
CALLED: set[str] = set()


class Official:
    """Adobe's client, sent to the sandbox."""

    def __init__(self, process: Process, box: SandboxServer) -> None:
        form = {"grant_type": "client_credentials", "client_id": "sandbox-client", "client_secret": "sandbox-secret"}
        answer = httpx2.post(f"{box.url}/ims/token/v3", data={**form, "scope": "target_sdk"}).json()
        self.process, self.token = process, answer["access_token"]
        more = {"port": box.port, "tenant": boxed.TENANT, "key": "sandbox-client", "token": self.token}
        self.methods = set(process.call("create", **more)["methods"])

    def asked(self, method: str, *args: Any) -> dict[str, Any]:
        return self.process.call("call", method=method, args=list(args), operationId=OPERATIONS[method])

    def __call__(self, method: str, *args: Any) -> Any:
        """Return the body of an answer that is as described."""
        answer = self.asked(method, *args)
        assert "error" not in answer, answer
        assert answer["status"] == 200
        known = {" must be array"} if method in AT_ODDS_WHOLE else AT_ODDS
        assert [one for one in answer["problems"] if one not in known] == []
        CALLED.add(method)
        return answer["body"]


@pytest.fixture(scope="session")
def process() -> Iterator[Process]:
    made = Process(shutil.which("node") or str(PLACE / "venv/bin/node"), str(HERE / "node_admin.js"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def _box() -> Iterator[tuple[SandboxServer, boxed.Clock]]:
    # The description knows neither 201 nor bodies of a batch as text.
    clock = boxed.Clock()
    settings = {"legacy_200": True, "batch_bodies": "object"}
    with SandboxServer(boxed.scenario(**settings), seed=3, clock=clock) as server:
        yield server, clock


@pytest.fixture
def box(_box: tuple[SandboxServer, boxed.Clock]) -> SandboxServer:
    _box[0].reset()
    return _box[0]


@pytest.fixture
def official(process: Process, box: SandboxServer) -> Official:
    return Official(process, box)


@pytest.fixture
def ours(box: SandboxServer, _box: tuple[SandboxServer, boxed.Clock]) -> Iterator[AdobeAdmin]:
    with boxed.admin(box, _box[1]) as client:
        yield client


def visit(box: SandboxServer, name: str, **wanted: Any) -> Any:
    body = {"context": {"channel": "web"}, "id": {"tntId": "d1"}, "execute": {"mboxes": [{"index": 0, "name": name}]}}
    body["execute"]["mboxes"][0].update(wanted)  # type: ignore[index]
    answer = httpx2.post(f"{box.url}/rest/v1/delivery?client=demo&sessionId=s1", json=body).json()
    return answer["execute"]["mboxes"][0].get("options")


@pytest.mark.parametrize(
    ("kind", "get", "ours_by"), [("AB", "getABActivityById", "ab"), ("XT", "getXTActivityById", "xt")]
)
def test_activities(official: Official, ours: AdobeAdmin, kind: str, get: str, ours_by: str) -> None:
    """Each client reads, changes and deletes what the other one made."""
    group = getattr(ours.activities, ours_by)
    body = boxed.activity()
    if kind == "XT":
        del body["experiences"][0]["visitorPercentage"]
    made = official(f"create{kind}Activity", body)
    assert group.get(made["id"]) == made
    assert official(f"update{kind}Activity", made["id"], {**body, "name": "Updated"})["name"] == "Updated"
    assert group.get(made["id"])["name"] == "Updated"
    mine = group.create({**body, "name": "Mine"})
    assert official(get, mine["id"]) == mine
    assert {row["id"] for row in official("getActivities")["activities"]} >= {made["id"], mine["id"]}
    assert official(f"delete{kind}Activity", mine["id"])["state"] == "deleted"
    assert mine["id"] not in [row["id"] for row in ours.activities.list()]
    assert "Not Found" in official.asked(get, mine["id"])["error"]
    page_ = official("getActivities", {"limit": 2, "offset": 1})
    assert (page_["limit"], page_["offset"], len(page_["activities"])) == (2, 1, 2)


def test_single_fields_and_the_change_log(official: Official, ours: AdobeAdmin, box: SandboxServer) -> None:
    """Name, state, priority and schedule by Adobe's client decide what is served; ours reads the log."""
    own = ours.activities.ab.create(boxed.activity((_offer(ours),)))["id"]
    assert visit(box, boxed.MBOX) is None
    assert official("setActivityName", own, "Renamed")["name"] == "Renamed"
    assert official("setActivityPriority", own, "7")["priority"] == 7
    schedule = {"startsAt": "2025-01-01T00:00:00Z", "endsAt": "2027-01-01T00:00:00Z"}
    assert official("setActivitySchedule", own, schedule)["startsAt"] == schedule["startsAt"]
    assert official("setActivityState", own, "approved")["state"] == "approved"
    assert visit(box, boxed.MBOX)[0]["content"] == "text"
    log = official("getActivityChangeLog", own)
    assert log["activityChangelogs"] == list(ours.activities.changelog(own)) and log["total"] == 6
    official("setActivityState", own, "saved")
    assert visit(box, boxed.MBOX) is None


def _offer(ours: AdobeAdmin) -> int:
    return ours.offers.content.create({"name": "text", "content": "text"})["id"]


def test_offers_and_audiences(official: Official, ours: AdobeAdmin) -> None:
    """Each client reads what the other one made."""
    made = official("createOffer", {"name": "One", "content": "<b>1</b>"})
    assert ours.offers.content.get(made["id"]) == made
    official("updateOffer", made["id"], {"name": "Two", "content": "<b>2</b>"})
    assert ours.offers.content.get(made["id"])["content"] == "<b>2</b>"
    assert official("getOfferById", _offer(ours))["name"] == "text"
    assert official("getOffers")["total"] == len(list(ours.offers.list()))
    official("deleteOffer", made["id"])
    assert made["id"] not in [row["id"] for row in ours.offers.list()]
    rule = page("url").equals("https://shop.example/").json()
    made = official("createAudience", {"name": "Home", "description": "", "targetRule": rule})
    assert ours.audiences.get(made["id"]) == made and made["targetRule"] == rule
    official("updateAudience", made["id"], {"name": "Start", "targetRule": rule})
    mine = ours.audiences.create({"name": "Mine", "targetRule": rule})
    assert official("getAudienceById", mine["id"]) == mine
    assert {row["name"] for row in official("getAudiences")["audiences"]} >= {"Start", "Mine"}
    official("deleteAudience", mine["id"])
    assert mine["id"] not in [row["id"] for row in ours.audiences.list()]


def test_the_rest_of_the_account(official: Official, ours: AdobeAdmin, box: SandboxServer) -> None:
    """Properties, mboxes, profile attributes, environments."""
    own = ours.properties.create({"name": "Shop", "channel": "web"})
    assert official("getProperties")["properties"] == [own] and official("getPropertyById", own["id"]) == own
    visit(box, "a/b", parameters={"color": "red"}, profileParameters={"level": "gold"})
    assert [row["name"] for row in official("getMBoxes")["mboxes"]] == ["a/b"]
    assert official("getMBoxByName", "a/b") == ours.mboxes.parameters("a/b")
    assert official("getMBoxProfileAttributes")["mboxProfileAttributes"] == ["level"]
    assert official("getEnvironments")["environments"] == list(ours.environments.list())


def test_reports(official: Official, ours: AdobeAdmin, box: SandboxServer) -> None:
    """What a visitor did is in the report of both clients."""
    bodies = {"ab": boxed.activity(state="approved"), "xt": boxed.activity(name="XT"), "ap": {"name": "AP"}}
    own = {kind: getattr(ours.activities, kind).create(body)["id"] for kind, body in bodies.items()}
    visit(box, boxed.MBOX)
    visit(box, boxed.GOAL, order={"id": "o-1", "total": 12.5})
    for method, kind in (
        ("getABActivityPerformance", "ab"), ("getXTActivityPerformance", "xt"), ("getActivityPerformance", "ap"),
    ):  # fmt: skip
        report = official(method, own[kind])
        assert report == getattr(ours.reports, kind).performance(own[kind])
        entries = report["report"]["statistics"]["totals"]["visitor"]["totals"]["entries"]
        assert entries == (kind == "ab")
    orders = official("getOrdersReport", own["ab"])["orders"]
    assert [(one["id"], one["total"]) for one in orders] == [("o-1", 12.5)]


def test_batches(official: Official, ours: AdobeAdmin) -> None:
    """A batch of Adobe's client makes an offer and an activity that shows it; ours reads both."""
    url = "/v3/activities/ab"
    body = boxed.activity(("{operationIdResponse:0}",))  # type: ignore[arg-type]
    headers = [{"name": "Content-Type", "value": "application/json"}]
    offer = {"operationId": 0, "method": "POST", "relativeUrl": "/v2/offers/content", "headers": headers}
    test = {"operationId": 1, "dependsOnOperationIds": [0], "method": "POST", "relativeUrl": url, "headers": headers}
    batch = {"operations": [{**offer, "body": {"name": "B", "content": "b"}}, {**test, "body": body}]}
    first, second = official("executeBatch", batch)["results"]
    assert (first["statusCode"], second["statusCode"]) == (200, 200)
    served = ours.activities.ab.get(second["body"]["id"])["experiences"][0]["offerLocations"]
    assert served == [{"locationLocalId": 0, "offerId": first["body"]["id"]}]


def test_refusals_reach_its_users(official: Official) -> None:
    """Adobe's client raises its own error for what the sandbox refuses."""
    refused = official.asked("createABActivity", {**boxed.activity(), "priority": 1000})
    assert refused["code"] == "ERROR_CREATE_AB_ACTIVITY" and "Bad Request" in refused["error"]


def test_the_sandbox_s_own_description_is_read_by_the_same_library(official: Official, box: SandboxServer) -> None:
    """Without an error, all operations; one of them is called by it."""
    more = {"tenant": boxed.TENANT, "key": "sandbox-client", "token": official.token}
    found = official.process.call("described", port=box.port, operationId="getEnvironments", **more)
    assert found["errors"] == []
    described = [one["operationId"] for path in found_paths(box) for one in path.values()]
    assert sorted(found["ids"]) == sorted(described) and len(described) > 62
    assert (found["status"], found["body"]["total"]) == (200, 3)


def found_paths(box: SandboxServer) -> list[dict[str, Any]]:
    """Return the paths of the sandbox's description."""
    return list(httpx2.get(f"{box.url}/openapi").json()["paths"].values())


def test_every_operation_was_called(official: Official) -> None:
    """All 35, and the client has no other."""
    assert official.methods == set(OPERATIONS) == CALLED and len(CALLED) == 35
