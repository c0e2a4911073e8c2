"""What every outbox promises. A new backend is one more entry in `BACKENDS`."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.base import Lease, Outbox, OutboxStats
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.valkey import ValkeyOutbox
from flagmw.types import Ambiguous, Dead, Delivered, Dropped, Retry, Suspend
from tests.contracts.outbox.on_valkey import forwarded

BACKENDS = {
    "memory": lambda path, clock, **options: MemoryOutbox(rng=random.Random(1), **options),
    "sqlite": lambda path, clock, **options: SqliteOutbox(path, rng=random.Random(1), full_sync=False, **options),
    "valkey": forwarded,
}
SHARED = {"valkey"}  # what is stored there is every process's to deliver, a forked one's too
LEASE_S = 60.0
HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0


@pytest.fixture(params=BACKENDS)
def open_store(request, tmp_path, clock) -> Iterator[Callable[..., Outbox]]:
    """Open stores that must balance at the end of the test."""
    opened: list[Outbox] = []

    def open(**options: object) -> Outbox:
        opened.append(BACKENDS[request.param](tmp_path / str(len(opened)), clock, **options))
        return opened[-1]

    yield open
    for store in opened:
        stats = store.stats(clock.now)
        assert stats.balanced(), stats
        assert all(lane.balanced() for lane in stats.lanes.values()), stats
        assert replace(OutboxStats.of(stats.lanes), oldest_s=stats.oldest_s, refused=stats.refused) == stats
        store.close()
        assert store.stats(clock.now).balanced()


@pytest.fixture
def store(open_store) -> Outbox:
    return open_store()


@pytest.fixture
def claim(store, clock) -> Callable[..., Lease]:
    """Return a function that claims from the default store and insists on getting something."""

    def claim(limit: int = 1, **options: object) -> Lease:
        lease = store.claim(clock.now, limit, LEASE_S, **options)
        assert lease is not None
        return lease

    return claim


def ids(lease: Lease | None) -> list[str]:
    return [] if lease is None else [row.event.id for row in lease.rows]


# Putting


def test_put_stores_events_and_names_their_ids(store, clock, make_event):
    """What was put is accepted, queued and due at once."""
    events = [make_event(), make_event()]
    assert list(store.put_many(events, clock.now)) == [event.id for event in events]
    stats = store.stats(clock.now)
    assert (stats.accepted, stats.queued, stats.leased, stats.delivered) == (2, 2, 0, 0)
    assert store.next_due(clock.now) == 0


def test_put_of_nothing_does_nothing(store, clock):
    """An empty batch is no event."""
    assert list(store.put_many([], clock.now)) == []
    assert store.stats(clock.now).accepted == 0


def test_a_leased_event_comes_back_whole(store, clock, make_event, claim):
    """Every field of the event survives the store."""
    event = make_event(kind="exposure", key="order-1", aliases=("a", "b"), at_most_once=True)
    store.put_many([event], clock.now)
    row = claim().rows[0]
    assert row.event == event
    assert dict(row.event.visit.cookies) == {"_wt.user-1": "abc"}
    assert (row.attempts, row.created, row.refusals, row.refused_at) == (0, clock.now, 0, None)


@pytest.mark.parametrize("state", ["queued", "leased", "delivered", "dropped", "dead"])
def test_an_id_is_accepted_once_whatever_became_of_it(store, clock, make_event, claim, state):
    """A second put of the same event is safe, counted, and does not make a second row."""
    event = make_event()
    store.put_many([event], clock.now)
    outcomes = {
        "delivered": Delivered(),
        "dropped": Dropped(ErrorCode.NOT_IN_TEST),
        "dead": Dead(ErrorCode.REFUSED),
    }
    lease = claim() if state != "queued" else None
    if state in outcomes:
        store.ack(lease, [outcomes[state]], clock.now)
    before = store.stats(clock.now)
    assert list(store.put_many([event], clock.now)) == [event.id]
    after = store.stats(clock.now)
    assert (after.accepted, after.queued) == (1, before.queued)
    assert after.refused == {ErrorCode.DUPLICATE_KEY: 1}


def test_a_business_key_is_accepted_once_per_vendor(store, clock, make_event):
    """The same order number is one row at each vendor, also within one batch."""
    first, again = make_event(key="order-1"), make_event(key="order-1")
    elsewhere = make_event(key="order-1", vendor="adobe")
    assert len(store.put_many([first, again, elsewhere], clock.now)) == 3
    stats = store.stats(clock.now)
    assert (stats.accepted, stats.refused) == (2, {ErrorCode.DUPLICATE_KEY: 1})


def test_a_delivered_business_key_is_remembered_for_a_day(store, clock, make_event, claim):
    """A later event with a key that was delivered is not sent again, until the memory of it is a day old."""
    store.put_many([make_event(key="order-1")], clock.now)
    store.ack(claim(), [Delivered()], clock.now)
    clock.now += DAY - 1
    store.put_many([make_event(key="order-1")], clock.now)
    assert store.stats(clock.now).queued == 0
    clock.now += 2
    store.put_many([make_event(key="order-1")], clock.now)
    assert store.stats(clock.now).queued == 1


def test_the_memory_of_delivered_keys_is_bounded(open_store, clock, make_event):
    """No more settled ids and keys are remembered than the policy allows; the oldest go first."""
    store = open_store(policy=Policy(recent_max_rows=2))
    for number in range(3):
        store.put_many([make_event(key=f"order-{number}")], clock.now)
        store.ack(store.claim(clock.now, 1, LEASE_S), [Delivered()], clock.now)
    store.put_many([make_event(key="order-0"), make_event(key="order-2")], clock.now)
    assert store.stats(clock.now).queued == 1


def test_the_key_of_a_dead_letter_may_come_again(store, clock, make_event, claim):
    """What the vendor refused was never counted, so a corrected event with the same key is sent."""
    store.put_many([make_event(key="order-1")], clock.now)
    store.ack(claim(), [Dead(ErrorCode.REFUSED)], clock.now)
    store.put_many([make_event(key="order-1")], clock.now)
    assert store.stats(clock.now).queued == 1


def test_the_key_of_an_event_in_doubt_does_not_come_again(store, clock, make_event, claim):
    """An at-most-once event that the vendor may have blocks its business key."""
    store.put_many([make_event(key="order-1", at_most_once=True)], clock.now)
    store.ack(claim(), [Ambiguous(ErrorCode.RESET)], clock.now)
    store.put_many([make_event(key="order-1", at_most_once=True)], clock.now)
    assert store.stats(clock.now).queued == 0


def test_rows_are_bounded(open_store, clock, make_event):
    """One event too many is refused and counted; room comes back with a delivery."""
    store = open_store(max_rows=3)
    events = [make_event() for _ in range(4)]
    assert list(store.put_many(events, clock.now)) == [event.id for event in events[:3]]
    assert store.stats(clock.now).refused == {ErrorCode.QUEUE_FULL: 1}
    store.ack(store.claim(clock.now, 1, LEASE_S), [Delivered()], clock.now)
    assert list(store.put_many(events[3:], clock.now)) == [events[3].id]


def test_bytes_are_bounded(open_store, clock, make_event):
    """A full store refuses by size too, and goes on with the events that fit."""
    store = open_store(max_bytes=8_000)
    large, small = make_event(url="https://shop.example/" + "x" * 9_000), make_event()
    assert list(store.put_many([large, small], clock.now)) == [small.id]
    assert store.stats(clock.now).refused == {ErrorCode.QUEUE_FULL: 1}


@pytest.mark.parametrize("outcome", [Delivered(), Dropped(ErrorCode.NOT_IN_TEST), Dead(ErrorCode.REFUSED)])
def test_bytes_come_back(open_store, clock, make_event, outcome):
    """Whatever leaves the queue leaves its room to the next."""
    store = open_store(max_bytes=16_000)
    for _ in range(5):
        assert store.put_many([make_event(url="https://shop.example/" + "x" * 4_000)], clock.now)
        store.ack(store.claim(clock.now, 1, LEASE_S), [outcome], clock.now)


def test_exposures_leave_room_for_tracks(open_store, clock, make_event):
    """Exposures fill a share of the room; the rest is for what visitors did."""
    store = open_store(max_rows=10)
    assert len(store.put_many([make_event(kind="exposure") for _ in range(10)], clock.now)) == 8
    assert len(store.put_many([make_event() for _ in range(10)], clock.now)) == 2


# Submitting


def test_submit_stores_without_waiting(store, clock, make_event, claim):
    """The future brings what a put would have returned, once the events are stored."""
    event = make_event()
    assert list(store.submit([event, event], clock.now).result(5)) == [event.id, event.id]
    assert (store.stats(clock.now).accepted, ids(claim())) == (1, [event.id])


def test_submit_tells_of_trouble_in_the_future(store, clock, make_event):
    """A closed store raises nothing at the caller, who is in the middle of a request."""
    store.close()
    assert isinstance(store.submit([make_event()], clock.now).exception(5), OutboxError)


def test_many_submits_are_all_stored(store, clock, make_event):
    """Callers that do not wait for each other lose nothing, and every future knows its own events."""
    events = [[make_event() for _ in range(3)] for _ in range(40)]
    futures = [store.submit(batch, clock.now) for batch in events]
    assert [list(future.result(5)) for future in futures] == [[event.id for event in batch] for batch in events]
    assert store.stats(clock.now).accepted == 120


# Claiming


def test_claims_are_oldest_first_and_of_one_vendor(store, clock, make_event, claim):
    """A lease holds one vendor's events in the order of their making, up to the limit."""
    first, other, second, third = (
        make_event(),
        make_event(vendor="adobe"),
        make_event(),
        make_event(),
    )
    for event in (first, other, second, third):
        store.put_many([event], clock.now)
        clock.now += 1
    lease = claim(2)
    assert (lease.vendor, ids(lease)) == ("wt", [first.id, second.id])
    assert ids(claim(5)) == [other.id]
    assert ids(claim(5)) == [third.id]
    assert store.claim(clock.now, 5, LEASE_S) is None
    assert (store.stats(clock.now).leased, store.stats(clock.now).queued) == (4, 4)


