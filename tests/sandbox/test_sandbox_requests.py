"""What the Webtrends emulator accepts, refuses and notes about a request."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

DOMAIN = 2490593
PATH = f"control/{DOMAIN}-ta_Project1"


def code(element: dict[str, Any]) -> int | None:
    found: int | None = element["body"].get("message", {}).get("errorCode")
    return found


def test_a_proper_client_leaves_no_lint(caller: Any, vendor: Any) -> None:
    """A visitor's whole journey in the documented types gives no notes."""
    caller.control(data={"tier": "gold", "n": 1})
    caller.post(f"control/{DOMAIN}", headers={"x-forwarded-for": "192.0.2.1", "user-agent": "Mozilla/5.0 (X11)"})
    caller.cookies = {k: v for k, v in caller.cookies.items() if "control" not in k or k.endswith("Project1")}
    caller.track(["ta_Project1"])
    assert [request["lint"] for request in vendor.ledger()["requests"]] == [[], [], []]


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"_wt.track": True}, "_wt.track"),
        ({"_wt.track": "True"}, "_wt.track"),
        ({"_wt.encrypted": "true"}, "_wt.encrypted"),
        ({"data": {"vip": True}}, "data: vip"),
        ({"data": {"cart": {"n": 1}}}, "data: cart"),
        ({"data": {"a": None}}, "data: a"),
        ({"data": []}, "data: must"),
        ({"cookies": {f"_wt.user-{DOMAIN}": "WT3a"}}, "cookies: _wt.user"),
        ({"cookies": {"sessionid": {"value": "x"}}}, "cookies: sessionid"),
        ({"cookies": {"_wt.control-1-ta_A": {"value": "WT3x"}}}, "cookies: _wt.control-1"),
        ({"cookies": {f"_wt.conversion-{DOMAIN}-a": {"value": "WT3x"}}}, "blocks repeats"),
        ({"s_mode": "preview"}, "s_mode"),
        ({"debug": "on"}, "debug"),
        ({"conversionPoint": "x"}, "conversionPoint"),
        ({"keytoken": "x"}, "unknown field"),
        ({"headers": {"user-agent": "python-httpx2/2.16.2"}}, "user-agent"),
        ({"headers": {"x-forwarded-for": "192.0.2.1, 198.51.100.2"}}, "x-forwarded-for"),
        ({"headers": {"content-type": "text/plain"}}, "content-type"),
        ({"headers": {"cookie": "a=b"}}, "cookie"),
    ],
)
def test_lint(caller: Any, vendor: Any, fields: Any, note: str) -> None:
    """Each departure from the documented wire types is noted."""
    caller.post(PATH, **fields)
    (request,) = vendor.ledger()["requests"]
    assert len(request["lint"]) == 1 and note in request["lint"][0]


def test_lint_of_paths_and_foreign_aliases(caller: Any, vendor: Any) -> None:
    """An octet that should be encoded is noted, and so are control cookies of aliases that are not tracked."""
    caller.control()
    vendor.clear_ledger()
    caller.post(f"control/{DOMAIN}-a+b")
    caller.post(f"track/{DOMAIN}-ta_Project1", conversionPoint="m")
    first, second = vendor.ledger()["requests"]
    assert any(note.startswith("path") for note in first["lint"])
    assert len(second["lint"]) == 3 and all("no alias of this call" in note for note in second["lint"])


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        (f"control/{DOMAIN}", {"keyToken": "wrong"}, 105),
        (f"control/{DOMAIN}", {"keyToken": None}, 105),
        (f"track/{DOMAIN}-a", {"keyToken": "wrong"}, 105),
        (f"control/{DOMAIN}", {"keyToken": "x", "cookies": {f"_wt.control-{DOMAIN}-a": {"value": "WT3"}}}, 104),
        ("control/1", {}, 101),
        ("track/1-a", {}, 101),
        ("control/abc", {}, 604),
        ("control/-a", {}, 604),
        ("control/", {}, 602),
        (f"control/{DOMAIN}-", {}, 603),
        (f"decide/{DOMAIN}", {}, 202),
        (PATH, {"url": ""}, 103),
        (PATH, {"url": 5}, 103),
        (PATH, {"cookies": []}, 300),
        (PATH, {"cookies": {f"_wt.user-{DOMAIN}": "WT3"}}, 300),
        (PATH, {"data": "text"}, 300),
    ],
)
def test_refusals(caller: Any, path: str, fields: Any, expected: int) -> None:
    """A body or path that the vendor would refuse gets its code in a 200 envelope."""
    response = caller.post(path, **fields)
    element = response.json()
    assert response.status_code == 200 and code(element) == expected and element["guid"] == "NULL"
    assert bool(element["body"]["cookies"]) == (expected in (103, 300, 603)) or expected == 603


