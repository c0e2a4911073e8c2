"""Control calls of the Webtrends emulator: shapes, states, stickiness, views."""

from __future__ import annotations

import json
from typing import Any

import pytest

DOMAIN = 2490593
USER, MODE = f"_wt.user-{DOMAIN}", f"_wt.mode-{DOMAIN}"


def cookie(alias: str) -> str:
    return f"_wt.control-{DOMAIN}-{alias}"


def code(element: dict[str, Any]) -> int | None:
    found: int | None = element["body"].get("message", {}).get("errorCode")
    return found


def value(element: dict[str, Any]) -> str:
    found: str = element["body"]["factors"][0]["value"]
    return found


def test_several_decisions_are_an_array_in_project_order(caller: Any) -> None:
    """The all-projects call answers with one element per project, in the order of the account."""
    answer = caller.post(f"control/{DOMAIN}").json()
    assert [e["params"]["testAlias"] for e in answer] == ["ta_Project1", "ta_Project2", "ta_Hero", "ta_Layout"]
    assert all(e["opcode"] == "process" and e["opstatus"] == "success" for e in answer)


def test_cookies_accumulate_from_element_to_element(caller: Any) -> None:
    """Each element repeats the control cookies before it, has its own user cookie and the same mode cookie."""
    first, second, *_ = (e["body"]["cookies"] for e in caller.control())
    assert second[cookie("ta_Project1")] == first[cookie("ta_Project1")]
    assert cookie("ta_Project2") in second and cookie("ta_Project2") not in first
    assert second[USER]["value"] != first[USER]["value"]
    assert second[MODE] == first[MODE] == {"timeout": 300_000, "type": "session", "value": first[MODE]["value"]}
    assert len(first[MODE]["value"]) == 15


def test_a_lone_decision_is_an_object(caller: Any, vendor: Any) -> None:
    """One project is answered as an object, whichever form of the call asked."""
    assert isinstance(caller.post(f"control/{DOMAIN}-ta_Project1").json(), dict)
    vendor.replace_scenario("single")
    assert isinstance(caller.post(f"control/{DOMAIN}").json(), dict)
    vendor.replace_scenario("array")
    assert isinstance(caller.post(f"control/{DOMAIN}").json(), list)


def test_params_name_test_run_experiment_and_visitor(caller: Any) -> None:
    """The ids of a decision are in params, and the visitor's id is a digit string past 2^53."""
    (element,) = caller.control("ta_Project1")
    params = element["params"]
    assert (params["r_testID"], params["r_runID"], params["r_type"]) == (2490694, 2490701, "AB")
    assert params["r_experimentID"] in (2490702, 2490704)
    assert params["guid"] == f"{DOMAIN}-ta_Project1-2490701-{params['r_experimentID']}"
    assert params["trackingGuid"] == f"1-{DOMAIN}-2490694-2490701-{params['r_experimentID']}"
    assert isinstance(params["systemUID"], str) and int(params["systemUID"]) > 2**53
    assert params["r_paused"] == "false" and params["cookieDomain"] == ".mysite.com"
    assert "use1stPartyCookies" not in params


def test_multi_result_params_speak_of_cookies(caller: Any) -> None:
    """Only the elements of an array say which cookies are in use."""
    params = caller.control()[0]["params"]
    assert params["use1stPartyCookies"] is True and params["use3rdPartyCookies"] is False


def test_json_text_and_factors(caller: Any) -> None:
    """A value may be a JSON text, and a multivariate test brings several factors."""
    *_, hero, layout = caller.control()
    assert json.loads(value(hero))["discount"] in (20, 30)
    factors = layout["body"]["factors"]
    assert [f["name"] for f in factors] == ["#grid", "#menu"]
    assert factors[0]["value"] in ("wide", "narrow") and all(f["operation"] == 3 for f in factors)


def test_unknown_alias(caller: Any) -> None:
    """An unknown alias gets the documented no-test object, with user and mode cookies."""
    element = caller.post(f"control/{DOMAIN}-ta_None").json()
    assert element["body"]["message"] == {
        "errorCode": 303,
        "errorMessage": f"No test found for guid {DOMAIN}-ta_None",
    }
    assert (element["guid"], element["opstatus"]) == ("NULL", "success")
    assert "opcode" not in element and element["params"] == {"cookieDomain": ".mysite.com"}
    assert set(element["body"]["cookies"]) == {USER, MODE}


def test_control_takes_no_list(caller: Any) -> None:
    """A comma in a control path is part of the alias."""
    (element,) = caller.control("ta_Project1,ta_Project2")
    assert element["body"]["message"]["errorMessage"].endswith("-ta_Project1,ta_Project2")


