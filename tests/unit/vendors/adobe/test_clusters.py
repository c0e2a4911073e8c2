"""Which of Adobe's edge clusters are asked: those that Target has named, and only while they answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Ambiguous, Delivered
from flagmw.vendors.adobe import AdobeTarget
from flagmw.vendors.adobe.clusters import SIZE, Clusters
from tests.unit.vendors.adobe.codec import (
    DEVICE,
    NOW,
    RETURNING,
    adobe,
    answer,
    conversion,
    decide,
    deliver,
    host,
    reply,
)
from tests.unit.vendors.adobe.test_cookies import changes

OWN = "demo.tt.omtrdc.net"
CLUSTER = "mboxedge28.tt.omtrdc.net"
DOWN = TransportError(ErrorCode.DNS, sent=False)
HUNG = TransportError(ErrorCode.DEADLINE)


@pytest.fixture
def vendor() -> AdobeTarget:
    """An account that Target has told of cluster 28."""
    vendor = adobe()
    decide(vendor, answer("hero", device=None, edgeHost=CLUSTER))
    return vendor


@pytest.mark.parametrize(
    "cookies",
    [
        {"mboxEdgeCluster": "999"},
        {"mboxEdgeCluster": "27"},
        {"mbox": f"PC#abc.999_0#{NOW + 9}"},
        {"mbox": f"session#s#{NOW + 9}|PC#abc.1_0#{NOW + 9}", "mboxEdgeCluster": "2"},
    ],
)
def test_I27_a_visitor_chooses_no_host(vendor: AdobeTarget, cookies: Mapping[str, str]) -> None:
    """What only cookies name is not asked, not even when Target has answered with the same id, suffix and all."""
    for _ in range(3):
        mine = cookies.get("mbox", "PC#abc").partition("PC#")[2].partition("#")[0]
        decision, (call,) = decide(vendor, answer("hero", device=mine), cookies=cookies)
        assert host(call) == OWN and list(decision.variants) == ["hero"]
    event = conversion()
    _, (call,) = deliver(adobe(), [event], reply(b"", 204))
    assert host(call) == OWN


def test_I27_what_is_made_up_gives_way_to_the_answer(vendor: AdobeTarget) -> None:
    """The cookie with a cluster that nobody knows is replaced by the one that Target names."""
    decision, _ = decide(vendor, answer("hero", edgeHost=CLUSTER), cookies={"mboxEdgeCluster": "999"})
    assert changes(decision.cookies)["mboxEdgeCluster"].value == "28"


@pytest.mark.parametrize("first", [answer("hero", edgeHost=CLUSTER, device=None), answer("hero")])
def test_a_cluster_that_target_names_is_asked(first: Any) -> None:
    """By the host of its answer, or by the suffix of an id that it has given."""
    vendor = adobe()
    decide(vendor, first)
    _, (call,) = decide(vendor, answer("hero"), cookies=RETURNING)
    assert (host(call), call.share) == (CLUSTER, 0.5)


@pytest.mark.parametrize("trouble", [DOWN, HUNG, reply(b"", 503), reply(b"<html>"), answer(requestId="another")])
def test_a_cluster_that_fails_is_made_up_for(vendor: AdobeTarget, trouble: Any) -> None:
    """The account's own host is asked in the same decision, with the same ids, and the visitor has a variant."""
    decision, (first, second) = decide(vendor, trouble, answer("hero"), cookies=RETURNING)
    assert (host(first), host(second), second.share) == (CLUSTER, OWN, 1.0)
    assert first.body == second.body
    assert list(decision.variants) == ["hero"] and decision.error is None


def test_a_cluster_that_keeps_failing_is_left_alone(vendor: AdobeTarget) -> None:
    """After three failures it is not asked; another cluster is, and the vendor's health is as it was."""
    decide(vendor, answer("hero", device=None, edgeHost="mboxedge35.tt.omtrdc.net"))
    for _ in range(3):
        decide(vendor, DOWN, answer("hero"), cookies=RETURNING)
    decision, (call,) = decide(vendor, answer("hero"), cookies=RETURNING)
    assert host(call) == OWN and decision.error is None
    _, (call,) = decide(vendor, answer("hero"), cookies={"mboxEdgeCluster": "35"})
    assert host(call) == "mboxedge35.tt.omtrdc.net"


def test_refusing_a_visitor_is_an_answer(vendor: AdobeTarget) -> None:
    """A cluster that says 400 to a visitor's ids is well; the visitor is asked about once more, as ever."""
    blame = reply({"status": 400, "message": "tntId is invalid"}, 400)
    _, calls = decide(vendor, blame, answer("hero"), cookies=RETURNING)
    assert [host(call) for call in calls] == [CLUSTER, OWN]  # a new visitor has no cluster
    for _ in range(5):
        decide(vendor, blame, answer("hero"), cookies=RETURNING)
    _, (call,) = decide(vendor, answer("hero"), cookies=RETURNING)
    assert host(call) == CLUSTER


