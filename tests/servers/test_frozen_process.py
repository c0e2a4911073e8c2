"""A whole process is stopped and goes on, at any moment of its calls: no vendor is held to be down for that."""

from __future__ import annotations

import json
import os
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.faults.catalogue.rows import decided
from tests.support.authority import Authority
from tests.support.busy import best
from tests.support.raw_vendor import Action, Connection, RawVendor, hang, http

ROOT = Path(__file__).resolve().parents[2]
# Around the deadline of 300 ms, and far from it.
PAUSES_S = (0.1, 0.29, 0.31, 0.6, 1.1)
ANSWER_S = 0.1
# Eight stops of 0.31 s: five failures in a row and a second without a success open a breaker.
STOPS, STOP_S = 8, 0.31

# Asks for so many visitors at once, every so many seconds, from threads and on a loop. It says when it asks, and every
# 20 ms how the breakers are.
ASKER = """
import asyncio, json, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from flagmw import Flagmw, Visit, Webtrends

at_once, every_s, url = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
made = {}
for name in ("threads", "loop"):
    vendor = Webtrends(2490593, "7a32f9364bd1ea68668a0e50bd815e79109a03720951", url="https://www.mysite.com",
                       base_url=url, name="wt")
    made[name] = Flagmw(vendors=[vendor], outbox="memory://", deadline_ms=300, reuse_s=0, stale_s=0)
visit = Visit(url="https://www.mysite.com/")

async def ask():
    tasks = []
    while True:
        tasks += [asyncio.ensure_future(made["loop"].adecide(visit)) for _ in range(at_once)]
        await asyncio.sleep(every_s)

def tell():
    while True:
        states = {name: fm.health()["vendors"]["wt"]["breaker"] for name, fm in made.items()}
        counts = {name: fm.counts().get(("decided", "wt", ""), 0) for name, fm in made.items()}
        print(json.dumps([states, counts]), flush=True)
        time.sleep(0.02)

threading.Thread(target=lambda: asyncio.run(ask()), daemon=True).start()
threading.Thread(target=tell, daemon=True).start()
with ThreadPoolExecutor(16) as threads:
    while True:
        print(flush=True)
        for _ in range(at_once):
            threads.submit(made["threads"].decide, visit)
        time.sleep(every_s)
"""


class Asker:
    """The process, and what it said last."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.states: list[dict[str, str]] = []
        self.decided: dict[str, int] = {}
        self.asks = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.isspace():
                self.asks.set()
            else:
                state, self.decided = json.loads(line)
                self.states.append(state)

    def until(self, holds: Any, wait_s: float = 20.0) -> float:
        """Wait until *holds* of this; return how long that took."""
        begun = time.monotonic()
        while not holds():
            assert time.monotonic() < begun + wait_s, (self.states[-3:], self.decided)
            time.sleep(0.005)
        return time.monotonic() - begun

    def goes_on(self) -> None:
        """Wait until visitors have been decided for once more, in both ways."""
        before = dict(self.decided)
        self.until(lambda: all(self.decided.get(name, 0) > before.get(name, 0) for name in ("threads", "loop")))


@contextmanager
def asker(at_once: int, every_s: float, url: str, **environ: str) -> Iterator[Asker]:
    process = subprocess.Popen(
        [sys.executable, "-c", ASKER, str(at_once), str(every_s), url],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    site = Asker(process)
    try:
        yield site
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)
        site.reader.join(10)
        assert process.stdout is not None
        process.stdout.close()


def answering(hangs: threading.Event, *, once: bool) -> Action:
    """Answer after a while, one request or all of a connection, until *hangs* is set."""

    def act(connection: Connection) -> None:
        while True:
            connection.read_request()
            if hangs.is_set():
                hang(connection)
            connection.sleep(ANSWER_S)
            connection.send(http(orjson.dumps(decided()), headers=[("connection", "close")] if once else ()))
            if once:
                return

    return act


class SlowHandshake:
    """A server's TLS context that takes its time before it greets."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_socket(self, sock: Any, *, server_side: bool) -> ssl.SSLSocket:
        time.sleep(ANSWER_S)
        return self._context.wrap_socket(sock, server_side=server_side)


@pytest.mark.parametrize("connecting", [False, True], ids=["while-waiting", "while-connecting"])
def test_U33_a_stopped_process_opens_no_breaker(tmp_path: Path, connecting: bool) -> None:
    """SIGSTOP and SIGCONT, for less and more than a deadline, with calls under way or connections being made."""
    environ, tls = {}, None
    if connecting:
        authority = Authority(tmp_path)
        environ, tls = {"SSL_CERT_FILE": str(authority.ca_file)}, SlowHandshake(authority.context())
    with (
        RawVendor(answering(threading.Event(), once=connecting), tls=tls) as vendor,  # type: ignore[arg-type]
        asker(8, 0.3, vendor.url, **environ) as site,
    ):
        site.goes_on()
        begun = len(site.states)
        for pause_s in PAUSES_S:
            site.goes_on()
            site.asks.clear()
            assert site.asks.wait(20)
            time.sleep(random.uniform(0.01, 0.05))
            site.process.send_signal(signal.SIGSTOP)
            time.sleep(pause_s)
            site.process.send_signal(signal.SIGCONT)
        site.goes_on()
        assert all(state == {"threads": "closed", "loop": "closed"} for state in site.states[begun:])


def test_U33_a_process_that_is_stopped_again_and_again_opens_no_breaker() -> None:
    """Every call meets a stop until just past its deadline, for longer than a breaker waits for a success."""
    with RawVendor(answering(threading.Event(), once=False)) as vendor, asker(4, 0.2, vendor.url) as site:
        site.goes_on()
        begun = len(site.states)
        for _ in range(STOPS):
            site.asks.clear()
            assert site.asks.wait(20)
            time.sleep(0.01)
            site.process.send_signal(signal.SIGSTOP)
            time.sleep(STOP_S)
            site.process.send_signal(signal.SIGCONT)
        site.goes_on()
        assert all(state == {"threads": "closed", "loop": "closed"} for state in site.states[begun:])


def test_U33_a_hung_vendor_is_left_alone_within_two_seconds_by_a_process_that_was_stopped() -> None:
    """At ten requests a second and a deadline of 300 ms, right after a stop, from threads and on a loop."""

    def took() -> float:
        hangs = threading.Event()
        with RawVendor(answering(hangs, once=False)) as vendor, asker(1, 0.1, vendor.url) as site:
            site.goes_on()
            site.process.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            site.process.send_signal(signal.SIGCONT)
            site.goes_on()
            hangs.set()
            return site.until(
                lambda: all(any(state[name] == "open" for state in site.states) for name in ("threads", "loop"))
            )

    # It says how the breakers are fifty times a second.
    assert best(took, 2.05, tries=3) < 2.05
