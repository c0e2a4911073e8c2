"""The end of a lifespan is not the end of the process: adapters to serverless platforms have one for each request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flagmw import Flagmw, Static, Visit
from flagmw.asgi import FlagsMiddleware, flags_from
from flagmw.codes import ErrorCode
from flagmw.sandbox import SandboxServer
from flagmw.testing import FakeVendor
from flagmw.types import Retry
from tests.contracts.edges.driver import webtrends
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import free_port

SLOW_S = 2.0


class SlowVendor(FakeVendor):
    """Takes its time for each delivery until the gate is open."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gate = threading.Event()

    def deliver(self, batch: Any) -> Any:
        self.gate.wait(SLOW_S)
        return (yield from super().deliver(batch))


class DownVendor(FakeVendor):
    def deliver(self, batch: Any) -> Any:
        return [Retry(ErrorCode.TRANSPORT) for _ in batch]
        yield


async def buys(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    flags = flags_from(scope)
    assert flags["ta_A"]
    flags.track("purchase")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"bought"})


async def page(app: Any, n: int) -> None:
    """Ask for one page, as visitor *n*."""
    headers = [(b"host", b"www.mysite.com"), (b"user-agent", b"Mozilla/5.0"), (b"cookie", b"n=%d" % n)]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers, "scheme": "https"}

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        pass

    await app(scope, receive, send)


async def invocation(app: Any, n: int) -> None:
    """Serve one page in a lifespan of its own."""
    received: asyncio.Queue[Any] = asyncio.Queue()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.ensure_future(app({"type": "lifespan", "asgi": {"version": "3.0"}}, received.get, sent.put))
    await received.put({"type": "lifespan.startup"})
    await sent.get()
    await page(app, n)
    await received.put({"type": "lifespan.shutdown"})
    await sent.get()
    await life


def outbox_url(kind: str, folder: Path) -> str:
    return "memory://" if kind == "memory" else f"sqlite://{folder}/outbox"


@pytest.fixture
def made() -> Any:
    made: list[Flagmw] = []

    def make(**options: Any) -> Flagmw:
        made.append(Flagmw(paths=["/"], **options))
        return made[-1]

    yield make
    for fm in made:
        fm.close(1.0)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_no_page_waits_for_delivery_at_the_end_of_a_lifespan(made: Any, tmp_path: Path, kind: str) -> None:
    """A lifespan for each page, each on a loop of its own, and a slow vendor: no page waits, and all arrives."""
    vendor = SlowVendor({"ta_A": "b"})
    app = FlagsMiddleware(buys, flagmw=made(vendors=[vendor], outbox=outbox_url(kind, tmp_path)))
    other = FlagsMiddleware(buys, flagmw=made(vendors=[FakeVendor({"ta_A": "b"})], outbox="memory://"))
    asyncio.run(invocation(other, 0))  # the first of all pays for imports
    took = []
    for n in range(4):
        begun = time.perf_counter()
        asyncio.run(invocation(app, n))
        took.append(time.perf_counter() - begun)
    assert max(took) < SLOW_S / 2, took
    # And one that comes although the application has shut down.
    asyncio.run(page(app, 4))
    vendor.gate.set()
    assert app.flagmw.flush(10.0)
    stats = app.flagmw.outbox_stats()
    assert (stats.accepted, stats.delivered, dict(stats.dropped)) == (5, 5, {})


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_after_a_lifespan_threads_end_when_all_is_delivered(made: Any, tmp_path: Path, kind: str) -> None:
    """What nobody uses any more is closed soon, in the background; a later page opens everything anew."""
    vendor = FakeVendor({"ta_A": "b"})
    app = FlagsMiddleware(buys, flagmw=made(vendors=[vendor], outbox=outbox_url(kind, tmp_path)))
    before = set(threading.enumerate())
    asyncio.run(invocation(app, 0))
    end = time.monotonic() + 4 * HELD_UP_S
    while [t for t in threading.enumerate() if t.name.startswith("flagmw") and t not in before]:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert app.flagmw.outbox_stats().delivered == 1
    asyncio.run(page(app, 1))
    assert app.flagmw.flush(10.0)
    assert len(vendor.delivered) == 2


def test_events_that_come_while_the_outbox_closes_are_kept(made: Any, tmp_path: Path) -> None:
    """Whatever moment `close` chooses, every event that was accepted is in the directory afterwards."""
    vendor = FakeVendor({"ta_A": "b"})
    fm = made(vendors=[vendor], outbox=f"sqlite://{tmp_path}/outbox", tracks_per_visitor=1_000_000)
    visit = Visit(url="https://www.mysite.com/", user_id="u")
    stop, tracked = threading.Event(), [0]

    def track() -> None:
        while not stop.is_set():
            flags = fm.decide(visit)
            assert flags["ta_A"]
            assert flags.track("purchase")
            tracked[0] += 1
            time.sleep(0.001)

    tracking = threading.Thread(target=track)
    tracking.start()
    for _ in range(4):
        time.sleep(0.08)
        fm.close(2.0)
    stop.set()
    tracking.join()
    assert fm.flush(10.0)
    assert len(vendor.delivered) == tracked[0]
    assert not any(what == "event_dropped" for what, _, _ in fm.counts())


