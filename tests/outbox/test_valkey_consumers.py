"""Processes that deliver from one Valkey server, one of them killed in the middle of a batch."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flagmw import Flagmw
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.valkey import LocalPolicy, ValkeyOutbox
from flagmw.testing import FakeVendor
from flagmw.types import Visit
from tests.outbox.on_valkey import address


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
    command = [sys.executable, "-m", "tests.outbox.valkey_consumer", url, str(ledger.server_address[1])]
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
