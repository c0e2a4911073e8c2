"""A view that is reported later: the decision repeated for the projects whose flags were read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Delivered, Dropped, Event, Retry, Suspend, Track, Variant, VisitorState
from tests.unit.vendors.webtrends.codec import (
    body_of,
    control,
    decide,
    deliver,
    error,
    event,
    reply,
    success,
    webtrends,
)


def exposure(*aliases: str, experiment_id: str | None = None) -> Event:
    aliases = aliases or ("ta_Project1",)
    return replace(
        event(*aliases),
        kind="exposure",
        track=Track(id="t1", metric="exposure"),
        exposed=tuple(Variant(alias=alias, key="variation", experiment_id=experiment_id) for alias in aliases),
    )


def test_read_decides_without_counting_and_may_be_hedged_once_in_a_test() -> None:
    """`exposure="read"` asks with `_wt.track` "false"; a visitor with a control cookie may be asked for twice."""
    _, (first,) = decide(webtrends(exposure="read"), reply(success()))
    assert body_of(first)["_wt.track"] == "false"
    assert (first.replay_safe, first.hedge_safe) == (True, False)
    _, (again,) = decide(webtrends(exposure="read"), reply(success()), cookies={control("ta_Project1"): "WT3c~"})
    assert again.hedge_safe
    _, (counted,) = decide(webtrends(), reply(success()), cookies={control("ta_Project1"): "WT3c~"})
    assert not counted.hedge_safe


def test_a_visit_that_must_not_be_recorded_counts_no_view() -> None:
    """Under functional consent or a QA override the decision itself counts nothing either."""
    _, (call,) = decide(webtrends(), reply(success()), record=False)
    assert body_of(call)["_wt.track"] == "false"


def test_view_repeats_the_decision_of_each_alias_with_its_own_control_cookie() -> None:
    outcome, calls = deliver(
        webtrends(exposure="read"), exposure("ta_A", "ta_B"), reply(success("ta_A")), reply(success("ta_B"))
    )
    assert outcome == Delivered()
    assert [call.url.rpartition("/")[2] for call in calls] == ["2490593-ta_A", "2490593-ta_B"]
    assert all("/control/" in call.url and body_of(call)["_wt.track"] == "true" for call in calls)
    assert "conversionPoint" not in body_of(calls[0])
    for alias, call in zip(("ta_A", "ta_B"), calls, strict=True):
        sent = [name for name in body_of(call)["cookies"] if "control" in name]
        assert sent == [control(alias)], "another test's cookie would count a view there"


def test_view_of_another_variant_than_the_one_shown_is_told() -> None:
    """A target is matched anew: the view that was counted may be another variant's."""
    vendor = webtrends(exposure="read")
    shown = exposure(experiment_id="11")
    assert deliver(vendor, shown, reply(success(r_experimentID=11)))[0] == Delivered()
    assert deliver(vendor, shown, reply(success(r_experimentID=12)))[0] == Delivered(code=ErrorCode.VARIANT_CHANGED)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (303, Dropped(ErrorCode.NOT_IN_TEST)),
        (417, Dropped(ErrorCode.NOT_IN_TEST)),
        (501, Dropped(ErrorCode.NOT_IN_TEST)),
        (105, Suspend(ErrorCode.VENDOR_105)),
        (500, Retry(ErrorCode.VENDOR_500)),
    ],
)
def test_view_that_the_vendor_does_not_count(code: int, outcome: object) -> None:
    assert deliver(webtrends(exposure="read"), exposure(), reply(error(code)))[0] == outcome


def test_view_keeps_what_is_open_when_the_vendor_goes_away() -> None:
    """The alias that was counted leaves the event; the one on its way and those not yet asked stay in it."""
    outcome, calls = deliver(
        webtrends(exposure="read"),
        exposure("ta_A", "ta_B", "ta_C"),
        reply(success("ta_A")),
        TransportError(ErrorCode.CONNECT, sent=False),
    )
    assert len(calls) == 2
    assert outcome == Retry(ErrorCode.CONNECT, aliases=("ta_B", "ta_C"))


def test_exposes_only_where_there_is_a_control_cookie() -> None:
    vendor = webtrends(exposure="read")
    state = VisitorState({control("ta_A"): "WT3a~", "_wt.user-2490593": "WT3u~", control("ta_Z"): "WT3z~"})
    part = vendor.exposes([Variant(alias="ta_A", key="v"), Variant(alias="ta_B", key="v")], state)
    assert part.aliases == ("ta_A",)
    assert set(part.cookies) == {control("ta_A"), "_wt.user-2490593"}
    assert vendor.exposes([Variant(alias="ta_B", key="v")], state).aliases == ()


def test_identity_changes_with_any_cookie_of_the_account() -> None:
    vendor = webtrends()
    one = {"_wt.user-2490593": "a", control("ta_A"): "c"}
    assert vendor.identity(VisitorState(one)) == vendor.identity(VisitorState(dict(reversed(one.items()))))
    assert vendor.identity(VisitorState({**one, "_wt.mode-2490593": "s"})) != vendor.identity(VisitorState(one))
    assert vendor.identity(VisitorState({})) == ""
