"""Fault rules: which requests they hit, and what a client sees."""

from __future__ import annotations

import gzip
import json
import re
import time
from typing import Any

import httpx2
import pytest

from flagmw.exceptions import ConfigError
from flagmw.sandbox.faults import Faults

DOMAIN = 2490593
PATH = f"control/{DOMAIN}-ta_Project1"
CONTROL = f"_wt.control-{DOMAIN}-ta_Project1"


def code(element: dict[str, Any]) -> int | None:
    found: int | None = element["body"].get("message", {}).get("errorCode")
    return found


def test_delay(caller: Any, vendor: Any) -> None:
    """A delayed answer is a right answer."""
    vendor.faults([{"kind": "delay", "ms": 60, "times": 1}])
    before = time.monotonic()
    assert caller.post(PATH).json()["opcode"] == "process"
    assert time.monotonic() - before >= 0.06


def test_a_delayed_request_is_processed_without_its_caller(caller: Any, vendor: Any) -> None:
    """A caller that gives up on a slow vendor has been counted all the same."""
    caller.control("ta_Project1")
    vendor.faults([{"kind": "delay", "ms": 100}])
    with pytest.raises(httpx2.ReadTimeout):
        caller.http.post(
            f"{vendor.webtrends_url}/track/{DOMAIN}-ta_Project1", json=caller.body(conversionPoint="m"), timeout=0.05
        )
    until = time.monotonic() + 15
    while not vendor.ledger()["conversions"] and time.monotonic() < until:
        time.sleep(0.01)
    assert len(vendor.ledger()["conversions"]) == 1


def test_drip(caller: Any, vendor: Any) -> None:
    """A dripped body comes in small pieces and is whole in the end."""
    vendor.faults([{"kind": "drip", "ms": 2, "bytes": 200}])
    with caller.http.stream(
        "POST", f"{vendor.webtrends_url}/{PATH}", json=caller.body(), headers={"accept-encoding": "identity"}
    ) as response:
        pieces = [piece for piece in response.iter_raw() if piece]
    assert len(pieces) >= 4 and max(map(len, pieces)) <= 400
    assert json.loads(b"".join(pieces))["opcode"] == "process"


def test_hang(caller: Any, vendor: Any) -> None:
    """A hanging request ends with the client's patience, or with the connection after `ms`."""
    vendor.faults([{"kind": "hang"}])
    with pytest.raises(httpx2.ReadTimeout):
        caller.http.post(f"{vendor.webtrends_url}/{PATH}", json=caller.body(), timeout=0.05)
    vendor.faults([{"kind": "hang", "ms": 20}])
    with pytest.raises(httpx2.RemoteProtocolError):
        caller.post(PATH)


def test_reset_and_close(caller: Any, vendor: Any) -> None:
    """A reset is an RST, a close an orderly end; neither is processed, unless the rule says so."""
    vendor.faults([{"kind": "reset"}])
    with pytest.raises(httpx2.ReadError, match=r"reset|104"):
        caller.post(PATH, **{"_wt.track": "true"})
    vendor.faults([{"kind": "close"}])
    with pytest.raises(httpx2.RemoteProtocolError):
        caller.post(PATH, **{"_wt.track": "true"})
    assert vendor.ledger()["views"] == []
    assert [r["fault"] for r in vendor.ledger()["requests"]] == ["reset", "close"]
    vendor.faults([{"kind": "reset", "processed": True}])
    with pytest.raises(httpx2.ReadError):
        caller.post(PATH, **{"_wt.track": "true"})
    assert len(vendor.ledger()["views"]) == 1 and len(vendor.ledger()["requests"]) == 3


def test_truncate(caller: Any, vendor: Any) -> None:
    """A truncated body breaks its Content-Length; the request was processed."""
    vendor.faults([{"kind": "truncate", "bytes": 10}])
    with pytest.raises(httpx2.RemoteProtocolError, match="received 10 bytes"):
        caller.post(PATH, **{"_wt.track": "true"})
    assert len(vendor.ledger()["views"]) == 1


def test_status_html_empty_redirect(caller: Any, vendor: Any) -> None:
    """Bare statuses, pages, empty bodies and redirects come as the rule says."""
    vendor.faults([{"kind": "status", "status": 429, "retry_after": 7}])
    response = caller.post(PATH)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    vendor.faults([{"kind": "html", "status": 200}])
    response = caller.post(PATH)
    assert response.headers["content-type"].startswith("text/html") and response.text.startswith("<!DOCTYPE")
    vendor.faults([{"kind": "empty"}])
    assert caller.post(PATH).content == b""
    vendor.faults([{"kind": "redirect", "status": 307}])
    response = caller.post(PATH)
    assert (response.status_code, response.headers["location"]) == (307, "/__sandbox__/redirected")
    caller.http.post(vendor.url + response.headers["location"])
    assert vendor.ledger()["requests"][-1]["lint"] == ["redirect: must not be followed"]