def test_skipped_vendors_are_not_claimed(store, clock, make_event, claim):
    """A vendor that is to be left alone keeps its events and is not what one waits for."""
    kept, other = make_event(), make_event(vendor="adobe")
    store.put_many([kept, other], clock.now)
    assert ids(claim(5, skip={"wt"})) == [other.id]
    assert store.claim(clock.now, 5, LEASE_S, skip={"wt"}) is None
    assert store.next_due(clock.now, skip={"wt", "adobe"}) is None
    assert ids(claim(5)) == [kept.id]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_claim_for_nothing_is_none(store, clock, make_event, limit):
    """A limit below one leases nothing."""
    store.put_many([make_event()], clock.now)
    assert store.claim(clock.now, limit, LEASE_S) is None


def test_events_of_one_visitor_are_never_in_two_leases(store, clock, make_event, claim):
    """While one event of a visitor is in somebody's hands the next ones wait, and others go."""
    mine = [make_event(visitor="ann") for _ in range(3)]
    theirs = make_event(visitor="bob")
    store.put_many([*mine, theirs], clock.now)
    first = claim(1)
    assert ids(first) == [mine[0].id]
    assert ids(claim(5)) == [theirs.id]
    assert store.claim(clock.now, 5, LEASE_S) is None
    store.ack(first, [Delivered()], clock.now)
    assert ids(claim(5)) == [mine[1].id, mine[2].id]


