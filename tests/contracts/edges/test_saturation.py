"""More visitors at once than there are places for calls: they wait their turn; only hopeless waits end, at once."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from typing import Any

import pytest

from flagmw import ErrorCode, Flagmw, Visit
from flagmw._visitor_store.sqlite import SqliteVisitors
from tests.contracts.edges.driver import (
    Answer,
    Edge,
    Make,
    Page,
    Seen,
    Sent,
    asgi_app,
    asgi_call,
    http_scope,
    webtrends,
)
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import Action, Connection, RawVendor, forever, http

DECISION = (
    b'{"opcode": "process", "params": {"testAlias": "ta_Project1"}, "body": {"factors": '
    b'[{"name": "f", "value": "variation", "operation": 1}]}}'
)
VISIT = Visit(url="https://www.mysite.com/")


class Service:
    """A vendor that takes its time, and sees how many calls it has at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.most, self._now = seconds, 0, 0
        self._lock = threading.Lock()

    @property
    def script(self) -> Action:
        def act(connection: Connection) -> None:
            connection.read_request()
            with self._lock:
                self._now += 1
                self.most = max(self.most, self._now)
            try:
                connection.sleep(self.seconds)
            finally:
                with self._lock:
                    self._now -= 1
            connection.send(http(DECISION))

        return forever(act)


def show(seen: Seen) -> Answer:
    return Answer(f"{seen.flags['ta_Project1']} {seen.flags.error_code}".encode())


def waiting(fm: Flagmw) -> int:
    return sum(places.waiting for lane in fm._clients for places in {lane.calls.threads, lane.calls.tasks})


def told(pages: list[Page]) -> Counter[bytes]:
    return Counter(page.body for page in pages)


@pytest.mark.parametrize("options", [{}, {"pool_size": 4}, {"max_in_flight": 4}, {"pool_size": 400}])
def test_nobody_is_refused_while_an_answer_can_come(edge: Edge, make: Make, options: dict[str, int]) -> None:
    """Many times more visitors than places: all are decided for, and the vendor never sees more calls than places."""
    service = Service(0.01)
    places = 4 if options and "pool_size" not in options else min(options.get("pool_size", 64), 64)
    if edge.name == "asgi" and "max_in_flight" not in options:
        places = 64
    with RawVendor(service.script) as vendor:
        fm = make(vendors=[webtrends(vendor.url)], **options)
        pages = edge.at_once(edge.mount(show, fm), [Sent() for _ in range(100)])
        assert told(pages) == {b"variation None": 100}
        assert service.most <= places
        assert (fm.health()["vendors"]["wt"]["in_flight"], waiting(fm)) == (0, 0)


def test_threads_grow_to_what_is_needed(make: Make, edge: Edge) -> None:
    """Forty visitors at once are asked about at once, without an option; ten in a row need one thread."""
    if edge.name != "wsgi":
        pytest.skip("an event loop needs no threads")
    service = Service(0.2)
    with RawVendor(service.script) as vendor:
        fm = make(vendors=[webtrends(vendor.url)])
        app = edge.mount(show, fm)
        before = sum(thread.name.startswith("flagmw-") for thread in threading.enumerate())
        service.seconds = 0.0
        for _ in range(10):
            edge.get(app)
        after = sum(thread.name.startswith("flagmw-") for thread in threading.enumerate())
        service.seconds = 0.2
        assert told(edge.at_once(app, [Sent() for _ in range(40)])) == {b"variation None": 40}
    assert after - before <= 3  # one for the calls; the outbox may have started some of its own
    assert service.most > 20


