"""Whose a failure is: the vendor's, a visitor's, or this process's own."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from flagmw import AdobeTarget, Contentstack, Flagmw, Flags, Monetate, Visit
from flagmw.codes import ErrorCode
from tests.contracts.edges.driver import DOMAIN, webtrends
from tests.support.busy import best
from tests.support.raw_vendor import Action, Connection, RawVendor, always, close, forever, hang, http, read_request

USER = f"_wt.user-{DOMAIN}"
GOOD: dict[str, Any] = {
    "body": {
        "factors": [{"name": "f", "value": "b"}],
        "cookies": {USER: {"type": "persisted", "timeout": 9_000_000, "value": "WT3new"}},
    },
    "opcode": "process",
    "params": {"testAlias": "ta_A"},
}
DEADLINE_MS = 300
PAGE = "https://www.mysite.com/"


@pytest.fixture
def make() -> Iterator[Callable[..., Flagmw]]:
    """Return a maker of `Flagmw`; what is made is closed at the end, without waiting for anybody."""
    made: list[Flagmw] = []

    def make(**options: Any) -> Flagmw:
        made.append(Flagmw(**{"outbox": "memory://", "deadline_ms": DEADLINE_MS, "reuse_s": 0, **options}))
        return made[-1]

    yield make
    for fm in made:
        fm.close(0.1)


def breaker(fm: Flagmw, name: str = "wt") -> str:
    return str(fm.health()["vendors"][name]["breaker"])


def visit(**cookies: str) -> Visit:
    return Visit(url=PAGE, cookies={name.replace("user", USER): value for name, value in cookies.items()})


def evil(trouble: Action, body: Any = GOOD) -> Action:
    """Answer everybody but those whose request has "evil" in it."""

    def act(connection: Connection) -> None:
        while True:
            request = connection.read_request()
            if b"evil" in request.raw:
                trouble(connection)
            else:
                asked = orjson.loads(request.body) if request.body else {}
                answer = orjson.dumps(body)
                for id in (asked.get("requestId"), *(each.get("requestId") for each in asked.get("events", ()))):
                    answer = answer.replace(b"ASKED", str(id).encode()) if id else answer
                connection.send(http(answer))

    return act


def broken(connection: Connection) -> None:
    connection.send(http(b"oops", 500))


def resting(connection: Connection) -> None:
    connection.send(http(b"", 503, [("retry-after", "60")]))


# This process


def stand_still(seconds: float) -> None:
    """Stop every thread of this process: a call that keeps the interpreter's lock."""
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


def slowly(connection: Connection) -> None:
    connection.sleep(0.02)
    connection.send(http(orjson.dumps(GOOD)))


PAUSES = {"shorter than the deadline": [0.28] * 6, "just longer": [0.305] * 6, "long": [0.45, 0.9]}


@pytest.mark.parametrize("pauses", PAUSES.values(), ids=PAUSES)
async def test_a_blocked_loop_opens_no_breaker(make: Callable[..., Flagmw], pauses: list[float]) -> None:
    """Whatever the loop does while answers wait, the next visitor is decided for."""
    with RawVendor(forever(read_request, slowly)) as raw:
        fm = make(vendors=[webtrends(raw.url)])
        for pause_s in pauses:
            under_way = [asyncio.ensure_future(fm.adecide(visit())) for _ in range(8)]
            await asyncio.sleep(0.005)
            time.sleep(pause_s)
            await asyncio.gather(*under_way)
            assert breaker(fm) == "closed"
        assert (await fm.adecide(visit()))["ta_A"] == "b"
        await fm.aclose(0.1)


@pytest.mark.parametrize("pauses", PAUSES.values(), ids=PAUSES)
def test_threads_that_stood_still_open_no_breaker(make: Callable[..., Flagmw], pauses: list[float]) -> None:
    with RawVendor(forever(read_request, slowly)) as raw, ThreadPoolExecutor(4) as threads:
        fm = make(vendors=[webtrends(raw.url)])
        for pause_s in pauses:
            under_way = [threads.submit(fm.decide, visit()) for _ in range(4)]
            time.sleep(0.005)
            stand_still(pause_s)
            for one in under_way:
                one.result()
            assert breaker(fm) == "closed"
        assert fm.decide(visit())["ta_A"] == "b"


