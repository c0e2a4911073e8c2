"""The edges' fixtures serve here too; what is made is closed without waiting for a vendor that will not answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flagmw import Flagmw
from tests.contracts.edges.conftest import _server, edge, vendor
from tests.contracts.edges.driver import AsgiEdge, Edge, Make

__all__ = ["_server", "edge", "make", "vendor"]

CLOSE_S = 0.2


@pytest.fixture
def make(edge: Edge) -> Iterator[Make]:
    """Return a maker of `Flagmw(**options)` for the edge; at the end all counts must add up."""
    made: list[Flagmw] = []

    def make(**options: Any) -> Flagmw:
        options.setdefault("deadline_ms", 5000)
        options.setdefault("mode", "eager")  # both edges ask for the same pages
        made.append(Flagmw(**options))
        return made[-1]

    yield make
    for fm in made:
        assert fm.outbox_stats().balanced()
        if isinstance(edge, AsgiEdge):
            edge.run(fm.aclose(CLOSE_S))
        else:
            fm.close(CLOSE_S)
