"""Rules on this machine beside Adobe's client for servers: every condition holds for the same visits."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from flagmw.sandbox import SandboxServer
from flagmw.types import Visit
from flagmw.vendors.adobe.on_device.javascript import joined
from flagmw.vendors.adobe.on_device.logic import LogicError, compiled
from flagmw.vendors.adobe.on_device.rules import Rules
from flagmw.vendors.adobe.request import facts
from tests.contracts.vendors.official_clients.conftest import Process

PUBLISHED = Path(__file__).parents[3] / "samples" / "adobe" / "published_conditions.json"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
AGENTS = [
    CHROME,
    CHROME.replace("Chrome/", "HeadlessChrome/"),
    CHROME + " Edg/119.0",
    "Mozilla/5.0 (Windows NT 10.0; rv:109.0) Gecko/20100101 Firefox/115.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML) Version/17.4 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605 Version/17.4 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko",
    "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1)",
    "chromefirefox",
    "",
]
HOSTS = [
    *("mysite.com", "www.mysite.com", "shop.eu.mysite.com", "www.shop.mysite.com", "www2.eu.mysite.com", "localhost"),
    *(
        "mysite.co.uk",
        "www.mysite.co.uk",
        "a.b.c.mysite.co.uk",
        "co.uk",
        "192.0.2.1",
        "printer.local",
        "a_b.mysite.com",
    ),
    *("test.wayne-enterprises.us-east-1.elasticbeanstalk.com", "me.github.io", "a.kawasaki.jp", "city.kawasaki.jp"),
    *("boo.bar.com", "foo.bar.com", "xn--bcher-kva.example.de", "mysite.nolist", "-a.mysite.com", "WWW.MySite.COM"),
]
PATHS = ["/", "/foo/bar?Favorite=Greg#part", "/foo/bar/index.html", "?foo=bar", "/a:b@c?d=e?f#g#h", "/Target/demo"]


# The client copies all of its rules for each request, so each client gets some of them.
AT_ONCE = 100


def artifact(conditions: Sequence[Any], mboxes: Sequence[str]) -> dict[str, Any]:
    """Return rules in which each mbox has one condition."""
    rules = {
        mbox: [
            {
                "ruleKey": mbox,
                "meta": {"activity.id": int(mbox[1:]), "experience.id": 0, "audience.ids": []},
                "condition": condition,
                "consequence": {"name": mbox, "options": [{"type": "html", "content": "x"}], "metrics": []},
            }
        ]
        for mbox, condition in zip(mboxes, conditions, strict=True)
    }
    return {
        "version": "1.0.0",
        "meta": {"clientCode": "demo", "environment": "production", "generatedAt": "2026-01-01T00:00:00Z"},
        "globalMbox": "target-global-mbox",
        "geoTargetingEnabled": False,
        "responseTokens": [],
        "localMboxes": list(mboxes),
        "remoteMboxes": [],
        "localViews": [],
        "remoteViews": [],
        "rules": {"views": {}, "mboxes": rules},
    }


class OnDevice:
    """The same conditions in Adobe's client and here; mbox *n* has the n-th."""

    def __init__(self, node: Process, port: int, name: str, conditions: Sequence[Any]) -> None:
        self._node, self._mboxes = node, [f"m{n}" for n in range(len(conditions))]
        self._clients: list[tuple[str, list[str]]] = []
        for start in range(0, len(conditions), AT_ONCE):
            client, mboxes = f"{name}-{start}", self._mboxes[start : start + AT_ONCE]
            document = artifact(conditions[start : start + AT_ONCE], mboxes)
            config = {"decisioningMethod": "on-device", "artifactPayload": document, "pollingInterval": 0}
            node.call("create", id=client, port=port, wiring="fetchApi", config=config)
            self._clients.append((client, mboxes))
        document = artifact(json.loads(json.dumps(conditions)), self._mboxes)
        self._ours = Rules(document, "demo", None, "adobe")

    def held(self, asked: Sequence[dict[str, Any]]) -> list[list[bool]]:
        """Return for each visit whether each condition holds in Adobe's client."""
        held: list[list[bool]] = [[] for _ in asked]
        for client, mboxes in self._clients:
            answers = self._node.call("rules", id=client, visits=asked, mboxes=mboxes)["held"]
            for known, answer in zip(held, answers, strict=True):
                known += answer
        return held

    def differences(self, visits: Sequence[dict[str, Any]]) -> tuple[list[Any], int]:
        """Return conditions and visits for which the two differ, and the number of decisions."""
        asked = [{"context": context(visit), **{k: visit[k] for k in ("parameters", "tntId")}} for visit in visits]
        theirs = self.held(asked)
        found: list[Any] = []
        for visit, held in zip(visits, theirs, strict=True):
            made = Visit(
                url=visit["url"],
                referer=visit["referer"],
                user_agent=visit["agent"],
                now=time.time(),
                path="/",
                host="x",
            )
            data = {**visit["parameters"], **{f"geo.{name}": value for name, value in visit["geo"].items()}}
            data |= {f"clientHints.{name}": value for name, value in visit["hints"].items()}
            mboxes = self._ours.decide(made, facts(data, {}, {}), visit["tntId"], self._mboxes)
            ours = [bool(mbox.offers) for mbox in mboxes]
            found += [(n, visit) for n, pair in enumerate(zip(ours, held, strict=True)) if pair[0] is not pair[1]]
        return found, len(visits) * len(self._mboxes)