def test_a_visitor_is_busy_at_one_vendor_only(store, clock, make_event, claim):
    """The same visitor's event for another vendor does not wait."""
    store.put_many([make_event(visitor="ann"), make_event(visitor="ann", vendor="adobe")], clock.now)
    assert {claim().vendor, claim().vendor} == {"wt", "adobe"}


def test_a_failing_event_does_not_block_its_visitor(store, clock, make_event, claim):
    """A visitor's later event goes while an earlier one is in back-off."""
    first, second = make_event(visitor="ann"), make_event(visitor="ann")
    store.put_many([first, second], clock.now)
    store.ack(claim(), [Retry(ErrorCode.CONNECT)], clock.now)
    assert ids(claim(5)) == [second.id]


def test_a_visitor_stays_busy_until_the_last_row_of_the_lease_is_settled(store, clock, make_event, claim):
    """Settling a part of a lease does not let the visitor's next event into another one."""
    events = [make_event(visitor="ann") for _ in range(3)]
    store.put_many(events, clock.now)
    lease = claim(2)
    store.ack(lease.part(0, 1), [Delivered()], clock.now)
    assert store.claim(clock.now, 5, LEASE_S) is None
    store.ack(lease.part(1), [Delivered()], clock.now)
    assert ids(claim(5)) == [events[2].id]


@pytest.mark.parametrize("how", ["release", "expiry"])
def test_creation_order_survives_a_lease_that_came_back(store, clock, make_event, claim, how):
    """An event that was given back goes before a visitor's later one that was put meanwhile."""
    first, second = make_event(visitor="ann"), make_event(visitor="ann")
    store.put_many([first], clock.now)
    lease = claim()
    clock.now += 1
    store.put_many([second], clock.now)
    clock.now += 1
    if how == "release":
        store.release(lease, clock.now)
    else:
        clock.now += LEASE_S
    assert ids(claim(5)) == [first.id, second.id]


def test_an_at_most_once_event_is_leased_alone(store, clock, make_event, claim):
    """A holder that dies leaves at most one such event in doubt."""
    events = [make_event(), make_event(at_most_once=True), make_event(at_most_once=True), make_event()]
    store.put_many(events, clock.now)
    assert [ids(claim(5)) for _ in events] == [[event.id] for event in events]


