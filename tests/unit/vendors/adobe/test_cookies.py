"""The cookies that Adobe's own clients share: read, written, and never believed."""

from __future__ import annotations

import pytest

from flagmw._cookies.header import octets_ok, read, writable
from flagmw.types import CookieChange, VisitorState
from flagmw.vendors.adobe.cookies import Cookies, Known, cluster_of
from tests.unit.vendors.adobe.codec import DEVICE, MBOX, NOW, RETURNING, SESSION, adobe, answer, decide, host, query

COOKIES = Cookies("1234ABCD@AdobeOrg")


def known(mbox: str, **more: str) -> Known:
    return COOKIES.read({"mbox": mbox, **more}, NOW)


def changes(answered: tuple[CookieChange, ...]) -> dict[str, CookieChange]:
    return {change.name: change for change in answered}


# Reading


def test_both_parts() -> None:
    assert known(MBOX) == Known(session=SESSION, device=f"{DEVICE}.28_20", device_until=NOW + 63_244_800)
    assert (known(MBOX).edge, known(MBOX).visitor) == ("28", DEVICE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"PC#{DEVICE}#{NOW}|session#{SESSION}#{NOW}", (SESSION, DEVICE)),
        (f"check#true#{NOW + 60}|session#{SESSION}#{NOW + 9}|PC#{DEVICE}#{NOW + 9}|em-disabled#true#{NOW + 9}", "both"),
        (f'"{MBOX}"', "both"),
        (MBOX.replace("#", "%23").replace("|", "%7C"), "both"),
        (f"session#a%23b#{NOW + 9}", ("a#b", None)),
        (f"session#{SESSION}#{NOW + 9}#more", (SESSION, None)),
        # Half of it has run out.
        (f"session#{SESSION}#{NOW - 1}|PC#{DEVICE}#{NOW + 9}", (None, DEVICE)),
        (f"session#{SESSION}#{NOW + 9}|PC#{DEVICE}#{NOW - 1}", (SESSION, None)),
        # As if absent.
        ("", (None, None)),
        ("garbage", (None, None)),
        ("|||###", (None, None)),
        (f"session#{SESSION}", (None, None)),
        (f"session#{SESSION}#soon", (None, None)),
        (f"session#{SESSION}#", (None, None)),
        (f"session#{SESSION}#1e99", (None, None)),
        (f"session#{SESSION}#-{NOW}", (None, None)),
        (f"session#a b#{NOW + 9}", (None, None)),
        (f"session#a%20b#{NOW + 9}", (None, None)),
        (f"session#a/b#{NOW + 9}", (None, None)),
        (f"session#{'x' * 129}#{NOW + 9}", (None, None)),
        (f"session##{NOW + 9}|PC##{NOW + 9}", (None, None)),
        (f"PC#a.b.c#{NOW + 9}", (None, None)),
        (f"PC#a.28_x#{NOW + 9}", (None, None)),
        (f"PC#a.2888_1#{NOW + 9}", (None, None)),
        (f"PC#%0d%0aX#{NOW + 9}", (None, None)),
        (f"PC#{'x' * 200}#{NOW + 9}", (None, None)),
    ],
)
def test_malformed_mbox_cookies(value: str, expected: tuple[str | None, str | None] | str) -> None:
    """Parts are taken one by one; whatever makes no sense, or has run out, is as if it were absent."""
    found = known(value)
    if expected == "both":
        assert found.session == SESSION and (found.device or "").startswith(DEVICE)
    else:
        assert (found.session, found.device) == expected


def test_a_part_counts_to_its_last_second() -> None:
    """A part is still good at the second of its expiry, and a fraction later no more, as Adobe's clients have it."""
    value = {"mbox": f"session#{SESSION}#{NOW}"}
    assert COOKIES.read(value, NOW).session == SESSION
    assert COOKIES.read(value, NOW + 0.001).session is None


HOSTILE = [
    "@localhost:9999/", "28.evil.example", "28.evil.example#", "1.evil.example/x", "-1", "1234", "\u0663",
    "\uff12\uff18", "28 ", "", "%00", "localhost", "28\r\nHost: x",
]  # fmt: skip


@pytest.mark.parametrize("cluster", HOSTILE)
def test_I27_a_cluster_is_digits_or_nothing(cluster: str) -> None:
    """Neither cookie of the visitor's, and no answer, brings a host into being that is not Adobe's own."""
    vendor = adobe()
    for cookies in (
        {"mboxEdgeCluster": cluster},
        {"mbox": f"PC#abc.{cluster}_1#{NOW + 9}"},
        {"mbox": f"PC#abc.{cluster}#{NOW + 9}|session#x#{NOW + 9}"},
    ):
        decision, (call,) = decide(vendor, answer("hero", device=None, edgeHost=cluster), cookies=cookies)
        assert host(call) == "demo.tt.omtrdc.net"
        assert "mboxEdgeCluster" not in changes(decision.cookies)


