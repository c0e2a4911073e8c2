"""Every upstream fault through both edges: the page, the reason code, the counters, and no event unaccounted for."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from flagmw import ErrorCode, Reason
from tests.catalogue.rows import USER, control, eventually
from tests.edges.driver import Answer, Edge, Make, Seen, webtrends
from tests.support.raw_vendor import (
    Action,
    RawVendor,
    always,
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

VISITOR = {USER: "WT3u~", control("ta_Project1"): "WT3c~"}
GOOD = (
    b'{"body":{"factors":[{"name":"f","value":"variation"}]},"opcode":"process","params":{"testAlias":"ta_Project1"}}'
)
MESSAGE = b'{"body":{"message":{"errorCode":%d,"errorMessage":"x"}},"params":{}}'


@dataclass(frozen=True)
class Fault:
    """What the vendor does, and what has to come of it.

    Attributes:
        code: the reason's code; None where the answer counts all the same.
        trips: whether five of them in a row open the circuit breaker.
    """

    script: Callable[[], Action | list[Action]] | None
    code: ErrorCode | None
    trips: bool = True


def said(data: bytes) -> Callable[[], Action]:
    return lambda: forever(read_request, send(data))


def once(*actions: Action) -> Callable[[], list[Action]]:
    return lambda: [read_request, *actions]


BOMB = gzip.compress(b"[" + b" " * 20_000_000 + b"]")
DEEP = b"[" * 100_000
LONG_INTEGER = b'{"opcode":"process","params":{"r_testID":' + b"9" * 5_000 + b"}}"

FAULTS = {
    "U1_refused": Fault(None, ErrorCode.CONNECT),
    "U4_reset_after_accept": Fault(once(reset), ErrorCode.RESET),
    "U4_reset_in_the_body": Fault(once(send(http(GOOD)[:-20]), reset), ErrorCode.RESET),
    "U5_silence": Fault(lambda: forever(read_request, hang), ErrorCode.DEADLINE),
    "U6_headers_in_drips": Fault(lambda: forever(read_request, drip(http(GOOD), 0.05)), ErrorCode.DEADLINE),
    "U7_body_in_drips": Fault(
        lambda: [read_request, send(http(GOOD)[: -len(GOOD)]), drip(GOOD, 0.05)], ErrorCode.DEADLINE
    ),
    "U9_500": Fault(lambda: always(b"oops", 500), ErrorCode.HTTP_STATUS),
    "U9_502_page": Fault(lambda: always(b"<html>Bad gateway</html>", 502), ErrorCode.HTTP_STATUS),
    "U10_503": Fault(lambda: always(b"", 503, [("retry-after", "7")]), ErrorCode.HTTP_STATUS),
    "U11_429": Fault(lambda: always(b"", 429, [("retry-after", "7")]), ErrorCode.RATE_LIMITED),
    "U12_401": Fault(lambda: always(b"", 401), ErrorCode.UNAUTHORIZED, trips=False),
    "U12_403": Fault(lambda: always(b"{}", 403), ErrorCode.UNAUTHORIZED, trips=False),
    "U13_404": Fault(lambda: always(b"", 404), ErrorCode.HTTP_STATUS, trips=False),
    "U13_410": Fault(lambda: always(b"<p>Gone</p>", 410), ErrorCode.HTTP_STATUS, trips=False),
    "U14_empty_200": Fault(lambda: always(b""), ErrorCode.EMPTY, trips=False),
    "U14_204": Fault(said(b"HTTP/1.1 204 No Content\r\n\r\n"), ErrorCode.EMPTY, trips=False),
    "U14_103_then_answer": Fault(said(b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(GOOD)), None),
    "U15_html_with_200": Fault(lambda: always(b"<html>We are closed</html>"), ErrorCode.NOT_JSON),
    "U16_json_as_html": Fault(lambda: always(GOOD, 200, [("content-type", "text/html")]), None),
    "U17_truncated_json": Fault(lambda: always(GOOD[:-10]), ErrorCode.NOT_JSON),
    "U17_length_too_long": Fault(once(send(http(GOOD)[:-10]), close), ErrorCode.TRUNCATED),
    "U18_single_quotes": Fault(lambda: always(GOOD.replace(b'"', b"'")), ErrorCode.NOT_JSON),
    "U18_trailing_comma": Fault(lambda: always(GOOD[:-1] + b",}"), None),
    "U19_nan": Fault(lambda: always(GOOD[:-1] + b',"x":NaN}'), ErrorCode.NOT_JSON),
    "U20_utf16": Fault(lambda: always(GOOD.decode().encode("utf-16")), ErrorCode.NOT_JSON),
    "U20_bom": Fault(lambda: always(b"\xef\xbb\xbf" + GOOD), None),
    "U20_latin1": Fault(lambda: always(GOOD.replace(b"variation", b"vari\xe4tion")), ErrorCode.NOT_JSON),
    "U21_lone_surrogate": Fault(lambda: always(GOOD.replace(b"variation", rb"\ud800")), ErrorCode.NOT_JSON),
    "U21_null_character": Fault(
        lambda: always(GOOD.replace(b"variation", rb"a\u0000b")), ErrorCode.FLAG_NOT_FOUND, False
    ),
    "U22_duplicate_key": Fault(lambda: always(GOOD.replace(b'"params"', b'"params":{},"params"')), None),
    "U23_depth": Fault(lambda: always(DEEP), ErrorCode.NOT_JSON),
    "U23_integer": Fault(lambda: always(LONG_INTEGER), ErrorCode.NOT_JSON),
    "U24_gzip_bomb": Fault(lambda: always(BOMB, 200, [("content-encoding", "gzip")]), ErrorCode.TOO_LARGE),
    "U25_10_mb": Fault(lambda: always(b" " * 10_000_000), ErrorCode.TOO_LARGE),
    "U26_unknown_encoding": Fault(lambda: always(GOOD, 200, [("content-encoding", "br")]), ErrorCode.ENCODING),
    "U26_truncated_gzip": Fault(
        lambda: always(gzip.compress(GOOD)[:-9], 200, [("content-encoding", "gzip")]), ErrorCode.ENCODING
    ),
    "U27_2000_headers": Fault(lambda: always(GOOD, 200, [(f"x-{n}", "y") for n in range(2000)]), None),
    "U27_1_mb_header": Fault(lambda: always(GOOD, 200, [("x-long", "y" * 1_000_000)]), ErrorCode.TOO_LARGE),
    "U28_redirect": Fault(
        lambda: always(b"", 302, [("location", "http://169.254.169.254/latest/meta-data")]), ErrorCode.REDIRECT
    ),
    "U29_set_cookie_header": Fault(lambda: always(GOOD, 200, [("set-cookie", "sessionid=stolen; Path=/")]), None),
    "code_999": Fault(lambda: always(MESSAGE % 999), ErrorCode.VENDOR_OTHER),
    "code_105": Fault(lambda: always(MESSAGE % 105), ErrorCode.VENDOR_105, trips=False),
    "code_417": Fault(lambda: always(MESSAGE % 417), ErrorCode.VENDOR_417, trips=False),
}


def show(seen: Seen) -> Answer:
    variant = seen.flags.variant("ta_Project1")
    seen.flags.track("purchase")
    return Answer(f"{variant.key} {variant.reason} {variant.error_code}".encode())


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(edge: Edge, make: Make, fault: str) -> None:
    """The page is whole and says why it has its default; it is counted; no event is unaccounted for."""
    row = FAULTS[fault]
    deadline_ms = 300 if row.code is ErrorCode.DEADLINE else 3000
    script = row.script() if row.script is not None else None
    with RawVendor(script if script is not None else hang) as raw:
        base_url = raw.url if script is not None else f"http://127.0.0.1:{free_port()}"
        fm = make(
            vendors=[webtrends(base_url, name="webtrends")], defaults={"ta_Project1": "calm"}, deadline_ms=deadline_ms
        )
        app = edge.mount(show, fm)
        started = time.monotonic()
        page = edge.get(app, cookies=VISITOR)
        elapsed = time.monotonic() - started
        assert page.status == 200 and page.values("set-cookie") == []
        if row.code is None:
            assert page.body == b"variation SPLIT None"
            assert fm.counts()[("decided", "webtrends", "")] == 1
        else:
            informational = row.code.startswith("VENDOR_") or row.code is ErrorCode.FLAG_NOT_FOUND
            informational = informational or row.code is ErrorCode.EMPTY
            reason = Reason.DEFAULT if informational else Reason.ERROR
            assert page.body.decode().split()[0::2] == ["calm", row.code]
            if not row.code.startswith("VENDOR_"):
                assert page.body.decode().split()[1] == reason
            assert sum(n for (what, *_), n in fm.counts().items() if what in ("decided", "undecided")) == 1
            if row.code is not ErrorCode.FLAG_NOT_FOUND:
                assert fm.counts()[("undecided", "webtrends", row.code)] == 1
        assert elapsed < deadline_ms / 1000 + 0.3
        # The page converted all the same; whatever its delivery met, the event is accounted for.
        if row.code is not ErrorCode.DEADLINE:
            assert eventually(lambda: sum(n for (what, *_), n in fm.counts().items() if "delivery_" in what) == 1)
        stats = fm.outbox_stats()
        assert stats.accepted == 1 and stats.balanced()
        breaker = fm.health()["vendors"]["webtrends"]["breaker"]
        if row.code in (ErrorCode.HTTP_STATUS, ErrorCode.RATE_LIMITED) and fault in ("U10_503", "U11_429"):
            assert breaker == "open", "Retry-After asks for rest at once"
            return
        assert breaker == "closed"
        for _ in range(5 if row.trips and row.code not in (None, ErrorCode.DEADLINE) else 0):
            assert edge.get(app, cookies=VISITOR).status == 200
        state = fm.health()["vendors"]["webtrends"]["breaker"]
        expected = "open" if row.trips and row.code not in (None, ErrorCode.DEADLINE) else "closed"
        assert state == expected