def test_claims_stay_cheap_with_a_long_queue(store, clock, make_event, claim):
    """Thousands of events of a busy visitor are not looked at again by every claim."""

    def deliver_s() -> float:
        """Deliver 400 events; return what the quickest 20 of them took."""
        store.put_many([make_event() for _ in range(400)], clock.now)
        times = []
        for _ in range(20):
            begin = time.perf_counter()
            for _ in range(20):
                store.ack(claim(), [Delivered()], clock.now)
            times.append(time.perf_counter() - begin)
        return min(times)

    alone_s = deliver_s()
    store.put_many([make_event(visitor="ann") for _ in range(5_000)], clock.now)
    held = claim()
    assert deliver_s() < 4 * alone_s + 0.02
    store.release(held, clock.now)


# Settling


def test_delivered_events_leave(store, clock, make_event, claim):
    """A delivery is counted, with those that the vendor had before."""
    store.put_many([make_event(), make_event()], clock.now)
    store.ack(claim(2), [Delivered(), Delivered(duplicate=True)], clock.now)
    stats = store.stats(clock.now)
    assert (stats.delivered, stats.duplicates, stats.queued, stats.leased) == (2, 1, 0, 0)
    assert store.next_due(clock.now) is None


def test_a_retry_comes_back_after_its_backoff(store, clock, make_event, claim):
    """An event to be retried is not due before the shortest back-off, is after the longest, and counts the try."""
    store.put_many([make_event()], clock.now)
    store.ack(claim(), [Retry(ErrorCode.CONNECT)], clock.now)
    wait_s = store.next_due(clock.now)
    assert 1 <= wait_s <= 2
    clock.now += wait_s / 2
    assert store.claim(clock.now, 1, LEASE_S) is None
    clock.now += wait_s
    assert claim().rows[0].attempts == 1


def test_retry_after_is_honoured(store, clock, make_event, claim):
    """A vendor that asks for a rest gets it."""
    store.put_many([make_event()], clock.now)
    store.ack(claim(), [Retry(ErrorCode.RATE_LIMITED, after_s=120)], clock.now)
    assert store.next_due(clock.now) == pytest.approx(120)


def test_partial_success_shrinks_the_row(store, clock, make_event, claim):
    """Only what is still open is tried again, under the same id."""
    event = make_event(aliases=("a", "b", "c"))
    store.put_many([event], clock.now)
    store.ack(claim(), [Retry(ErrorCode.VENDOR_500, aliases=("c", "b"))], clock.now)
    clock.now += 10
    row = claim().rows[0]
    assert (row.event.id, row.event.aliases) == (event.id, ("b", "c"))
    assert store.stats(clock.now).queued == 1


def test_suspended_events_keep_their_attempts(store, clock, make_event, claim):
    """A vendor that refuses us costs the event nothing but time."""
    store.put_many([make_event()], clock.now)
    store.ack(claim(), [Suspend(ErrorCode.UNAUTHORIZED)], clock.now)
    assert store.next_due(clock.now) == pytest.approx(300)
    clock.now += 300
    assert claim().rows[0].attempts == 0


def test_dead_letters_say_why_and_when(store, clock, make_event, claim):
    """Refused events are kept to look at, newest first, up to the asked number."""
    first, second = make_event(), make_event()
    store.put_many([first, second], clock.now)
    store.ack(claim(), [Dead(ErrorCode.VENDOR_400)], clock.now)
    clock.now += 5
    store.ack(claim(), [Dead(ErrorCode.VENDOR_401)], clock.now)
    letters = list(store.dead())
    assert [(letter.event.id, letter.code, letter.attempts) for letter in letters] == [
        (second.id, ErrorCode.VENDOR_401, 1),
        (first.id, ErrorCode.VENDOR_400, 1),
    ]
    assert letters[0].at == clock.now
    assert list(store.dead(limit=1)) == letters[:1]
    assert store.stats(clock.now).dead == 2


def test_refusals_without_a_verdict_bury_after_a_while(store, clock, make_event, claim):
    """A bare 4xx is tried three times over ten minutes before the event is laid aside."""
    store.put_many([make_event()], clock.now)
    begin = clock.now
    for refusals in range(3):
        lease = claim()
        assert lease.rows[0].refusals == refusals
        store.ack(lease, [Dead(ErrorCode.REFUSED, verdict=False)], clock.now)
        clock.now += store.next_due(clock.now) or 0
    assert store.stats(clock.now).dead == 1
    assert clock.now - begin >= 600