def test_deliveries_fall_back_too(vendor: AdobeTarget) -> None:
    """An event goes to the account's own host when the cluster cannot be reached, or may be sent twice."""
    taken = answer("purchase")
    outcomes, calls = deliver(vendor, [conversion()], DOWN, taken)
    assert (outcomes, [host(call) for call in calls]) == ([Delivered()], [CLUSTER, OWN])
    outcomes, calls = deliver(vendor, [conversion(at_most_once=True)], DOWN, taken)
    assert (outcomes, [host(call) for call in calls]) == ([Delivered()], [CLUSTER, OWN])


@pytest.mark.parametrize(("trouble", "code"), [(HUNG, "DEADLINE"), (reply(b"", 500), "HTTP_STATUS")])
def test_at_most_once_does_not_fall_back_on_what_may_have_counted(vendor: AdobeTarget, trouble: Any, code: str) -> None:
    outcomes, (call,) = deliver(vendor, [conversion(at_most_once=True)], trouble)
    assert (outcomes, host(call)) == ([Ambiguous(ErrorCode(code))], CLUSTER)
    outcomes, calls = deliver(vendor, [conversion()], trouble, answer("purchase"))
    assert (outcomes, len(calls)) == ([Delivered()], 2)


def test_memory_is_bounded_and_a_cluster_comes_back() -> None:
    now = [0.0]
    clusters = Clusters(lambda: now[0])
    clusters.named(*map(str, range(1000)))
    assert sum(clusters.knows(str(n)) for n in range(1000)) == SIZE
    for _ in range(3):
        assert clusters.pick("999")[0] == "999"
        clusters.failed("999", now[0])
        now[0] += 0.1
    assert clusters.pick("999")[0] is None and clusters.pick("998")[0] == "998"
    now[0] += 2.0
    assert [clusters.pick("999")[0] for _ in range(2)] == ["999", None]  # one probe
    clusters.answered("999")
    assert clusters.pick("999")[0] == "999"


# Whose answer it is


def test_an_id_that_target_does_not_know_any_more_is_replaced() -> None:
    """Where the answer names the question, another tntId is the visitor's new one: no failure, and it heals at once."""
    vendor = adobe()
    flow_id = "00112233445566778899aabbccddeeff"
    decision, _ = decide(vendor, answer("hero", device="fresh.35_0", requestId=flow_id), cookies=RETURNING)
    assert decision.error is None and list(decision.variants) == ["hero"]
    assert "PC#fresh.35_0#" in changes(decision.cookies)["mbox"].value and DEVICE not in str(decision.cookies)


# Answers without the envelope, or with an error in it


@pytest.mark.parametrize(
    ("document", "code", "trips"),
    [
        ({}, ErrorCode.SHAPE, True),
        ({"error": "x"}, ErrorCode.SHAPE, True),
        (None, ErrorCode.SHAPE, True),
        ({"status": 500, "message": "x"}, ErrorCode.HTTP_STATUS, True),
        ({"status": 503}, ErrorCode.HTTP_STATUS, True),
        ({"status": 9}, ErrorCode.HTTP_STATUS, True),
        ({"status": 403}, ErrorCode.UNAUTHORIZED, False),
        ({"status": 400, "message": "x"}, ErrorCode.VENDOR_400, False),
        ({"status": 200}, ErrorCode.SHAPE, True),
        ({"requestId": "00112233445566778899aabbccddeeff"}, ErrorCode.SHAPE, True),
        ({"execute": {}}, ErrorCode.SHAPE, True),
        ({"execute": {"mboxes": []}, "prefetch": {"mboxes": []}}, ErrorCode.SHAPE, True),
        ({"execute": {"mboxes": [{"index": 0, "name": "another"}]}}, ErrorCode.SHAPE, True),
        ({"execute": {"pageLoad": {}}, "id": {"tntId": "a.28_0"}}, ErrorCode.SHAPE, True),
    ],
)
def test_U14_no_envelope_or_an_error_in_it(document: Any, code: ErrorCode, trips: bool) -> None:
    decision, _ = decide(adobe(), reply(document))
    assert (decision.error, decision.trips, decision.notice, decision.cookies) == (code, trips, None, ())


@pytest.mark.parametrize(
    "document",
    [
        {"status": 200, "execute": {"mboxes": [{"index": 0, "name": "hero"}]}},
        {"execute": {"mboxes": [{"index": 0, "name": "hero", "options": []}]}},
        {"prefetch": {"mboxes": [{"name": "another"}, {"name": "hero", "options": None}]}},
    ],
)
def test_U14_with_it_and_nothing_decided(document: Any) -> None:
    decision, _ = decide(adobe(), reply(document))
    assert (decision.error, decision.notice) == (None, ErrorCode.NOT_IN_TEST)
