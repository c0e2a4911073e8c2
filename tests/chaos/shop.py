"""One shop under gunicorn with its outbox, its honest visitors, and what can be read of it afterwards."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from tests.chaos.vendor import CONTROL, USER, Vendor
from tests.support.raw_vendor import free_port

ROOT = Path(__file__).resolve().parents[2]
HOST = "www.mysite.com"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
START_S = 60.0

CONFIG = """
outbox = "{outbox}"
paths = ["/checkout"]
deadline_ms = 1000
tracks_per_visitor = 1000000
[[vendors]]
type = "webtrends"
name = "wt"
domain_id = 2490593
key_token = "0123456789abcdef0123456789abcdef"
url = "https://www.mysite.com"
base_url = "{vendor}/ots/api/rest-1.2"
[[vendors]]
type = "monetate"
name = "monetate"
retailer = "acme"
channel = "a-1/p/www.mysite.com"
base_url = "{vendor}/api/engine/v1"
"""


@dataclass
class Shop:
    """A shop that sells while it is attacked.

    Attributes:
        folder: its configuration, and the notes of its processes.
        outbox: where its events wait, as the option says it.
        sold: the track id of each order whose answer was read whole, and whose event was on disk by then.
        refused: orders that were not taken, and why.
        at_most_once: orders that were to be reported to a vendor that cannot tell a repeat.
        honest: how many pages honest visitors got, and how many of them were the vendor's.
        directory_removed: whether files of dead processes, and the counts in them, were removed.
        letters_gone: dead letters that were in them.
        doubt_gone: how many events that were dropped as `AMBIGUOUS` were counted in them.
    """

    name: str
    folder: Path
    outbox: str
    vendor: Vendor
    workers_n: int = 2
    sold: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    honest: list[int] = field(default_factory=lambda: [0, 0])
    at_most_once: set[str] = field(default_factory=set)
    directory_removed: bool = False
    letters_gone: dict[str, str] = field(default_factory=dict)
    doubt_gone: int = 0

    def __enter__(self) -> Self:
        for name in ("notes", "forks"):
            (self.folder / name).mkdir(parents=True)
        self.config.write_text(CONFIG.format(outbox=self.outbox, vendor=self.vendor.url))
        self.port = free_port()
        command = ["gunicorn", "tests.chaos.app:app", "-w", str(self.workers_n), "-k", "gthread", "--threads", "4"]
        command += ["--log-level", "error", "-t", "200", "--graceful-timeout", "10", "-b", f"127.0.0.1:{self.port}"]
        self._output = (self.folder / "output").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=self.environ, stdout=self._output, stderr=subprocess.STDOUT
        )
        end = time.monotonic() + START_S
        while self.get("/health")[0] != 200:
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                raise RuntimeError(f"the shop did not start:\n{(self.folder / 'output').read_text()[-3000:]}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(35)
        except subprocess.TimeoutExpired:
            for pid in self.workers():
                _signal(pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait(5)
        self._output.close()

    # What it is made of

    @property
    def config(self) -> Path:
        return self.folder / "flagmw.toml"

    @property
    def directory(self) -> Path:
        """Where its files are."""
        text = self.outbox
        return Path(text.partition("dir=")[2].partition("&")[0] if "dir=" in text else text.removeprefix("sqlite://"))

    @property
    def environ(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FLAGMW_")}
        return {**clean, "PYTHONPATH": str(ROOT), "CHAOS_FOLDER": str(self.folder)}

    def workers(self) -> list[int]:
        """Return the processes that serve."""
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
            return [int(pid) for pid in children.split()]
        return []

    def forks_alive(self) -> int:
        """Return how many children of the serving processes have not ended."""
        alive = 0
        for worker in self.workers():
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{worker}/task").iterdir():
                    for pid in (task / "children").read_text().split():
                        alive += Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return alive

    def thaw(self) -> None:
        """Let every process run that an attack has stopped."""
        for pid in self.workers():
            _signal(pid, signal.SIGCONT)

    def set_clock(self, offset_s: float) -> None:
        """Set the clock of all its processes so far from the machine's."""
        # Of this attack's own: several set the clock at once.
        written = self.folder / f"clock-{threading.get_ident()}.new"
        written.write_text(str(offset_s))
        written.replace(self.folder / "clock")

    # Visitors

    def get(self, path: str, *, method: str = "GET", timeout_s: float = 20.0, **headers: str) -> tuple[int, str, bool]:
        """Ask for a page; return status, text, and whether its events were not on disk yet. Status 0: no answer."""
        sent = {"host": HOST, "user-agent": BROWSER, **{name.replace("_", "-"): text for name, text in headers.items()}}
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)) as connection:
                connection.request(method, path, headers=sent)
                with closing(connection.getresponse()) as answer:
                    late = answer.headers.get("x-commit-late", "0") != "0"
                    return answer.status, answer.read().decode("latin-1"), late
        except (OSError, http.client.HTTPException, ValueError):
            return 0, "", False

    def buy(self, order: str, visitor: str, vendor: str = "wt", *, path: str = "/buy", **more: str) -> bool:
        """Buy something; return whether the shop has promised to report it."""
        if vendor == "monetate":
            self.at_most_once.add(order)
        cookies = f"{USER}={visitor}; {CONTROL}=x; mt.v=2.{sum(visitor.encode())}.1"
        query = urlencode({"order": order, "vendor": vendor, **more})
        status, track, late = self.get(f"{path}?{query}", method="POST", cookie=cookies)
        if status == 200 and len(track) == 36 and not late:
            self.sold[order] = track
            return True
        if status == 200 and not late and path == "/buy":
            self.refused.append(f"{order}: {track[:60]}")
        return False

    @property
    def promised(self) -> dict[str, str]:
        """All orders that were promised, with those of forks and jobs, by order: the track's id."""
        found = dict(self.sold)
        for path in (self.folder / "forks").iterdir():
            found |= dict(line.split() for line in path.read_text().splitlines() if not line.endswith("None"))
        return found

    # What became of them

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Return by track id what its last attempt that somebody lived to note came to: kind and code."""
        found: dict[str, tuple[str, str]] = {}
        for path in (self.folder / "notes").iterdir():
            for line in path.read_text().splitlines():
                track, _, kind, code = line.split()
                # Files of several processes, so the last line is not the last attempt.
                if found.get(track, ("", ""))[0] not in ("Delivered", "Dead", "Dropped"):
                    found[track] = kind, code
        return found

    def undelivered(self, orders: Iterable[str] | None = None) -> list[str]:
        """Return the promised *orders* of honest visitors that are neither at the vendor nor at a noted end."""
        ended, promised = self.outcomes(), self.promised
        return [
            order
            for order in (promised if orders is None else orders)
            if not order.startswith("p-")
            and order not in self.vendor.took
            and not is_end(order in self.at_most_once, *ended.get(promised[order], ("", "")))
        ]

    def settled(self, orders: Iterable[str] | None = None) -> bool:
        """Say whether the promised *orders* of honest visitors are at the vendor, or at an end that has a reason.

        The store itself ends what must not be sent twice when the one who had it is gone: it counts that, or lays the
        event aside. No process is left to note it.
        """
        left = self.undelivered(orders)
        if not left:
            return True
        promised, letters = self.promised, self.letters()
        left = [order for order in left if promised[order] not in letters]
        return self.at_most_once.issuperset(left) and len(left) <= self.ended_in_doubt(self.parts())

    def ended_in_doubt(self, parts: Sequence[dict[str, Any]]) -> int:
        """Return how many events the store has ended as `AMBIGUOUS` without a process that noted it, at most."""
        counted = self.doubt_gone + dropped_in_doubt(parts)
        once = {track for order, track in self.promised.items() if order in self.at_most_once}
        noted = sum(kind == "Ambiguous" for track, (kind, _) in self.outcomes().items() if track in once)
        return max(0, counted - noted)

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flagmw.cli", *arguments, "--config", str(self.config)],
            cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def command(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """Run the operator's command; return what it printed."""
        with self._start(*arguments) as process:
            try:
                return process.communicate(timeout=timeout_s)[0]
            finally:
                process.kill()

    def sweep(self, timeout_s: float) -> None:
        """Have the operator's command deliver what ended processes left, until it is or *timeout_s* are over."""
        with self._start("deliver", "--once", "--timeout", str(timeout_s)) as process:
            end = time.monotonic() + timeout_s + 30
            # Events of visitors for whom the vendor fails would keep the command for the whole time.
            while process.poll() is None and time.monotonic() < end and not self.settled():
                time.sleep(0.5)
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def letters(self) -> dict[str, str]:
        """Return the dead letters' codes by track id, as the operator sees them."""
        listed = json.loads(self.command("outbox", "dead", "list", "--limit", "1000000", "--json") or "[]")
        return self.letters_gone | {letter["track_id"]: letter["code"] for letter in listed}

    def parts(self) -> list[dict[str, Any]]:
        """Return the account of every part of the outbox."""
        found: list[dict[str, Any]] = json.loads(self.command("outbox", "status", "--json") or "[]")
        return found


