"""The rules of delivery, as a table and as properties."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw.codes import ErrorCode
from flagmw.outbox.base import Leased
from flagmw.outbox.policy import Bury, Discard, Policy, Requeue, Settle
from flagmw.types import Ambiguous, Dead, Delivered, Dropped, Retry, Suspend

NOW = 1_800_000_000.0
HOUR = 3600.0
POLICY = Policy()

OUTCOMES = st.one_of(
    st.builds(Delivered, st.booleans()),
    st.builds(
        Retry,
        st.sampled_from(ErrorCode),
        st.none() | st.floats() | st.integers(),
        st.none() | st.lists(st.sampled_from("abcx"), max_size=4).map(tuple),
    ),
    st.builds(Suspend, st.sampled_from(ErrorCode)),
    st.builds(Dead, st.sampled_from(ErrorCode), st.booleans()),
    st.builds(Dropped, st.sampled_from(ErrorCode)),
    st.builds(Ambiguous, st.sampled_from(ErrorCode)),
)
ROWS = st.fixed_dictionaries(
    {
        "attempts": st.integers(0, 10_000),
        "created": st.floats(NOW - 10 * 86400, NOW + 365 * 86400),
        "refusals": st.integers(0, 10),
        "refused_at": st.none() | st.floats(NOW - 86400, NOW + 86400),
    }
)


@pytest.fixture
def row(make_event):
    """Return a function that builds a leased row, fresh unless told otherwise."""

    def row(*, aliases=("a", "b", "c"), at_most_once=False, created=NOW, **more):
        return Leased(event=make_event(aliases=aliases, at_most_once=at_most_once), created=created, **more)

    return row


def rule(outcome, row, now=NOW, policy=POLICY):
    return policy.rule(outcome, row, now, random.Random(7))


@pytest.mark.parametrize(
    ("outcome", "at_most_once", "expected"),
    [
        (Delivered(), False, Settle()),
        (Delivered(duplicate=True), True, Settle(duplicate=True)),
        (Dropped(ErrorCode.NOT_IN_TEST), False, Discard(ErrorCode.NOT_IN_TEST)),
        (Dead(ErrorCode.VENDOR_400), False, Bury(ErrorCode.VENDOR_400)),
        (Suspend(ErrorCode.UNAUTHORIZED), True, Requeue(due_at=NOW + 300, counted=False)),
        (Ambiguous(ErrorCode.RESET), True, Discard(ErrorCode.AMBIGUOUS)),
        (Retry(ErrorCode.VENDOR_500, aliases=()), False, Settle()),
    ],
)
def test_fixed_rulings(row, outcome, at_most_once, expected):
    """These outcomes leave nothing to chance."""
    assert rule(outcome, row(at_most_once=at_most_once)) == expected


@pytest.mark.parametrize("at_most_once", [False, True])
def test_a_retry_is_requeued_and_counted(row, at_most_once):
    """What surely was not received is tried again, also when it goes at most once."""
    ruling = rule(Retry(ErrorCode.CONNECT), row(at_most_once=at_most_once))
    assert isinstance(ruling, Requeue)
    assert ruling.counted and not ruling.refused and ruling.aliases is None
    assert NOW + 1 <= ruling.due_at <= NOW + 2


def test_doubt_is_requeued_and_counted(row):
    """What may have been received is tried again by default."""
    ruling = rule(Ambiguous(ErrorCode.DEADLINE), row())
    assert isinstance(ruling, Requeue)
    assert ruling.counted


@pytest.mark.parametrize(
    ("open_aliases", "kept"),
    [
        (None, None),
        (("b",), ("b",)),
        (("c", "a"), ("a", "c")),
        (("b", "unknown"), ("b",)),
        (("unknown",), None),
    ],
)
def test_open_aliases_are_kept(row, open_aliases, kept):
    """A row shrinks to its own aliases that are open, and never to nothing by a slip."""
    ruling = rule(Retry(ErrorCode.VENDOR_500, aliases=open_aliases), row())
    assert isinstance(ruling, Requeue)
    assert ruling.aliases == kept


@pytest.mark.parametrize(
    ("after_s", "wait_s"),
    [
        (30, 30),
        (0.5, None),
        (HOUR, HOUR),
        (HOUR + 1, HOUR),
        pytest.param(10**400, HOUR, id="huge"),
        (-1, None),
        (math.nan, None),
        (math.inf, None),
        ("30", None),
        (None, None),
    ],
)
def test_retry_after_is_honoured_when_longer_and_clamped(row, after_s, wait_s):
    """A sensible rest counts, up to an hour; anything else leaves the back-off as it is."""
    due_at = rule(Retry(ErrorCode.RATE_LIMITED, after_s=after_s), row()).due_at
    if wait_s is None:
        assert NOW + 1 <= due_at <= NOW + 2
    else:
        assert due_at == NOW + wait_s


@pytest.mark.parametrize(
    "outcome", [Retry(ErrorCode.CONNECT), Ambiguous(ErrorCode.RESET), Dead(ErrorCode.REFUSED, verdict=False)]
)
@pytest.mark.parametrize(("age_s", "buried"), [(72 * HOUR - 1, False), (72 * HOUR, True), (72 * HOUR + 1, True)])
def test_the_age_limit_ends_retries(row, outcome, age_s, buried):
    """An event that failed again at 72 hours is laid aside; before that it is not."""
    ruling = rule(outcome, row(created=NOW - age_s))
    assert (ruling == Bury(ErrorCode.TOO_OLD)) is buried


def test_suspension_does_not_age_events_out(row):
    """Our wrong key is no verdict on an event."""
    assert isinstance(rule(Suspend(ErrorCode.UNAUTHORIZED), row(created=NOW - 73 * HOUR)), Requeue)


@pytest.mark.parametrize(
    ("refusals", "since_s", "buried"),
    [(0, None, False), (1, 9_000, False), (2, 599, False), (2, 600, True), (9, 599, False)],
)
def test_refusals_need_number_and_time(row, refusals, since_s, buried):
    """Three refusals without a verdict over ten minutes bury an event; fewer or faster ones do not."""
    refused_at = None if since_s is None else NOW - since_s
    ruling = rule(Dead(ErrorCode.REFUSED, verdict=False), row(refusals=refusals, refused_at=refused_at))
    if buried:
        assert ruling == Bury(ErrorCode.REFUSED)
    else:
        assert isinstance(ruling, Requeue)
        assert ruling.refused and 300 <= ruling.due_at - NOW <= 360


def test_what_is_no_outcome_is_an_error(row):
    """The rule does not guess."""
    with pytest.raises(TypeError):
        rule("delivered", row())


@settings(deadline=None)
@given(st.integers(0, 100_000), st.integers())
def test_backoff_stays_within_its_limits_and_grows(attempts, seed):
    """Every wait is between one second and fifteen minutes, and within the doubling limit."""
    wait_s = POLICY.backoff_s(attempts, random.Random(seed))
    assert 1 <= wait_s <= min(900, 2.0 ** min(attempts + 1, 64))


def test_backoff_is_jittered_over_its_whole_range():
    """Events that failed together do not come back together."""
    rng = random.Random(7)
    waits = sorted(POLICY.backoff_s(20, rng) for _ in range(1_000))
    assert waits[0] < 50 and waits[-1] > 850
    assert 350 < waits[500] < 550


@settings(deadline=None)
@given(OUTCOMES, ROWS, st.booleans(), st.integers())
def test_every_outcome_has_a_ruling(make_event, outcome, fields, at_most_once, seed):
    """Nothing raises, no wait is longer than an hour or in the past, and doubt never repeats an at-most-once event."""
    row = Leased(event=make_event(aliases=("a", "b", "c"), at_most_once=at_most_once), **fields)
    ruling = POLICY.rule(outcome, row, NOW, random.Random(seed))
    assert isinstance(ruling, Settle | Requeue | Bury | Discard)
    if isinstance(ruling, Requeue):
        assert NOW < ruling.due_at <= NOW + HOUR
        assert POLICY.clamp(ruling.due_at, NOW) == ruling.due_at
        assert ruling.aliases is None or set(ruling.aliases) <= {"a", "b", "c"}
        assert not (at_most_once and isinstance(outcome, Ambiguous))
        # What was not sent, and what the vendor asks to be sent later, says nothing against the event.
        unsent = isinstance(outcome, Retry) and outcome.code is ErrorCode.SHED
        later = (
            isinstance(outcome, Retry) and outcome.code is ErrorCode.RATE_LIMITED and POLICY.rest_s(outcome.after_s) > 0
        )
        assert ruling.counted is not (isinstance(outcome, Suspend) or unsent or later)
    assert POLICY.rule(outcome, row, NOW, random.Random(seed)) == ruling


@settings(deadline=None)
@given(st.floats(allow_nan=False), st.floats(0, 4e9))
def test_due_times_are_clamped_to_the_longest_wait(due_at, now):
    """However far a clock jumped, nothing is due later than an hour from now."""
    assert POLICY.clamp(due_at, now) <= now + HOUR
