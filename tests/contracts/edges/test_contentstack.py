"""Contentstack Personalize through both edges and real connections to the sandbox."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw import Contentstack
from flagmw.codes import ErrorCode
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Answer, Edge, Make, Seen, Visitor

PROJECT = "64c7787b333555469a861224"
USER, MANIFEST = "cs-personalize-user-uid", "cs-personalize-manifest"


@pytest.fixture
def personalize(vendor: SandboxServer) -> SandboxServer:
    vendor.replace_scenario("contentstack")
    return vendor


def project(server: SandboxServer, **options: Any) -> Contentstack:
    return Contentstack(PROJECT, base_url=server.contentstack_url, aliases={"0": "checkout"}, **options)


def buying(seen: Seen) -> Answer:
    seen.flags.track("purchase")
    return Answer(f"{seen.flags['checkout']} {seen.flags.get('exp:b')}".encode())


def test_returning_visitor_keeps_uid_and_variants(edge: Edge, make: Make, personalize: SandboxServer) -> None:
    """The first page names the visitor, 20 more and a new process keep them; each purchase arrives under that name."""
    fm = make(vendors=[project(personalize)], send_query=["utm_campaign"])
    visitor = Visitor(edge, edge.mount(buying, fm))
    first = visitor.get(query="utm_campaign=BF")
    variant, _, segment = first.body.decode().partition(" ")
    assert variant in ("0", "1", "2") and segment == "1"
    lines = {line.partition("=")[0]: line for line in first.values("set-cookie")}
    uid = first.cookies[USER]
    assert lines[USER] == f"{USER}={uid}; Max-Age=31536000; Path=/; Secure; SameSite=Lax"
    assert lines[MANIFEST].startswith(f'{MANIFEST}={{"activeVariants":{{"0":"{variant}","b":"1",')
    assert lines[MANIFEST].endswith("}]}; Path=/; Secure; SameSite=Lax")
    for _ in range(20):
        page = visitor.get(query="utm_campaign=BF")
        assert (page.body, page.values("set-cookie")) == (first.body, [])
    again = Visitor(edge, edge.mount(buying, make(vendors=[project(personalize)])), dict(visitor.cookies))
    assert again.get().body.decode() == f"{variant} None"
    assert fm.flush(5)
    ledger = personalize.ledger()
    asked = [request for request in ledger["requests"] if request["action"] == "manifest"]
    assert {request["system_uid"] for request in asked} == {uid}
    assert [request["minted"] for request in asked] == [True] + [False] * 21
    assert all(request["lint"] == [] for request in ledger["requests"])
    assert {conversion["system_uid"] for conversion in ledger["conversions"]} == {uid}
    assert len([each for each in ledger["conversions"] if each["metric"] == "purchase"]) >= 21


def test_what_was_read_is_reported_once(edge: Edge, make: Make, personalize: SandboxServer) -> None:
    """A visitor makes one impression of each experience whose flag a view read, over many pages and however it is read;
    what was only looked over makes none."""

    def reading(seen: Seen) -> Answer:
        flags = seen.flags
        dict(flags)
        return Answer(f"{flags['checkout']} {flags.variant('checkout').key} {flags.get('exp:none')}".encode())

    fm = make(vendors=[project(personalize, prefix="cs:")], send_query=["utm_campaign"])
    plain = make(vendors=[project(personalize)], reuse_s=300)
    shown: dict[str, str] = {}
    for own, view in ((fm, lambda seen: Answer(seen.flags["cs:checkout"].encode())), (plain, reading)):
        app = edge.mount(view, own)
        for _ in range(3):
            visitor = Visitor(edge, app)
            pages = [visitor.get() for _ in range(4)]
            variant = pages[0].body.split()[0].decode()
            assert {page.body for page in pages} == {pages[0].body}
            shown[visitor.cookies[USER]] = variant
        assert own.flush(5)
    ledger = personalize.ledger()
    seen = [(each["system_uid"], each["alias"], each["variation"]) for each in ledger["views"]]
    assert sorted(seen) == sorted((uid, "0", variant) for uid, variant in shown.items())
    told = [item for request in ledger["requests"] for item in request.get("items", ())]
    assert len(told) == len(shown), "each is told but once, whatever the vendor makes of repeats"
    assert plain.counts()[("reused", "", "")] == 9


def test_hints_outlast_the_decision(edge: Edge, make: Make, personalize: SandboxServer) -> None:
    """What the CMS and the page's client need is there with a remembered decision too: from memory, and, in a new
    process, from the visitor's own token."""
    keys = {"signing_keys": ["k-0123456789abcdefghijklmnopqrstuvwxyz"], "reuse_s": 300}
    told: list[Any] = []

    def view(seen: Seen) -> Answer:
        told.append((seen.flags["checkout"], seen.flags.contentstack, seen.flags.bootstrap()))
        return Answer()

    visitor = Visitor(edge, edge.mount(view, make(vendors=[project(personalize)], **keys)))
    visitor.get()
    visitor.get()
    Visitor(edge, edge.mount(view, make(vendors=[project(personalize)], **keys)), visitor.cookies).get()
    assert told[0] == told[1] == told[2]
    assert told[0][1].variant_param.startswith("0_")
    assert len([each for each in personalize.ledger()["requests"] if each["action"] == "manifest"]) == 1


