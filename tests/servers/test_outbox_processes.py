"""What servers do to their workers: fork, recycle, reload, cut off and kill them. Conversions arrive all the same."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from flagmw.sandbox import SandboxServer

BIN = Path(sys.executable).parent

SHARED = """
import os, time
from flagmw import Flagmw, Webtrends

vendor = Webtrends(2490593, "7a32f9364bd1ea68668a0e50bd815e79109a03720951", "https://www.mysite.com",
                   base_url=os.environ["SHOP_VENDOR"])
fm = Flagmw(vendors=[vendor], outbox="sqlite://" + os.environ["SHOP_OUTBOX"], deadline_ms=5000, max_rate=1000.0)
"""

WSGI = f"""{SHARED}
from flagmw.wsgi import FlagsMiddleware, flags_from

def view(environ, start_response):
    what, _, number = environ["PATH_INFO"][1:].partition("/")
    if what == "buy":
        flags_from(environ).track(f"buy {{number}}", aliases=["ta_Project1"])
    elif what == "hang":
        time.sleep(30)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

application = FlagsMiddleware(view, flagmw=fm)
"""

ASGI = f"""{SHARED}
from flagmw.asgi import FlagsMiddleware, flags_from

async def view(scope, receive, send):
    if scope["type"] != "http":
        return
    what, _, number = scope["path"][1:].partition("/")
    if what == "buy":
        flags_from(scope).track(f"buy {{number}}", aliases=["ta_Project1"])
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}})
    await send({{"type": "http.response.body", "body": str(os.getpid()).encode()}})

