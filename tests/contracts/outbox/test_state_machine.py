"""The outboxes against a model that knows only what is promised."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from flagmw.codes import ErrorCode
from flagmw.outbox.base import Lease, Outbox
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.sqlite.identity import FileIdentity
from flagmw.types import Ambiguous, Dead, Delivered, Dropped, Event, Retry, Suspend
from tests.contracts.outbox.on_valkey import forwarded

NOW = 1_800_000_000.0
LEASE_S = 60.0
POLICY = Policy(max_age_s=4 * 3600.0)
VENDORS = ("wt", "adobe")
MAX_ROWS = 12

OUTCOMES = st.sampled_from(
    [
        Delivered(),
        Delivered(duplicate=True),
        Retry(ErrorCode.CONNECT),
        Retry(ErrorCode.RATE_LIMITED, after_s=1_000.0),
        Retry(ErrorCode.VENDOR_500, aliases=("b",)),
        Suspend(ErrorCode.UNAUTHORIZED),
        Dead(ErrorCode.VENDOR_400),
        Dead(ErrorCode.REFUSED, verdict=False),
        Dropped(ErrorCode.NOT_IN_TEST),
        Ambiguous(ErrorCode.RESET),
    ]
)


@dataclass
class Held:
    """A lease as the model remembers it: who holds what until when."""

    lease: Lease
    until: float
    open: dict[str, Event] = field(default_factory=dict)


class OutboxMachine(RuleBasedStateMachine):
    """Put, claim, settle, give back, wait and jump in any order; whatever happens, nothing is lost or held twice."""

    make_event = staticmethod(lambda **_: None)
    claims = Bundle("claims")
    max_rows = MAX_ROWS

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.store = self.open_store()
        self.waiting: dict[str, Event] = {}  # accepted, not settled; leased ones are in `held` too
        self.order: list[str] = []  # ids by age
        self.tried: set[str] = set()  # ids that were in a lease before
        self.held: list[Held] = []
        self.known: set[str] = set()
        self.keys: set[tuple[str, str]] = set()
        self.accepted = self.delivered = self.gone = 0

    def open_store(self) -> Outbox:
        return MemoryOutbox(POLICY, max_rows=self.max_rows, rng=random.Random(3))

    # What happens

    @rule(
        vendor=st.sampled_from(VENDORS),
        visitor=st.sampled_from(["ann", "bob", "eve"]),
        key=st.none() | st.sampled_from(["order-1", "order-2"]),
        at_most_once=st.booleans(),
    )
    def put(self, vendor, visitor, key, at_most_once):
        event = self.make_event(
            vendor=vendor, visitor=f"{vendor}-{visitor}", key=key, at_most_once=at_most_once, aliases=("a", "b")
        )
        self._expire()
        duplicate = key is not None and (vendor, key) in self.keys
        full = len(self.waiting) >= self.max_rows
        stored = list(self.store.put_many([event], self.now))
        assert stored == ([event.id] if duplicate or not full else [])
        if not duplicate and not full:
            self.waiting[event.id] = event
            self.order.append(event.id)
            self.known.add(event.id)
            self.accepted += 1
            if key is not None:
                self.keys.add((vendor, key))

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def put_again(self, data):
        """An event that was accepted is never accepted a second time."""
        id = data.draw(st.sampled_from(sorted(self.known)))
        assert list(self.store.put_many([self.make_event(id=id)], self.now)) == [id]

    @rule(target=claims, limit=st.integers(1, 4), skip=st.sets(st.sampled_from(VENDORS), max_size=1))
    def claim(self, limit, skip):
        due_s = self.store.next_due(self.now, skip)
        lease = self.store.claim(self.now, limit, LEASE_S, skip)
        self._expire()
        self._reconcile_dead()
        if lease is None:
            # Everything due may have been too old, which only the claim finds out.
            assert due_s != 0 or self.store.next_due(self.now, skip) != 0
            return Held(Lease("none", "wt", ()), self.now)
        assert lease.vendor not in skip and 0 < len(lease.rows) <= limit
        assert due_s == 0
        busy = {event.visitor_key for held in self.held for event in held.open.values()}
        held = Held(lease, self.now + LEASE_S)
        for row in lease.rows:
            event = row.event
            assert event.id in self.waiting, "was not waiting"
            assert event.vendor == lease.vendor
            assert event.visitor_key not in busy, "two holders for one visitor"
            if event.id not in self.tried:
                assert row.attempts == 0
                earlier = self.order[: self.order.index(event.id)]
                assert not [
                    id
                    for id in earlier
                    if id in self.waiting and id not in self.tried and self.waiting[id].visitor_key == event.visitor_key
                ], "first attempts of a visitor out of order"
            self.tried.add(event.id)
            held.open[event.id] = event
        assert len(lease.rows) == 1 or not any(row.event.at_most_once for row in lease.rows)
        self.held.append(held)
        return held

    @rule(held=claims, data=st.data())
    def settle(self, held, data):
        """Any part of any lease, live or long gone, is answered."""
        rows = held.lease.rows
        start = data.draw(st.integers(0, len(rows)))
        part = held.lease.part(start, data.draw(st.integers(start, len(rows))))
        outcomes = [data.draw(OUTCOMES) for _ in part.rows]
        self._expire()
        buried_before = {letter.event.id for letter in self.store.dead(1_000)}
        self.store.ack(part, outcomes, self.now)
        buried = {letter.event.id for letter in self.store.dead(1_000)} - buried_before
        for row, outcome in zip(part.rows, outcomes, strict=True):
            event = held.open.pop(row.event.id, None)
            if event is None:
                assert row.event.id not in buried, "a late answer buried an event"
            elif isinstance(outcome, Delivered):
                del self.waiting[event.id]
                self.delivered += 1
            elif isinstance(outcome, Dropped) or (isinstance(outcome, Ambiguous) and event.at_most_once):
                self._gone(event, forget_key=isinstance(outcome, Dropped))
            elif event.id in buried:
                assert not isinstance(outcome, Suspend)
                self._gone(event, forget_key=True)
            else:
                assert not (isinstance(outcome, Dead) and outcome.verdict)
        self._forget_empty()

    @rule(held=claims, data=st.data())
    def release(self, held, data):
        self._expire()
        part = held.lease.part(data.draw(st.integers(0, len(held.lease.rows))))
        self.store.release(part, self.now)
        for row in part.rows:
            if held.open.pop(row.event.id, None) is not None and row.attempts == 0 and not row.refusals:
                self.tried.discard(row.event.id)
        self._forget_empty()

    @rule(visitor=st.sampled_from(["ann", "bob", "eve"]))
    def purge(self, visitor):
        """A visitor who wants to be forgotten is, wherever their events are."""
        mine = [event for event in self.waiting.values() if event.visitor_key.endswith(visitor)]
        self._expire()
        self._reconcile_dead()
        mine = [event for event in mine if event.id in self.waiting]
        buried = [letter for letter in self.store.dead(1_000) if letter.event.visitor_key.endswith(visitor)]
        assert self.store.purge(lambda event: event.visitor_key.endswith(visitor), self.now) == len(mine) + len(buried)
        for event in mine:
            self._gone(event, forget_key=True)
            for held in self.held:
                held.open.pop(event.id, None)
        self._forget_empty()

    @rule(data=st.data())
    def forget(self, data):
        """Dead letters that are forgotten leave; nothing else does."""
        letters = [letter.event.id for letter in self.store.dead(1_000)]
        chosen = data.draw(st.sets(st.sampled_from(letters))) if letters else set()
        assert self.store.forget(chosen) == len(chosen)

    @rule()
    def revive(self):
        """Dead letters come back as far as there is room and their business key is free."""
        self._expire()
        self._reconcile_dead()
        letters = {letter.event.id: letter.event for letter in self.store.dead(1_000)}
        revived = self.store.revive(None, self.now)
        back = letters.keys() - {letter.event.id for letter in self.store.dead(1_000)}
        assert len(back) == revived
        for id in sorted(back, key=list(letters).index, reverse=True):
            event = letters[id]
            key = (event.vendor, event.track.key)
            assert event.track.key is None or key not in self.keys, "an order would be told twice"
            self.waiting[id] = event
            self.gone -= 1
            self.tried.add(id)
            if event.track.key is not None:
                self.keys.add(key)
        assert len(self.waiting) <= self.max_rows

    @rule(seconds=st.sampled_from([0.5, 10.0, LEASE_S - 0.5, 301.0, 901.0, 3_601.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(seconds=st.sampled_from([0.5, 30.0]))
    def step_back(self, seconds):
        """Small steps back happen between threads; leases then last as long as the store's own clock says."""
        later = self.now
        self.store.stats(later)
        self._expire()
        self.store.stats(later - seconds)

    # What holds

    @invariant()
    def identity(self):
        stats = self.store.stats(self.now)
        self._expire()
        self._reconcile_dead()
        assert stats.balanced(), stats
        assert stats.accepted == self.accepted
        assert stats.delivered == self.delivered
        assert stats.queued == len(self.waiting), "lost or made up"
        assert stats.leased == sum(len(held.open) for held in self.held)
        assert stats.dead + sum(stats.dropped.values()) == self.gone

    @invariant()
    def something_is_due_while_something_waits(self):
        due_s = self.store.next_due(self.now)
        assert (due_s is None) == (not self.waiting)
        assert due_s is None or 0 <= due_s <= 3_600

    def teardown(self):
        """Everything that waits can still be had: nothing is stuck in the store."""
        self.now += 3_601.0
        for _ in range(100):
            lease = self.store.claim(self.now, 4, LEASE_S)
            self._expire()
            self._reconcile_dead()
            if lease is None:
                break
            for row in lease.rows:
                del self.waiting[row.event.id]
            self.store.ack(lease, [Delivered()] * len(lease.rows), self.now)
        assert not self.waiting
        assert self.store.stats(self.now).balanced()
        self.store.close()

    # The model's own bookkeeping

    def _expire(self):
        """Leases that ran out hold nothing; their at-most-once events are in doubt and go."""
        for held in self.held:
            if held.until <= self.now:
                for event in held.open.values():
                    if event.at_most_once:
                        self._gone(event, forget_key=False)
                held.open.clear()
        self._forget_empty()

    def _reconcile_dead(self):
        """Follow what the store buried for its age, and insist that it was old enough."""
        for letter in self.store.dead(1_000):
            if letter.event.id in self.waiting:
                assert letter.code is ErrorCode.TOO_OLD
                self._gone(letter.event, forget_key=True)

    def _gone(self, event: Event, *, forget_key: bool):
        del self.waiting[event.id]
        self.gone += 1
        if forget_key and event.track.key is not None:
            self.keys.discard((event.vendor, event.track.key))

    def _forget_empty(self):
        self.held = [held for held in self.held if held.open]


