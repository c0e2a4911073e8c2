"""Pace, width and the share of repeats: counters on a clock that the tests move."""

from __future__ import annotations

import random

import pytest

from flagmw.outbox.base import Lease, Leased
from flagmw.outbox.worker.batches import by_visitor, parcel_size
from flagmw.outbox.worker.pace import Arrivals, Chance, Pace, RetryBudget, Turns, Width


@pytest.mark.parametrize("rate", [0.5, 5.0, 50.0, 700.0])
def test_pace_is_kept_over_any_stretch(rate):
    """However events come, no stretch of time has more than the rate and a tenth of a second's worth on top."""
    pace, rng, now, sent = Pace(rate), random.Random(7), 1_000.0, []
    for _ in range(2_000):
        now += rng.choice([0.0, 0.0, 0.0, 0.1, 0.5, 40.0]) / rate
        sent.append(max(now, pace.book(1, now)))
        now = max(now, sent[-1] - rng.choice([0.0, 3.0]) / rate)
    sent.sort()
    for first in range(0, len(sent), 7):
        for last in range(first, min(len(sent), first + 300), 11):
            assert last - first + 1 <= rate * (sent[last] - sent[first] + 0.1) + 1.001


def test_pace_serves_in_the_order_of_asking():
    """Who asks once waits behind one turn of each who asked before, not behind their whole queues."""
    pace = Pace(10.0)
    turns = [pace.book(1, 100.0) for _ in range(5)]
    assert turns == pytest.approx([99.9, 100.0, 100.1, 100.2, 100.3])
    pace.give_back(1)
    assert pace.book(1, 100.0) == pytest.approx(100.3)


def test_width_halves_and_grows():
    """A failure halves it, once a second; five good attempts in a row add one up to the usual, 20 beyond."""
    width, seen = Width(4, 6), []
    for at in (0.0, 0.5, 1.0, 2.0, 3.0):
        width.failure(at)
        seen.append(width.limit)
    assert seen == [2, 2, 1, 1, 1]
    for good, limit in ((4, 1), (1, 2), (5, 3), (5, 4), (19, 4), (1, 5), (100, 6)):
        for _ in range(good):
            width.success(0.02)
        assert width.limit == limit


def test_width_does_not_grow_while_answers_get_slower_by_it():
    """A vendor whose answers take longer and longer has enough to do: no more than the usual number at once."""
    width = Width(4, 16)
    for _ in range(40):
        width.success(0.02)
    assert width.limit == 6
    for _ in range(400):
        width.success(0.02 * 3 * width.limit / 4)
    assert width.limit in (4, 5)


def simulate(budget: RetryBudget, failing: float, minutes: int, fresh_per_s: int) -> list[tuple[float, bool]]:
    """Send fresh events each second and all repeats that the budget allows; return what was sent when."""
    rng, now, due, sent = random.Random(3), 0.0, 0, []
    for _ in range(minutes * 60):
        now += 1.0
        repeats = [True] * due
        due = 0
        for repeat in [False] * fresh_per_s + repeats:
            if repeat and not budget.take(now):
                due += 1
                continue
            sent.append((now, repeat))
            failed = rng.random() < failing
            if not repeat:
                budget.first()
            elif not failed:
                budget.refund()
            due += failed
    return sent


def share(sent: list[tuple[float, bool]], end: float) -> float:
    window = [repeat for at, repeat in sent if end - 60 < at <= end]
    return sum(window) / len(window)


@pytest.mark.parametrize("failing", [0.45, 0.6, 0.9])
def test_repeats_are_a_part_while_the_vendor_fails_now_and_then(failing):
    """Without a budget repeats would be half of all sends and more; it keeps them at a quarter in every minute."""
    sent = simulate(RetryBudget(), failing, minutes=6, fresh_per_s=20)
    shares = [share(sent, end) for end in range(120, 360)]
    assert max(shares) <= 0.3
    assert min(shares) > 0.1, "the budget is there to be used"


