"""Cookie headers, read once for every time that they come."""

from __future__ import annotations

import tracemalloc

from flagmw._exchange.incoming_cookies import CookieReader
from flagmw._exchange.remembered import DIGEST_BYTES, RememberedDecision, pack, unpack
from flagmw._support.tokens import Keys
from flagmw.codes import ErrorCode
from flagmw.types import Decision
from tests.unit._exchange.test_remembered import NOW, USER, account, variant

KEYS = Keys(["k1-3f9a0c7be24d581690abcdef1234567890"])


def header(n: int, tests: int = 4) -> str:
    made = Decision(vendor="v1", variants={f"ta_{n}_{m}": variant(m) for m in range(tests)})
    token = KEYS.sign(
        "decision", {"h": "x", "d": pack([(bytes(DIGEST_BYTES), RememberedDecision(made, NOW))])}, NOW, 300
    )
    return f"site={n}; _wt.user-1=WT3abc{n}~; flagmw={token}"


def test_the_same_header_is_read_once() -> None:
    """What was found in a header is the very same object when it comes again."""
    read = CookieReader([account()], 1 << 20)
    assert read([header(1)]) is read([header(1)])
    assert read([header(1)]) is not read([header(2)])
    assert read([]) is read([])


def test_what_is_found() -> None:
    """Vendors' cookies, our own, and how much of the header is whose."""
    text = "site=1234; _wt.user-1=WT3abc~; flagmw=a.b.c; flagmw_override=ta:x; flagmw_other=z"
    carried = CookieReader([account()], 1 << 20)([text])
    assert carried.states[0].cookies == USER
    assert carried.own == {"flagmw": "a.b.c", "flagmw_override": "ta:x"}
    assert carried.vendor_bytes == len("_wt.user-1=WT3abc~; ")
    assert carried.token_bytes == len("flagmw=a.b.c; ")
    assert carried.site_bytes + carried.vendor_bytes + carried.token_bytes + len("flagmw_override=ta:x; ") == len(text)


def test_own_cookies_that_are_none() -> None:
    """One with characters that we never set, or too long, is left out and told."""
    carried = CookieReader([account()], 1 << 20)(["flagmw=a b; flagmw_override=" + "x" * 2049 + "; flagmw_visitor=<>"])
    assert carried.own == {}
    assert carried.rejected == [ErrorCode.COOKIE_VALUE, ErrorCode.COOKIE_SIZE, ErrorCode.COOKIE_VALUE]


def test_headers_without_anything_of_ours_take_no_room() -> None:
    """There are as many as visitors, and they are quickly read again."""
    read = CookieReader([account()], 1 << 20)
    assert read(["site=1"]) is not read(["site=1"])


def test_memory_is_bounded() -> None:
    """Of 800 visitors with verified tokens the latest are kept, within twice the memory that was given."""
    given = 1 << 20
    read, vendors = CookieReader([account()], given), [account()]
    headers = [header(n, tests=1 + n % 20) for n in range(800)]
    tracemalloc.start()
    for each in headers:
        carried = read([(each + " ")[:-1]])
        claims = KEYS.read("decision", carried.own["flagmw"], NOW)
        assert claims is not None
        carried.verified = "x", unpack(claims["d"], vendors)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"{used} bytes used of {given} given")
    assert 0.25 * given < used < 2 * given
    assert read([headers[-1]]).verified is not None
    assert read([headers[0]]).verified is None