def test_dropped_events_are_counted_by_reason(store, clock, make_event, claim):
    """An event that cannot count any more leaves under the vendor's reason."""
    store.put_many([make_event(), make_event()], clock.now)
    store.ack(claim(2), [Dropped(ErrorCode.NOT_IN_TEST), Dropped(ErrorCode.VENDOR_310)], clock.now)
    assert store.stats(clock.now).dropped == {ErrorCode.NOT_IN_TEST: 1, ErrorCode.VENDOR_310: 1}


def test_doubt_is_retried_unless_the_event_goes_at_most_once(store, clock, make_event, claim):
    """What may have arrived is sent again, or dropped where twice would be worse than never."""
    store.put_many([make_event(), make_event(at_most_once=True)], clock.now)
    for _ in range(2):
        store.ack(claim(), [Ambiguous(ErrorCode.RESET)], clock.now)
    stats = store.stats(clock.now)
    assert (stats.queued, stats.dropped) == (1, {ErrorCode.AMBIGUOUS: 1})


def test_an_at_most_once_event_is_retried_when_it_surely_did_not_arrive(store, clock, make_event, claim):
    """A retry is no doubt."""
    store.put_many([make_event(at_most_once=True)], clock.now)
    store.ack(claim(), [Retry(ErrorCode.CONNECT)], clock.now)
    assert store.stats(clock.now).queued == 1


def test_a_released_lease_is_due_again_at_once(store, clock, make_event, claim):
    """Giving back costs no attempt and no time."""
    event = make_event()
    store.put_many([event], clock.now)
    store.release(claim(), clock.now)
    assert store.next_due(clock.now) == 0
    row = claim().rows[0]
    assert (row.event, row.attempts) == (event, 0)


def test_a_lease_is_settled_in_parts(store, clock, make_event, claim):
    """Each row has its own end: one settled, one given back, one still held."""
    events = [make_event() for _ in range(3)]
    store.put_many(events, clock.now)
    lease = claim(3)
    store.ack(lease.part(1, 2), [Delivered()], clock.now)
    store.release(lease.part(2), clock.now)
    stats = store.stats(clock.now)
    assert (stats.delivered, stats.queued, stats.leased) == (1, 2, 1)
    assert ids(claim(5)) == [events[2].id]


@pytest.mark.parametrize("outcomes", [[], [Delivered()], [Delivered()] * 3])
def test_every_row_needs_an_outcome(store, clock, make_event, claim, outcomes):
    """A wrong number of outcomes is an error of the caller and settles nothing."""
    store.put_many([make_event(), make_event()], clock.now)
    lease = claim(2)
    with pytest.raises(ValueError, match="2 rows"):
        store.ack(lease, outcomes, clock.now)
    assert store.stats(clock.now).leased == 2


def test_what_is_no_outcome_settles_nothing(store, clock, make_event, claim):
    """A value of the wrong type is an error of the caller, also after a good one."""
    store.put_many([make_event(), make_event()], clock.now)
    lease = claim(2)
    with pytest.raises(TypeError):
        store.ack(lease, [Delivered(), None], clock.now)
    assert store.stats(clock.now).leased == 2


# Leases


def test_a_lease_runs_out(store, clock, make_event, claim):
    """Events of a holder that died can be claimed again, with the attempt counted."""
    event = make_event()
    store.put_many([event], clock.now)
    claim()
    assert store.next_due(clock.now) == pytest.approx(LEASE_S)
    clock.now += LEASE_S - 1
    assert store.claim(clock.now, 1, LEASE_S) is None
    clock.now += 1
    assert store.next_due(clock.now) == 0
    row = claim().rows[0]
    assert (row.event.id, row.attempts) == (event.id, 1)


@pytest.mark.parametrize("claimed_again", [True, False])
def test_a_lease_that_ran_out_settles_nothing(store, clock, make_event, claim, claimed_again):
    """The token fences a holder that comes back too late, whatever it has to say."""
    store.put_many([make_event()], clock.now)
    late = claim()
    clock.now += LEASE_S
    current = claim() if claimed_again else None
    for answer in (Delivered(), Dead(ErrorCode.REFUSED), Dropped(ErrorCode.NOT_IN_TEST)):
        store.ack(late, [answer], clock.now)
    store.release(late, clock.now)
    stats = store.stats(clock.now)
    assert (stats.queued, stats.leased) == (1, 1 if claimed_again else 0)
    if current is not None:
        store.ack(current, [Delivered()], clock.now)
        assert store.stats(clock.now).delivered == 1


def test_a_settled_lease_settles_nothing_more(store, clock, make_event, claim):
    """A second answer for the same claim changes nothing."""
    store.put_many([make_event(), make_event()], clock.now)
    lease = claim(2)
    store.ack(lease, [Delivered(), Retry(ErrorCode.CONNECT)], clock.now)
    store.ack(lease, [Delivered(), Delivered()], clock.now)
    store.release(lease, clock.now)
    stats = store.stats(clock.now)
    assert (stats.delivered, stats.queued) == (1, 1)
    assert store.next_due(clock.now) >= 1


