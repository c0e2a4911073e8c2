"""Claims of the newest events, which take turns with the oldest while something fails."""

from __future__ import annotations

from contextlib import closing

import pytest

from flagmw.codes import ErrorCode
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.picks import claim_newest, is_empty
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.types import Delivered, Retry


class Plain(MemoryOutbox):
    """A store that knows nothing of newest events."""

    claim_newest = None  # type: ignore[assignment]


@pytest.fixture(params=["memory", "sqlite", "plain"])
def store(request, tmp_path):
    made = {"memory": MemoryOutbox, "plain": Plain, "sqlite": lambda: SqliteOutbox(tmp_path)}[request.param]()
    with closing(made):
        yield made


def ids(lease) -> list[str]:
    return [] if lease is None else [row.event.id for row in lease.rows]


def test_the_newest_visitor_comes_first(store, clock, make_event):
    """Of many visitors the last one is chosen, then the one before, until none is left; the oldest claims go on."""
    events = [make_event() for _ in range(5)]
    for event in events:
        clock.now += 1
        store.put_many([event], clock.now)
    assert ids(claim_newest(store, clock.now, 1, 60.0, ())) == [events[4].id]
    assert ids(store.claim(clock.now, 1, 60.0)) == [events[0].id]
    assert ids(claim_newest(store, clock.now, 1, 60.0, ())) == [events[3].id]
    assert ids(claim_newest(store, clock.now, 1, 60.0, {"wt"})) == []
    assert store.stats(clock.now).leased == 3


def test_a_visitors_order_is_kept(store, clock, make_event):
    """The visitor who came last may have waited for long: their first event goes first, and none beside one in hand."""
    ann, bob = [make_event(visitor="ann") for _ in range(3)], make_event(visitor="bob")
    for event in (ann[0], bob, *ann[1:]):
        clock.now += 1
        store.put_many([event], clock.now)
    if not isinstance(store, Plain):
        first = claim_newest(store, clock.now, 1, 60.0, ())
        assert ids(first) == [ann[0].id]
        assert ids(claim_newest(store, clock.now, 1, 60.0, ())) == [bob.id], "ann has one in hand"
        store.ack(first, [Delivered()], clock.now)
        assert ids(claim_newest(store, clock.now, 1, 60.0, ())) == [ann[1].id]


def test_what_was_tried_is_not_new(store, clock, make_event):
    """An event that failed is no longer among the newest, however late it is due."""
    old, new = make_event(), make_event()
    store.put_many([old], clock.now)
    clock.now += 1
    store.put_many([new], clock.now)
    lease = claim_newest(store, clock.now, 1, 60.0, ())
    store.ack(lease, [Retry(ErrorCode.HTTP_STATUS)], clock.now)
    clock.now += 10
    assert ids(claim_newest(store, clock.now, 1, 60.0, ())) == [old.id]
    assert ids(store.claim(clock.now, 1, 60.0)) == [new.id]


def test_at_most_once_has_a_lease_of_its_own(store, clock, make_event):
    """As with all claims: when its holder dies, only that one is in doubt."""
    store.put_many([make_event(at_most_once=True) for _ in range(3)], clock.now)
    assert len(ids(claim_newest(store, clock.now, 3, 60.0, ()))) == 1


def test_empty_means_that_nothing_waits_in_whatever_state(store, clock, make_event):
    """In hand, backing off, due: none of them is an empty store; a closed one cannot be called so."""
    assert is_empty(store, clock.now)
    store.put_many([make_event()], clock.now)
    assert not is_empty(store, clock.now)
    lease = store.claim(clock.now, 1, 60.0)
    assert not is_empty(store, clock.now)
    store.ack(lease, [Retry(ErrorCode.HTTP_STATUS, after_s=600.0)], clock.now)
    assert not is_empty(store, clock.now)
    clock.now += 601
    store.ack(store.claim(clock.now, 1, 60.0), [Delivered()], clock.now)
    assert is_empty(store, clock.now)