def visit(**given: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"url": "https://www.mysite.com/", "referer": "", "agent": CHROME, "tntId": "v-1"}
    return {**base, "parameters": {}, "geo": {}, "hints": {}, **given}


def context(visit: dict[str, Any]) -> dict[str, Any]:
    address = {"url": visit["url"], "referringUrl": visit["referer"]}
    hints = {"clientHints": visit["hints"]} if visit["hints"] else {}
    return {"channel": "web", "userAgent": visit["agent"], "address": address, "geo": visit["geo"], **hints}


Make = Callable[[Sequence[Any]], OnDevice]


@pytest.fixture
def make(node: Process, sandbox: SandboxServer, request: pytest.FixtureRequest) -> Make:
    numbers = itertools.count()
    return lambda conditions: OnDevice(node, sandbox.port, f"{request.node.name}-{next(numbers)}", conditions)


VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 18, 0.5, 1e21, 1e-7, 9007199254740993, 100),
    *("", " ", "0", "1", "18", " 18 ", "18.0", "1e2", "0x12", "0b11", "+1", "-1", ".5", "5.", "Infinity", "NaN", "1_0"),
    *(
        "true",
        "false",
        "null",
        "undefined",
        "a",
        "A",
        "b",
        "ä",
        "\ud83d\uded2",
        "\uff5e",
        "\u00a018",
        "1,2",
        "[object Object]",
    ),
    *([], [0], [1], [1, 2], [None], [""], ["a"], [[1]], {}, {"a": 1, "b": 2}),
    {"var": "no.such"},
    {"var": "mbox.text"},
    {"var": "mbox.number"},
]
BINARY = ["==", "!=", "===", "!==", "<", "<=", ">", ">=", "in"]
PARAMETERS = {"text": "Gold", "number": "18", "empty": "", "a.b": "1"}


@pytest.mark.parametrize("operator", BINARY)
def test_operators_on_all_pairs_of_types(make: Make, operator: str) -> None:
    """Comparisons are those of JavaScript."""
    conditions = [{operator: list(pair)} for pair in itertools.product(VALUES, VALUES)]
    found, decisions = make(conditions).differences([visit(parameters=PARAMETERS)])
    assert [conditions[n] for n, _ in found] == []
    assert decisions == len(VALUES) ** 2


def test_values_of_the_other_operators(make: Make) -> None:
    """Sums, texts, lists and choices have the values that JavaScript gives them."""
    shown = [
        {"cat": [{operator: [value]}]}
        for operator in ("!", "!!", "+", "-", "*", "cat", "max", "min")
        for value in VALUES
    ]
    pairs = itertools.product(VALUES[:32], VALUES[:32])
    shown += [
        {"cat": [{operator: list(pair)}]} for pair in pairs for operator in ("+", "*", "-", "/", "%", "max", "cat")
    ]
    shown += [{"substr": [text, *part]} for text in ("jsonlogic", "a\ud83d\uded2b", 12345, None) for part in PARTS]
    shown += OTHERS
    data = {"mbox": {"text": "Gold", "number": "18"}, "list": [1, 2, 3]}
    conditions: list[Any] = []
    for logic in shown:
        try:
            expected: Any = joined([compiled(logic).value(data)], "")
        except (LogicError, TypeError, ValueError):
            continue
        conditions.append({"===": [{"cat": [logic]}, expected]} if not logic_is_list(logic) else logic)
    device = make(conditions)
    (theirs,) = device.held([{"context": context(visit()), "parameters": PARAMETERS, "tntId": "v-1"}])
    assert [
        condition for condition, held in zip(conditions, theirs, strict=True) if not held and "===" in condition
    ] == []
    assert device.differences([visit(parameters=PARAMETERS)])[0] == []


def logic_is_list(logic: Any) -> bool:
    return next(iter(logic)) in ("map", "filter", "merge", "missing", "missing_some")