def test_an_at_most_once_event_is_dropped_when_its_lease_runs_out(store, clock, make_event, claim):
    """The holder may have sent it, so nobody may send it again."""
    store.put_many([make_event(at_most_once=True)], clock.now)
    claim()
    clock.now += LEASE_S
    assert store.claim(clock.now, 1, LEASE_S) is None
    assert store.stats(clock.now).dropped == {ErrorCode.AMBIGUOUS: 1}


# Dead letters and purges


def bury(store, clock, claim, *events):
    """Put *events* and have the vendor refuse each of them."""
    store.put_many(events, clock.now)
    for _ in events:
        store.ack(claim(), [Dead(ErrorCode.REFUSED)], clock.now)


def test_dead_letters_can_be_revived(store, clock, make_event, claim):
    """A revived event is queued anew, due at once, not too old, and still knows that it was tried."""
    first, second = make_event(), make_event()
    bury(store, clock, claim, first, second)
    clock.now += 13 * DAY
    assert store.revive([second.id, "unknown"], clock.now) == 1
    row = claim(5).rows[0]
    assert (row.event, row.attempts, row.created) == (second, 1, clock.now)
    assert store.revive(None, clock.now) == 1
    assert ids(claim(5)) == [first.id]
    stats = store.stats(clock.now)
    assert (stats.accepted, stats.queued, stats.dead) == (2, 2, 0)


def test_all_dead_letters_are_revived_in_the_order_of_their_death(store, clock, make_event, claim):
    """What was buried first goes first again."""
    events = [make_event(visitor="ann") for _ in range(3)]
    bury(store, clock, claim, *events)
    assert store.revive(None, clock.now) == 3
    assert ids(claim(5)) == [event.id for event in events]


def test_a_letter_whose_order_was_told_meanwhile_stays_dead(store, clock, make_event, claim):
    """Reviving tells nothing twice: a newer event with the same business key stands."""
    old, new = make_event(key="order-1"), make_event(key="order-1")
    bury(store, clock, claim, old)
    store.put_many([new], clock.now)
    assert store.revive(None, clock.now) == 0
    store.ack(claim(), [Delivered()], clock.now)
    assert store.revive(None, clock.now) == 0
    assert (store.stats(clock.now).dead, store.stats(clock.now).queued) == (1, 0)


def test_a_revived_letter_holds_its_business_key(store, clock, make_event, claim):
    """While it is queued again the same order is not accepted a second time."""
    bury(store, clock, claim, make_event(key="order-1"))
    store.revive(None, clock.now)
    store.put_many([make_event(key="order-1")], clock.now)
    assert store.stats(clock.now).queued == 1


def test_a_full_queue_revives_nothing(open_store, clock, make_event):
    """Letters stay where they are until there is room."""
    store = open_store(max_rows=2)
    for _ in range(2):
        store.put_many([make_event()], clock.now)
        store.ack(store.claim(clock.now, 1, LEASE_S), [Dead(ErrorCode.REFUSED)], clock.now)
    store.put_many([make_event()], clock.now)
    assert store.revive(None, clock.now) == 1
    assert (store.stats(clock.now).queued, store.stats(clock.now).dead) == (2, 1)


def test_dead_letters_can_be_forgotten(store, clock, make_event, claim):
    """What is forgotten is counted as discarded and never comes back, under its id either."""
    first, second, third = make_event(), make_event(), make_event()
    bury(store, clock, claim, first, second, third)
    assert store.forget([second.id, "unknown"]) == 1
    assert [letter.event.id for letter in store.dead()] == [third.id, first.id]
    assert store.forget(None) == 2
    assert store.stats(clock.now).dropped == {ErrorCode.DISCARDED: 3}
    store.put_many([first], clock.now)
    assert store.stats(clock.now).queued == 0


def test_a_visitor_can_be_purged(store, clock, make_event, claim):
    """All that a visitor left goes, waiting, leased, parked or dead, counted; others keep theirs."""
    dead, other_dead = make_event(visitor="ann"), make_event(visitor="bob")
    bury(store, clock, claim, dead, other_dead)
    mine = [make_event(visitor="ann"), make_event(visitor="ann", vendor="adobe"), make_event(visitor="ann")]
    other = make_event(visitor="bob")
    store.put_many([*mine, other], clock.now)
    lease = claim(1)
    assert ids(lease) == [mine[0].id]
    assert store.purge(lambda event: event.visitor_key == "ann", clock.now) == 4
    stats = store.stats(clock.now)
    assert (stats.queued, stats.leased, stats.dead, stats.dropped) == (1, 0, 1, {ErrorCode.PURGED: 4})
    store.ack(lease, [Delivered()], clock.now)
    assert store.stats(clock.now).delivered == 0
    assert ids(claim(5)) == [other.id]
    assert store.purge(lambda event: event.visitor_key == "ann", clock.now) == 0