def test_gzip_bomb(caller: Any, vendor: Any) -> None:
    """A bomb is small on the wire and as large as asked for inside."""
    vendor.faults([{"kind": "gzip_bomb", "bytes": 5_000_000}])
    with caller.http.stream("POST", f"{vendor.webtrends_url}/{PATH}", json=caller.body()) as response:
        packed = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip" and len(packed) < 20_000
    assert len(json.loads(gzip.decompress(packed))) == 5_000_000


def test_error_codes(caller: Any, vendor: Any) -> None:
    """An error rule makes the vendor's own envelope: for all of a call, or for one alias of it."""
    caller.control()
    vendor.faults([{"kind": "error", "code": 207}])
    assert [code(e) for e in caller.control()] == [207]
    vendor.faults([{"kind": "error", "code": 316, "route": "track"}])
    assert [code(e) for e in caller.track(["ta_Project1", "ta_Project2"])] == [316, 316]
    vendor.faults([{"kind": "error", "code": 318, "alias": "ta_Project2"}])
    assert [code(e) for e in caller.track(["ta_Project1", "ta_Project2"])] == [None, 318]
    vendor.faults([{"kind": "error", "code": 9999, "alias": "ta_Project2"}])
    assert [code(e) for e in caller.control()] == [None, 9999, None, None]
    assert len(vendor.ledger()["conversions"]) == 1


def test_cookies_that_should_not_pass(caller: Any, vendor: Any) -> None:
    """Cookie rules put oversized, foreign and header-splitting cookies into the answer."""
    vendor.faults([{"kind": "huge_cookie", "bytes": 9000}])
    assert len(caller.post(PATH).json()["body"]["cookies"][f"_wt.user-{DOMAIN}"]["value"]) == 9000
    vendor.faults([{"kind": "bad_cookie"}])
    cookies = caller.post(PATH).json()["body"]["cookies"]
    assert "sessionid" in cookies and any("\r\n" in name for name in cookies)
    assert any("\r\n" in cookie["value"] for cookie in cookies.values())
    vendor.faults([{"kind": "bad_cookie", "name": CONTROL, "value": "a b"}])
    assert caller.post(PATH).json()["body"]["cookies"][CONTROL]["value"] == "a b"


@pytest.mark.parametrize("kind", ["trailing_comma", "comments"])
@pytest.mark.parametrize("path", [PATH, f"control/{DOMAIN}", f"control/{DOMAIN}-none"])
def test_loose_json(caller: Any, vendor: Any, kind: str, path: str) -> None:
    """Loose answers are refused by a strict parser and hold the right answer."""
    vendor.faults([{"kind": kind}])
    text = caller.post(path, url="https://www.mysite.com//a,}").text
    with pytest.raises(ValueError):
        json.loads(text)
    lines = [line for line in text.replace(" // the key", "").splitlines() if not line.startswith("/*")]
    lines = [line.split(" // ")[0] for line in lines]
    joined = re.sub(r",(\n *[}\]])", r"\1", "\n".join(lines))
    assert json.loads(joined)


def test_times_routes_and_order(caller: Any, vendor: Any) -> None:
    """A rule is spent after `times`, concerns its route only, and the first that matches wins."""
    vendor.faults(
        [
            {"kind": "status", "status": 500, "times": 1, "route": "control"},
            {"kind": "status", "status": 501, "times": 1, "route": "webtrends.control"},
            {"kind": "status", "status": 502, "route": "track"},
        ]
    )
    assert [caller.post(PATH).status_code for _ in range(3)] == [500, 501, 200]
    assert caller.post(f"track/{DOMAIN}-ta_Project1").status_code == 502
    assert [rule["hits"] for rule in vendor.sandbox.faults.shown()] == [1, 1, 1]
    vendor.clear_faults()
    assert caller.post(f"track/{DOMAIN}-ta_Project1").status_code == 200


def test_probability_is_seeded() -> None:
    """The same seed hits the same requests."""

    def hits() -> list[bool]:
        faults = Faults(seed=3)
        faults.replace([{"kind": "close", "probability": 0.3}])
        return [faults.pick("webtrends", "control") is not None for _ in range(200)]

    assert hits() == hits() and 35 <= sum(hits()) <= 85


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"kind": "dealy"}, r"rules\[0\].kind: 'dealy' is not allowed; did you mean 'delay'"),
        ({"kind": "delay", "mss": 1}, "unknown key 'mss'; did you mean 'ms'"),
        ({"kind": "delay", "ms": "1"}, "expected a whole number"),
        ({}, "kind is required"),
        ({"kind": "close", "probability": 2}, "probability must be between 0 and 1"),
        ({"kind": "status", "status": 99}, "status must be between 200 and 599"),
        ("reset", "expected a table"),
    ],
)
def test_wrong_rules(vendor: Any, rule: Any, text: str) -> None:
    """A wrong rule is refused with a text that names the field."""
    with pytest.raises(ConfigError, match=text):
        vendor.faults([rule])
