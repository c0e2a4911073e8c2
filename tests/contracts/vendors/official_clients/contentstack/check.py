"""Contentstack's own client (npm `@contentstack/personalize-edge-sdk`) against the sandbox, beside ours.

Run by `make official-clients-contentstack`, which installs the client; it is no part of `make test`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flagmw import Contentstack, Flagmw, Visit
from flagmw._drivers.blocking import BlockingDriver
from flagmw._support.deadline import Deadline
from flagmw.sandbox import SandboxServer
from flagmw.types import Decision, VisitorState
from tests.contracts.edges.driver import BROWSER, EDGES, Answer, Edge, Sent

HERE = Path(__file__).parent
PROJECT = "64c7787b333555469a861224"
USER, MANIFEST = "cs-personalize-user-uid", "cs-personalize-manifest"
PAGE = "https://shop.example/?utm_campaign=BF"
AUSTRALIA, NOWHERE = "203.0.113.0", "10.0.0.1"


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer("contentstack", seed=5) as server:
        yield server


@pytest.fixture
def sandbox(server: SandboxServer) -> SandboxServer:
    server.reset()
    return server


def theirs(sandbox: SandboxServer, *visits: Mapping[str, Any], project: str = PROJECT) -> list[dict[str, Any]]:
    """Return what the official client makes of *visits*."""
    asked = {"edge": sandbox.contentstack_url, "project": project, "visits": visits}
    done = subprocess.run(
        ["node", "client.mjs"],
        input=json.dumps(asked),
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answered: list[dict[str, Any]] = json.loads(done.stdout)
    return answered


def request(uid: str | None = None, address: str = NOWHERE, **more: Any) -> dict[str, Any]:
    cookie = {} if uid is None else {"cookie": f"{USER}={uid}"}
    return {"url": PAGE, "headers": {"x-forwarded-for": address, "user-agent": BROWSER, **cookie}, **more}


def ours(sandbox: SandboxServer, uid: str, address: str = NOWHERE, data: Any = None, **options: Any) -> Decision:
    """Return what our codec makes of the same visit."""
    vendor = Contentstack(PROJECT, base_url=sandbox.contentstack_url, **options)
    visit = Visit(url=PAGE, client_ip=address, user_agent=BROWSER, data=data or {})
    return BlockingDriver(pool_size=1).run(
        vendor.decide(visit, VisitorState({USER: uid})), Deadline(time.monotonic() + 5)
    )


def test_same_visitors_same_aliases_in_the_same_order(sandbox: SandboxServer) -> None:
    """Forty visitors, half of them in Australia, with and without a live attribute and tags."""
    cases = [
        (
            f"u{n}",
            AUSTRALIA if n % 2 else NOWHERE,
            {"age": 20} if n % 3 else {},
            ["env:production"] if n % 5 == 0 else [],
        )
        for n in range(40)
    ]
    told = theirs(sandbox, *(request(uid, place, liveAttributes=data, tags=tags) for uid, place, data, tags in cases))
    for (uid, place, data, tags), client in zip(cases, told, strict=True):
        decision = ours(sandbox, uid, place, data, tags=tags)
        assert decision.hints["variant_aliases"] == client["aliases"]
        assert decision.hints["variant_param"] == client["param"]
        listed = {f"exp:{each['shortUid']}": each["activeVariantShortUid"] for each in client["experiences"]}
        assert {
            alias: decision.variants[alias].key if alias in decision.variants else None for alias in listed
        } == listed
    assert len({tuple(client["aliases"]) for client in told}) > 5
    assert [request["lint"] for request in sandbox.ledger()["requests"]] == [[]] * 80


def test_what_the_client_reports_is_counted(sandbox: SandboxServer) -> None:
    """Its impressions, its conversion, its attributes and its merge are in the ledger."""
    (first,) = theirs(sandbox, request("u1"))
    steps = [
        ["set", {"age": 30}],
        ["triggerImpressions", {"aliases": first["aliases"]}],
        ["triggerEvent", "clickCTA"],
        ["setUserId", "known-1", {"preserveUserAttributes": True}],
    ]
    (last,) = theirs(sandbox, request("u1", steps=steps))
    assert last["uid"] == "known-1"
    ledger = sandbox.ledger()
    assert [f"cs_personalize_{view['alias']}_{view['variation']}" for view in ledger["views"]] == first["aliases"]
    assert [(each["alias"], each["metric"], each["system_uid"]) for each in ledger["conversions"]] == [
        ("0", "clickCTA", "u1")
    ]
    merge = ledger["requests"][-1]
    assert (merge["action"], merge["system_uid"], merge["into"]) == ("merge", "u1", "known-1")
    project = sandbox.sandbox.scenario.contentstack[0]
    assert sandbox.sandbox.contentstack_visitors.attributes(project, "known-1") == {"age": 30}
    # It sends JSON as text; that is the only thing a careful client would do otherwise.
    notes = {note for request in ledger["requests"] for note in request["lint"]}
    assert notes == {"content-type: must be application/json"}


@pytest.fixture(params=EDGES)
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    with EDGES[request.param]() as edge:
        yield edge


def page(edge: Edge, sandbox: SandboxServer, uid: str) -> list[str]:
    """Return the Set-Cookie lines of a page behind our middleware, for a visitor who brings their uid."""
    vendor = Contentstack(PROJECT, base_url=sandbox.contentstack_url)
    fm = Flagmw(vendors=[vendor], deadline_ms=5000, send_query=["utm_campaign"])
    app = edge.mount(lambda seen: Answer(seen.flags["exp:0"].encode()), fm)
    answer = edge.call(app, Sent(query="utm_campaign=BF", cookies={USER: uid}))
    edge.close(fm)
    return answer.values("set-cookie")


def test_our_cookies_are_theirs_byte_for_byte(sandbox: SandboxServer, edge: Edge) -> None:
    """Both lines, name, value and attributes: what one writes the other reads."""
    for uid, client in zip(("u1", "u2"), theirs(sandbox, request("u1"), request("u2")), strict=True):
        assert page(edge, sandbox, uid) == client["setCookie"]


def test_the_client_in_a_page_takes_our_manifest_and_asks_no_more(sandbox: SandboxServer, edge: Edge) -> None:
    pairs = [line.partition(";")[0] for line in page(edge, sandbox, "u1")]
    sandbox.clear_ledger()
    (client,) = theirs(sandbox, {"url": PAGE, "page": "; ".join(["first=1", *pairs, "last=2"])})
    assert client["uid"] == "u1"
    assert client["aliases"] == ours(sandbox, "u1").hints["variant_aliases"]
    assert len(sandbox.ledger()["requests"]) == 1, "ours alone"


def test_a_new_visitor_is_named_by_the_edge(sandbox: SandboxServer) -> None:
    (client,) = theirs(sandbox, request())
    (asked,) = sandbox.ledger()["requests"]
    assert (client["uid"], asked["minted"]) == (asked["system_uid"], True)


def test_errors_as_the_client_knows_them(sandbox: SandboxServer) -> None:
    other = "0" * 24
    assert theirs(sandbox, request("u1"), project=other) == [{"error": f"Project not found: {other}"}]
    sandbox.faults([{"kind": "status", "status": 500}])
    assert theirs(sandbox, request("u1")) == [{"error": "Could not fetch manifest: 500"}]
