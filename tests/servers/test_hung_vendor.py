"""One vendor hangs, another is well: under a real threaded server the healthy one is neither late nor left out."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import orjson

from tests.faults.catalogue.rows import decided, refused
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import Action, Connection, RawVendor, always, forever, free_port, hang, http

THREADS = 8
WELL = always(orjson.dumps(decided()))
NOTHING = http(orjson.dumps([refused(303)]))

APP = """
import json
from flagmw import Flagmw
from flagmw.wsgi import FlagsMiddleware

fm = Flagmw.from_mapping(file="flagmw.toml", environ={})

def view(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/counted":
        return [json.dumps({" ".join(label): n for label, n in fm.counts().items()}).encode()]
    variant = environ["flagmw.flags"].variant("ta_A")
    return [f"{variant.vendor} {variant.key} {variant.error_code}".encode()]

app = FlagsMiddleware(view, flagmw=fm)
"""

OPTIONS = """
deadline_ms = {deadline_ms}
exclude = ["/counted"]
reuse_s = 0
stale_s = 0
"""

VENDOR = """
[[vendors]]
type = "webtrends"
name = "{name}"
domain_id = 2490593
key_token = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"
url = "https://www.mysite.com"
base_url = "{base_url}"
"""


class Shop:
    """A WSGI application with two vendors under gunicorn."""

    def __init__(self, port: int, client: httpx2.Client, visitors: ThreadPoolExecutor) -> None:
        self._url, self._client, self._visitors = f"http://127.0.0.1:{port}", client, visitors

    def visit(self, _: object = None) -> tuple[str, float]:
        """Open the page; return what it says and the seconds that it took."""
        started = time.monotonic()
        return self._client.get(self._url).text, time.monotonic() - started

    def counted(self) -> Counter[str]:
        return Counter(self._client.get(f"{self._url}/counted").json())

    def at_once(self, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
        """Open a page on every thread, do something meanwhile, and return what they say."""
        begun = [self._visitors.submit(self.visit) for _ in range(THREADS)]
        meanwhile()
        return [each.result()[0] for each in begun]

    def crowd(self, pages: int) -> list[tuple[str, float]]:
        return list(self._visitors.map(self.visit, range(pages)))


@contextmanager
def shop(folder: Path, hung: RawVendor, well: RawVendor, deadline_ms: int) -> Iterator[Shop]:
    """Serve from *folder* with as many request threads as there are visitors."""
    (folder / "app.py").write_text(APP)
    vendors = [VENDOR.format(name=name, base_url=each.url) for name, each in (("hung", hung), ("well", well))]
    (folder / "flagmw.toml").write_text("\n".join([OPTIONS.format(deadline_ms=deadline_ms), *vendors]))
    port = free_port()
    command = [Path(sys.executable).parent / "gunicorn", "--worker-class", "gthread", "--threads", str(THREADS)]
    process = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "--log-level", "warning", "app:app"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        start_new_session=True,
    )
    try:
        for _ in range(600):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        with httpx2.Client(timeout=60) as client, ThreadPoolExecutor(THREADS) as visitors:
            yield Shop(port, client, visitors)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def until(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    end = time.monotonic() + 2 * HELD_UP_S
    while not holds():
        assert time.monotonic() < end, what()
        time.sleep(0.005)


def held(free: threading.Semaphore) -> Action:
    """Answer a request, which decides nothing, when the test lets it go."""

    def act(connection: Connection) -> None:
        connection.read_request()
        while not free.acquire(timeout=0.05):
            connection.sleep(0)
        connection.send(NOTHING)

    return forever(act)


def test_U33_healthy_vendor_is_asked_and_answers_while_the_other_hangs(tmp_path: Path) -> None:
    """With a call of each page held at one vendor, the other one has the calls of all pages, and all count."""
    free = threading.Semaphore(0)
    with RawVendor(held(free)) as hung, RawVendor(WELL) as well, shop(tmp_path, hung, well, 60_000) as site:
        rounds = 5
        for n in range(1, rounds + 1):

            def meanwhile(n: int = n) -> None:
                try:
                    until(
                        lambda: len(hung.requests) >= THREADS * n and len(well.requests) >= THREADS * n,
                        lambda: f"{len(hung.requests)} calls are held and {len(well.requests)} made of {THREADS * n}",
                    )
                finally:
                    free.release(THREADS)

            assert site.at_once(meanwhile) == ["well b None"] * THREADS
        counted = site.counted()
    assert counted["decided well "] == rounds * THREADS
    assert not [label for label in counted if label.startswith("undecided well")], counted


def test_U33_pages_beside_a_vendor_that_hangs_for_good(tmp_path: Path) -> None:
    """240 pages over 8 threads: each has the healthy vendor's decision, and soon nobody waits for the other one."""
    hangs = threading.Event()

    def act(connection: Connection) -> None:
        while True:
            connection.read_request()
            if hangs.is_set():
                hang(connection)
            connection.send(NOTHING)

    with RawVendor(act) as hung, RawVendor(WELL) as well, shop(tmp_path, hung, well, 2000) as site:
        # A process that has just started is late for reasons of its own.
        until(lambda: site.at_once() == ["well b None"] * THREADS, lambda: json.dumps(site.counted()))
        before = site.counted()
        hangs.set()
        pages = site.crowd(240)
        counted = site.counted() - before
    assert Counter(page for page, _ in pages) == {"well b None": 240}
    # A page waits for the deadline at most, and only those that were there before the breaker opened, or try it again.
    assert max(took for _, took in pages) < 2 + HELD_UP_S
    assert counted["decided well "] == 240
    assert 0 < counted["undecided hung DEADLINE"] <= 6 * THREADS  # five rounds: what fails at once is one reason
    assert counted["undecided hung BREAKER_OPEN"] == 240 - counted["undecided hung DEADLINE"], counted