application = FlagsMiddleware(view, flagmw=fm)
"""


@pytest.fixture
def vendor() -> Iterator[SandboxServer]:
    with SandboxServer(seed=3) as server:
        yield server


@dataclass
class Shop:
    """A shop that is started and stopped again on the same outbox."""

    folder: Path
    vendor: SandboxServer
    bought: set[str] = field(default_factory=set)
    port: int = 0

    @property
    def outbox(self) -> Path:
        return self.folder / "outbox"

    @contextmanager
    def served(self, *command: str, source: str) -> Iterator[subprocess.Popen[bytes]]:
        """Serve *source* by *command* until the block ends; it may have ended the process itself."""
        (self.folder / "shop_app.py").write_text(source)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environ = {
            **os.environ,
            "SHOP_VENDOR": self.vendor.webtrends_url,
            "SHOP_OUTBOX": str(self.outbox),
            "PYTHONPATH": os.pathsep.join([str(self.folder), *sys.path]),
        }
        words = [word.format(port=self.port) for word in command]
        log = (self.folder / "server.log").open("ab")
        process = subprocess.Popen(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.folder,
            env=environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            eventually(self._listens, 30)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            log.close()

    def buy(self, number: object) -> int:
        """Buy and return the pid of the worker that acknowledged it."""
        reply = httpx2.get(f"http://127.0.0.1:{self.port}/buy/{number}", timeout=20)
        assert reply.status_code == 200
        self.bought.add(f"buy {number}")
        return int(reply.text)

    def visit(self) -> int:
        """Look at a page, as somebody will: a process has nothing running before its first request."""
        return int(httpx2.get(f"http://127.0.0.1:{self.port}/", timeout=20).text)

    def arrived(self) -> Counter[str]:
        return Counter(conversion["metric"] for conversion in self.vendor.ledger()["conversions"])

    def all_arrive(self, seconds: float = 60) -> Counter[str]:
        eventually(lambda: self.bought <= self.arrived().keys(), seconds)
        return self.arrived()

    def all_arrive_amid_visits(self, seconds: float = 120) -> Counter[str]:
        """As people go on visiting: a successor of who was killed has nothing running before its first request.

        (A server replaces those too that a busy machine keeps from telling it that they live.)
        """

        def all_there() -> bool:
            with suppress(httpx2.HTTPError):
                self.visit()
            return self.bought <= self.arrived().keys()

        eventually(all_there, seconds)
        return self.arrived()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True


@pytest.fixture
def shop(tmp_path: Path, vendor: SandboxServer) -> Shop:
    return Shop(tmp_path, vendor)


def eventually(true: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.1)


def gunicorn(*options: str, workers: int = 2) -> list[str]:
    command = ["gunicorn", "shop_app:application", "-k", "gthread", "--threads", "4", "--log-level", "warning"]
    return [*command, "--workers", str(workers), "--bind", "127.0.0.1:{port}", *options]


def test_P15_preload(shop: Shop) -> None:
    """The application is made before the fork: every worker has a slot of its own, and nothing is sent twice."""
    with shop.served(*gunicorn("--preload"), source=WSGI):
        pids = {shop.buy(n) for n in range(20)}
        arrived = shop.all_arrive()
    assert set(arrived.values()) == {1}
    assert len(list(shop.outbox.glob("slot-*.db"))) <= 2
    print(f"{len(pids)} workers, {sum(arrived.values())} conversions, each once")


def test_P29_a_worker_is_killed_right_after_its_answer(shop: Shop) -> None:
    """`kill -9` after the 200: the conversion arrives, by the worker that takes the slot over."""
    shop.vendor.faults([{"kind": "status", "status": 503, "route": "track"}])
    with shop.served(*gunicorn(), source=WSGI):
        for n in range(6):
            os.kill(shop.buy(n), signal.SIGKILL)
        shop.vendor.faults([])
        arrived = shop.all_arrive_amid_visits()
    print(f"{len(shop.bought)} bought, {sum(arrived.values())} conversions at the vendor")


def test_P20_workers_are_recycled(shop: Shop) -> None:
    """With `--max-requests` workers come and go: each conversion arrives once, and slots are used again."""
    with shop.served(*gunicorn("--max-requests", "6"), source=WSGI):
        pids = {shop.buy(n) for n in range(40)}
        arrived = shop.all_arrive()
    assert len(pids) > 3
    assert set(arrived.values()) == {1}
    assert len(list(shop.outbox.glob("slot-*.db"))) <= 5


@pytest.mark.parametrize("how", ["P19 graceful timeout", "P21 hung view"])
def test_P19_P21_a_view_is_cut_off(shop: Shop, how: str) -> None:
    """Whoever cuts a hanging view takes nothing from what was acknowledged before."""
    shop.vendor.faults([{"kind": "status", "status": 503, "route": "track"}])
    options = ["--graceful-timeout", "1"] if how.startswith("P19") else ["--timeout", "2"]
    command = gunicorn(*options, workers=1)
    if how.startswith("P21"):
        # With threads it would be a gthread worker all the same, whose beat goes on while a view hangs.
        command[command.index("gthread")], command[command.index("4")] = "sync", "1"
    with shop.served(*command, source=WSGI) as server:
        for n in range(5):
            shop.buy(n)

        def hang() -> None:
            try:
                httpx2.get(f"http://127.0.0.1:{shop.port}/hang/1", timeout=20)
            except httpx2.HTTPError:
                pass

        hung = threading.Thread(target=hang)
        hung.start()
        time.sleep(0.5)
        if how.startswith("P19"):
            begin = time.monotonic()
            server.terminate()
            server.wait(20)
            print(f"ended after {time.monotonic() - begin:.1f} s")
        else:
            eventually(lambda: "WORKER TIMEOUT" in (shop.folder / "server.log").read_text(), 15)
        hung.join()
    shop.vendor.faults([])
    with shop.served(*gunicorn(workers=1), source=WSGI):
        shop.buy("again")
        shop.all_arrive_amid_visits()


def test_reload(shop: Shop) -> None:
    """A development server that reloads its code goes on with the same slot; every conversion arrives once."""
    command = ["uvicorn", "shop_app:application", "--port", "{port}", "--log-level", "warning", "--lifespan", "off"]
    with shop.served(*command, "--reload", "--reload-delay", "0.1", source=ASGI):
        first = shop.buy(1)
        time.sleep(1.1)  # a change within the second of the start is not seen
        (shop.folder / "shop_app.py").write_text(ASGI + "\n# changed\n")

        def reloaded() -> bool:
            try:
                return shop.visit() != first
            except httpx2.HTTPError:
                return False

        eventually(reloaded, 30)
        shop.buy(2)
        arrived = shop.all_arrive()
    assert set(arrived.values()) == {1}


def test_uvicorn_worker_is_killed_right_after_its_answer(shop: Shop) -> None:
    """Two uvicorn workers: whoever dies, the other one or its successor delivers."""
    shop.vendor.faults([{"kind": "status", "status": 503, "route": "track"}])
    command = ["uvicorn", "shop_app:application", "--port", "{port}", "--log-level", "warning", "--workers", "2"]
    with shop.served(*command, source=ASGI):
        for n in range(3):
            os.kill(shop.buy(n), signal.SIGKILL)
            eventually(lambda: shop._listens(), 10)
            time.sleep(0.5)
        shop.vendor.faults([])
        shop.all_arrive_amid_visits()


def test_without_any_exit_hook_nothing_is_lost(shop: Shop) -> None:
    """A process that ends by `os._exit` right after its requests has lost nothing of what was committed."""
    script = f"""{SHARED}
import sys
from flagmw import Visit
if sys.argv[1] == "put":
    visit = Visit(url="https://www.mysite.com/")
    saved = fm.decide(visit).save()
    for n in range(50):
        fm.track(f"buy {{n}}", visitor=saved, aliases=["ta_Project1"])
    fm._delivery._running.stored(10)
    os._exit(0)
print(fm.start(), fm.flush(20), fm.stats().outbox.balanced())
fm.close()
"""
    environ = {**os.environ, "SHOP_VENDOR": shop.vendor.webtrends_url, "SHOP_OUTBOX": str(shop.outbox)}
    for what in ("put", "deliver"):
        done = subprocess.run(
            [sys.executable, "-c", script, what], env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == "None True True\n"
    shop.bought = {f"buy {n}" for n in range(50)}
    assert shop.bought <= shop.arrived().keys()