PARTS: list[list[Any]] = [[0], [4], [-3], [1, 3], [1, -2], [-5, -2], [0, 99], [99], ["1", "2"], [None, 2], [1.9, 2.9]]
OTHERS: list[Any] = [
    {"if": []},
    {"if": ["a"]},
    {"if": [0, "a"]},
    {"if": ["", "a", "b"]},
    {"?:": ["0", "a", "b"]},
    {"if": [[], "a", [0], "b", "c"]},
    {"and": []},
    {"and": [1, "a"]},
    {"and": [1, "", 3]},
    {"or": [0, "", "x"]},
    {"or": [0, ""]},
    {"<": [1, 2, 3]},
    {"<": [1, 3, 2]},
    {"<=": [1, 1, 1]},
    {"in": ["a"]},
    {"==": [None]},
    {"+": []},
    {"min": []},
    {"max": []},
    {"var": "mbox.text.length"},
    {"var": ["no.such", "other"]},
    {"var": ["mbox.text", "other"]},
    {"reduce": [[1, 2, 3], {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]},
    {"reduce": [1, {"var": "current"}, 7]},
    {"all": [[1, 2], {">": [{"var": ""}, 0]}]},
    {"all": [[], {"var": ""}]},
    {"some": [[0, "", 3], {"var": ""}]},
    {"none": [[0, ""], {"var": ""}]},
    {"none": ["text", {"var": ""}]},
    {"map": [[1, 2], {"*": [{"var": ""}, 2]}]},
    {"map": ["text", {"var": ""}]},
    {"filter": [[0, 1, "", "a"], {"var": ""}]},
    {"merge": [[1], 2, [[3]]]},
    {"missing": ["mbox.text", "no.such"]},
    {"missing_some": [1, ["mbox.text", "no.such"]]},
    {"missing_some": [2, ["mbox.text", "no.such"]]},
]


def test_pages_and_browsers(make: Make) -> None:
    """Domains go by the public suffix list, as in the client for servers; HeadlessChrome is chrome."""
    wanted = [
        "mysite.com",
        "mysite.co.uk",
        "co.uk",
        "com",
        "shop",
        "shop.eu",
        "www",
        "",
        "localhost",
        "github.io",
        "/",
        "/foo/bar",
    ]
    wanted += [
        ".eu",
        "b.c",
        "de",
        "example.de",
        "foo=bar",
        "part",
        "192.0.2.1",
        "wayne-enterprises.us-east-1.elasticbeanstalk.com",
    ]
    fields = ["domain", "subdomain", "topLevelDomain", "path", "query", "fragment", "url"]
    conditions: list[Any] = [
        {"==": [text, {"var": f"{place}.{name}{case}"}]}
        for place in ("page", "referring")
        for name in fields
        for case in ("", "_lc")
        for text in wanted
    ]
    browsers = ["chrome", "edge", "firefox", "safari", "mobile safari", "ie", "unknown"]
    conditions += [{"==": [name, {"var": "user.browserType"}]} for name in browsers]
    conditions += [
        {">=": [{"var": "user.browserVersion"}, version]} for version in (-1, 0, 8, 11, 17, 115, 119, 120, 121)
    ]
    conditions += [
        {"==": [name, {"var": "user.platform"}]} for name in ("linux", "windows", "mac", "iOS", "unknown", "Chrome OS")
    ]
    visits = [visit(url=f"https://{host}{path}") for host in HOSTS for path in PATHS]
    visits += [visit(referer=f"http://{host}:8080{path}") for host in HOSTS for path in PATHS]
    visits += [visit(agent=agent) for agent in AGENTS]
    hints = ['"Chromium";v="120", "Google Chrome";v="121.0.1"', '"Microsoft Edge";v="99"', '"Brand";v="1"']
    visits += [
        visit(hints={"browserUAWithMajorVersion": hint, "platform": name})
        for hint in hints
        for name in ("macOS", "Chrome OS")
    ]
    found, _ = make(conditions).differences(visits)
    assert [(conditions[n], at["url"], at["referer"], at["agent"]) for n, at in found][:20] == []


def test_published_rules(make: Make) -> None:
    """All conditions of the artifacts that Adobe tests its own clients with, over many visits."""
    conditions = [entry["condition"] for entry in json.loads(PUBLISHED.read_text("utf-8"))["conditions"]]
    places: list[dict[str, Any]] = [
        {},
        {
            "countryCode": "US",
            "stateCode": "CALIFORNIA",
            "city": "SANFRANCISCO",
            "latitude": 37.75,
            "longitude": -122.4,
        },
        {"countryCode": "MX", "stateCode": "OAXACA", "city": "OAXACA", "latitude": 17.0, "longitude": -96.7},
    ]
    parameters = [
        {},
        {
            "foo": "bar",
            "jason": "isawesome",
            "greg": "isdabest",
            "favorite.color": "Red",
            "favorite.movie": "Anchorman",
        },
        {"foo": "bar", "first.programming.language": "C#"},
    ]
    visits = [
        visit(url=f"https://{host}{path}", agent=agent, geo=place, parameters=given, tntId=f"visitor-{n}")
        for n, (host, path, agent, place, given) in enumerate(
            itertools.product(HOSTS, PATHS, AGENTS[:4], places, parameters)
        )
    ]
    visits = visits[::7]  # which meets every value of each, as no number of them is a multiple of 7
    found, decisions = make(conditions).differences(visits)
    print(f"{len(found)} of {decisions} decisions differ")
    assert [(conditions[n], at) for n, at in found][:5] == []
