"""`memory_mb` bounds what a process keeps of all that visitors can vary."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flagmw import Webtrends
from flagmw._exchange.incoming_cookies import CookieReader
from tests.contracts.edges.varied import DOMAIN, USER


@pytest.mark.parametrize("pad", [1500])
def test_what_visitors_vary_is_bounded(pad: int) -> None:
    """Hosts, paths, headers, cookies, ids, aliases and metrics that are new with every request, all at once."""
    command = [sys.executable, "-m", "tests.contracts.edges.varied", "--together", "--values", "1000"]
    done = subprocess.run(
        [*command, "--memory-mb", "4", "--pad", str(pad)], capture_output=True, text=True, timeout=120
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout


def test_what_is_kept_with_a_header_counts_with_it() -> None:
    """Addresses and hosts that one visitor brings add to what the header weighs, and long hosts are not kept."""
    reader = CookieReader([Webtrends(DOMAIN, "a-token-of-tests", "https://www.mysite.com{path}")], 1_000_000)
    carried = reader([f"{USER}=u"])
    before, kept = carried.size, reader._cache._weight
    for n in range(100):
        reader.keep_key(carried, 0, "/" + "x" * 2000 + str(n), True, ((0, b"digest"), True))
    assert len(carried.keys) == 16
    assert carried.size - before > 16 * 2000
    assert reader._cache._weight - kept == carried.size - before
