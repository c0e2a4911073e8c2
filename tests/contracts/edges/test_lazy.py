"""Lazy mode: a view that reads no flag costs nothing, and one that does is decided for once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flagmw import Flagmw, Flags, current
from flagmw.asgi import FlagsMiddleware, flags_from
from flagmw.codes import ErrorCode, Reason
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import (
    Answer,
    AsgiEdge,
    Edge,
    Make,
    Page,
    Seen,
    Sent,
    WsgiEdge,
    asgi_call,
    http_scope,
    webtrends,
)
from tests.contracts.edges.test_both import plain, total
from tests.contracts.edges.test_reuse import K1, asked
from tests.support.busy import HELD_UP_S, best
from tests.support.raw_vendor import RawVendor, forever, hang, read_request

ALIAS = "ta_Project1"
AsyncView = Callable[[Flags], Any]


def lazy(vendor: SandboxServer, **options: Any) -> dict[str, Any]:
    return {"vendors": [webtrends(vendor.webtrends_url)], "mode": "lazy", "defaults": {ALIAS: "calm"}, **options}


def asynchronous(view: AsyncView, fm: Flagmw) -> Any:
    """Mount a coroutine that is given the flags and returns the body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = await view(flags_from(scope))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(body).encode()})

    return FlagsMiddleware(app, flagmw=fm)


# Both edges


