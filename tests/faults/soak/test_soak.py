"""The crash run and the outage run in their short forms; `make soak` runs longer ones."""

from __future__ import annotations

import pytest

from tests.faults.soak import catchup, crash, outage

KILLS = 10
OUTAGE_S = 4.0


def test_no_acknowledged_event_is_lost_in_crashes() -> None:
    """P1, P2, P3, P29: what a visitor was told of arrives, whoever is killed; what arrives twice is known to."""
    done = crash.run(KILLS)
    print(done.text())
    assert done.refused == ()
    assert done.acknowledged > 100
    assert done.lost == ()
    assert done.unmarked == ()


def test_an_outage_costs_no_event_and_ends_without_a_rush() -> None:
    """Everything of an outage arrives afterwards, no faster than `max_rate` allows all processes together."""
    done = outage.run(OUTAGE_S)
    print(done.text())
    assert done.backlog > 20
    assert done.lost == 0
    # A tenth of a second's worth may go at once, and the ledger is read a little early or late.
    assert done.peak_rate <= 1.35 * done.allowed_rate


@pytest.mark.parametrize(("backlog", "live", "within_s"), [(600, 50.0, 20.0)])
def test_a_backlog_is_gone_soon_after_the_vendor_is_back(backlog: int, live: float, within_s: float) -> None:
    """What an outage has piled up leaves within seconds of its end, although more comes in; nothing is sent twice.

    (The bound is for a busy machine; `make soak` says how long it takes.)
    """
    done = catchup.run(backlog, live, timeout_s=30.0)
    print(done.text())
    assert done.gone_s is not None and done.gone_s < within_s
    assert done.repeated == 0


def test_a_vendor_that_answers_slowly_is_not_pressed() -> None:
    """It gets no more than twice what comes in, however much waits."""
    done = catchup.run(200, 20.0, answer_s=0.3, timeout_s=5.0)
    print(done.text())
    assert done.left
    assert done.peak_rate <= 40.0
