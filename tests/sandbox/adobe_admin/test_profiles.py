"""The sandbox's Profile API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flagmw.admin import AdobeAdmin, AuthError, InvalidError, NotFoundError, ProfileToken
from flagmw.sandbox import SandboxServer
from tests.sandbox.adobe_admin import boxed


@pytest.fixture
def http(box: SandboxServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=box.url, timeout=5) as client:
        yield client


def visit(http: httpx2.Client, device: str, **ids: str) -> str:
    """Let a visitor ask for an mbox; return the tntId that comes back."""
    body = {"context": {"channel": "web"}, "id": {"tntId": device, **ids} if device else ids}
    answer = http.post("/rest/v1/delivery?client=demo&sessionId=s", json={**body, "execute": {"mboxes": []}}).json()
    tnt_id: str = answer["id"]["tntId"]
    return tnt_id


def attributes(admin: AdobeAdmin, device: str) -> dict[str, str]:
    return {name: one["value"] for name, one in admin.profiles.fetch(device)["profileAttributes"].items()}


def test_a_profile_is_found_by_each_of_its_ids(admin: AdobeAdmin, http: httpx2.Client) -> None:
    """A tntId also with the suffix of its cluster; what is not there is told in the vendor's words."""
    tnt_id = visit(http, "", thirdPartyId="user 1", marketingCloudVisitorId="4711")
    admin.profiles.update({"profile.level": "gold", "note": "a&b=c ü"}, tnt_id=tnt_id)
    for profile in (
        admin.profiles.fetch(tnt_id), admin.profiles.fetch_by_third_party_id("user 1"),
        admin.profiles.fetch_by_ecid("4711"),
    ):  # fmt: skip
        assert {name: one["value"] for name, one in profile["profileAttributes"].items()} == {
            "level": "gold", "note": "a&b=c ü",
        }  # fmt: skip
    with pytest.raises(NotFoundError, match="No profile found for client demo with third party id=nobody"):
        admin.profiles.fetch_by_third_party_id("nobody")
    with pytest.raises(NotFoundError, match="No profile found for client demo with mboxPC=nobody"):
        admin.profiles.fetch("nobody")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_single_updates(admin: AdobeAdmin, http: httpx2.Client, method: Any) -> None:
    """An unknown visitor is ignored with the same answer; the page's own form and its limits hold."""
    visit(http, "d1")
    for device in ("d1", "nobody"):
        assert admin.profiles.update({"a": 1}, tnt_id=device, method=method).message.endswith("submitted")
    assert attributes(admin, "d1") == {"a": "1"}
    with pytest.raises(NotFoundError):
        admin.profiles.fetch("nobody")
    printed = http.get("/m2/demo/profile/update?mboxPC=d1&profile.attr=0&profile.attr2=1")
    assert printed.headers["content-type"].startswith("text/xml")
    assert printed.text == (
        "<response><success>true</success><message>Request successfully submitted</message></response>"
    )
    assert attributes(admin, "d1") == {"a": "1", "attr": "0", "attr2": "1"}
    assert "<success>false" in http.get("/m2/demo/profile/update?profile.attr=0").text
    assert http.get("/m2/demo/profile/update?mboxPC=d1&profile.a=" + "x" * 8200).status_code == 413
    large = f"mboxPC=d1&profile.a={'x' * 62_000}"
    assert http.post("/m2/demo/profile/update", content=large).status_code == 413
    assert http.get("/m2/other/profile/update?mboxPC=d1&profile.a=1").status_code == 400


def test_bulk_updates_are_done_after_their_time(admin: AdobeAdmin, http: httpx2.Client, clock: boxed.Clock) -> None:
    """The client follows the state until it is complete; then the profiles have their values."""
    visit(http, "d1")
    states = []
    rows = [{"pcId": "d1", "a": "1"}, {"pcId": "d2", "a": "2"}]
    result = admin.profiles.bulk_update(rows, id_kind="pcId", wait_s=60, on_progress=states.append)
    (part,) = result.parts
    assert part.status is not None and part.status.state == "complete"
    assert (part.status.size, part.status.successful, part.status.not_found) == (2, 2, 0)
    assert (attributes(admin, "d1"), attributes(admin, "d2")) == ({"a": "1"}, {"a": "2"})


def test_version_one_creates_nothing(admin: AdobeAdmin, http: httpx2.Client, clock: boxed.Clock) -> None:
    visit(http, "d1")
    rows = [{"pcId": "d1", "a": "1"}, {"pcId": "d2", "a": "2"}]
    result = admin.profiles.bulk_update(rows, id_kind="pcId", version=1)
    url = result.parts[0].status_url
    assert url is not None and admin.profiles.bulk_status(url).state == "incomplete"
    clock.now += 2
    state = admin.profiles.bulk_status(url)
    assert (state.state, state.successful, state.not_found) == ("complete", 1, 1)
    with pytest.raises(NotFoundError):
        admin.profiles.fetch("d2")


