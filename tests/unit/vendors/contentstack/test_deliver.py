"""Impressions, conversions and attributes on their way to Contentstack Personalize."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import (
    Ambiguous,
    Dead,
    Delivered,
    Dropped,
    Outcome,
    Reply,
    Retry,
    Suspend,
    Track,
    Variant,
    VisitorState,
)
from tests.unit.vendors.contentstack.codec import (
    MANIFEST,
    UID,
    USER,
    answer,
    contentstack,
    deliver,
    exposure,
    matches,
    sample,
    track,
)

OK = answer(b"", 202, uid=None)
BAD = answer({"error": "personalize.X", "message": "no"}, 400, uid=None)
SEEN = VisitorState({USER: UID, MANIFEST: "{}"})


@pytest.mark.parametrize(
    ("case", "event"),
    [
        ("impressions", exposure(("b", "0"), ("0", "1"))),
        ("event", track("clickCTA")),
        ("attributes", track("$set", data={"age": 30, "plan": "gold"})),
        ("merge", track("$merge", data={"into": "known-1"})),
    ],
)
def test_documented_requests(case: str, event: object) -> None:
    """Each is the documented one; a merge names both visitors in the body and none in a header."""
    wanted = sample(case)
    outcomes, (call,) = deliver(contentstack(), [event], wanted.reply)
    matches(call, wanted.call)
    assert outcomes == [Delivered()]
    assert ("x-cs-personalize-user-uid" in call.headers) is (case != "merge")
    assert not call.replay_safe and not call.hedge_safe


def test_what_stands_together_goes_in_one_request() -> None:
    """Order is kept: what comes after a change of attributes is told after it."""
    batch = [exposure(("b", "0")), track("a"), track("$set", data={"x": 1}), track("b"), track("c")]
    outcomes, calls = deliver(contentstack(), batch, OK, OK, OK)
    assert outcomes == [Delivered()] * 5
    assert [(call.method, call.url.rpartition("/")[2], len(orjson.loads(call.body))) for call in calls] == [
        ("POST", "events", 2),
        ("PATCH", "user-attributes", 1),
        ("POST", "events", 2),
    ]


def test_events_of_two_visitors_never_share_a_request() -> None:
    outcomes, calls = deliver(contentstack(), [track("a"), track("b", uid="other")], OK, OK)
    assert [call.headers["x-cs-personalize-user-uid"] for call in calls] == [UID, "other"]
    assert outcomes == [Delivered(), Delivered()]


def test_refused_list_is_sent_one_by_one() -> None:
    """One event that the vendor does not take must not cost the others."""
    outcomes, calls = deliver(contentstack(), [track("a"), track("bad"), track("c")], BAD, OK, BAD, OK)
    assert outcomes == [Delivered(), Dead(ErrorCode.HTTP_STATUS, verdict=False), Delivered()]
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (answer(b"ok", 200, uid=None), Delivered()),
        (answer(b"", 204, uid=None), Delivered()),
        (answer(b"<html>", 201, uid=None), Delivered()),
        (BAD, Dead(ErrorCode.HTTP_STATUS, verdict=False)),
        (answer(b"", 401, uid=None), Suspend(ErrorCode.UNAUTHORIZED)),
        (answer(b"", 403, uid=None), Suspend(ErrorCode.UNAUTHORIZED)),
        (sample("project_not_found").reply, Suspend(ErrorCode.PROJECT_NOT_FOUND)),
        (answer(b"Cannot POST /events", 404, uid=None), Dead(ErrorCode.HTTP_STATUS, verdict=False)),
        (answer(b"", 429, uid=None, retry_after="9"), Retry(ErrorCode.RATE_LIMITED, 9.0)),
        (answer(b"", 500, uid=None), Retry(ErrorCode.HTTP_STATUS)),
        (answer(b"", 302, uid=None), Dead(ErrorCode.REDIRECT, verdict=False)),
        (TransportError(ErrorCode.CONNECT, sent=False), Retry(ErrorCode.CONNECT)),
        (TransportError(ErrorCode.RESET, sent=True), Ambiguous(ErrorCode.RESET)),
        (TransportError(ErrorCode.TLS, sent=False), Suspend(ErrorCode.TLS)),
    ],
)
def test_answers(reply: Reply | TransportError, outcome: Outcome) -> None:
    """Any success counts, whatever its body; nothing is lost because the vendor is down or refuses us."""
    assert deliver(contentstack(), [track()], reply)[0] == [outcome]


def test_nothing_more_is_sent_when_the_vendor_goes_away() -> None:
    """What was answered stays so, what was on its way is in doubt, and the rest waits for the next attempt."""
    batch = [track("a"), track("$set", data={"x": 1}), track("b"), track("$set", data={"x": 2})]
    outcomes, calls = deliver(contentstack(), batch, OK, TransportError(ErrorCode.DEADLINE, sent=True))
    wait = Retry(ErrorCode.DEADLINE)
    assert outcomes == [Delivered(), Ambiguous(ErrorCode.DEADLINE), wait, wait]
    assert len(calls) == 2


def test_nothing_more_is_sent_when_the_vendor_goes_away_after_a_refusal() -> None:
    gone = TransportError(ErrorCode.CONNECT, sent=False)
    outcomes, _ = deliver(contentstack(), [track("a"), track("b"), track("c")], BAD, OK, gone)
    assert outcomes == [Delivered(), Retry(ErrorCode.CONNECT), Retry(ErrorCode.CONNECT)]


def test_at_most_once_does_not_repeat_what_broke_behind_the_door() -> None:
    outcomes, _ = deliver(contentstack(), [track(at_most_once=True)], answer(b"", 500, uid=None))
    assert outcomes == [Ambiguous(ErrorCode.HTTP_STATUS)]


def test_events_that_can_count_for_nobody_are_dropped_without_a_call() -> None:
    for event in (track(uid=None), track(uid="null"), replace(exposure(("b", "0")), exposed=())):
        assert deliver(contentstack(), [event]) == ([Dropped(ErrorCode.NOT_IN_TEST)], [])


# Who takes part


def test_every_visitor_with_a_uid_takes_part() -> None:
    """The vendor knows the impressions of 30 days; what the visitor has just now is no measure."""
    part = contentstack().participation(Track(id="t", metric="clickCTA"), SEEN)
    assert (part.aliases, part.cookies) == (("*",), {USER: UID})
    for jar in ({}, {USER: "null"}, {MANIFEST: "{}"}):
        assert not contentstack().participation(Track(id="t", metric="clickCTA"), VisitorState(jar)).aliases


def test_aliases_of_other_vendors_do_not_take_part() -> None:
    vendor = contentstack(aliases={"b": "hero"})
    wanted = Track(id="t", metric="m", aliases=("ta_Checkout", "hero", "exp:a", "exp:", "exp:a_b"))
    assert vendor.participation(wanted, SEEN).aliases == ("hero", "exp:a")
    assert not vendor.participation(Track(id="t", metric="m", aliases=("ta_Checkout",)), SEEN).aliases


def test_merge_into_oneself_is_nothing_to_do() -> None:
    same = Track(id="t", metric="$merge", data={"into": UID})
    assert not contentstack().participation(same, SEEN).aliases


@pytest.mark.parametrize(
    ("metric", "data"),
    [("$set", {}), ("$merge", {}), ("$merge", {"into": "null"}), ("$merge", {"into": 7}), ("$merge", {"into": "a b"})],
)
def test_changes_of_attributes_that_say_nothing_are_refused(metric: str, data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="needs data"):
        contentstack().participation(Track(id="t", metric=metric, data=data), SEEN)


def test_exposes_what_it_decided_itself() -> None:
    own = Variant(alias="exp:b", key="0", ids={"experience": "b", "variant": "0"})
    part = contentstack().exposes([own, Variant(alias="exp:x", key="1")], SEEN)
    assert (part.aliases, part.cookies) == (("exp:b",), {USER: UID})
    assert not contentstack().exposes([own], VisitorState({})).aliases