def test_a_purge_frees_room_and_keys(open_store, clock, make_event):
    """What is purged takes no room, and its business key may be told again."""
    store = open_store(max_rows=1)
    store.put_many([make_event(key="order-1")], clock.now)
    store.purge(lambda event: True, clock.now)
    store.put_many([make_event(key="order-1")], clock.now)
    assert store.stats(clock.now).queued == 1


def test_stats_tell_vendors_apart(store, clock, make_event, claim):
    """Each vendor's lane has its own counts, which add up to the whole."""
    store.put_many([make_event(), make_event(), make_event(vendor="adobe")], clock.now)
    store.ack(claim(skip={"adobe"}), [Delivered(duplicate=True)], clock.now)
    clock.now += 5
    store.ack(claim(skip={"wt"}), [Dead(ErrorCode.VENDOR_400)], clock.now)
    claim()
    stats = store.stats(clock.now)
    wt, adobe = stats.lanes["wt"], stats.lanes["adobe"]
    assert (wt.accepted, wt.delivered, wt.duplicates, wt.queued, wt.leased) == (2, 1, 1, 1, 1)
    assert (adobe.accepted, adobe.dead, adobe.queued) == (1, 1, 0)
    assert (wt.oldest_s, adobe.oldest_s) == (pytest.approx(5), 0)
    store.forget(None)
    assert store.stats(clock.now).lanes["adobe"].dropped == {ErrorCode.DISCARDED: 1}
    assert stats.balanced() and wt.balanced() and adobe.balanced()


# Age and clocks


def test_events_past_the_age_limit_are_laid_aside_unsent(open_store, clock, make_event):
    """What waited too long is a dead letter instead of a delivery."""
    store = open_store(policy=Policy(max_age_s=100))
    old, young = make_event(), make_event()
    store.put_many([old], clock.now)
    clock.now += 50
    store.put_many([young], clock.now)
    clock.now += 50
    assert store.next_due(clock.now) == 0
    assert store.stats(clock.now).queued == 2, "only a claim lays aside"
    assert ids(store.claim(clock.now, 5, LEASE_S)) == [young.id]
    assert [(letter.event.id, letter.code, letter.attempts) for letter in store.dead()] == [
        (old.id, ErrorCode.TOO_OLD, 0)
    ]


def test_dead_letters_are_bounded_in_number_and_age(open_store, clock, make_event):
    """The oldest letters go first, and are counted as dropped."""
    store = open_store(policy=Policy(dead_max_rows=2, dead_max_age_s=100))
    for _ in range(3):
        store.put_many([make_event()], clock.now)
        store.ack(store.claim(clock.now, 1, LEASE_S), [Dead(ErrorCode.REFUSED)], clock.now)
        clock.now += 10
    stats = store.stats(clock.now)
    assert (stats.dead, stats.dropped) == (2, {ErrorCode.QUEUE_FULL: 1})
    clock.now += 85
    stats = store.stats(clock.now)
    assert (stats.dead, stats.dropped) == (1, {ErrorCode.QUEUE_FULL: 1, ErrorCode.TOO_OLD: 1})
    assert len(store.dead()) == 1


def test_the_oldest_event_tells_its_age(store, clock, make_event, claim):
    """The age of the queue is that of its oldest event, waiting or leased."""
    assert store.stats(clock.now).oldest_s == 0
    store.put_many([make_event()], clock.now)
    clock.now += 30
    store.put_many([make_event()], clock.now)
    assert store.stats(clock.now).oldest_s == pytest.approx(30)
    store.ack(claim(), [Delivered()], clock.now)
    clock.now += 5
    assert store.stats(clock.now).oldest_s == pytest.approx(5)


@pytest.mark.parametrize("back_s", [0.5, HOUR, YEAR])
@pytest.mark.parametrize("state", ["new", "leased", "retry"])
def test_nothing_is_stuck_when_the_clock_jumps_back(store, clock, make_event, claim, back_s, state):
    """After any jump back an event can be claimed within the longest wait there is, and is not too old."""
    store.put_many([make_event()], clock.now)
    if state == "leased":
        claim()
    elif state == "retry":
        store.ack(claim(), [Retry(ErrorCode.RATE_LIMITED, after_s=HOUR)], clock.now)
    clock.now -= back_s
    limit_s = {"new": 0, "leased": LEASE_S, "retry": HOUR}[state]
    assert store.next_due(clock.now) <= limit_s
    clock.now += limit_s + 1
    assert len(claim().rows) == 1
    assert store.stats(clock.now).dead == 0