def test_U33_a_hung_vendor_is_left_alone_within_two_seconds(make: Callable[..., Flagmw]) -> None:
    """At ten requests a second and a deadline of 300 ms, from threads and on a loop."""

    def took() -> float:
        with RawVendor(hang) as raw:
            in_threads, on_loop = make(vendors=[webtrends(raw.url)]), make(vendors=[webtrends(raw.url)])
            started, opened = time.monotonic(), dict[str, float]()

            def watch(name: str, fm: Flagmw) -> bool:
                if breaker(fm) == "open":
                    opened.setdefault(name, time.monotonic() - started)
                return name in opened or time.monotonic() > started + 4

            async def ask() -> None:
                tasks = []
                while not watch("loop", on_loop):
                    tasks.append(asyncio.ensure_future(on_loop.adecide(visit())))
                    await asyncio.sleep(0.1)
                await asyncio.gather(*tasks)

            asking = threading.Thread(target=lambda: asyncio.run(ask()))
            asking.start()
            with ThreadPoolExecutor(8) as threads:
                while not watch("threads", in_threads):
                    threads.submit(in_threads.decide, visit())
                    time.sleep(0.1)
            asking.join()
            return max(opened.get("threads", 9.0), opened.get("loop", 9.0))

    # It is looked at ten times a second.
    assert best(took, 2.1, tries=3) < 2.1


# Visitors


@pytest.mark.parametrize("trouble", [broken, close, resting, hang], ids=["500", "close", "503", "hang"])
def test_five_pages_of_one_visitor_open_nothing(make: Callable[..., Flagmw], trouble: Action) -> None:
    """Nor do those of five with different cookies, one after the other; whoever comes next is decided for."""
    with RawVendor(evil(trouble)) as raw:
        fm = make(vendors=[webtrends(raw.url)], deadline_ms=100)
        assert fm.decide(visit())["ta_A"] == "b"
        for n in range(6):
            fm.decide(visit(user="evil"))
            fm.decide(visit(user=f"evil{n}"))
        assert breaker(fm) == "closed"
        flags = fm.decide(visit())
        assert (flags["ta_A"], flags.error_code) == ("b", None)


VENDORS: dict[str, tuple[Callable[[str], Any], dict[str, str], str, Any]] = {
    "webtrends": (lambda url: webtrends(url, name="v"), {USER: "evil"}, "ta_A", GOOD),
    "adobe": (
        lambda url: AdobeTarget("demo", ["ta_A"], name="v", base_url=url),
        {"mbox": "session#evil#4000000000|PC#evil.35_0#4000000000"},
        "ta_A",
        {
            "requestId": "ASKED",
            "id": {"tntId": "new.35_0"},
            "execute": {"mboxes": [{"name": "ta_A", "options": [{"type": "html", "content": "b"}]}]},
        },
    ),
    "contentstack": (
        lambda url: Contentstack("64c7787b333555469a861224", name="v", base_url=url),
        {"cs-personalize-user-uid": "evil"},
        "exp:0",
        {"experiences": [{"shortUid": "0", "activeVariantShortUid": "b"}]},
    ),
}