def test_a_profile_made_in_bulk_is_the_visitors_who_comes_later(
    admin: AdobeAdmin, http: httpx2.Client, clock: boxed.Clock
) -> None:
    """By the site's own id. A second upload before the visit replaces what the first one set."""
    for values in ({"a": "1", "b": "1"}, {"a": "2"}):
        admin.profiles.bulk_update([{"thirdPartyId": "u", **values}], id_kind="thirdPartyId")
        clock.now += 2
    tnt_id = visit(http, "", thirdPartyId="u")
    assert attributes(admin, tnt_id) == {"a": "2"}
    admin.profiles.bulk_update([{"thirdPartyId": "u", "c": "3"}], id_kind="thirdPartyId")
    clock.now += 2
    assert attributes(admin, tnt_id) == {"a": "2", "c": "3"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"pcId,a\n1,2", "batch="), (b"batch=", "first header"), (b"batch=ecid,a\n1,2", "first header"),
        (b"batch=pcId,a", "no rows"), (b"batch=pcId,a\n1,2,3", "more values"),
        (b"batch=pcId,a\n" + b"1,2\n" * 500_001, "500000"),
    ],
    ids=["no batch", "nothing", "ecid", "no rows", "long row", "rows"],
)  # fmt: skip
def test_bad_uploads_are_answered_with_a_message(http: httpx2.Client, body: bytes, message: str) -> None:
    answer = http.post("/m2/demo/v2/profile/batchUpdate", content=body)
    assert answer.status_code == 200 and "<success>false</success>" in answer.text and message in answer.text


def test_the_page_s_own_upload_is_taken(http: httpx2.Client, admin: AdobeAdmin, clock: boxed.Clock) -> None:
    """Short rows, blanks after commas and empty values, which clear nothing."""
    for rows in ("123, value1\n124, value1, \n125,, value%2C2\n", "123,,\n"):
        body = f"batch=pcId, param1, param2\n{rows}"
        answer = http.post("/m2/demo/v2/profile/batchUpdate", content=body)
        assert "Batch submitted for processing" in answer.text
        clock.now += 2
    assert [attributes(admin, device) for device in ("123", "124", "125")] == [
        {"param1": "value1"}, {"param1": "value1"}, {"param2": "value,2"},
    ]  # fmt: skip


def test_the_edge_host_of_a_state_is_a_switch(box: SandboxServer, http: httpx2.Client) -> None:
    box.replace_scenario(boxed.scenario(edge_status=True))
    answer = http.post("/m2/demo/v2/profile/batchUpdate", content=b"batch=pcId,a\n1,2").text
    assert "<batchStatus>http://mboxedge35.tt.omtrdc.net/m2/demo/profile/batchStatus?batchId=demo-" in answer
    assert http.get("/m2/demo/profile/batchStatus?batchId=nothing").status_code == 404


@pytest.mark.parametrize("header", ["Authorization", "access_token"])
def test_authentication_can_be_demanded(
    box: SandboxServer, clock: boxed.Clock, http: httpx2.Client, header: Any
) -> None:
    """The client makes a token when there is none, reuses it, and replaces one that somebody ended."""
    box.replace_scenario(boxed.scenario(profile_auth=True))
    visit(http, "d1")
    with boxed.admin(box, clock) as bare, pytest.raises(AuthError):
        bare.profiles.fetch("d1")
    with boxed.admin(box, clock, profile_auth=ProfileToken(header=header, clock=clock)) as admin:
        admin.profiles.update({"a": "1"}, tnt_id="d1")
        assert attributes(admin, "d1") == {"a": "1"}
        clock.now += 91 * 86400
        assert attributes(admin, "d1") == {"a": "1"}
        admin.tokens.create("profile_api")
        assert attributes(admin, "d1") == {"a": "1"}
    made = [one for one in box.ledger()["requests"] if one["action"] == "createToken"]
    assert len(made) == 3


def test_a_killed_upload_goes_on_where_it_was(box: SandboxServer, clock: boxed.Clock, tmp_path: Path) -> None:
    """With a journal, parts that the sandbox took are not sent again."""
    rows = [{"pcId": f"d{n}", "a": str(n)} for n in range(30)]
    box.faults([{"route": "profiles", "kind": "status", "status": 500, "times": 1}])
    with boxed.admin(box, clock, attempts=1) as admin:
        with pytest.raises(Exception, match="it may have been done or not"):
            admin.profiles.bulk_update(rows, id_kind="pcId", journal=tmp_path, max_rows=10)
        result = admin.profiles.bulk_update(rows, id_kind="pcId", journal=tmp_path, max_rows=10)
        clock.now += 2
        assert [part.maybe_twice for part in result.parts] == [True, False, False]
        assert attributes(admin, "d29") == {"a": "29"}
    with boxed.admin(box, clock) as admin, pytest.raises(InvalidError):
        admin.profiles.bulk_update([], id_kind="pcId")
