"""Processes that deliver from one Valkey server, one of them killed in the middle of a batch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flagmw import Flagmw
from flagmw._support.encryption import AesGcm
from flagmw._support.secret import Secret
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.valkey import LocalPolicy, ValkeyOutbox
from flagmw.testing import FakeVendor
from flagmw.types import Delivered, Visit
from tests.contracts.outbox.on_valkey import address


class Ledger(ThreadingHTTPServer):
    """A vendor that writes down every id it is sent, and takes its time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Entry)
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()


class _Entry(BaseHTTPRequestHandler):
    server: Ledger

    def do_POST(self) -> None:
        ids = self.rfile.read(int(self.headers["Content-Length"])).decode().split()
        with self.server.lock:
            self.server.seen.update(ids)
        time.sleep(0.01)
        try:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
        except OSError:
            pass  # the consumer was killed

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    server = Ledger()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def consumer(url: str, ledger: Ledger) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.contracts.outbox.valkey_consumer", url, str(ledger.server_address[1])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_R8_a_consumer_is_killed_in_the_middle_of_a_batch(ledger, make_event, tmp_path, capsys):
    """Every event arrives; what the dead one had in hand comes from the other after the lease, and is counted."""
    url = address()
    shop = ValkeyOutbox(url, SqliteOutbox(tmp_path, LocalPolicy(), full_sync=False))
    first, second = consumer(url, ledger), consumer(url, ledger)
    try:
        events = [make_event() for _ in range(300)]
        assert len(shop.put_many(events, time.time())) == 300
        end = time.monotonic() + 30
        while sum(ledger.seen.values()) < 60:
            assert time.monotonic() < end
            time.sleep(0.005)
        first.kill()
        while shop.stats(time.time()).queued:
            assert time.monotonic() < end
            time.sleep(0.05)
        second.terminate()
        assert second.wait(10) == 0
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
            process.stdout.close()
    stats = shop.stats(time.time())
    twice = sum(ledger.seen.values()) - 300
    with capsys.disabled():
        print(f"\n300 events, 2 consumers, 1 killed: {len(ledger.seen)} arrived, {twice} of them twice")
    assert set(ledger.seen) == {event.id for event in events}
    assert (stats.accepted, stats.delivered, stats.dead, stats.dropped) == (300, 300, 0, {})
    assert 0 <= twice <= 40, "no more than what one process has in hand"
    shop.close()


def test_a_consumer_hears_of_new_events(make_event):
    """An idle consumer is told of events that another process has put there, and need not wait for its next look."""
    url = address()
    shop, idle = ValkeyOutbox(url, MemoryOutbox(LocalPolicy())), ValkeyOutbox(url, MemoryOutbox(LocalPolicy()))
    shop.put_many([make_event()], time.time())
    shop.forward(time.time())
    told = threading.Event()
    idle.on_work = told.set
    assert idle.claim(time.time(), 1, 60.0) is not None
    for _ in range(3):
        told.clear()
        shop.put_many([make_event()], time.time())
        assert told.wait(2)
    shop.close()
    idle.close()


def test_an_application_delivers_over_a_server(tmp_path):
    """`outbox="valkey://..."` is all it takes: what a page tracks goes to disk, to the server and to the vendor."""
    vendor = FakeVendor({"banner": "blue"})
    flagmw = Flagmw(vendors=[vendor], outbox=address(dir=tmp_path / "events"))
    flagmw.start()
    flags = flagmw.decide(Visit(url="https://shop.example/"))
    flags["banner"]
    flagmw.track("purchase", visitor=flags.save())
    assert flagmw.flush(10)
    stats = flagmw.outbox_stats()
    assert (stats.accepted, stats.delivered, stats.queued) == (1, 1, 0)
    assert list((tmp_path / "events").glob("slot-*.db"))
    flagmw.close()


