"""The emulator's cookie values: form, authentication, rotation."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flagmw.sandbox import load_scenario
from flagmw.sandbox.webtrends.cookies import BadCookie, KeyRing

DOMAIN = 2490593
USER, MODE = f"_wt.user-{DOMAIN}", f"_wt.mode-{DOMAIN}"
CONTROL = f"_wt.control-{DOMAIN}-ta_Project1"


def code(element: dict[str, Any]) -> int | None:
    found: int | None = element["body"].get("message", {}).get("errorCode")
    return found


def test_form() -> None:
    """Values are WT3 and URL-safe base64 with tildes; sealed ones differ each time, mode and conversion do not."""
    codec = KeyRing().codec(load_scenario("shop").webtrends[0])
    values = [codec.seal("a", {"n": n % 3}) for n in range(30)]
    assert len(set(values)) == 30
    assert all(re.fullmatch(r"WT3[A-Za-z0-9_-]+~{0,2}", value) for value in values)
    assert codec.open("a", values[1]) == {"n": 1}
    assert len(codec.mode("normal")) == 15 and codec.mode("normal") == codec.mode("normal") != codec.mode("staging")
    assert [codec.read_mode(codec.mode(mode)) for mode in ("normal", "staging")] == ["normal", "staging"]
    assert len(codec.conversion()) == 19


def test_values_survive_a_restart() -> None:
    """A value of one sandbox is good in the next one with the same account."""
    account = load_scenario("shop").webtrends[0]
    assert KeyRing().codec(account).open("a", KeyRing().codec(account).seal("a", {"n": 1})) == {"n": 1}


@pytest.mark.parametrize("change", ["name", "flip", "cut", "prefix", "empty", "text", "padding"])
def test_tampering_is_noticed(change: str) -> None:
    """A changed value, or one moved to another cookie, does not open."""
    codec = KeyRing().codec(load_scenario("shop").webtrends[0])
    value = codec.seal("a", {"n": 1})
    flipped = value[:20] + ("A" if value[20] != "A" else "B") + value[21:]
    bad = {"flip": flipped, "cut": value[:-6], "prefix": value[3:], "empty": "WT3", "text": "{x", "padding": "WT3=="}
    with pytest.raises(BadCookie):
        codec.open("b" if change == "name" else "a", bad.get(change, value))


@pytest.mark.parametrize(
    ("name", "bad", "expected"),
    [
        (CONTROL, "WT3abcd", 300),
        (USER, "WT3abcd", 102),
        (MODE, "WT3abcd", 102),
        (CONTROL, "{}", 300),
        (USER, "{}", 102),
    ],
)
def test_codes_of_foreign_cookies(caller: Any, name: str, bad: str, expected: int) -> None:
    """An undecryptable control cookie is 300, a user or mode cookie 102; identity cookies come back with both."""
    caller.control("ta_Project1")
    caller.cookies[name] = bad
    (element,) = caller.control("ta_Project1")
    assert code(element) == expected and {USER, MODE} <= set(element["body"]["cookies"])
    assert code(caller.control("ta_Project1")[0]) in (None, 300)


def test_a_bad_control_cookie_spoils_its_project_only(caller: Any) -> None:
    """The all-projects answer has an error element for that project and decisions for the others."""
    caller.control()
    caller.cookies[CONTROL] = "WT3abcd"
    assert [code(e) for e in caller.control()] == [300, None, None, None]
    assert [code(e) for e in caller.track(["ta_Project1", "ta_Project2"])] == [300, None]


def test_rotated_keys(caller: Any, vendor: Any) -> None:
    """After a rotation old user cookies are 102 and old control cookies 104, or 300 when the old key is forgotten."""
    caller.control("ta_Project1")
    old = dict(caller.cookies)
    vendor.rotate_keys()
    assert code(caller.control("ta_Project1")[0]) == 102
    caller.cookies = {CONTROL: old[CONTROL]}
    assert code(caller.control("ta_Project1")[0]) == 104
    vendor.rotate_keys(DOMAIN, forget=True)
    caller.cookies = {CONTROL: old[CONTROL]}
    assert code(caller.control("ta_Project1")[0]) == 300
    caller.cookies.clear()
    assert code(caller.control("ta_Project1")[0]) is None
    vendor.reset()
    caller.cookies = old
    assert code(caller.control("ta_Project1")[0]) is None


def test_a_changed_token(caller: Any, vendor: Any, account: Any, project: Any) -> None:
    """Cookies made under a replaced key token are 104, for the old token and for the new one."""
    caller.control("ta_Project1")
    control = {CONTROL: caller.cookies[CONTROL]}
    account(project("ta_Project1"), key_token="new")
    caller.cookies = dict(control)
    assert code(caller.control("ta_Project1")[0]) == 104
    assert code(caller.control("ta_Project1", keyToken="new")[0]) == 104
    caller.cookies.clear()
    assert code(caller.control("ta_Project1", keyToken="new")[0]) is None
