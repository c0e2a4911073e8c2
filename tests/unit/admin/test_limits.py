"""Limits of calls: 50 in any minute, batches that are paid for later, one limit over several processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.admin import SharedLimiter, ThrottledError, UnreachableError
from flagmw.admin.flow.blocking import BlockingDriver
from flagmw.admin.limits.window import Window
from tests.contracts.outbox.on_valkey import address
from tests.support.http_vendor import Answer, HttpVendor, Request, answer
from tests.unit.admin.adobe import Clock, async_client, client


def test_fifty_calls_a_minute() -> None:
    """Of 120 calls in a row no more than fifty fall into any sixty seconds, and none waits longer than it must."""
    clock = Clock()
    times: list[float] = []

    def handle(request: Request) -> Answer:
        times.append(clock())
        return answer({"id": 1})

    with HttpVendor(handle) as vendor, client(vendor.url, clock) as admin:
        for _ in range(120):
            admin.offers.content.get(1)
    assert times == [1000.0] * 50 + [1060.0] * 50 + [1120.0] * 20


async def test_fifty_calls_a_minute_asynchronously() -> None:
    """The limit is the same in the asynchronous client."""
    clock = Clock()
    with HttpVendor(lambda _: answer({"id": 1})) as vendor:
        async with async_client(vendor.url, clock) as admin:
            for _ in range(51):
                await admin.offers.content.get(1)
    assert clock.slept == [60.0]


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 12)), max_size=40))
def test_no_window_holds_more_than_the_limit(calls: list[tuple[float, int]]) -> None:
    """Whatever comes when: in any ten seconds there are at most five calls, what counts for more apart."""
    clock = Clock()
    window, driver = Window(5, 10.0, clock=clock), BlockingDriver(sleep=clock.sleep)
    made: list[tuple[float, int]] = []
    for pause, cost in calls:
        clock.now += pause
        driver.run(window.acquire(cost, 1e9))
        if cost > 5:
            assert not [at for at, _ in made if at > clock() - 10 + 1e-6], "a large one waits for an empty window"
        made.append((clock(), cost))
    for at, _ in made:
        assert sum(min(cost, 5) for when, cost in made if at - 10 + 1e-6 < when <= at) <= 5
    # What counted for more than the window is paid for by the time that the next call is made.
    for (before, cost), (after, _) in pairwise(made):
        assert after - before >= (cost - 1) // 5 * 10 - 1e-6


def operations(count: int) -> list[dict[str, Any]]:
    return [{"operationId": number, "method": "GET", "relativeUrl": "/v2/offers"} for number in range(count)]


def test_a_batch_counts_as_its_operations() -> None:
    """A batch of 256 waits for an empty minute, is sent at once, and the next call waits until it is paid for."""
    clock = Clock()
    times: list[float] = []

    def handle(request: Request) -> Answer:
        times.append(clock())
        if request.method != "POST":
            return answer({"id": 1})
        sent = request.json()["operations"]
        return answer({"results": [{"operationId": one["operationId"], "statusCode": 200} for one in sent]})

    with HttpVendor(handle) as vendor, client(vendor.url, clock) as admin:
        admin.offers.content.get(1)
        assert len(admin.batch.run(operations(256))) == 256
        admin.offers.content.get(1)
    assert times == [1000.0, 1060.0, 1360.0]


def test_a_wait_that_is_too_long_is_refused() -> None:
    """When the limit would take longer than `max_wait_s`, nothing is sent and the error says for how long."""
    clock = Clock()
    with HttpVendor(lambda _: answer({"id": 1})) as vendor, client(vendor.url, clock, max_wait_s=30) as admin:
        for _ in range(50):
            admin.offers.content.get(1)
        with pytest.raises(ThrottledError, match="max_wait_s=30") as caught:
            admin.offers.content.get(1)
        assert caught.value.seconds == 60.0
        assert len(vendor.requests) == 50


def test_threads_take_turns() -> None:
    """Threads that come at once get one place each; nobody gets another's."""
    clock = time.monotonic
    window, driver = Window(3, 0.2, clock=clock), BlockingDriver()
    times: list[float] = []

    def work() -> None:
        driver.run(window.acquire(1, 10.0))
        times.append(clock())

    threads = [threading.Thread(target=work) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    assert times[3] - times[0] >= 0.19
    assert times[6] - times[0] >= 0.39


def test_a_limit_that_is_shared() -> None:
    """Two users of one limit, each with connections of its own, make ten calls a second together, and nearly that."""
    url, taken, begun = address(), list[float](), time.monotonic()

    def use() -> None:
        limiter, driver = SharedLimiter(url, "org", 10, 1), BlockingDriver()
        while time.monotonic() - begun < 1.3:
            driver.run(limiter.acquire(1, 10.0))
            taken.append(time.monotonic())

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A thread that does not get its turn of the processor is late, so the sum over the whole time counts.
    assert 10 < len(taken) <= 10 * (max(taken) - begun + 1) + 1


FOUR = """
import json, os, sys
from flagmw.admin import SharedLimiter, ThrottledError
from flagmw.admin.flow.blocking import BlockingDriver

def tried(calls):
    limiter, driver, made = SharedLimiter(sys.argv[1], "four", 50), BlockingDriver(), 0
    for _ in range(calls):
        try:
            driver.run(limiter.acquire(1, 0.0))
            made += 1
        except ThrottledError:
            pass
    return made

readers = []
for _ in range(4):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, b"%d" % tried(20))
        os._exit(0)
    os.close(writer)
    readers.append(reader)
print(json.dumps([int(os.read(reader, 16)) for reader in readers]))
"""


def test_four_processes_keep_fifty_a_minute() -> None:
    """Of eighty calls of four processes that share a server, fifty are made in the minute; no process is left out."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FOUR, address()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    made = json.loads(done.stdout)
    assert sum(made) == 50
    assert len(made) == 4 and max(made) == 20


def test_a_batch_takes_turns_before_it_is_made() -> None:
    """What counts for more than a shared limit takes its turns one after the other."""
    limiter = SharedLimiter(address(), "batch", 5, 1)
    begun = time.monotonic()
    BlockingDriver().run(limiter.acquire(8, 10.0))
    assert 0.8 <= time.monotonic() - begun < 6


def test_a_shared_limit_without_its_server() -> None:
    """The error names the server, without the password."""
    limiter = SharedLimiter("valkey://user:pass-word@127.0.0.1:1/0", "org", 10)
    with pytest.raises(UnreachableError, match=r"valkey://127.0.0.1:1/0") as caught:
        BlockingDriver().run(limiter.acquire(1, 1.0))
    assert "pass-word" not in str(caught.value)