def test_attributes_and_merge_are_tracks(edge: Edge, make: Make, personalize: SandboxServer) -> None:
    """What a view stores of the visitor decides their next page, under the name they log in with, too."""

    def login(seen: Seen) -> Answer:
        seen.flags.track("$set", data={"plan": "gold"}, vendors=["contentstack"])
        seen.flags.track("$merge", data={"into": "known-1"}, vendors=["contentstack"])
        return Answer(str(seen.flags.get("exp:d")).encode())

    fm = make(vendors=[project(personalize)])
    visitor = Visitor(edge, edge.mount(login, fm))
    assert visitor.get().body == b"None"
    assert fm.flush(5)
    assert visitor.get().body == b"0"
    visitor.cookies[USER] = "known-1"
    assert visitor.get().body == b"0"


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"kind": "error"}, ErrorCode.PROJECT_NOT_FOUND),
        ({"kind": "status", "status": 403}, ErrorCode.UNAUTHORIZED),
        ({"kind": "status", "status": 500}, ErrorCode.HTTP_STATUS),
        ({"kind": "html"}, ErrorCode.HTTP_STATUS),
        ({"kind": "empty"}, ErrorCode.EMPTY),
        ({"kind": "reset"}, ErrorCode.RESET),
        ({"kind": "truncate"}, ErrorCode.TRUNCATED),
        ({"kind": "trailing_comma"}, ErrorCode.NOT_JSON),
        ({"kind": "redirect"}, ErrorCode.REDIRECT),
        ({"kind": "hang"}, ErrorCode.DEADLINE),
    ],
)
def test_faults_are_defaults_with_a_code(
    edge: Edge, make: Make, personalize: SandboxServer, rule: dict[str, Any], code: ErrorCode
) -> None:
    """Whatever the vendor does, the page is whole and no cookie of the visitor's is touched."""
    personalize.faults([{"route": "contentstack.manifest", **rule}])
    seen_codes: list[Any] = []

    def view(seen: Seen) -> Answer:
        seen_codes.append(seen.flags.error_code)
        return Answer(seen.flags["checkout"].encode())

    fm = make(vendors=[project(personalize)], defaults={"checkout": "safe"}, deadline_ms=1500)
    page = edge.get(edge.mount(view, fm), cookies={USER: "u1", MANIFEST: '{"experiences":[]}'})
    assert (page.status, page.body, page.values("set-cookie")) == (200, b"safe", [])
    assert seen_codes == [code]


@pytest.mark.parametrize("value", ["null", "a=b c"])
def test_V19_odd_uid_of_the_vendor_is_no_cookie(edge: Edge, make: Make, personalize: SandboxServer, value: str) -> None:
    personalize.faults([{"route": "contentstack.manifest", "kind": "bad_cookie", "value": value}])
    page = edge.get(edge.mount(buying, make(vendors=[project(personalize)])))
    assert page.body.split()[0] in (b"0", b"1", b"2")
    assert page.values("set-cookie") == []


def test_manifest_past_the_cap_is_no_cookie(edge: Edge, make: Make, personalize: SandboxServer) -> None:
    personalize.faults([{"route": "contentstack.manifest", "kind": "huge_cookie"}])
    page = edge.get(edge.mount(buying, make(vendors=[project(personalize)])), cookies={MANIFEST: '{"experiences":[]}'})
    assert set(page.cookies) == {USER}
    assert any(line.startswith(f"{MANIFEST}=; Max-Age=0;") for line in page.values("set-cookie"))
