"""The Profile API: reading, single updates, the answers' many forms."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw.admin import AdobeAdmin, AmbiguousError, AnswerError, GivenToken, InvalidError, NotFoundError
from flagmw.admin.adobe.profiles.answers import checked_status_url
from tests.support.http_vendor import Answer, HttpVendor, answer
from tests.unit.admin.adobe import SAMPLES, answer_of, async_client, client

PRINTED_XML = (SAMPLES / "profiles.update" / "answer.xml").read_bytes()
PRINTED_TEXT = (SAMPLES / "profiles.update" / "answer.as_printed.txt").read_bytes()


@pytest.mark.parametrize(
    ("method", "identity", "path"),
    [
        ("fetch", "111492025094307-353046", "/rest/v1/profiles/111492025094307-353046"),
        ("fetch_by_third_party_id", "a1-mbox3rdPartyId", "/rest/v1/profiles/thirdPartyId/a1-mbox3rdPartyId"),
        ("fetch_by_third_party_id", "a/b c?", "/rest/v1/profiles/thirdPartyId/a%2Fb%20c%3F"),
        ("fetch_by_ecid", "0123", "/rest/v1/profiles/marketingCloudVisitorId/0123"),
    ],
)
def test_profiles_are_read(method: str, identity: str, path: str) -> None:
    """The printed addresses are asked, the printed profile is returned whole; no credentials are sent by default."""
    printed = answer_of("profiles.fetch")
    with HttpVendor(lambda _: answer(printed)) as vendor, client(vendor.url) as admin:
        assert getattr(admin.profiles, method)(identity) == printed
    (request,) = vendor.requests
    assert (request.method, request.target) == ("GET", f"{path}?client=acme")
    assert "authorization" not in request.headers


@pytest.mark.parametrize("case", ["profiles.not_found_third_party", "profiles.not_found_tnt"])
def test_profiles_that_are_not_there(case: str) -> None:
    """The printed answers for a missing profile are an error with the vendor's words."""
    refused = pytest.raises(NotFoundError, match="No profile found for client")
    with HttpVendor(lambda _: answer(answer_of(case), 404)) as vendor, client(vendor.url) as admin, refused:
        admin.profiles.fetch("x")


def test_update_by_get_and_post() -> None:
    """The printed parameters are in the query of a GET and in the body of a POST, percent-encoded."""
    with HttpVendor(lambda _: Answer(200, PRINTED_XML)) as vendor, client(vendor.url) as admin:
        done = admin.profiles.update({"attr": 0, "attr2": 1}, tnt_id="1368007744041-575948.01_00", method="GET")
        admin.profiles.update({"profile.city": "Île, é&b", "vip": True}, third_party_id="12 3+4")
    assert (done.success, done.message) == (True, "Request successfully submitted")
    first, second = vendor.requests
    assert first.target == ("/m2/acme/profile/update?mboxPC=1368007744041-575948.01_00&profile.attr=0&profile.attr2=1")
    assert (second.method, second.target) == ("POST", "/m2/acme/profile/update")
    assert second.body == b"mbox3rdPartyId=12%203%2B4&profile.city=%C3%8Ele%2C%20%C3%A9%26b&profile.vip=true"
    assert second.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "body",
    [PRINTED_XML, PRINTED_TEXT, b'{"success": true, "message": "ok"}', b'{"response": {"success": true}}'],
    ids=["xml", "printed", "json", "wrapped"],
)
def test_forms_of_the_answer(body: bytes) -> None:
    """XML, the text that the page prints with its tags lost, and JSON all say that it was accepted."""
    with HttpVendor(lambda _: Answer(200, body)) as vendor, client(vendor.url) as admin:
        assert admin.profiles.update({"a": 1}, tnt_id="v").success


def test_an_update_that_is_refused() -> None:
    """`success=false` is an error with the vendor's words."""
    body = b"<response><success>false</success><message>bad id</message></response>"
    refused = pytest.raises(InvalidError, match="bad id")
    with HttpVendor(lambda _: Answer(200, body)) as vendor, client(vendor.url) as admin, refused:
        admin.profiles.update({"a": 1}, tnt_id="v")