class SqliteMachine(OutboxMachine):
    """As above, and the process may die or end at any moment; another one goes on with what is on the disk."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flagmw-test-"))
        self.lives = 0
        super().__init__()

    def open_store(self) -> Outbox:
        return SqliteOutbox(
            self.folder / str(self.lives),
            POLICY,
            max_rows=MAX_ROWS,
            rng=random.Random(3),
            full_sync=False,
            adopt_copies=True,
        )

    @rule()
    def die(self):
        """What a dead process held is free at once; its at-most-once events are in doubt. All else is as it was."""
        before, self.lives = self.folder / str(self.lives), self.lives + 1
        image = self.folder / str(self.lives)
        image.mkdir()
        for path in before.glob("slot-0.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, image)
        # What a kill leaves is no copy, in which everything would be in doubt.
        marks = FileIdentity.of(image / "slot-0.db").marks()
        with contextlib.closing(sqlite3.connect(image / "slot-0.db", isolation_level=None)) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO meta (value, name) VALUES (?, ?)", [(v, k) for k, v in marks.items()]
            )
        old, self.store = self.store, self.open_store()
        old.close()
        self._expire()
        for held in self.held:
            held.until = self.now
        self._expire()

    @rule()
    def end(self):
        """A clean end changes nothing: leases run on, for whoever holds them may still be sending."""
        self.store.close()
        self.store = self.open_store()

    def teardown(self):
        super().teardown()
        shutil.rmtree(self.folder)


class ValkeyMachine(OutboxMachine):
    """The same on a real server. Its room and the machine's are two, so neither is limited here."""

    max_rows = 10_000

    def open_store(self) -> Outbox:
        # More leases run out here than an event in earnest is ever allowed.
        return forwarded(None, lambda: self.now, policy=POLICY, poison=1_000)


@pytest.mark.parametrize(
    ("machine", "examples"),
    [(OutboxMachine, 100), (SqliteMachine, 20), (ValkeyMachine, 40)],
    ids=["memory", "sqlite", "valkey"],
)
def test_the_outbox_keeps_its_promises(make_event, machine, examples):
    """Whatever happens in whatever order: nothing is lost, nothing has two holders, and the counts add up."""
    machine.make_event = staticmethod(make_event)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