def test_A28_no_read_no_call(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A page whose view looks at no flag asks no vendor, sets no cookie and keeps its headers."""
    fm = make(**lazy(vendor))
    page = edge.get(edge.mount(plain, fm))
    assert page == edge.get(edge.app(plain))
    assert asked(vendor) == 0
    assert fm.counts() == {}


@pytest.mark.parametrize(("more", "before"), [({}, 0), ({"overrides": True, "signing_keys": [K1]}, 1)])
def test_who_is_let_through_is_asked_at_the_first_read(
    edge: Edge, make: Make, vendor: SandboxServer, more: dict[str, Any], before: int
) -> None:
    """Consent is asked when the view first looks; before the view only where the response depends on the visitor."""
    told: list[str] = []
    fm = make(**lazy(vendor, consent=lambda inbound: told.append(inbound.path) or True, **more))
    edge.get(edge.mount(plain, fm))
    assert len(told) == before
    edge.get(edge.mount(lambda seen: Answer(seen.flags[ALIAS].encode()), fm))
    assert len(told) == before + 1


def test_A28_repr_is_no_read(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A debugger that shows the flags does not make a call."""
    fm = make(**lazy(vendor))
    page = edge.get(edge.mount(lambda seen: Answer(repr(seen.flags).encode()), fm))
    assert page.body == b"Flags({}, not loaded)"
    assert asked(vendor) == 0


def test_A28_track_decides_nothing(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A conversion page that reads no flag converts with the cookies that the visitor has, without a decision."""
    eager = make(vendors=[webtrends(vendor.webtrends_url)])
    cookies = edge.get(edge.mount(plain, eager)).cookies
    fm = make(**lazy(vendor))
    page = edge.get(edge.mount(lambda seen: Answer(str(seen.flags.track("purchase")).encode()), fm), cookies=cookies)
    assert page.body != b"None"
    assert fm.flush(5)
    assert asked(vendor) == 1
    assert len(vendor.ledger()["conversions"]) == 4


def test_remembered_decision_is_read_on_either_edge(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """What needs no call is decided at the first read, on a loop too."""
    jar = edge.get(edge.mount(plain, make(vendors=[webtrends(vendor.webtrends_url)], signing_keys=[K1]))).cookies
    fm = make(**lazy(vendor, reuse_s=300, signing_keys=[K1]))
    page = edge.get(edge.mount(lambda seen: Answer(seen.flags.variant(ALIAS).reason.encode()), fm), cookies=jar)
    assert page.body == b"CACHED"
    assert page.values("cache-control") == ["private"]
    assert asked(vendor) == 1


# In threads


def test_wsgi_decides_at_the_first_read(wmake: Make, vendor: SandboxServer) -> None:
    """The first read waits for the vendor; the cookies and headers of the response are as in eager mode."""
    reads: list[int] = []

    def view(seen: Seen) -> Answer:
        reads.append(asked(vendor))
        variant = seen.flags[ALIAS]
        reads.append(asked(vendor))
        assert seen.flags.get("ta_Project2") is not None
        assert current() is seen.flags
        return Answer(variant.encode())

    with WsgiEdge() as edge:
        page = edge.get(edge.mount(view, wmake(**lazy(vendor, signing_keys=[K1]))))
    assert reads == [0, 1]
    assert asked(vendor) == 1
    assert page.cookies.keys() >= {"_wt.user-2490593", "flagmw"}
    assert page.values("vary") == ["Cookie"]


def test_wsgi_read_in_a_stream(wmake: Make, vendor: SandboxServer) -> None:
    """A stream whose first piece reads a flag has the cookies on its response."""

    def view(seen: Seen) -> Answer:
        def pieces() -> Any:
            yield seen.flags[ALIAS].encode()
            yield b"!"

        return Answer(pieces())

    with WsgiEdge() as edge:
        page = edge.get(edge.mount(view, wmake(**lazy(vendor))))
    assert page.body in (b"control!", b"variation!")
    assert "_wt.user-2490593" in page.cookies


def test_A29_ten_threads_of_one_request(wmake: Make, vendor: SandboxServer) -> None:
    """Ten threads that read in one request make one call, and read the same."""
    vendor.faults([{"kind": "delay", "ms": 150, "route": "control"}])

    def view(seen: Seen) -> Answer:
        flags = seen.flags
        with ThreadPoolExecutor(10) as threads:
            keys = set(threads.map(lambda _: flags[ALIAS], range(10)))
        return Answer(" ".join(keys).encode())

    with WsgiEdge() as edge:
        page = edge.get(edge.mount(view, wmake(**lazy(vendor))))
    assert page.body in (b"control", b"variation")
    assert asked(vendor) == 1


def test_wsgi_deadline(wmake: Make) -> None:
    """The read returns at the deadline with the default, and later reads do not wait again."""
    with RawVendor(forever(read_request, hang)) as raw:
        fm = wmake(vendors=[webtrends(raw.url)], mode="lazy", deadline_ms=200, defaults={ALIAS: "calm"})
        fm.start()

        def view(seen: Seen) -> Answer:
            first = seen.flags[ALIAS]

            def again() -> float:
                started = time.monotonic()
                assert seen.flags[ALIAS] == first
                return time.monotonic() - started

            return Answer(f"{first} {best(again, 0.1) < 0.1} {seen.flags.error_code}".encode())

        with WsgiEdge() as edge:
            page = edge.get(edge.mount(view, fm))
    assert page.body == b"calm True DEADLINE"


def test_hook_that_reads_flags_does_not_lock_up(wmake: Make, vendor: SandboxServer) -> None:
    """`on_decision` is called while the read waits; one that looks at the flags gets defaults, not a dead lock."""
    seen_by_hook: list[str] = []
    fm = wmake(**lazy(vendor, on_decision=lambda note: seen_by_hook.append(current()[ALIAS])))
    with WsgiEdge() as edge:
        pages: list[Page] = []
        app = edge.mount(lambda seen: Answer(seen.flags[ALIAS].encode()), fm)
        thread = threading.Thread(target=lambda: pages.append(edge.get(app)), daemon=True)
        thread.start()
        thread.join(10)
    assert not thread.is_alive()
    assert seen_by_hook == ["calm"]
    assert pages[0].body in (b"control", b"variation")


# On a loop


async def get(app: Any, **sent: Any) -> Page:
    return await asgi_call(app, http_scope(Sent(**sent)))


async def test_not_loaded_on_the_loops_own_thread(amake: Make, vendor: SandboxServer) -> None:
    """A coroutine that reads without `load()` gets the default at once, and is told why; a later load decides."""

    async def view(flags: Flags) -> str:
        variant = flags.variant(ALIAS)
        assert (flags[ALIAS], variant.error_code, variant.reason) == ("calm", ErrorCode.NOT_LOADED, Reason.ERROR)
        assert (flags.get(ALIAS), flags.error_code, flags.exposed) == (None, ErrorCode.NOT_LOADED, ())
        assert asked(vendor) == 0
        assert await flags.load() is flags
        assert flags.error_code is None
        return flags[ALIAS]

    page = await get(asynchronous(view, amake(**lazy(vendor))))
    assert page.body in (b"control", b"variation")
    assert "_wt.user-2490593" in page.cookies
    assert page.values("cache-control") == ["private"]
    assert asked(vendor) == 1


async def test_reads_without_load_cost_a_newcomer_nothing(amake: Make, vendor: SandboxServer) -> None:
    """Twenty reads that load nothing do not use up what newcomers are let through by the second."""

    async def view(flags: Flags) -> str:
        assert [flags[ALIAS] for _ in range(20)] == ["calm"] * 20
        await flags.load()
        return flags.variant(ALIAS).reason

    page = await get(asynchronous(view, amake(**lazy(vendor, new_visitors_per_s=2))))
    assert page.body == b"SPLIT"


async def test_read_while_loading_says_that_it_is_not_loaded(amake: Make, vendor: SandboxServer) -> None:
    """What is under way has decided nothing yet, and a read does not say that there is no such flag."""
    vendor.faults([{"kind": "delay", "ms": 800, "route": "control"}])

    async def view(flags: Flags) -> str:
        loading = asyncio.create_task(flags.load())
        await asyncio.sleep(0.05)
        assert flags.variant(ALIAS).error_code is ErrorCode.NOT_LOADED
        await loading
        return flags.variant(ALIAS).reason

    assert (await get(asynchronous(view, amake(**lazy(vendor))))).body == b"SPLIT"


async def test_A29_ten_coroutines_of_one_request(amake: Make, vendor: SandboxServer) -> None:
    """Ten coroutines that load in one request make one call."""
    vendor.faults([{"kind": "delay", "ms": 100, "route": "control"}])

    async def view(flags: Flags) -> str:
        async def read() -> str:
            return (await flags.load())[ALIAS]

        return " ".join({*await asyncio.gather(*(read() for _ in range(10)))})

    assert (await get(asynchronous(view, amake(**lazy(vendor))))).body in (b"control", b"variation")
    assert asked(vendor) == 1


async def test_A29_one_of_ten_gives_up(amake: Make, vendor: SandboxServer) -> None:
    """A coroutine that is cancelled while it waits leaves the others their decision."""
    vendor.faults([{"kind": "delay", "ms": 800, "route": "control"}])

    async def view(flags: Flags) -> str:
        tasks = [asyncio.create_task(flags.load()) for _ in range(10)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        assert all(one is flags for one in done[1:])
        return flags.variant(ALIAS).reason

    assert (await get(asynchronous(view, amake(**lazy(vendor))))).body == b"SPLIT"
    assert asked(vendor) == 1


async def test_A16_worker_threads_ask_the_loop(amake: Make, vendor: SandboxServer) -> None:
    """Reads in worker threads (a sync view) wait for the loop's one call, ten of them at once."""

    async def view(flags: Flags) -> str:
        keys = await asyncio.gather(*(asyncio.to_thread(lambda: flags[ALIAS]) for _ in range(10)))
        return " ".join({*keys})

    page = await get(asynchronous(view, amake(**lazy(vendor))))
    assert page.body in (b"control", b"variation")
    assert "_wt.user-2490593" in page.cookies
    assert asked(vendor) == 1


async def test_A16_worker_thread_waits_for_the_deadline_only(amake: Make) -> None:
    """The bridge from a thread ends with the deadline, as the read of a blocking server does."""
    with RawVendor(forever(read_request, hang)) as raw:
        fm = amake(vendors=[webtrends(raw.url)], mode="lazy", deadline_ms=200, defaults={ALIAS: "calm"})
        await fm.astart()

        async def view(flags: Flags) -> str:
            started = time.monotonic()
            key = await asyncio.to_thread(lambda: flags[ALIAS])
            return f"{key} {flags.error_code} {time.monotonic() - started < HELD_UP_S}"

        assert (await get(asynchronous(view, fm))).body == b"calm DEADLINE True"


async def test_A16_thread_whose_loop_stands_still(amake: Make, vendor: SandboxServer) -> None:
    """Where the loop waits for the very thread that asks it, the read gives up and the page is served."""
    fm = amake(**lazy(vendor, deadline_ms=100))

    async def view(flags: Flags) -> str:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(flags[ALIAS]))
        thread.start()
        thread.join(10)
        return f"{found}"

    assert (await get(asynchronous(view, fm))).body == b"['calm']"


def test_A16_thread_that_outlives_its_loop(vendor: SandboxServer) -> None:
    """A thread that reads when the loop is closed gets the default, not an error."""
    fm = Flagmw(**lazy(vendor))
    kept: list[Flags] = []

    async def view(flags: Flags) -> str:
        kept.append(flags)
        return ""

    with AsgiEdge() as edge:
        edge.call(asynchronous(view, fm), Sent())
        edge.close(fm)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: kept[0][ALIAS]).result(5) == "calm"
    assert kept[0].error_code is ErrorCode.NOT_LOADED
    fm.close()