@pytest.mark.parametrize("hours", [80, -80])
def test_a_clock_that_is_set_between_storing_and_forwarding_makes_no_event_older(tmp_path, hours):
    """The machine's clock is set while a process runs: what it stores then is as young as it is, and delivered."""
    ahead_s, vendor = [0.0], FakeVendor({"banner": "blue"})
    outbox = ValkeyOutbox(
        address(), SqliteOutbox(tmp_path, LocalPolicy(), full_sync=False), clock=lambda: time.time() + ahead_s[0]
    )
    flagmw = Flagmw(vendors=[vendor], outbox=outbox)
    flagmw.start()
    for n in range(2):
        flagmw.track("purchase", visitor=Visit(url="https://shop.example/"), data={"n": n})
        assert flagmw.flush(10)
        ahead_s[0] = hours * 3600.0
    stats = flagmw.outbox_stats()
    flagmw.close()
    assert (stats.accepted, stats.delivered, stats.dead, stats.dropped) == (2, 2, 0, {})
    outbox.close()


def test_a_machine_that_dies_while_it_forwards_loses_nothing(make_event, tmp_path):
    """Whether the server has an event may be in doubt, never the vendor: an at-most-once event is forwarded again."""
    events = [make_event(at_most_once=True), make_event(), make_event(visitor="ann")]
    child = os.fork()
    if child == 0:
        local = SqliteOutbox(tmp_path, LocalPolicy(), full_sync=False)
        local.put_many(events, time.time())
        held = [local.claim(time.time(), 5, 60.0) for _ in range(2)]
        os._exit(0 if all(held) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    shop = ValkeyOutbox(address(), SqliteOutbox(tmp_path, LocalPolicy(), full_sync=False))
    shop.open()
    end = time.monotonic() + 15
    seen = set()
    while len(seen) < 3:
        assert time.monotonic() < end
        lease = shop.claim(time.time(), 5, 60.0)
        seen.update(row.event.id for row in lease.rows) if lease else time.sleep(0.05)
    assert seen == {event.id for event in events}
    while (stats := shop.stats(time.time())).accepted > 3:
        # An event that moves is seen on both sides for a moment.
        assert time.monotonic() < end
        time.sleep(0.02)
    assert (stats.accepted, stats.queued, stats.dropped) == (3, 3, {})
    shop.close()


def test_events_that_a_process_cannot_read_are_left_to_others(make_event):
    """An event under a key that this process has not got yet, or of a newer version, waits for one that can read it."""
    url, now = address(), [1_800_000_000.0]
    keyed = AesGcm([Secret("A" * 43 + "=")])
    new, old = (
        ValkeyOutbox(url, MemoryOutbox(LocalPolicy()), seal=seal, clock=lambda: now[0], shared_clock=False)
        for seal in (keyed, None)
    )
    event = make_event()
    new.put_many([event], now[0])
    new.forward(now[0])
    assert old.claim(now[0], 5, 60.0) is None
    assert (old.stats(now[0]).queued, old.stats(now[0]).leased) == (1, 0)
    assert 0 < old.next_due(now[0]) <= 60
    now[0] += 60
    assert new.claim(now[0], 5, 60.0).rows[0].event == event
    new.close()
    old.close()


@pytest.mark.parametrize("ahead_s", [-7_200.0, 7_200.0])
def test_machines_whose_clocks_differ_agree_on_leases(make_event, ahead_s):
    """A machine that is hours ahead or behind neither ends the others' leases nor waits longer for its own."""
    url = address()
    here, there = (ValkeyOutbox(url, MemoryOutbox(LocalPolicy())) for _ in range(2))
    here.put_many([make_event()], time.time())
    here.forward(time.time())
    lease = here.claim(time.time(), 1, 60.0)
    there.put_many([make_event()], time.time() + ahead_s)
    there.forward(time.time() + ahead_s)
    other = there.claim(time.time() + ahead_s, 5, 60.0)
    assert len(other.rows) == 1
    assert 55 < there.next_due(time.time() + ahead_s) <= 60
    here.ack(lease, [Delivered()], time.time())
    there.ack(other, [Delivered()], time.time() + ahead_s)
    assert here.stats(time.time()).delivered == 2
    here.close()
    there.close()