@pytest.mark.parametrize("alias", ["ta_Project 1", "ta-a-b", "ta_Ümlaut", "a+b/c%"])
def test_aliases_that_need_encoding(caller: Any, account: Any, project: Any, alias: str) -> None:
    """Aliases with a space, dashes or other octets are found from a percent-encoded path."""
    from urllib.parse import quote

    account(project(alias))
    element = caller.post(f"control/{DOMAIN}-{quote(alias, safe='')}").json()
    assert element["params"]["testAlias"] == alias
    assert cookie(alias) in element["body"]["cookies"]


def test_nothing_matches(caller: Any, vendor: Any) -> None:
    """Without a match the all-projects call is one no-test object: 303, or 501 where no location matches."""
    vendor.replace_scenario("no_test")
    (element,) = caller.control()
    assert code(element) == 303 and isinstance(caller.post(f"control/{DOMAIN}").json(), dict)
    (element,) = caller.control(url="flags.com/")
    assert code(element) == 501 and "flags.com/" in element["body"]["message"]["errorMessage"]


def test_assignment_sticks_to_the_control_cookie(caller: Any) -> None:
    """The same control cookie gives the same variation, and another value of the cookie."""
    first = [value(e) for e in caller.control()]
    old = dict(caller.cookies)
    for _ in range(10):
        assert [value(e) for e in caller.control()] == first
    assert caller.cookies[cookie("ta_Project1")] != old[cookie("ta_Project1")]


def test_lost_cookies_mean_a_new_roll(caller: Any) -> None:
    """Without the control cookie a visitor is assigned anew, even when the user cookie comes along."""
    seen = set()
    for _ in range(30):
        caller.cookies = {k: v for k, v in caller.cookies.items() if k == USER}
        (element,) = caller.control("ta_Project1")
        seen.add((value(element), element["params"]["systemUID"]))
    assert len(seen) == 2


def test_modes(caller: Any, account: Any, project: Any) -> None:
    """Staging shows staging tests only; s_mode beats the mode cookie, which beats normal."""
    account(project("ta_Live"), project("ta_Staged", state="staging"))
    assert [e["params"]["testAlias"] for e in caller.control()] == ["ta_Live"]
    assert [e["params"]["testAlias"] for e in caller.control(s_mode="staging")] == ["ta_Staged"]
    assert [e["params"]["testAlias"] for e in caller.control()] == ["ta_Staged"]
    assert [e["params"]["testAlias"] for e in caller.control(s_mode="normal")] == ["ta_Live"]
    assert [e["params"]["testAlias"] for e in caller.control()] == ["ta_Live"]


@pytest.mark.parametrize("state", ["pending", "archived", "staging"])
def test_states_that_are_not_served(caller: Any, account: Any, project: Any, state: str) -> None:
    """Pending, archived and (in normal mode) staging tests are not found."""
    account(project(state=state))
    assert code(caller.control("ta_A")[0]) == 303


def test_paused(caller: Any, account: Any, project: Any) -> None:
    """A paused test takes nobody in, and keeps those who are in."""
    account(project())
    before = value(caller.control("ta_A")[0])
    account(project(state="paused"))
    (element,) = caller.control("ta_A")
    assert value(element) == before and element["params"]["r_paused"] == "true"
    caller.cookies.clear()
    assert code(caller.control("ta_A")[0]) == 303


def test_published(caller: Any, account: Any, project: Any) -> None:
    """A published test gives the chosen variation to everybody in its segment, whatever they had."""
    account(project(variations=[{"key": "control"}, {"key": "variation", "split": 0}]))
    assert value(caller.control("ta_A")[0]) == "control"
    account(project(state="published", published_variation="variation", throttle=0.0, segments=[{"data": {"v": 1}}]))
    assert code(caller.control("ta_A")[0]) == 302
    assert value(caller.control("ta_A", data={"v": 1})[0]) == "variation"


@pytest.mark.parametrize(
    ("segment", "match", "miss"),
    [
        ({"data": {"tier": "gold", "n": 2}}, {"data": {"tier": "gold", "n": 2}}, {"data": {"tier": "gold"}}),
        ({"user_agent": "Firefox"}, {"headers": {"user-agent": "Mozilla Firefox/1"}}, {}),
        ({"ip": ["192.0.2.0/24"]}, {"headers": {"x-forwarded-for": "192.0.2.9"}}, {}),
        (
            {"ip": ["192.0.2.0/24"]},
            {"headers": {"x-forwarded-for": "192.0.2.9"}},
            {"headers": {"x-forwarded-for": "x"}},
        ),
        ({"referer": "google"}, {"_wm_referer": "https://www.google.com"}, {"_wm_referer": "https://a.test"}),
    ],
)
def test_segments(caller: Any, account: Any, project: Any, segment: Any, match: Any, miss: Any) -> None:
    """Segments match on data, user agent, address and referrer, and a miss is 302."""
    account(project(segments=[segment]))
    assert code(caller.post(f"control/{DOMAIN}-ta_A", **miss).json()) == 302
    assert code(caller.post(f"control/{DOMAIN}-ta_A", **match).json()) is None