async def test_load_that_is_not_read(amake: Make, vendor: SandboxServer) -> None:
    """Loading alone reads nothing: vendors' cookies are set, but a page for shared caches stays as it is."""
    fm = amake(**lazy(vendor))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await flags_from(scope).load()
        shared = [(b"cache-control", b"public, max-age=60")] if scope["path"] == "/shared" else []
        await send({"type": "http.response.start", "status": 200, "headers": shared})
        await send({"type": "http.response.body", "body": b""})

    mounted = FlagsMiddleware(app, flagmw=fm)
    assert (await get(mounted, path="/shared")).headers == [("cache-control", "public, max-age=60")]
    page = await get(mounted)
    assert "_wt.user-2490593" in page.cookies
    assert page.values("vary") == []


# Who it is


def tier(vendor: SandboxServer) -> list[Any]:
    return [request["data"].get("tier") for request in vendor.ledger()["requests"]]


async def test_identify_before_load(amake: Make, vendor: SandboxServer) -> None:
    """What the view finds out about its visitor is told to the vendor; said afterwards it is counted, not told."""
    fm = amake(**lazy(vendor, reuse_s=300))

    async def view(flags: Flags) -> str:
        assert flags.identify("ada", {"tier": "gold"}) is True
        await flags.load()
        assert flags.identify("bob", {"tier": "silver"}) is False
        return flags.variant(ALIAS).reason

    app = asynchronous(view, fm)
    assert (await get(app)).body == b"SPLIT"
    assert tier(vendor) == ["gold"]
    assert total(fm, "identify_ignored") == 1
    # The same user on another device.
    assert (await get(app)).body == b"CACHED"