def test_hopeless_visitors_are_refused_at_once(edge: Edge, make: Make) -> None:
    """A vendor that takes 0.2 s, one place and a deadline of 0.5 s: those far behind do not wait for it."""
    service = Service(0.2)
    with RawVendor(service.script) as vendor:
        fm = make(vendors=[webtrends(vendor.url)], deadline_ms=500, max_in_flight=1, pool_size=1, late_ms=0)
        app = edge.mount(show, fm)
        assert told([edge.get(app)]) == {b"variation None": 1}
        refused_after = []

        def timed(seen: Seen) -> Answer:
            if seen.flags.error_code == ErrorCode.SHED:
                refused_after.append(time.monotonic() - started)
            return show(seen)

        started = time.monotonic()
        pages = told(edge.at_once(edge.mount(timed, fm), [Sent() for _ in range(30)]))
        assert time.monotonic() - started < HELD_UP_S
    assert pages[b"variation None"] >= 1
    assert pages[b"control SHED"] >= 25
    assert sorted(refused_after)[len(refused_after) // 2] < 0.3
    # Calls that were late because they had to wait are no failures of the vendor.
    assert fm.health()["vendors"]["wt"]["breaker"] == "closed"


def test_one_vendor_s_line_holds_up_no_other(edge: Edge, make: Make) -> None:
    """A visitor who waits for one vendor is asked about at the other one meanwhile."""
    slow, quick = Service(0.3), Service(0.0)
    with RawVendor(slow.script) as one, RawVendor(quick.script) as two:
        vendors = [webtrends(one.url, name="one"), webtrends(two.url, name="two", prefix="two:")]
        fm = make(vendors=vendors, max_in_flight=2, deadline_ms=250, late_ms=0)

        def both(seen: Seen) -> Answer:
            return Answer(f"{seen.flags['ta_Project1']} {seen.flags['two:ta_Project1']}".encode())

        pages = edge.at_once(edge.mount(both, fm), [Sent() for _ in range(20)])
    assert told(pages) == {b"control variation": 20}


def test_requests_of_one_visitor_wait_as_one(edge: Edge, make: Make) -> None:
    """Ten pages of one visitor in the line need one place and one call."""
    service = Service(0.05)
    with RawVendor(service.script) as vendor:
        fm = make(vendors=[webtrends(vendor.url)], reuse_s=300, max_in_flight=1, pool_size=1)
        app = edge.mount(show, fm)
        sents = [Sent(cookies={"_wt.user-2490593": f"visitor-{n // 10}"}) for n in range(40)]
        assert told(edge.at_once(app, sents)) == {b"variation None": 40}
        assert len(vendor.requests) < 20


def test_clients_that_go_away_leave_no_hole(edge: Edge, make: Make) -> None:
    """Cancelled requests, waiting or under way, known or not, give their places back; the next ones are served."""
    if edge.name != "asgi":
        pytest.skip("only an event loop's requests are cancelled")
    service = Service(0.05)

    async def scene(fm: Flagmw) -> list[str]:
        app = edge.wrap(asgi_app(show), fm)

        def call(n: int) -> asyncio.Task[Page]:
            sent = Sent(cookies={"_wt.user-2490593": f"v{n}"} if n % 2 else {})
            return asyncio.create_task(asgi_call(app, http_scope(sent)))

        for seconds in (0.0, 0.001, 0.02, 0.06):
            tasks = [call(n) for n in range(30)]
            await asyncio.sleep(seconds)
            for n, task in enumerate(tasks):
                if n % 3:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        pages = await asyncio.gather(*(call(n) for n in range(30)))
        return [page.body.decode() for page in pages]

    with RawVendor(service.script) as vendor:
        fm = make(vendors=[webtrends(vendor.url)], max_in_flight=3)
        assert set(edge.run(scene(fm))) == {"variation None"}  # type: ignore[attr-defined]
        health = fm.health()["vendors"]["wt"]
        assert (health["in_flight"], waiting(fm), health["breaker"]) == (0, 0, "closed")


def test_two_loops_and_threads_stand_in_one_line() -> None:
    """Event loops in two threads and blocking callers share the places of a process; nobody is forgotten."""
    service = Service(0.005)
    with RawVendor(service.script) as vendor:
        fm = Flagmw(vendors=[webtrends(vendor.url)], outbox="memory://", deadline_ms=8000, max_in_flight=3)
        found: list[str] = []

        async def on_loop() -> None:
            for flags in await asyncio.gather(*(fm.adecide(VISIT) for _ in range(30))):
                found.append(flags["ta_Project1"])

        async def a_loop() -> None:
            await on_loop()
            for lane in fm._clients:
                await lane.aio.aclose()

        def blocking() -> None:
            found.extend(fm.decide(VISIT)["ta_Project1"] for _ in range(15))

        threads = [threading.Thread(target=lambda: asyncio.run(a_loop())) for _ in range(2)]
        threads += [threading.Thread(target=blocking) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HELD_UP_S)
        assert Counter(found) == {"variation": 120}
        assert service.most <= 3
        assert fm.health()["vendors"]["wt"]["in_flight"] == 0
        fm.close(1.0)


def test_event_loop_stays_free_with_500_waiting(edge: Edge, make: Make) -> None:
    """A vendor that takes 2 s, 500 visitors who come within half a second: nobody passes the deadline, and no step
    of the loop takes more than 10 ms of its thread's time."""
    if edge.name != "asgi":
        pytest.skip("threads have no loop")
    service = Service(2.0)
    steps, waits, codes = list[float](), list[float](), Counter[str]()

    async def scene(fm: Flagmw) -> None:
        async def look() -> None:
            while True:
                before = time.thread_time()
                await asyncio.sleep(0)
                steps.append(time.thread_time() - before)

        async def visitor(n: int) -> None:
            await asyncio.sleep(n / 1000)
            started = time.monotonic()
            flags = await fm.adecide(VISIT)
            waits.append(time.monotonic() - started)
            codes[str(flags.variant("ta_Project1").error_code)] += 1

        await visitor(0)
        looking = asyncio.create_task(look())
        await asyncio.gather(*(visitor(n) for n in range(500)))
        looking.cancel()

    with RawVendor(service.script) as vendor:
        edge.run(scene(make(vendors=[webtrends(vendor.url)], deadline_ms=600)))  # type: ignore[attr-defined]
    steps.sort()
    print(
        f"longest steps {[round(step * 1000, 1) for step in steps[-3:]]} ms, longest wait {max(waits):.3f} s, {codes}"
    )
    assert codes.keys() <= {"DEADLINE", "SHED", "BREAKER_OPEN"}
    assert steps[-3] < 0.01  # the collector of garbage may have a turn or two
    assert sorted(waits)[-25] < 0.65


def test_a_child_begins_with_free_places() -> None:
    """What the parent had under way and in line at a fork is none of the child's."""
    service = Service(HELD_UP_S)
    with RawVendor(service.script) as vendor:
        fm = Flagmw(vendors=[webtrends(vendor.url)], outbox="memory://", deadline_ms=3000, max_in_flight=1)
        threads = [threading.Thread(target=fm.decide, args=(VISIT,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        while waiting(fm) < 2:
            time.sleep(0.005)
        service.seconds = 0.0
        child = os.fork()
        if not child:
            os._exit(0 if fm.decide(VISIT)["ta_Project1"] == "variation" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        vendor.close()
        for thread in threads:
            thread.join(HELD_UP_S)
        fm.close(1.0)


class SlowStore(SqliteVisitors):
    """A visitor store that takes its time."""

    def load(self, key: str) -> bytes | None:
        time.sleep(0.005)
        return super().load(key)


def test_visitor_store_s_threads_have_a_line_too(edge: Edge, make: Make, tmp_path: Any) -> None:
    """A hundred visitors at once whose cookies are on the server: each is found, none is taken for a new one."""
    service = Service(0.0)
    with RawVendor(service.script) as vendor:
        fm = make(
            vendors=[webtrends(vendor.url)],
            visitor_store=SlowStore(tmp_path),
            signing_keys=["a-signing-key-of-the-tests-0123456789"],
        )
        app = edge.mount(show, fm)
        token = fm.config.signing_keys.sign("visitor", {"id": "somebody"}, time.time(), 3600)
        pages = edge.at_once(app, [Sent(cookies={"flagmw_visitor": token}) for _ in range(100)])
    assert told(pages) == {b"variation None": 100}
    assert ("visitor_store_failed", "", "") not in fm.counts()