def test_repeats_are_free_while_the_vendor_is_well():
    """A backlog that consists of repeats goes out as fast as anything else, also just after the vendor failed."""
    budget = RetryBudget()
    while budget.take(1.0):
        pass
    assert budget.take(2.0)
    budget.refund()
    for n in range(1_000):
        assert budget.take(2.0 + n * 0.001)
        budget.refund()


def test_one_repeat_a_second_always_passes():
    """With nothing but repeats to send, one a second shows whether the vendor has recovered."""
    budget, sent = RetryBudget(), []
    for step in range(600):
        if budget.take(step * 0.1):
            sent.append(step * 0.1)
    assert len([at for at in sent if at > 30.0]) == pytest.approx(30, abs=1)
    budget.clear()
    assert sum(budget.take(60.0) for _ in range(50)) == 20


def test_what_waits_untried_comes_one_after_the_other():
    """However many wait, they are looked at again 150 a second, the first of them after a second."""
    turns = Turns()
    waits = [turns.wait_s(100.0) for _ in range(301)]
    assert waits[0] == 1.0 and waits[-1] == pytest.approx(3.0)
    assert turns.wait_s(200.0) == 1.0


@pytest.mark.parametrize(
    ("share", "low", "high"), [(0.0, 1.0, 1.5), (0.1, 1.5, 3.0), (0.5, 5.0, 9.0), (1.0, 100.0, 200.0)]
)
def test_failures_that_the_vendors_state_explains(share, low, high):
    """A vendor that fails by half may fail seven times in a row for one event; one that is well may not twice."""
    chance, rng = Chance(), random.Random(1)
    for _ in range(200):
        chance.note(failed=rng.random() < share)
    assert low <= chance.explains() <= high


def test_arrivals_are_counted_over_ten_seconds():
    """What came in, by vendor, as a rate; a store that others fill too is watched by its count."""
    arrivals = Arrivals()
    for second in range(30):
        arrivals.add("wt", 20, 100.0 + second)
        arrivals.total("adobe", 1_000 + 7 * second, 100.0 + second)
    assert arrivals.rate("wt", 129.5) == pytest.approx(20, rel=0.15)
    assert arrivals.rate("adobe", 129.5) == pytest.approx(7, rel=0.15)
    assert arrivals.rate("wt", 150.0) == arrivals.rate("none", 150.0) == 0.0


def row(make_event, visitor: str = "ann", **more) -> Leased:
    at_most_once = more.pop("at_most_once", False)
    return Leased(event=make_event(visitor=visitor, at_most_once=at_most_once), **more)


def test_a_lease_becomes_one_queue_per_visitor(make_event):
    """Each visitor's rows stay in order, and every row is in exactly one queue."""
    rows = tuple(row(make_event, visitor) for visitor in "abacba")
    queues = by_visitor(Lease("t", "wt", rows), 5.0)
    assert [[r.event.visitor_key for r in queue.left.rows] for queue in queues] == [["a"] * 3, ["b"] * 2, ["c"]]
    assert queues[0].left.rows == (rows[0], rows[2], rows[5])
    assert queues[0].take(2).rows == (rows[0], rows[2]) and queues[0].left.rows == (rows[5],)


@pytest.mark.parametrize(
    ("kinds", "batch_max", "size"),
    [
        ("nnnn", 1, 1),
        ("nnnn", 3, 3),
        ("nnnn", 9, 4),
        ("nnnn", 0, 1),
        ("onn", 9, 1),
        ("nno", 9, 2),
        ("rnn", 9, 1),
        ("nrn", 9, 1),
        ("ttn", 9, 2),
        ("ttttn", 16, 4),
        ("ttttn", 3, 1),
        ("Tt", 9, 1),
        ("tT", 9, 1),
        ("nt", 9, 1),
    ],
)
def test_what_goes_into_one_attempt(make_event, kinds, batch_max, size):
    """n: new, t: tried once, T: tried more often, r: refused before, o: at most once. Only n and t are put together."""
    made = {
        "n": {},
        "t": {"attempts": 1},
        "T": {"attempts": 2},
        "r": {"attempts": 1, "refusals": 1},
        "o": {"at_most_once": True},
    }
    assert parcel_size([row(make_event, **made[kind]) for kind in kinds], batch_max) == size