def test_a_blocked_account(caller: Any, account: Any, project: Any) -> None:
    """A blocked account is refused with 207."""
    account(project(), blocked=True)
    assert code(caller.control()[0]) == 207


def test_broken_json(caller: Any, vendor: Any) -> None:
    """A body that is no JSON object is a request error, not a crash."""
    for text in (b"{", b"[]", b"\xff"):
        response = caller.http.post(
            f"{vendor.webtrends_url}/{PATH}", content=text, headers={"content-type": "application/json"}
        )
        assert code(response.json()) == 200


def test_gzip_requests(caller: Any, vendor: Any) -> None:
    """A gzip body is read, a false one is refused with 400, another encoding with 415."""
    url, body = f"{vendor.webtrends_url}/{PATH}", json.dumps(caller.body()).encode()
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert caller.http.post(url, content=gzip.compress(body), headers=headers).json()["opcode"] == "process"
    for bad in (body, gzip.compress(body)[:-12], b""):
        assert caller.http.post(url, content=bad, headers=headers).status_code == 400
    assert caller.http.post(url, content=body, headers={**headers, "content-encoding": "br"}).status_code == 415
    assert vendor.ledger()["requests"][-1]["answer"]["status"] == 415


def test_bodies_are_bounded(caller: Any, vendor: Any) -> None:
    """More than 1 MiB is refused, before and after inflating."""
    url, body = f"{vendor.webtrends_url}/{PATH}", b" " * (1024 * 1024 + 1)
    headers = {"content-type": "application/json"}
    assert caller.http.post(url, content=body, headers=headers).status_code == 413
    packed = caller.http.post(url, content=gzip.compress(body), headers={**headers, "content-encoding": "gzip"})
    assert packed.status_code == 413


def test_gzip_answers(caller: Any) -> None:
    """The answer is compressed for those who accept it, and only for them."""
    assert caller.post(PATH).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in caller.post(PATH, headers={"accept-encoding": "identity"}).headers


def test_form_encoding(caller: Any, vendor: Any) -> None:
    """The browser tag's form posts work: cookies and data as JSON texts."""
    caller.control("ta_Project1")
    body = caller.body(conversionPoint="click", data={"n": 1}, preprocessed="true")
    form = {k: json.dumps(v) if isinstance(v, dict) else str(v) for k, v in body.items()}
    answer = caller.http.post(f"{vendor.webtrends_url}/track/{DOMAIN}-ta_Project1", data=form).json()
    assert answer["opcode"] == "conversion" and vendor.ledger()["conversions"][0]["data"] == {"n": 1}


def test_query_placement(caller: Any, vendor: Any) -> None:
    """Parameters in the query work with any case of their booleans; the body wins over them."""
    query = {"keyToken": caller.body()["keyToken"], "_wt.encrypted": "False", "_wt.track": "True", "url": "nowhere"}
    body = {"url": "https://www.mysite.com", "s_mode": "normal"}
    answer = caller.http.post(f"{vendor.webtrends_url}/{PATH}", params=query, json=body).json()
    assert answer["body"]["cookies"][f"_wt.mode-{DOMAIN}"]["value"] == "normal"
    assert len(vendor.ledger()["views"]) == 1


def test_only_post(caller: Any, vendor: Any) -> None:
    """There is no GET form of the API."""
    assert caller.http.get(f"{vendor.webtrends_url}/{PATH}").status_code == 405


def test_the_ledger_tells_what_was_asked_and_answered(caller: Any, vendor: Any) -> None:
    """A request's entry holds its parameters, cookie digests and answer, and neither token nor cookie values."""
    caller.control("ta_Project1")
    caller.post(PATH, headers={"x-forwarded-for": "192.0.2.1"}, data={"a": 1}, **{"_wt.track": "true"})
    entry = vendor.ledger()["requests"][1]
    assert (entry["n"], entry["vendor"], entry["action"]) == (2, "webtrends", "control")
    assert entry["aliases"] == ["ta_Project1"]
    assert entry["track"] is True and entry["data"] == {"a": 1} and entry["s_mode"] is None
    assert entry["headers"]["x-forwarded-for"] == "192.0.2.1"
    assert all(len(digest) == 12 for digest in entry["cookies"].values()) and len(entry["cookies"]) == 3
    (result,) = entry["answer"]["results"]
    assert result["alias"] == "ta_Project1" and result["code"] is None
    assert result["variation"] in ("control", "variation")
    text = json.dumps(vendor.ledger())
    assert caller.body()["keyToken"] not in text
    assert not any(value in text for name, value in caller.cookies.items() if "user" in name)