@pytest.mark.parametrize(
    ("edge_host", "cluster"),
    [
        ("mboxedge35.tt.omtrdc.net", "35"),
        ("35.tt.omtrdc.net", "35"),
        ("mboxedge35.evil.tt.omtrdc.net", None),
        ("localhost:8080", None),
        ("127.0.0.1:18080", "127"),  # four labels; the digits alone lead to Adobe's own hosts
        ("mboxedgeX.tt.omtrdc.net", None),
        ("mboxedge1234.tt.omtrdc.net", None),
        ("@localhost:9999/.b.c.d", None),
        ("28.evil.example", None),
        ("mboxedge.tt.omtrdc.net", None),
        (None, None),
    ],
)
def test_I27_edge_host_from_nowhere(edge_host: str | None, cluster: str | None) -> None:
    """Only the digits of an edge host are kept, and only of one with four labels."""
    assert cluster_of(edge_host) == cluster


def test_I27_the_cluster_picks_the_host_but_never_over_base_url() -> None:
    """A visitor's profile lies at an edge cluster; a host of one's own stays the host that is asked."""
    vendor = adobe()
    decide(vendor, answer("hero", edgeHost="mboxedge7.tt.omtrdc.net"))
    _, (call,) = decide(vendor, answer("hero"), cookies=RETURNING)
    assert host(call) == "mboxedge28.tt.omtrdc.net"
    _, (call,) = decide(vendor, answer("hero"), cookies={"mboxEdgeCluster": "7"})
    assert host(call) == "mboxedge7.tt.omtrdc.net"
    _, (call,) = decide(vendor, answer("hero"), cookies={**RETURNING, "mboxEdgeCluster": "7"})
    assert host(call) == "mboxedge28.tt.omtrdc.net"
    vendor = adobe(base_url="https://target.mysite.com")
    _, (call,) = decide(vendor, answer("hero"), cookies={**RETURNING, "mboxEdgeCluster": "7"})
    assert host(call) == "target.mysite.com"


# Writing


def test_a_new_visitor_s_cookies() -> None:
    """The session that was asked with, the device that was answered, each with its time from now."""
    decision, (call,) = decide(adobe(), answer("hero", edgeHost="mboxedge28.tt.omtrdc.net"))
    written = changes(decision.cookies)
    session = query(call)["sessionId"]
    assert written["mbox"] == CookieChange(
        name="mbox",
        value=f"session#{session}#{NOW + 1860}|PC#{DEVICE}.28_20#{NOW + 63_244_800}",
        max_age_s=63_244_800,
        domain="mysite.com",
    )
    assert written["mboxEdgeCluster"] == CookieChange(
        name="mboxEdgeCluster", value="28", max_age_s=1860, domain="mysite.com"
    )


def test_a_returning_visitor_keeps_both_ids_and_their_time_begins_anew() -> None:
    decision, (call,) = decide(adobe(), answer("hero", device=f"{DEVICE}.35_9"), cookies=RETURNING, now=NOW + 100.25)
    assert query(call)["sessionId"] == SESSION
    written = changes(decision.cookies)
    # The suffix of the answer counts, the cluster of the question.
    assert written["mbox"].value == f"session#{SESSION}#{NOW + 1961}|PC#{DEVICE}.35_9#{NOW + 63_244_901}"
    assert written["mbox"].max_age_s == 63_244_801  # rounding, as in Adobe's own clients
    assert written["mboxEdgeCluster"].value == "28"


def test_an_expired_session_is_replaced_and_the_device_stays() -> None:
    decision, (call,) = decide(adobe(), answer("hero"), cookies=RETURNING, now=NOW + 2000)
    assert query(call)["sessionId"] == "00112233445566778899aabbccddeeff"
    assert f"PC#{DEVICE}.28_20" in changes(decision.cookies)["mbox"].value


def test_an_answer_without_a_device_leaves_the_visitor_s_own() -> None:
    """Identity is not given up for an answer that names none: id and time stay as they were."""
    decision, _ = decide(adobe(), answer("hero", device=None), cookies=RETURNING)
    assert changes(decision.cookies)["mbox"].value == MBOX
    decision, _ = decide(adobe(), answer("hero", device=None))
    assert changes(decision.cookies)["mbox"].value == f"session#00112233445566778899aabbccddeeff#{NOW + 1860}"
    assert changes(decision.cookies)["mbox"].max_age_s == 1860


@pytest.mark.parametrize("device", ["a.b.c", "x\r\nSet-Cookie: y", "a;b", "x" * 300, "", 7, None])
def test_a_device_that_is_none_is_not_kept(device: object) -> None:
    decision, _ = decide(adobe(), answer("hero", device=None, id={"tntId": device}))
    assert "PC" not in changes(decision.cookies)["mbox"].value


def test_ids_are_percent_encoded_as_in_the_browser() -> None:
    """What the cookie uses between its parts cannot be part of an id."""
    decision, _ = decide(adobe(), answer("hero"), cookies={"mbox": f"session#a%23b%7Cc!~'()*#{NOW + 9}"})
    assert changes(decision.cookies)["mbox"].value.startswith(f"session#a%23b%7Cc!~'()*#{NOW + 1860}|")