BOMB = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">
]><response><success>true</success><message>&b;</message></response>"""
OUTSIDE = b"""<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]>
<response><success>true</success><message>&x;</message></response>"""


@pytest.mark.parametrize(
    "body",
    [BOMB, OUTSIDE, b"<response><success>true", b"<html><body>ok</body></html>", b"", b"maybe", b"{"],
    ids=["entities", "outside", "cut", "html", "empty", "text", "cut json"],
)
def test_answers_that_cannot_be_read(body: bytes) -> None:
    """Entities are not expanded; whatever cannot be read may hide an update that was done."""
    refused = pytest.raises(AmbiguousError, match="may have been done or not")
    with HttpVendor(lambda _: Answer(200, body)) as vendor, client(vendor.url) as admin, refused:
        admin.profiles.update({"a": 1}, tnt_id="v")


@pytest.mark.parametrize(
    ("attributes", "options", "says"),
    [
        ({}, {"tnt_id": "v"}, "nothing to set"),
        ({"a": 1}, {}, "exactly one|one of"),
        ({"a": 1}, {"tnt_id": "v", "third_party_id": "w"}, "one of"),
        ({"a": [1]}, {"tnt_id": "v"}, "list"),
        ({"": 1}, {"tnt_id": "v"}, "no name"),
        ({"a": "\ud800"}, {"tnt_id": "v"}, "UTF-8"),
        ({"a": "x" * 8192}, {"tnt_id": "v", "method": "GET"}, "use POST"),
        ({"a": "x" * 61440}, {"tnt_id": "v"}, "bulk_update"),
        ({"a": 1}, {"tnt_id": "v", "method": "PUT"}, "GET"),
    ],
)
def test_updates_that_cannot_be_sent(attributes: Any, options: Any, says: str) -> None:
    """What is too large, empty or unsendable is refused before it is sent."""
    refused = pytest.raises(InvalidError, match=says)
    with HttpVendor(lambda _: Answer(200, PRINTED_XML)) as vendor, client(vendor.url) as admin, refused:
        admin.profiles.update(attributes, **options)
        assert vendor.requests == []


def test_profile_credentials() -> None:
    """Where the account demands it, the token goes into the header that is asked for, and the Admin API's does not."""
    with HttpVendor(lambda _: answer({"visitorId": "v"})) as vendor:
        for auth, header in (
            (GivenToken("profile-token"), ("authorization", "Bearer profile-token")),
            (GivenToken("profile-token", header="access_token", scheme=""), ("access_token", "profile-token")),
        ):
            with client(vendor.url, profile_auth=auth) as admin:
                admin.profiles.fetch("v")
            name, value = header
            assert vendor.requests[-1].headers[name] == value
            assert "x-api-key" not in vendor.requests[-1].headers


def test_without_a_client_code() -> None:
    """The Profile API's host is the client code's; without one, the error says what to pass."""
    admin = AdobeAdmin("acme", GivenToken("t"), api_key="k")
    with pytest.raises(InvalidError, match="client_code="):
        admin.profiles.fetch("v")
    named = AdobeAdmin("acme", GivenToken("t"), api_key="k", client_code="acmecode")
    planned = named.profiles.fetch.request("v")
    assert planned.url == "https://acmecode.tt.omtrdc.net/rest/v1/profiles/v?client=acmecode"


VENDOR, LOCAL = "https://acme.tt.omtrdc.net", "http://127.0.0.1:8000"
STATE = "/m2/acme/profile/batchStatus?batchId=1"


@pytest.mark.parametrize(
    ("url", "root", "checked"),
    [
        (f"http://mboxedge45.tt.omtrdc.net{STATE}", VENDOR, f"https://mboxedge45.tt.omtrdc.net{STATE}"),
        (f"http://mboxedge45.tt.omtrdc.net{STATE}", LOCAL, f"{LOCAL}{STATE}"),
        (
            f"http://mboxedge45.tt.omtrdc.net{STATE}",
            "https://proxy.example/adobe",
            f"https://proxy.example/adobe{STATE}",
        ),
        (f"{LOCAL}{STATE}", LOCAL, f"{LOCAL}{STATE}"),
        (f"{LOCAL}{STATE}", VENDOR, None),
        ("https://evil.example/m2", VENDOR, None),
        ("https://tt.omtrdc.net.evil.example/m2", VENDOR, None),
        ("https://a.b.tt.omtrdc.net/m2", VENDOR, None),
        ("https://user@mboxedge45.tt.omtrdc.net/m2", VENDOR, None),
        ("https://mboxedge45.tt.omtrdc.net:8443/m2", VENDOR, None),
        ("file:///etc/hostname", VENDOR, None),
        ("/m2/relative", VENDOR, None),
    ],
)
def test_status_is_asked_of_the_vendor_only(url: str, root: str, checked: str | None) -> None:
    """The address of an upload's state comes from an answer: no other host than the vendor's is asked for it."""
    if checked is not None:
        assert checked_status_url(url, root) == checked
    else:
        with pytest.raises(AnswerError, match="not the vendor's"):
            checked_status_url(url, root)


STATUS = b"""<response><batchId>acme-1</batchId><status>complete</status><batchSize>3</batchSize>
<consumedCount>3</consumedCount><successfulUpdates>1</successfulUpdates><profilesNotFound>1</profilesNotFound>
<failedUpdates>1</failedUpdates><profiles><profile><id>1</id><result>success</result></profile>
<profile><id>2</id><result>error</result></profile></profiles></response>"""


async def test_status() -> None:
    """All counts are read, and what is said of single profiles."""
    with HttpVendor(lambda _: Answer(200, STATUS)) as vendor:
        async with async_client(vendor.url) as admin:
            status = await admin.profiles.bulk_status(f"{vendor.url}/m2/acme/profile/batchStatus?batchId=acme-1")
    assert vendor.requests[0].target == "/m2/acme/profile/batchStatus?batchId=acme-1&showDetails=true"
    assert (status.batch_id, status.state, status.done) == ("acme-1", "complete", True)
    assert (status.size, status.consumed, status.successful, status.not_found, status.failed) == (3, 3, 1, 1, 1)
    assert [dict(row) for row in status.rows] == [{"id": "1", "result": "success"}, {"id": "2", "result": "error"}]
