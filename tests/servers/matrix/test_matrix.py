"""Every shop under every server, in the short form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from flagmw.sandbox import SandboxServer
from tests.servers.matrix import visit, visit_mounted
from tests.servers.matrix.servers import SUITE_CELLS, SUITE_MOUNTED, Cell


@pytest.fixture(scope="module")
def visits() -> Iterator[Mapping[Cell, Future[None]]]:
    """Run all cells, three at a time: most of each is waiting for a server to start."""
    with SandboxServer(seed=1) as vendor, ThreadPoolExecutor(3) as pool:
        shops = {cell: pool.submit(visit.run, cell, vendor) for cell in SUITE_CELLS}
        yield shops | {cell: pool.submit(visit_mounted.run, cell, vendor) for cell in SUITE_MOUNTED}


@pytest.mark.parametrize("cell", SUITE_CELLS, ids=lambda cell: cell.name)
def test_shop_under_server(cell: Cell, visits: Mapping[Cell, Future[None]]) -> None:
    """A visitor decides, returns, buys and streams, and the server's end loses none of it."""
    visits[cell].result(timeout=120)


@pytest.mark.parametrize("cell", SUITE_MOUNTED, ids=lambda cell: cell.name)
def test_C7_mount_point(cell: Cell, visits: Mapping[Cell, Future[None]]) -> None:
    """A 404, a redirect, a cookie, a stream and two visitors on one connection, below /shop."""
    visits[cell].result(timeout=120)