def test_a_segment_is_evaluated_once_for_tests_and_always_for_targets(caller: Any, account: Any, project: Any) -> None:
    """A test keeps a visitor who left its segment; a target drops them."""
    vip = [{"data": {"vip": 1}}]
    account(project("ta_Test", segments=vip), project("ta_Target", segments=vip, kind="target"))
    assert len(caller.control(data={"vip": 1})) == 2
    assert code(caller.control("ta_Test")[0]) is None
    assert code(caller.control("ta_Target")[0]) == 302


def test_a_target_may_change(caller: Any, account: Any, project: Any) -> None:
    """A target is not sticky: its variation can differ from call to call."""
    account(project(kind="target"))
    assert {value(caller.control("ta_A")[0]) for _ in range(30)} == {"control", "variation"}


def test_one_test_per_project(caller: Any, account: Any) -> None:
    """Targets come first, then segmented tests by weight, then the rest; never two of a project."""

    def item(name: str, **more: Any) -> dict[str, Any]:
        return {"variations": [{"key": name}], **more}

    account(
        {
            "alias": "ta_A",
            "tests": [
                item("rest"),
                item("light", weight=1.0, segments=[{"data": {"a": 1}}]),
                item("heavy", weight=9.0, segments=[{"data": {"b": 1}}]),
                item("target", kind="target", segments=[{"data": {"c": 1}}]),
            ],
        }
    )
    for data, expected in (
        ({}, "rest"), ({"a": 1}, "light"), ({"a": 1, "b": 1}, "heavy"), ({"a": 1, "b": 1, "c": 1}, "target"),
    ):  # fmt: skip
        caller.cookies.clear()
        assert [value(e) for e in caller.control(data=data)] == [expected]


@pytest.mark.parametrize(
    ("location", "url", "data", "matches"),
    [
        ({"match": "exact", "url": "flags.com/"}, "flags.com/", {}, True),
        ({"match": "exact", "url": "flags.com/"}, "flags.com/cart", {}, False),
        ({"match": "exact", "url": "https://Flags.com/a"}, "https://fLAGS.com/a?x=1#y", {}, True),
        ({"match": "exact", "url": "flags.com/a"}, "flags.com/A", {}, False),
        ({"match": "prefix", "url": "https://www.mysite.com"}, "https://WWW.mysite.com/cart", {}, True),
        ({"match": "regex", "url": "/(cart|pay)$"}, "https://www.mysite.com/pay", {}, True),
        ({"match": "regex", "url": "/(cart|pay)$"}, "https://www.mysite.com/payed", {}, False),
        ({"url": "flags.com/", "data": {"page": "home"}}, "flags.com/", {"page": "home"}, True),
        ({"url": "flags.com/", "data": {"page": "home"}}, "flags.com/", {"page": "cart"}, False),
    ],
)
def test_locations(caller: Any, account: Any, project: Any, location: Any, url: str, data: Any, matches: bool) -> None:
    """Locations match exactly, by prefix or by expression, with the host's case ignored, and on data."""
    account(project(where={"locations": [location]}))
    assert code(caller.control("ta_A", url=url, data=data)[0]) == (None if matches else 501)


def test_throttle_is_remembered(caller: Any, account: Any, project: Any) -> None:
    """A throttled visitor gets 417 and a control cookie, and stays out when the throttle opens."""
    account(project(throttle=0.0))
    (element,) = caller.control("ta_A")
    assert code(element) == 417 and cookie("ta_A") in element["body"]["cookies"]
    account(project())
    assert code(caller.control("ta_A")[0]) == 417
    account(project(), rethrottle=True)
    assert code(caller.control("ta_A")[0]) is None


def test_throttles_multiply(caller: Any, account: Any, project: Any) -> None:
    """The shares of project and test multiply."""
    account(project(where={"throttle": 0.5}, throttle=0.5))
    outcomes = []
    for _ in range(200):
        caller.cookies.clear()
        outcomes.append(code(caller.control("ta_A")[0]))
    assert 25 <= outcomes.count(None) <= 80 and set(outcomes) == {None, 417}


