"""Every shop under every server, in the short form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from flagmw.sandbox import SandboxServer
from tests.servers.matrix.servers import CELLS, Cell
from tests.servers.matrix.visit import run


@pytest.fixture(scope="module")
def visits() -> Iterator[Mapping[Cell, Future[None]]]:
    """Run all cells, three at a time: most of each is waiting for a server to start."""
    with SandboxServer(seed=1) as vendor, ThreadPoolExecutor(3) as pool:
        yield {cell: pool.submit(run, cell, vendor) for cell in CELLS}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_shop_under_server(cell: Cell, visits: Mapping[Cell, Future[None]]) -> None:
    """A visitor decides, returns, buys and streams, and the server's end loses none of it."""
    visits[cell].result(timeout=120)
