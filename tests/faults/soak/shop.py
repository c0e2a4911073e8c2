"""Run the application under gunicorn with several workers, buy in it from many threads, and read what came of it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flagmw.sandbox import SandboxServer
from tests.support.raw_vendor import free_port

ROOT = Path(__file__).resolve().parents[3]
HOST = "www.mysite.com"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
START_S = 60.0


@dataclass
class Shop:
    """The application's server, and where its processes leave their notes."""

    port: int
    master: int
    notes: Path
    outbox: Path

    def workers(self) -> list[int]:
        """Return the processes that serve."""
        found = Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()
        return [int(pid) for pid in found]

    def delivered_at(self) -> dict[str, int]:
        """Return by track id which attempt the vendor took, as far as its process lived to note it."""
        taken: dict[str, int] = {}
        for path in self.notes.iterdir():
            for line in path.read_text().splitlines():
                track, attempt, outcome = line.split()
                if outcome == "Delivered":
                    taken[track] = int(attempt)
        return taken


@contextmanager
def running(folder: Path, vendor: SandboxServer, *, workers: int = 4, **options: object) -> Iterator[Shop]:
    """Serve the application from *folder* until the block ends; *options* are flagmw's."""
    notes, outbox, port = folder / "notes", folder / "outbox", free_port()
    notes.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLAGMW_")}
    given = {"outbox": f"sqlite://{outbox}", "paths": "/checkout", "deadline_ms": 2000, "tracks_per_visitor": 1_000_000}
    environ |= {
        "PYTHONPATH": str(ROOT),
        "SOAK_NOTES": str(notes),
        "FLAGMW_VENDORS__WT__BASE_URL": vendor.webtrends_url,
        **{f"FLAGMW_{name.upper()}": str(value) for name, value in {**given, **options}.items()},
    }
    command = ["gunicorn", "tests.faults.soak.app:app", "-w", str(workers), "-k", "gthread", "--threads", "4"]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--log-level", "error", "-b", f"127.0.0.1:{port}"],
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    shop = Shop(port, process.pid, notes, outbox)
    try:
        _wait_for(shop, process, folder / "output")
        yield shop
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(35)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@dataclass
class Load:
    """Visitors who buy, over and over, each in a thread. An order is acknowledged when its whole answer was read.

    Those whose commit took longer than the response waits for it are `late`: answered, counted, and not promised.
    """

    shop: Shop
    visitors: int = 8
    pause_s: float = 0.0
    acknowledged: dict[str, str] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    took_s: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._orders = itertools.count(1)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._buy) for _ in range(self.visitors)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _buy(self) -> None:
        cookies = ""
        while not cookies and not self._stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                cookies = self._welcome()
        connection = http.client.HTTPConnection("127.0.0.1", self.shop.port, timeout=20)
        while not self._stop.wait(self.pause_s):
            order = f"order-{next(self._orders)}"
            begun = time.monotonic()
            try:
                status, track, late = self._request(connection, f"/buy?order={order}", cookies)
            except (OSError, http.client.HTTPException):
                connection.close()  # its worker was killed: whether the order was taken nobody was told
                continue
            self.took_s.append((begun, time.monotonic() - begun))
            if status == 200 and len(track) == 36:
                (self.late if late else self.acknowledged)[order] = track
            else:
                self.refused.append(f"{status} {track[:80]}")
        connection.close()

    def _welcome(self) -> str:
        """Visit until the vendor has decided; return the visitor's cookies, "" when it has not."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.shop.port, timeout=20)) as connection:
            connection.request("GET", "/checkout", headers={"host": HOST, "user-agent": BROWSER})
            with closing(connection.getresponse()) as answer:
                answer.read()
                lines = answer.headers.get_all("set-cookie") or []
        return "; ".join(line.partition(";")[0] for line in lines if "control" in line or "user" in line)

    def _request(self, connection: http.client.HTTPConnection, path: str, cookies: str) -> tuple[int, str, bool]:
        connection.request("POST", path, headers={"host": HOST, "user-agent": BROWSER, "cookie": cookies})
        with closing(connection.getresponse()) as answer:
            return answer.status, answer.read().decode(), answer.headers.get("x-commit-late", "0") != "0"


def arrived(vendor: SandboxServer) -> Counter[str]:
    """Return how often each order reached the vendor."""
    requests = vendor.ledger()["requests"]
    return Counter(str(request["data"]["order"]) for request in requests if request["action"] == "track")


def _wait_for(shop: Shop, process: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            closing(http.client.HTTPConnection("127.0.0.1", shop.port, timeout=5)) as connection,
        ):
            connection.request("GET", "/health", headers={"host": HOST})
            with closing(connection.getresponse()) as answer:
                if answer.status == 200:
                    return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the shop did not start:\n{output.read_text()}")
        time.sleep(0.1)