@pytest.mark.parametrize("trouble", [broken, close, hang], ids=["500", "close", "hang"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_cookie_that_makes_the_vendor_fail_is_replaced(
    make: Callable[..., Flagmw], vendor: str, trouble: Action
) -> None:
    """After a few pages the visitor is asked about without it, gets a variant, and the cookie is gone for good."""
    made, jar, alias, body = VENDORS[vendor]
    jar = dict(jar)
    with RawVendor(evil(trouble, body)) as raw:
        fm = make(vendors=[made(raw.url)], deadline_ms=200)
        # Four pages are enough; on a busy machine some of them say nothing of the vendor.
        for _ in range(12):
            if page(fm, jar)[alias] == "b":
                break
        else:
            raise AssertionError("the cookie is still sent")
        assert "evil" not in str(jar)
        assert breaker(fm, "v") == "closed"
        assert fm.counts()[("cookies_replaced", "v", "")] == 1


def page(fm: Flagmw, jar: dict[str, str]) -> Flags:
    """Return the flags of a page, and keep its cookies in *jar*."""
    flags = fm.decide(Visit(url=PAGE, cookies=dict(jar)))
    dict(flags)
    for line in flags.set_cookies:
        name, _, value = line.partition(";")[0].partition("=")
        if "Max-Age=0" in line:
            jar.pop(name, None)
        else:
            jar[name] = value
    return flags


def test_a_vendor_that_is_down_takes_nobody_s_cookies(make: Callable[..., Flagmw]) -> None:
    """Whoever comes all through an outage has their cookies after it: that they are to blame is not known."""
    down = True

    def act(connection: Connection) -> None:
        while True:
            request = connection.read_request()
            kept = b"WT3mine" in request.raw
            document = {**GOOD, "body": {**GOOD["body"], "factors": [{"name": "f", "value": "kept" if kept else "b"}]}}
            connection.send(http(b"oops", 500) if down else http(orjson.dumps(document)))

    with RawVendor(act) as raw:
        fm = make(vendors=[webtrends(raw.url)])
        for _ in range(6):
            assert fm.decide(visit(user="WT3mine"))["ta_A"] == "control"
        down = False
        assert fm.decide(visit(user="WT3mine"))["ta_A"] == "kept"


@pytest.mark.parametrize("trouble", [broken, close], ids=["500", "close"])
def test_a_third_of_the_traffic_costs_the_others_nothing(make: Callable[..., Flagmw], trouble: Action) -> None:
    """Fresh identities, each of which makes the vendor fail, among twice as many who do not."""
    with RawVendor(evil(trouble)) as raw:
        fm = make(vendors=[webtrends(raw.url)])
        honest = []
        for n in range(100):
            fm.decide(visit(user=f"evil{n}"))
            honest += [fm.decide(visit())["ta_A"], fm.decide(visit(user=f"WT3good{n}"))["ta_A"]]
        assert honest.count("b") == 200


def test_odd_text_of_a_visitor_is_not_the_vendor_s_fault(make: Callable[..., Flagmw]) -> None:
    """What cannot be sent is a defect of ours or of the request: no vendor is left alone for it."""
    with RawVendor(always(orjson.dumps(GOOD))) as raw:
        fm = make(vendors=[webtrends(raw.url)])
        for n in range(8):
            fm.decide(Visit(url=PAGE, user_agent=f"odd\x00\x1b\ud83d{n}", referer="\ud83d", language="\x00"))
        assert breaker(fm) == "closed"
        assert fm.decide(visit())["ta_A"] == "b"


# Empty answers


def test_U14_a_failure_serves_what_was_decided_before(make: Callable[..., Flagmw]) -> None:
    """An answer without the vendor's envelope is none: nothing of it is remembered, and what was decided stays."""
    answers = {"good": orjson.dumps(VENDORS["contentstack"][3]), "empty": b"", "null": b"null", "other": b"{}"}
    say = "good"

    def act(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.send(http(answers[say]))

    with RawVendor(act) as raw:
        fm = make(vendors=[VENDORS["contentstack"][0](raw.url)])
        now = time.time()
        who = Visit(url=PAGE, cookies={"cs-personalize-user-uid": "u1"}, now=now)
        assert fm.decide(who)["exp:0"] == "b"
        for n, say in enumerate(("empty", "null", "other"), 1):  # noqa: B007
            variant = fm.decide(Visit(url=PAGE, cookies=who.cookies, now=now + n)).variant("exp:0")
            assert (variant.key, variant.reason) == ("b", "STALE")


def test_U14_monetate_decides_nothing_or_fails(make: Callable[..., Flagmw]) -> None:
    """An empty list of answers is an answer; no list is none."""
    for body, code in (
        ({"meta": {"code": 200}, "data": {"responses": []}}, ErrorCode.EMPTY),
        ({"meta": {"code": 500}, "data": {"responses": []}}, ErrorCode.HTTP_STATUS),
        ({}, ErrorCode.SHAPE),
    ):
        with RawVendor(always(orjson.dumps(body))) as raw:
            fm = make(vendors=[Monetate("acme", "a-701b337c/p/example.com", base_url=raw.url)])
            assert fm.decide(visit()).variant("x").error_code is not None
            assert fm.counts()[("undecided", "monetate", code)] == 1
