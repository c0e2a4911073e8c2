"""Nobody gets anything of anybody else's, in the short form."""

from __future__ import annotations

import pytest

from tests.faults.isolation.run import SHARES, part, reusing

REQUESTS = 20_000
REUSING = 5000


@pytest.mark.parametrize(("edge", "remote"), SHARES, ids=["asgi", "asgi-transport", "wsgi", "wsgi-transport"])
def test_I30_visitors_are_kept_apart(edge: str, remote: bool) -> None:
    """Every response, every flag read on the way and every track is of its own visitor alone."""
    requests = round(REQUESTS * SHARES[edge, remote])
    found = part(edge, remote, requests)
    assert found.mix_ups[:5] == []
    assert found.counts["requests"] == requests
    assert found.counts["tracks"] == found.counts["expected tracks"] > 0


@pytest.mark.parametrize("edge", ["asgi", "wsgi"])
def test_reused_decisions_are_ones_own(edge: str) -> None:
    """With reuse by memory and cookie, in two processes and with stolen tokens, nobody has anybody else's decision."""
    found = reusing(edge, REUSING)
    assert found.mix_ups[:5] == []
    assert found.counts["requests"] == REUSING
    assert found.counts["reused"] > REUSING // 2