def test_misses_are_left_out_or_listed(caller: Any, account: Any, project: Any) -> None:
    """A mixed answer holds only decisions, unless the account includes misses."""
    projects = [project("ta_A"), project("ta_B", segments=[{"data": {"x": 1}}]), project("ta_C", throttle=0.0)]
    account(*projects)
    (element,) = caller.control()
    assert cookie("ta_C") in element["body"]["cookies"]  # the throttle behind the last element is kept
    account(*projects, include_misses=True)
    caller.cookies.clear()
    assert [code(e) for e in caller.control()] == [None, 302, 417]


def test_debug_log(caller: Any) -> None:
    """A debug string of three or more characters adds a log; a shorter one does not."""
    (element,) = caller.control("ta_Project1", debug="true")
    assert element["log"].startswith("[SERVER LOG] : ") and element["log"].endswith("\n")
    assert "log" not in caller.control("ta_Project1", debug="on")[0]


def test_plain_cookies(caller: Any) -> None:
    """Without encryption cookies are readable, and they work when they come back."""
    fields = {"_wt.encrypted": False}
    (element,) = caller.control("ta_Project1", **fields)
    cookies = element["body"]["cookies"]
    control = json.loads(cookies[cookie("ta_Project1")]["value"])
    assert list(control)[:3] == ["runid", "testid", "throttleR"] and control["runid"] == 2490701
    assert cookies[MODE]["value"] == "normal" and json.loads(cookies[USER]["value"])["uid"]
    assert value(caller.control("ta_Project1", **fields)[0]) == value(element)


def test_sample_quirks(caller: Any, account: Any, project: Any) -> None:
    """With quirks the no-test object has its trailing comma, and an array its comments."""
    account(project("ta_A"), project("ta_B"), sample_quirks=True)
    text = caller.post(f"control/{DOMAIN}-ta_None").text
    with pytest.raises(ValueError, match=r"Expecting property name|Illegal trailing comma"):
        json.loads(text)
    fixed = json.loads(text.replace('".mysite.com",', '".mysite.com"'))
    assert fixed["body"]["message"]["errorCode"] == 303
    text = caller.post(f"control/{DOMAIN}").text
    assert " // the key\n" in text and "}, // end of result 1\n" in text
    assert len(json.loads(text.replace("// the key", "").replace("// end of result 1", ""))) == 2
    assert caller.post(f"control/{DOMAIN}-ta_A").json()["opcode"] == "process"


def test_http_errors(caller: Any, account: Any, project: Any) -> None:
    """An account may answer lone errors with HTTP 4xx and the same envelope."""
    account(project("ta_A"), project("ta_B"), http_errors=True)
    assert caller.post(f"control/{DOMAIN}-ta_None").status_code == 404
    assert caller.post(f"control/{DOMAIN}", keyToken="wrong").status_code == 403
    assert caller.post(f"control/{DOMAIN}").status_code == 200


def test_views_count_once_per_session(caller: Any, vendor: Any) -> None:
    """A view is counted when asked for, once per visitor, experiment and session."""
    caller.control("ta_Project1")
    assert vendor.ledger()["views"] == []
    (element,) = caller.control("ta_Project1", **{"_wt.track": "true"})
    caller.control("ta_Project1", **{"_wt.track": "true"})
    (view,) = vendor.ledger()["views"]
    assert (view["alias"], view["variation"]) == ("ta_Project1", value(element))
    assert view["system_uid"] == element["params"]["systemUID"]
    assert view["session"] == element["params"]["_wt_sessionID"]


def test_the_same_old_cookie_twice_is_one_view(caller: Any, vendor: Any) -> None:
    """Two requests that carry the same not yet viewed cookie count one view."""
    caller.control("ta_Project1")
    before = dict(caller.cookies)
    for _ in range(2):
        caller.cookies = dict(before)
        caller.control("ta_Project1", **{"_wt.track": "true"})
    assert len(vendor.ledger()["views"]) == 1


def test_experiment_that_is_gone(caller: Any, account: Any, project: Any) -> None:
    """A control cookie that names a removed variation is 305; one of another run is evaluated anew."""
    account(project(run_id=11, variations=[{"key": "old", "experiment_id": 90}]))
    caller.control("ta_A")
    account(project(run_id=11, variations=[{"key": "new", "experiment_id": 91}]))
    assert code(caller.control("ta_A")[0]) == 305
    account(project(run_id=12, variations=[{"key": "new", "experiment_id": 91}]))
    assert value(caller.control("ta_A")[0]) == "new"