def dropped_in_doubt(parts: Sequence[dict[str, Any]]) -> int:
    """Return how many events were dropped as `AMBIGUOUS`, by the accounts of *parts*."""
    return sum(lane["dropped"].get("AMBIGUOUS", 0) for part in parts for lane in part["vendors"].values())


def is_end(at_most_once: bool, kind: str, code: str) -> bool:
    """Say whether an attempt that came to this was an event's last."""
    return kind in ("Delivered", "Dead", "Dropped") or (kind == "Ambiguous" and at_most_once)


class Visitors:
    """Honest visitors of a shop, each in a thread, who look at pages and buy."""

    def __init__(self, shop: Shop, number: int, pause_s: float, vendors: Sequence[str]) -> None:
        self._shop, self._pause_s, self._vendors = shop, pause_s, vendors
        self._orders, self._stop = itertools.count(1), threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(n,), daemon=True) for n in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _visit(self, n: int) -> None:
        while not self._stop.wait(self._pause_s):
            order = next(self._orders)
            self._shop.buy(f"o-{self._shop.name}-{order}", f"u{n}", self._vendors[order % len(self._vendors)])
            if order % 4 == 0:
                status, text, _ = self._shop.get("/checkout", cookie=f"{USER}=u{n}")
                if status == 200:
                    self._shop.honest[0] += 1
                    self._shop.honest[1] += text == "b"


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