@pytest.mark.parametrize("back_s", [90, HOUR, YEAR])
@pytest.mark.parametrize("wait_s", [None, 120])
def test_a_wait_is_as_long_as_before_when_the_clock_jumps_back(store, clock, make_event, claim, back_s, wait_s):
    """A retry that was due in a second is due in a second, however far the clock jumps."""
    store.put_many([make_event()], clock.now)
    retry = Retry(ErrorCode.CONNECT) if wait_s is None else Retry(ErrorCode.RATE_LIMITED, after_s=wait_s)
    store.ack(claim(), [retry], clock.now)
    due_s = store.next_due(clock.now)
    clock.now -= back_s
    after_s = store.next_due(clock.now)
    assert after_s <= due_s + 0.1
    if not isinstance(store, ValkeyOutbox):  # whose thread may say the earlier time once more, which ends waits early
        assert after_s == pytest.approx(due_s, abs=0.1)


def test_an_hour_forward_loses_nothing(store, clock, make_event, claim):
    """A jump forward ends leases and waits early, no more."""
    store.put_many([make_event(), make_event(), make_event()], clock.now)
    claim()
    store.ack(claim(), [Retry(ErrorCode.CONNECT)], clock.now)
    clock.now += HOUR
    assert len(claim(5).rows) == 3


# Ends


def test_close_twice(store, clock, make_event):
    """A closed store takes and gives nothing, and closing it again does nothing."""
    store.put_many([make_event()], clock.now)
    store.close()
    store.close()
    with pytest.raises(OutboxError, match="closed"):
        store.put_many([make_event()], clock.now)
    assert store.claim(clock.now, 1, LEASE_S) is None
    assert store.next_due(clock.now) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("open_store", sorted(BACKENDS.keys() - SHARED), indirect=True)
def test_a_forked_child_begins_with_a_store_of_its_own(store, clock, make_event, claim):
    """The parent's events are the parent's to deliver; the child can use the store at once."""
    store.put_many([make_event(), make_event()], clock.now)
    claim()
    child = os.fork()
    if child == 0:
        try:
            empty = store.stats(clock.now).queued == 0 and store.claim(clock.now, 5, LEASE_S) is None
            works = len(store.put_many([make_event()], clock.now)) == 1
            os._exit(0 if empty and works else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.stats(clock.now).queued == 2


def test_many_threads_share_a_store(store, clock, make_event):
    """With putters, takers and observers at once no event is lost, held twice, or uncounted at any moment."""
    total, held, twice, unbalanced = 1_200, set(), [], []
    lock, done = threading.Lock(), threading.Event()

    def put(number: int) -> None:
        for n in range(total // 4):
            store.put_many([make_event(visitor=f"visitor-{(number + n) % 7}")], clock.now)

    def take(number: int) -> None:
        rng = random.Random(number)
        while not done.is_set():
            lease = store.claim(clock.now, rng.randint(1, 4), LEASE_S)
            if lease is None:
                time.sleep(0.0005)
                continue
            visitors = {row.event.visitor_key for row in lease.rows}
            with lock:
                twice.extend(visitors & held)
                held.update(visitors)
            time.sleep(0)
            with lock:
                held.difference_update(visitors)
            if rng.random() < 0.2:
                store.release(lease, clock.now)
            else:
                store.ack(lease, [Delivered()] * len(lease.rows), clock.now)

    def watch() -> None:
        while not done.is_set():
            stats = store.stats(clock.now)
            if not stats.balanced():
                unbalanced.append(stats)
            if stats.delivered == total:
                done.set()

    putters = [threading.Thread(target=put, args=(n,)) for n in range(4)]
    others = [threading.Thread(target=take, args=(n,)) for n in range(4)] + [threading.Thread(target=watch)]
    for thread in [*putters, *others]:
        thread.start()
    finished = done.wait(60)
    done.set()
    for thread in [*putters, *others]:
        thread.join()
    assert finished and not twice and not unbalanced


def test_business_key_is_per_metric(store, clock, make_event):
    """An order that was started may also be paid: another metric with the same key is another event."""
    started = make_event(key="4711")
    paid = make_event(key="4711")
    paid = replace(paid, track=replace(paid.track, metric="another metric"))
    assert list(store.put_many([started, paid], clock.now)) == [started.id, paid.id]
    assert (store.stats(clock.now).accepted, store.stats(clock.now).refused) == (2, {})
