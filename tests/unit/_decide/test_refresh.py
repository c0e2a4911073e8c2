"""Background refresh: one thread, its times, what fails in it, and its end."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from flagmw._decide.refresh import Refresher
from flagmw._drivers.blocking import BlockingDriver
from flagmw._support.deadline import Deadline
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.sandbox import SandboxServer
from flagmw.types import Call, Flow
from tests.support.busy import HELD_UP_S
from tests.unit.vendors.adobe.codec import adobe, decide


class Rules:
    """A vendor that notes when it is refreshed."""

    def __init__(self, *waits: Any) -> None:
        self.waits, self.calls = list(waits), 0
        self.refresh_fault: ErrorCode | None = None
        self.called = threading.Semaphore(0)

    def refresh(self, now: float) -> Flow[float]:
        self.calls += 1
        self.called.release()
        wait = self.waits.pop(0) if self.waits else 1000.0
        if isinstance(wait, Exception):
            raise wait
        yield Call(method="GET", url="https://x.example/", headers={})
        return wait


def run(name: str, flow: Flow[float]) -> float:
    """Drive a flow that makes one call and needs no answer."""
    try:
        next(flow)
        flow.send(None)  # type: ignore[arg-type]
    except StopIteration as stop:
        return float(stop.value)
    raise AssertionError


@pytest.fixture
def refresher() -> Iterator[Any]:
    """Make refreshers that end with the test."""
    made: list[Refresher] = []

    def make(*vendors: Any, **more: Any) -> Refresher:
        named = {f"v{n}": vendor for n, vendor in enumerate(vendors)}
        made.append(Refresher(named, more.pop("run", run), Throttle(logging.getLogger("flagmw")), **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "flagmw-refresh"]


def test_nothing_starts_before_it_is_told_to(refresher: Any) -> None:
    vendor = Rules()
    made = refresher(vendor)
    assert threads() == [] and vendor.calls == 0
    made.start()
    assert vendor.called.acquire(timeout=20)
    assert len(threads()) == 1 and threads()[0].daemon


def test_nobody_to_refresh_no_thread(refresher: Any) -> None:
    refresher().start()
    assert threads() == []


def test_many_starts_are_one_thread(refresher: Any) -> None:
    made = refresher(Rules(), Rules())
    starting = [threading.Thread(target=made.start) for _ in range(20)]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    assert len(threads()) == 1


def test_each_vendor_has_its_own_times(refresher: Any) -> None:
    """The shortest pause is a second, whatever a vendor says."""
    often, seldom = Rules(0.0, -5.0), Rules(1000.0)
    started = time.monotonic()
    refresher(often, seldom).start()
    for _ in range(3):
        assert often.called.acquire(timeout=20)
    assert time.monotonic() - started >= 2.0
    assert seldom.calls == 1


@pytest.mark.parametrize("wait", [RuntimeError("secret"), math.nan, math.inf])
def test_a_failure_is_no_end(refresher: Any, wait: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One vendor's defect leaves the others their times, and its text is not logged."""
    broken, sound = Rules(wait), Rules()
    made = refresher(broken, sound)
    made.start()
    assert broken.called.acquire(timeout=20) and sound.called.acquire(timeout=20)
    assert threads() and "secret" not in caplog.text
    assert ("RuntimeError" in caplog.text) is isinstance(wait, RuntimeError)


def test_a_fault_is_logged(refresher: Any, caplog: pytest.LogCaptureFixture) -> None:
    vendor = Rules(1.0)
    vendor.refresh_fault = ErrorCode.CONNECT
    refresher(vendor).start()
    for _ in range(2):
        assert vendor.called.acquire(timeout=20)
    assert "CONNECT" in caplog.text and "v0" in caplog.text


def test_it_ends_while_it_waits_and_begins_anew(refresher: Any) -> None:
    vendor = Rules()
    made = refresher(vendor)
    made.start()
    assert vendor.called.acquire(timeout=20)
    started = time.monotonic()
    made.close()
    made.close()
    assert threads() == [] and time.monotonic() - started < HELD_UP_S
    made.start()
    assert vendor.called.acquire(timeout=20)


def test_a_call_under_way_is_not_waited_for_long(refresher: Any) -> None:
    held = threading.Event()

    def hang(name: str, flow: Flow[float]) -> float:
        next(flow)
        held.wait(3 * HELD_UP_S)
        return 1000.0

    vendor = Rules()
    made = refresher(vendor, run=hang)
    made.start()
    assert vendor.called.acquire(timeout=20)
    started = time.monotonic()
    made.close(0.2)
    assert time.monotonic() - started < HELD_UP_S
    held.set()


def test_a_forked_child_has_a_thread_of_its_own(refresher: Any) -> None:
    """The child finds none, starts its own, and the parent's goes on."""
    made = refresher(Rules())
    made.start()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside a thread, which is the point
        pid = os.fork()
    if pid == 0:
        try:
            before = len(threads())
            made.start()
            os.write(writing, bytes([before, len(threads())]))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert tuple(os.read(reading, 2)) == (0, 1)
    os.close(reading)
    os.close(writing)
    assert len(threads()) == 1


def test_rules_of_the_sandbox_over_the_network(refresher: Any) -> None:
    """An on-device vendor has its rules a moment after the start, and decides without a call."""
    with SandboxServer("adobe") as sandbox:
        url = sandbox.adobe_artifact_url()
        vendor = adobe("ta_Hero", decisioning="on-device", artifact_url=url, base_url=sandbox.adobe_url)
        driver = BlockingDriver(pool_size=1)
        made = refresher(vendor, run=lambda name, flow: driver.run(flow, Deadline.after(5.0, time.monotonic())))
        made.start()
        until = time.monotonic() + 5
        while decide(vendor)[0].error is not None and time.monotonic() < until:
            time.sleep(0.01)
        decision, calls = decide(vendor)
        assert list(decision.variants) == ["ta_Hero"] and calls == []
        assert [entry["action"] for entry in sandbox.ledger()["requests"]] == ["artifact"]
        made.close()
        driver.close()
