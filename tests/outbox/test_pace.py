"""Pace, width and the share of repeats: counters on a clock that the tests move."""

from __future__ import annotations

import random

import pytest

from flagmw.outbox.base import Lease, Leased
from flagmw.outbox.pace import Pace, RetryBudget, Width
from flagmw.outbox.parcels import by_visitor, parcel_size


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
    """Each failure halves it down to one; 20 good attempts in a row add one, up to the most."""
    width, seen = Width(4), []
    for _ in range(3):
        width.failure()
        seen.append(width.limit)
    assert seen == [2, 1, 1]
    for _ in range(19):
        width.success()
    assert width.limit == 1
    width.success()
    assert width.limit == 2
    for _ in range(100):
        width.success()
    assert width.limit == 4


def simulate(budget: RetryBudget, failing: float, minutes: int, fresh_per_s: int) -> list[tuple[float, bool]]:
    """Send fresh events each second and all repeats that the budget allows; return what was sent when."""
    rng, now, due, sent = random.Random(3), 0.0, 0, []
    for _ in range(minutes * 60):
        now += 1.0
        repeats = [True] * due
        due = 0
        for repeat in [False] * fresh_per_s + repeats:
            if repeat and not budget.allows(1, now):
                due += 1
                continue
            budget.sent(1, int(repeat), now)
            sent.append((now, repeat))
            if rng.random() < failing:
                budget.failed(1, now)
                due += 1
    return sent


def share(sent: list[tuple[float, bool]], end: float) -> float:
    window = [repeat for at, repeat in sent if end - 60 < at <= end]
    return sum(window) / len(window)


def test_repeats_are_a_fifth_while_the_vendor_fails_now_and_then():
    """At 45 % failures repeats would be nearly half of all sends; the budget keeps them at 20 % in every minute."""
    sent = simulate(RetryBudget(), 0.45, minutes=6, fresh_per_s=20)
    shares = [share(sent, end) for end in range(120, 360)]
    assert max(shares) <= 0.21
    assert min(shares) > 0.15, "the budget is there to be used"


def test_repeats_are_free_while_the_vendor_is_well():
    """A backlog that consists of repeats goes out as fast as anything else."""
    budget = RetryBudget()
    for n in range(1_000):
        assert budget.allows(1, n * 0.02)
        budget.sent(1, 1, n * 0.02)


def test_a_few_repeats_always_pass():
    """With nothing but repeats to send, ten a minute show whether the vendor has recovered, and then all may go."""
    budget, now, sent = RetryBudget(), 0.0, []
    for _ in range(10):
        budget.sent(1, 1, now)
        budget.failed(1, now)
    while now < 200.0:
        now += 0.5
        if budget.allows(1, now):
            budget.sent(1, 1, now)
            sent.append(now)
    assert not [at for at in sent if at < 60], "the minute of failures has used the floor up"
    assert len([at for at in sent if 60 < at < 61]) > 0
    budget.clear()
    assert budget.allows(1_000, now)


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