def test_written_cookies_pass_the_gates() -> None:
    """The engine takes what is written, raw, and the parser gives it back."""
    vendor = adobe(org_id="1234ABCD@AdobeOrg")
    decision, _ = decide(vendor, answer("hero", edgeHost="mboxedge28.tt.omtrdc.net"))
    header = "; ".join(f"{change.name}={change.value}" for change in decision.cookies)
    for change in decision.cookies:
        assert writable(change.name, change.value, vendor.cookies) is None and octets_ok(change.value)
    assert read([f"a=b; {header}; mboxother=1"], [vendor.cookies]).own == [
        {change.name: change.value for change in decision.cookies}
    ]


def test_only_its_own_cookies() -> None:
    """Other cookies of Adobe's are not taken; the id service's is read, and never written."""
    rule = adobe(org_id="1234ABCD@AdobeOrg").cookies
    names = ("mbox", "mboxEdgeCluster", "AMCV_1234ABCD%40AdobeOrg", "AMCV_1234ABCD@AdobeOrg")
    assert all(rule.reads(name) for name in names)
    assert [name for name in names if rule.writes(name)] == ["mbox", "mboxEdgeCluster"]
    for foreign in ("mboxes", "mboxSession", "AMCV_OTHER%40AdobeOrg", "AMCVS_1234ABCD%40AdobeOrg", "at_check"):
        assert not rule.reads(foreign) and not rule.writes(foreign)
    assert not adobe().cookies.reads("AMCV_1234ABCD%40AdobeOrg")


def test_no_domain_where_there_is_none() -> None:
    """On localhost, or an address, the cookies are host-only."""
    decision, _ = decide(adobe(), answer("hero"), url="http://localhost:8000/")
    assert {change.domain for change in decision.cookies} == {None}


# The Experience Cloud id


AMCV = (
    "-1124106680%7CMCIDTS%7C18000%7CMCMID%7C38400000000000000000000000000000000001%7CMCAAMLH-1800000000%7C6"
    "%7CMCAAMB-1800000000%7CRKhpRz8krg2tLO6pguXWp5olkAcUniQYPHaMWWgdJ3xzPWQmdj0y%7CvVersion%7C5.5.0"
)


def test_the_id_service_s_cookie() -> None:
    found = known("", **{"AMCV_1234ABCD%40AdobeOrg": AMCV})
    assert (found.ecid, found.region) == ("38400000000000000000000000000000000001", 6)
    assert (found.blob or "").startswith("RKhp")
    assert known("", **{"AMCV_1234ABCD@AdobeOrg": AMCV}) == found


@pytest.mark.parametrize(
    "value",
    ["", "x", "%7C%7C%7C", "1%7CMCMID", "1%7CMCMID%7Ca%20b", "1%7CMCMID%7C" + "9" * 200, "1%7CMCAAMLH-1%7C0", "%ff%7C"],
)
def test_a_broken_id_cookie_says_nothing(value: str) -> None:
    assert known("", **{"AMCV_1234ABCD%40AdobeOrg": value}) == Known()


# Identity


def test_identity_is_the_visitor_and_not_the_cookie() -> None:
    """A decision holds as long as it is the same visitor, though the cookie is another after every answer."""
    vendor = adobe(org_id="1234ABCD@AdobeOrg")
    later = {"mbox": f"session#other#{NOW + 9999}|PC#{DEVICE}.35_1#{NOW + 99_999_999}", "mboxEdgeCluster": "35"}
    assert vendor.identity(VisitorState(RETURNING)) == vendor.identity(VisitorState(later)) == DEVICE
    assert vendor.identity(VisitorState({"mbox": f"session#{SESSION}#{NOW}"})) == SESSION
    assert vendor.identity(VisitorState({})) == ""
    with_ecid = {**RETURNING, "AMCV_1234ABCD%40AdobeOrg": AMCV}
    assert vendor.identity(VisitorState(with_ecid)) == f"38400000000000000000000000000000000001; {DEVICE}"


def test_twenty_requests_a_session_s_end_and_a_restart() -> None:
    """A returning visitor keeps the device's id over all of it, and the session's while it lasts."""
    jar: dict[str, str] = {}
    sessions, devices = set(), set()
    for n in range(20):
        vendor = adobe()  # made anew, as after a restart
        now = NOW + n * 600 + (4000 if n >= 10 else 0)
        sent = COOKIES.read(jar, now).device
        decision, (call,) = decide(
            vendor, answer("hero", device=sent or f"{DEVICE}.28_20"), cookies=jar, now=float(now), fresh_id=f"{n:032x}"
        )
        jar |= {change.name: change.value for change in decision.cookies}
        sessions.add(query(call)["sessionId"])
        devices.add(COOKIES.read(jar, now).visitor)
    assert devices == {DEVICE}
    assert sessions == {f"{0:032x}", f"{10:032x}"}
