"""Every fault of a vendor under load, in the short form."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.faults.load.load import DEADLINE_S, SERVERS
from tests.faults.load.rows import ROWS
from tests.faults.load.run import Result, run, table

REQUESTS = 2000
# Several shops and their vendors share a small machine here; `make faults` is what measures.
GRACE_S = 1.5


@pytest.fixture(scope="module")
def results() -> Sequence[Result]:
    return run(REQUESTS, lanes=3)


def test_visitors_get_their_page(results: Sequence[Result]) -> None:
    """Whatever the vendor does, every visitor gets the whole checkout page with a variant of the test."""
    print(table(results))
    assert len(results) == len(ROWS) * len(SERVERS)
    assert sum(result.requests for result in results) > 0.9 * REQUESTS
    assert [result for result in results if result.non_200 or result.wrong] == []


def test_faults_were_met(results: Sequence[Result]) -> None:
    """Every fault did hit calls, and without one visitors get decisions."""
    stopped = {row.name for row in ROWS if row.fault is None}
    assert [result for result in results if result.fault not in stopped and not result.hit] == []
    assert [result for result in results if result.fault == "none" and result.decided < result.requests / 2] == []
    assert [result for result in results if result.fault == "refused" and result.decided] == []


def test_vendor_is_not_asked_more_often(results: Sequence[Result]) -> None:
    """No request costs more than one decide call, or two where the visitor's cookies are or may be to blame."""
    assert [result for result in results if result.per_request > result.allowed] == []


def test_nobody_waits_for_long(results: Sequence[Result]) -> None:
    """No page comes much later than the deadline."""
    assert [result for result in results if result.max > (DEADLINE_S + GRACE_S) * 1000] == []