# `flush` never says that all is delivered while something waits.


def test_flush_looks_for_what_others_have_left(tmp_path: Path) -> None:
    """A process that has not used its outbox yet delivers what a dead one left, before it says so."""
    child = f"""
import os
from flagmw import Flagmw, Visit
from tests.contracts.edges.test_lifespan import DownVendor
fm = Flagmw(vendors=[DownVendor({{"ta_A": "b"}})], outbox="sqlite://{tmp_path}/outbox")
for n in range(3):
    flags = fm.decide(Visit(url="https://www.mysite.com/", user_id=f"u{{n}}"))
    assert flags["ta_A"] and flags.track("purchase")
assert not fm.flush(0.2)
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", child], check=True, timeout=60)
    vendor = FakeVendor({"ta_A": "b"})
    fm = Flagmw(vendors=[vendor], outbox=f"sqlite://{tmp_path}/outbox")
    try:
        assert fm.flush(20.0)
        assert len(vendor.delivered) == 3
    finally:
        fm.close(1.0)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_flush_does_not_call_what_waits_delivered(made: Any, tmp_path: Path, kind: str) -> None:
    """An event that backs off, of a vendor that is down, of one that left the configuration: each is still there."""
    fm = made(vendors=[DownVendor({"ta_A": "b"})], outbox=outbox_url(kind, tmp_path))
    flags = fm.decide(Visit(url="https://www.mysite.com/", user_id="u"))
    assert flags["ta_A"] and flags.track("purchase")
    for _ in range(5):
        assert not fm.flush(0.05)
    fm.close(0.5)
    if kind == "sqlite":
        assert not fm.flush(0.3)
        fm.close(0.5)
        other = made(vendors=[FakeVendor({"ta_B": "b"}, name="other")], outbox=outbox_url(kind, tmp_path))
        assert not other.flush(0.3)


APP = """
import os, time
from flagmw import Flagmw
from flagmw.asgi import FlagsMiddleware
from flagmw.testing import FakeVendor
from tests.contracts.edges.test_lifespan import buys

class Noting(FakeVendor):
    def deliver(self, batch):
        time.sleep(0.7)
        with open(os.environ["DELIVERED"], "a") as notes:
            notes.write("x" * len(batch))
        return (yield from super().deliver(batch))

app = FlagsMiddleware(buys, flagmw=Flagmw(vendors=[Noting({"ta_A": "b"})], outbox="memory://", paths=["/"]))
"""


def test_uvicorn_ends_with_events_in_memory_delivered(tmp_path: Path) -> None:
    """SIGTERM ends uvicorn without exit hooks: what is in memory only gets its time at the end of the lifespan."""
    import http.client

    (tmp_path / "shop_app.py").write_text(APP)
    notes, port = tmp_path / "delivered", free_port()
    environ = {**os.environ, "DELIVERED": str(notes), "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    command = [sys.executable, "-m", "uvicorn", "shop_app:app", "--port", str(port), "--log-level", "error"]
    with subprocess.Popen(command, env=environ, cwd=Path(__file__).parents[3]) as server:
        try:
            end = time.monotonic() + 30
            while True:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                    connection.request("GET", "/", headers={"Host": "www.mysite.com", "User-Agent": "Mozilla/5.0"})
                    assert connection.getresponse().read() == b"bought"
                    connection.close()
                    break
                except ConnectionError:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            server.send_signal(signal.SIGTERM)
            server.wait(20)
        finally:
            server.kill()
    assert notes.exists() and notes.read_text() == "x"


def test_C3_a_loop_that_is_not_asyncios() -> None:
    """Under trio the server is told to end, with what to do, instead of serving defaults."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})

    async def send(message: Any) -> None:
        sent.append(message)

    fm = Flagmw(vendors=[Static(flags={"ta_A": "b"})], outbox="memory://")
    with contextlib.suppress(StopIteration):
        # Driven by hand: nothing of asyncio runs here, as under trio.
        FlagsMiddleware(app, flagmw=fm)({"type": "lifespan"}, send, send).send(None)  # type: ignore[attr-defined, arg-type]
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "needs asyncio" in sent[0]["message"]


async def test_C3_the_start_holds_up_no_loop(vendor: SandboxServer, tmp_path: Path) -> None:
    """While the outbox is opened and certificates are read, other coroutines go on."""
    fm = Flagmw(vendors=[webtrends(vendor.webtrends_url)], outbox=f"sqlite://{tmp_path}/outbox")
    rounds = 0

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    await fm.astart()
    task.cancel()
    await fm.aclose(2.0)
    assert rounds > 3
