"""A sandbox for each module, and each shop in turn in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flagmw.sandbox import SandboxServer
from tests.servers.shops import SERVERS, Shop, Visitor, kill, start_shop


@pytest.fixture(scope="module")
def vendor() -> Iterator[SandboxServer]:
    with SandboxServer(seed=5) as server:
        yield server


@pytest.fixture(scope="module", params=SERVERS)
def shop(
    request: pytest.FixtureRequest, vendor: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Each shop in turn, under its server."""
    shop = start_shop(request.param, vendor, tmp_path_factory.mktemp("shop") / "output")
    try:
        yield shop
    finally:
        kill(shop)


@pytest.fixture
def visitor(shop: Shop) -> Iterator[Visitor]:
    """Somebody who was never here before, at a vendor without a memory."""
    shop.vendor.start()
    shop.vendor.reset()
    visitor = Visitor(shop)
    with visitor.http:
        yield visitor
