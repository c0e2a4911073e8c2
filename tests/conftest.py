"""What all tests share: the same Hypothesis examples in every run, and an account of every event at each test's end."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest
from hypothesis import settings

from flagmw import ErrorCode
from flagmw._delivery import Delivery
from flagmw.exceptions import OutboxError

settings.register_profile("flagmw", derandomize=True, deadline=None, max_examples=100, print_blob=False)
settings.load_profile("flagmw")

_CODES = frozenset(ErrorCode) | {""}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Put aside what is there already: what can be found afterwards is the test's own, and that is little."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Look at every delivery that the test used and did not close: no event is lost, no counter is made up.

    (A delivery that has run outlives its `Flagmw`, which the test may have dropped already.)
    """
    result = yield
    for delivery in [thing for thing in gc.get_objects() if type(thing) is Delivery]:
        account(delivery)
    return result


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    gc.unfreeze()


def account(delivery: Delivery) -> None:
    """Fail unless all that *delivery*, and the `Flagmw` that it belongs to, have counted adds up."""
    names = {vendor.name for vendor in delivery._config.vendors} | {""}
    counted = delivery._counts.snapshot()
    odd = {label: n for label, n in counted.items() if n < 1 or label[1] not in names or label[2] not in _CODES}
    assert odd == {}, f"labels come from closed sets, and what is counted happened: {odd}"
    if delivery.health()["delivery"] is None:
        return  # never used, or closed: closing says itself what was lost
    try:
        stats = delivery.stats()
    except OutboxError:
        return  # an outbox that is broken or closed on purpose has no counts to tell
    assert stats.balanced(), f"events are unaccounted for: {stats}"
    assert stats.leased <= stats.queued and stats.duplicates <= stats.delivered, stats
