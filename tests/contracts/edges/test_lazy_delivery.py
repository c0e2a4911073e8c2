"""Pages that read no flag, and what dead processes have left."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Answer, Edge, Make, webtrends


@pytest.mark.parametrize("mode", ["auto", "lazy", "eager"])
def test_the_first_page_starts_delivery(
    edge: Edge, make: Make, vendor: SandboxServer, tmp_path: Path, mode: str
) -> None:
    """Delivery runs from a process's first request on, whether its view reads flags or not."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], mode=mode, outbox=f"sqlite://{tmp_path}")
    assert fm.health()["delivery"] is None
    edge.get(edge.mount(lambda seen: Answer(), fm))
    assert fm.health()["delivery"] is not None
