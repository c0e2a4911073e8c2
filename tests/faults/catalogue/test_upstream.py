"""Every upstream fault through both edges: the page, the reason code, the counters, and no event unaccounted for."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from flagmw import AdobeTarget, Contentstack, ErrorCode, Monetate, Reason
from tests.contracts.edges.driver import Answer, Edge, Make, Seen, webtrends
from tests.faults.catalogue.rows import USER, control, eventually
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import (
    Action,
    Connection,
    RawVendor,
    close,
    drip,
    forever,
    free_port,
    hang,
    http,
    read_request,
    reset,
    send,
)

GOOD = (
    b'{"body":{"factors":[{"name":"f","value":"variation"}]},"opcode":"process","params":{"testAlias":"ta_Project1"}}'
)
# An answer names the question that it answers; this stands for the one that was asked, and is as long.
ASKED = b"0" * 32
MESSAGE = b'{"body":{"message":{"errorCode":%d,"errorMessage":"x"}},"params":{}}'


@dataclass(frozen=True)
class Kind:
    """A vendor, and an answer of it that gives the alias the variant "variation".

    Attributes:
        visitor: cookies of somebody who is known there, and can convert.
        otherwise: what comes of a fault here, where it is not what the list says: the code and whether it trips.
    """

    make: Callable[[str], Any]
    alias: str
    good: bytes
    visitor: dict[str, str]
    otherwise: Mapping[str, tuple[ErrorCode | None, bool]] = field(default_factory=dict)


# Only Webtrends' published samples have trailing commas; and where every answer is an object, none at all is a failure.
STRICT = {"U18_trailing_comma": (ErrorCode.NOT_JSON, True)}
BROKEN_TEXT = {"U21_lone_surrogate": (ErrorCode.EMPTY, False)}
NEVER_EMPTY = {"U14_empty_200": (ErrorCode.EMPTY, True), "U14_204": (ErrorCode.EMPTY, True)}

KINDS = {
    "webtrends": Kind(
        lambda url: webtrends(url, name="webtrends"),
        "ta_Project1",
        GOOD,
        {USER: "WT3u~", control("ta_Project1"): "WT3c~"},
    ),
    "adobe": Kind(
        lambda url: AdobeTarget("demo", ["ta_Checkout"], name="adobe", base_url=url),
        "ta_Checkout",
        b'{"requestId":"00000000000000000000000000000000","id":{"tntId":"a1"},"client":"demo","execute":{"mboxes":'
        b'[{"index":0,"name":"ta_Checkout","options":[{"type":"html","content":"variation"}]}]}}',
        {"mbox": "session#s1#4000000000|PC#a1.35_0#4000000000"},
        {
            **STRICT,
            **NEVER_EMPTY,
            "U21_null_character": (ErrorCode.BAD_VARIANT, False),
            "U21_lone_surrogate": (ErrorCode.BAD_VARIANT, False),
        },
    ),
    "monetate": Kind(
        lambda url: Monetate("acme", "a-701b337c/p/example.com", base_url=url),
        "Banner",
        b'{"meta":{"code":200,"monetateId":"2.309132816.1519728587304"},"data":{"responses":[{"requestId":'
        b'"00000000000000000000000000000000","actions":[{"actionType":"monetate:action:OmnichannelJson","component":'
        b'"Banner","json":{},"impressionReporting":[{"experience_id":1,"variant_label":"variation"}]}]}]}}',
        {"mt.v": "2.309132816.1519728587304"},
        {**STRICT, **NEVER_EMPTY, "U21_null_character": (ErrorCode.EMPTY, False), **BROKEN_TEXT},
    ),
    "contentstack": Kind(
        lambda url: Contentstack("64c7787b333555469a861224", base_url=url),
        "exp:0",
        b'{"activeVariants":{"0":"variation"},"experiences":[{"shortUid":"0","activeVariantShortUid":"variation"}]}',
        {"cs-personalize-user-uid": "u1"},
        {**STRICT, **NEVER_EMPTY, "U21_null_character": (ErrorCode.EMPTY, False), **BROKEN_TEXT},
    ),
}


@dataclass(frozen=True)
class Fault:
    """What the vendor does, given a good answer, and what has to come of it.

    Attributes:
        code: the reason's code; None where the answer counts all the same.
        trips: whether five of them in a row open the circuit breaker.
    """

    script: Callable[[bytes], Action | list[Action]] | None
    code: ErrorCode | None
    trips: bool = True


def say(data: bytes) -> Action:
    """Send *data*, with the id of the question that the last request asked."""

    def act(connection: Connection) -> None:
        asked = re.search(rb"[0-9a-f]{32}", connection.vendor.requests[-1].body)
        connection.send(data.replace(ASKED, asked[0] if asked else ASKED))

    return act


def said(data: bytes) -> Action:
    return forever(read_request, say(data))


def always(body: bytes, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Action:
    return said(http(body, status, headers))


def once(*actions: Action) -> list[Action]:
    return [read_request, *actions]


BOMB = gzip.compress(b"[" + b" " * 20_000_000 + b"]")
DEEP = b"[" * 100_000
LONG_INTEGER = b'{"opcode":"process","params":{"r_testID":' + b"9" * 5_000 + b"}}"

FAULTS = {
    "U1_refused": Fault(None, ErrorCode.CONNECT),
    "U4_reset_after_accept": Fault(lambda good: once(reset), ErrorCode.RESET),
    "U4_reset_in_the_body": Fault(lambda good: once(send(http(good)[:-20]), reset), ErrorCode.RESET),
    "U5_silence": Fault(lambda good: forever(read_request, hang), ErrorCode.DEADLINE),
    "U6_headers_in_drips": Fault(lambda good: forever(read_request, drip(http(good), 0.05)), ErrorCode.DEADLINE),
    "U7_body_in_drips": Fault(
        lambda good: [read_request, send(http(good)[: -len(good)]), drip(good, 0.05)], ErrorCode.DEADLINE
    ),
    "U9_500": Fault(lambda good: always(b"oops", 500), ErrorCode.HTTP_STATUS),
    "U9_502_page": Fault(lambda good: always(b"<html>Bad gateway</html>", 502), ErrorCode.HTTP_STATUS),
    "U10_503": Fault(lambda good: always(b"", 503, [("retry-after", "7")]), ErrorCode.HTTP_STATUS),
    "U11_429": Fault(lambda good: always(b"", 429, [("retry-after", "7")]), ErrorCode.RATE_LIMITED),
    "U12_401": Fault(lambda good: always(b"", 401), ErrorCode.UNAUTHORIZED, trips=False),
    "U12_403": Fault(lambda good: always(b"{}", 403), ErrorCode.UNAUTHORIZED, trips=False),
    "U13_404": Fault(lambda good: always(b"", 404), ErrorCode.HTTP_STATUS, trips=False),
    "U13_410": Fault(lambda good: always(b"<p>Gone</p>", 410), ErrorCode.HTTP_STATUS, trips=False),
    "U14_empty_200": Fault(lambda good: always(b""), ErrorCode.EMPTY, trips=False),
    "U14_204": Fault(lambda good: said(b"HTTP/1.1 204 No Content\r\n\r\n"), ErrorCode.EMPTY, trips=False),
    "U14_103_then_answer": Fault(lambda good: said(b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(good)), None),
    "U15_html_with_200": Fault(lambda good: always(b"<html>We are closed</html>"), ErrorCode.NOT_JSON),
    "U16_json_as_html": Fault(lambda good: always(good, 200, [("content-type", "text/html")]), None),
    "U17_truncated_json": Fault(lambda good: always(good[:-10]), ErrorCode.NOT_JSON),
    "U17_length_too_long": Fault(lambda good: once(send(http(good)[:-10]), close), ErrorCode.TRUNCATED),
    "U18_single_quotes": Fault(lambda good: always(good.replace(b'"', b"'")), ErrorCode.NOT_JSON),
    "U18_trailing_comma": Fault(lambda good: always(good[:-1] + b",}"), None),
    "U19_nan": Fault(lambda good: always(good[:-1] + b',"x":NaN}'), ErrorCode.NOT_JSON),
    "U20_utf16": Fault(lambda good: always(good.decode().encode("utf-16")), ErrorCode.NOT_JSON),
    "U20_bom": Fault(lambda good: always(b"\xef\xbb\xbf" + good), None),
    "U20_latin1": Fault(lambda good: always(good.replace(b"variation", b"vari\xe4tion")), ErrorCode.NOT_JSON),
    "U21_lone_surrogate": Fault(
        lambda good: always(good.replace(b"variation", rb"\ud800")), ErrorCode.FLAG_NOT_FOUND, False
    ),
    "U21_null_character": Fault(
        lambda good: always(good.replace(b"variation", rb"a\u0000b")), ErrorCode.FLAG_NOT_FOUND, False
    ),
    "U22_duplicate_key": Fault(lambda good: always(good.replace(b'"params"', b'"params":{},"params"')), None),
    "U23_depth": Fault(lambda good: always(DEEP), ErrorCode.NOT_JSON),
    "U23_integer": Fault(lambda good: always(LONG_INTEGER), ErrorCode.NOT_JSON),
    "U24_gzip_bomb": Fault(lambda good: always(BOMB, 200, [("content-encoding", "gzip")]), ErrorCode.TOO_LARGE),
    "U25_10_mb": Fault(lambda good: always(b" " * 10_000_000), ErrorCode.TOO_LARGE),
    "U26_unknown_encoding": Fault(lambda good: always(good, 200, [("content-encoding", "br")]), ErrorCode.ENCODING),
    "U26_truncated_gzip": Fault(
        lambda good: always(gzip.compress(good)[:-9], 200, [("content-encoding", "gzip")]), ErrorCode.ENCODING
    ),
    "U27_2000_headers": Fault(lambda good: always(good, 200, [(f"x-{n}", "y") for n in range(2000)]), None),
    "U27_1_mb_header": Fault(lambda good: always(good, 200, [("x-long", "y" * 1_000_000)]), ErrorCode.TOO_LARGE),
    "U28_redirect": Fault(
        lambda good: always(b"", 302, [("location", "http://169.254.169.254/latest/meta-data")]), ErrorCode.REDIRECT
    ),
    "U29_set_cookie_header": Fault(lambda good: always(good, 200, [("set-cookie", "sessionid=stolen; Path=/")]), None),
    "code_999": Fault(lambda good: always(MESSAGE % 999), ErrorCode.VENDOR_OTHER),
    "code_105": Fault(lambda good: always(MESSAGE % 105), ErrorCode.VENDOR_105, trips=False),
    "code_417": Fault(lambda good: always(MESSAGE % 417), ErrorCode.VENDOR_417, trips=False),
}


# What says that nothing is decided, where the vendor is in good health.
ANSWERS = (ErrorCode.FLAG_NOT_FOUND, ErrorCode.EMPTY, ErrorCode.BAD_VARIANT)
# What one vendor says of itself concerns no other.
OWN = tuple(name for name in FAULTS if not name.startswith("U"))


def show(seen: Seen, alias: str) -> Answer:
    variant = seen.flags.variant(alias)
    seen.flags.track("purchase")
    return Answer(f"{variant.key} {variant.reason} {variant.error_code}".encode())


@pytest.mark.parametrize(
    ("vendor", "fault"),
    [(vendor, fault) for vendor in KINDS for fault in FAULTS if vendor == "webtrends" or fault not in OWN],
)
def test_fault(edge: Edge, make: Make, vendor: str, fault: str) -> None:
    """The page is whole and says why it has its default; it is counted; no event is unaccounted for."""
    kind, row = KINDS[vendor], FAULTS[fault]
    code, trips = kind.otherwise.get(fault, (row.code, row.trips))
    deadline_ms = 300 if code is ErrorCode.DEADLINE else 3000
    script = row.script(kind.good) if row.script is not None else None
    with RawVendor(script if script is not None else hang) as raw:
        base_url = raw.url if script is not None else f"http://127.0.0.1:{free_port()}"
        fm = make(vendors=[kind.make(base_url)], defaults={kind.alias: "calm"}, deadline_ms=deadline_ms)
        app = edge.mount(lambda seen: show(seen, kind.alias), fm)
        started = time.monotonic()
        page = edge.get(app, cookies=kind.visitor)
        elapsed = time.monotonic() - started
        assert page.status == 200
        key, reason, said_code = page.body.decode().split()
        if code is None:
            assert (key, said_code) == ("variation", "None")
            assert fm.counts()[("decided", vendor, "")] == 1
            assert not any("sessionid" in line for line in page.values("set-cookie"))
        else:
            informational = code.startswith("VENDOR_") or (code in ANSWERS and not trips)
            informational = informational or (vendor == "contentstack" and fault == "U12_403")
            assert (key, said_code) == ("calm", code)
            assert informational or page.values("set-cookie") == []
            if not code.startswith("VENDOR_"):
                assert reason == (Reason.DEFAULT if informational else Reason.ERROR)
            assert sum(n for (what, *_), n in fm.counts().items() if what in ("decided", "undecided")) == 1
            if code is not ErrorCode.FLAG_NOT_FOUND:
                assert fm.counts()[("undecided", vendor, code)] == 1
        assert elapsed < HELD_UP_S  # how near the deadline it is, edges/test_deadline.py says
        # The page converted all the same; whatever its delivery met, the event is accounted for.
        if code is not ErrorCode.DEADLINE:
            assert eventually(lambda: sum(n for (what, *_), n in fm.counts().items() if "delivery_" in what) >= 1)
        stats = fm.outbox_stats()
        assert stats.accepted >= 1 and stats.balanced()
        breaker = fm.health()["vendors"][vendor]["breaker"]
        if code in (ErrorCode.HTTP_STATUS, ErrorCode.RATE_LIMITED) and fault in ("U10_503", "U11_429"):
            assert breaker == "open", "Retry-After asks for rest at once"
            return
        assert breaker == "closed"
        opens = trips and code not in (None, ErrorCode.DEADLINE)
        for _ in range(5 if opens else 0):
            # Of others: one visitor's failures are one.
            assert edge.get(app).status == 200
        assert fm.health()["vendors"][vendor]["breaker"] == ("open" if opens else "closed")