async def test_identify_while_loading_counts_as_late(amake: Make, vendor: SandboxServer) -> None:
    """The question is on its way: whose it is cannot be changed any more."""
    vendor.faults([{"kind": "delay", "ms": 800, "route": "control"}])
    fm = amake(**lazy(vendor))

    async def view(flags: Flags) -> str:
        loading = asyncio.create_task(flags.load())
        await asyncio.sleep(0.05)
        told = flags.identify("bob", {"tier": "silver"})
        await loading
        return f"{told}"

    assert (await get(asynchronous(view, fm))).body == b"False"
    assert tier(vendor) == [None]
    assert total(fm, "identify_ignored") == 1


async def test_identify_after_a_read_that_loaded_nothing(amake: Make, vendor: SandboxServer) -> None:
    """A visitor named after a read that could not wait is still the one who is asked about."""
    fm = amake(**lazy(vendor, reuse_s=300))

    async def view(flags: Flags) -> str:
        assert flags[ALIAS] == "calm"
        assert flags.identify("ada", {"tier": "gold"}) is True
        return (await flags.load()).variant(ALIAS).reason

    app = asynchronous(view, fm)
    assert [(await get(app)).body for _ in range(2)] == [b"SPLIT", b"CACHED"]
    assert tier(vendor) == ["gold"]


def test_identify_in_threads(wmake: Make, vendor: SandboxServer) -> None:
    """The same in a blocking server; an id that cannot be sent as it is ends in a digest, and nothing is asked."""

    def view(seen: Seen) -> Answer:
        assert seen.flags.identify("x" * 300)
        assert asked(vendor) == 0
        told = [seen.flags.identify(data={"tier": "gold"}), bool(seen.flags[ALIAS]), seen.flags.identify("late")]
        return Answer(f"{told}".encode())

    fm = wmake(**lazy(vendor))
    with WsgiEdge() as edge:
        assert edge.get(edge.mount(view, fm)).body == b"[True, True, False]"
    assert tier(vendor) == ["gold"]
    assert (total(fm, "identify_ignored"), total(fm, "identity_fitted", ErrorCode.KEY_DIGEST)) == (1, 1)


def test_an_id_that_cannot_be_sent_in_debug(wmake: Make, vendor: SandboxServer) -> None:
    """While debugging it is the developer's error."""

    def view(seen: Seen) -> Answer:
        with pytest.raises(ValueError, match="user_id"):
            seen.flags.identify("x" * 300)
        return Answer(b"raised")

    with WsgiEdge() as edge:
        assert edge.get(edge.mount(view, wmake(**lazy(vendor), debug=True))).body == b"raised"


def test_identify_has_no_effect_in_eager_mode(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """There everything is decided when the view begins."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    page = edge.get(edge.mount(lambda seen: Answer(str(seen.flags.identify("ada")).encode()), fm))
    assert page.body == b"False"
    assert total(fm, "identify_ignored") == 1
