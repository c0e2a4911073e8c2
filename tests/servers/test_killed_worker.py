"""Workers of real servers are killed right after they said yes to a purchase: the conversion arrives all the same."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from flagmw.sandbox import SandboxServer
from tests.servers.shops import FLASK, Shop, Visitor, kill, start_shop

SERVERS = {"fastapi_shop": (["--workers", "2"], None), "flask_shop": (["--workers", "4"], FLASK)}
WITHIN_S = 40.0


@pytest.fixture
def vendor() -> Iterator[SandboxServer]:
    with SandboxServer(seed=5) as server:
        yield server


@pytest.fixture(params=SERVERS)
def shop(request: pytest.FixtureRequest, vendor: SandboxServer, tmp_path: Path) -> Iterator[Shop]:
    """Each shop with several workers and an outbox on disk."""
    arguments, command = SERVERS[request.param]
    outbox = f"sqlite://{tmp_path / 'outbox'}"
    # Patience: the tests' machine is busy, and a page that does not wait for its disk any longer promises nothing.
    options = {"outbox": outbox, "deadline_ms": 3000, "commit_wait_ms": 20_000}
    shop = start_shop(request.param, vendor, tmp_path / "output", *arguments, command=command, **options)
    try:
        yield shop
    finally:
        kill(shop)


def workers(shop: Shop) -> list[int]:
    """Return the server's processes that serve."""
    pid = shop.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]


def buyer(shop: Shop) -> Visitor:
    """Return a visitor who is in the test."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        visitor = Visitor(shop)
        # Each page on a connection of its own: the worker at the other end of an old one may be dead.
        with contextlib.suppress(httpx2.TransportError), visitor.http:
            visitor.open("/checkout")
            if any("control" in name for name in visitor.cookies):
                return visitor
    raise AssertionError(f"nobody was decided for:\n{shop.said()}")


def buy(visitor: Visitor) -> httpx2.Response:
    with httpx2.Client(timeout=30) as visitor.http:
        return visitor.open("/buy", "POST")


def test_P29_conversion_survives_the_worker(shop: Shop, vendor: SandboxServer) -> None:
    """While the vendor is down a purchase is made; all workers are killed; both its conversion and a later one come."""
    visitor, later = buyer(shop), buyer(shop)
    vendor.stop()
    bought = buy(visitor)
    for pid in workers(shop):
        os.kill(pid, signal.SIGKILL)
    assert bought.status_code == 200 and "None" not in bought.text
    vendor.start()
    end = time.monotonic() + WITHIN_S
    while True:
        with contextlib.suppress(httpx2.TransportError):
            if buy(later).status_code == 200:
                break
        assert time.monotonic() < end, shop.said()
        time.sleep(0.1)
    while len(vendor.ledger()["conversions"]) < 2:
        assert time.monotonic() < end, (vendor.ledger()["conversions"], shop.said())
        time.sleep(0.1)
    assert len({conversion["system_uid"] for conversion in vendor.ledger()["conversions"]}) == 2
