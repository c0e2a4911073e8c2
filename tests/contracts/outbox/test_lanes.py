"""Several vendors and several attempts at once: who waits for whom, in what order, how fast."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time

import pytest

from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.outbox.base import Leased
from flagmw.outbox.policy import Policy
from flagmw.outbox.worker import WIRE_S
from flagmw.outbox.worker.lanes import Lanes
from flagmw.types import Ambiguous, Dead, Delivered, Retry, Suspend
from tests.contracts.outbox.rig import BusyVendor, CountingOutbox, codes, eventually
from tests.support.busy import HELD_UP_S


def lane_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("flagmw-outbox-")]


@pytest.fixture
def gate():
    """What a vendor can wait for; open at the end of the test."""
    gate = threading.Event()
    yield gate
    gate.set()


def held(gate: threading.Event) -> BusyVendor:
    """Return a vendor that answers nobody before the gate is open."""

    def judge(batch):
        gate.wait(6 * HELD_UP_S)
        return [Delivered()] * len(batch)

    return BusyVendor(judge)


def test_a_hung_vendor_holds_up_nobody(rig, make_event, gate):
    """While one vendor hangs, another's events are delivered as if it were alone."""
    vendors = {"hung": held(gate), "wt": BusyVendor()}
    rig = rig(vendors=vendors, real_time=True, concurrency=4)
    rig.put(*[make_event(vendor="hung") for _ in range(60)])
    eventually(lambda: len(vendors["hung"].batches) == 4)
    rig.put(*[make_event() for _ in range(100)])
    eventually(lambda: rig.stats.delivered == 100, HELD_UP_S)
    assert len(vendors["hung"].batches) == 4
    gate.set()
    assert rig.worker.flush(5)


def test_a_few_attempts_at_once(rig, make_event, gate):
    """A lane has as many attempts under way as it may and no more; its threads are daemons and end with `close`."""
    before = lane_threads()
    rig = rig(vendors={"wt": held(gate)}, concurrency=3)
    rig.put(*[make_event() for _ in range(40)])
    vendor = rig.vendors["wt"]
    eventually(lambda: len(vendor.batches) == 3)
    time.sleep(0.05)
    assert len(vendor.batches) == 3
    assert rig.worker.health()["in_flight"] == {"wt": 3}
    own = [thread for thread in lane_threads() if thread not in before]
    assert len(own) == 3 and all(thread.daemon for thread in own)
    gate.set()
    assert rig.worker.flush(5)
    assert vendor.most == 3
    assert rig.worker.close()
    assert not any(thread.is_alive() for thread in own)


def test_threads_come_only_when_needed(rig, make_event):
    """One event needs one thread, however many there may be."""
    before = lane_threads()
    rig = rig(vendors={"wt": BusyVendor()}, concurrency=4)
    rig.put(make_event())
    assert rig.worker.flush(5)
    assert len([thread for thread in lane_threads() if thread not in before]) == 1


def test_one_visitor_is_never_in_two_attempts(rig, make_event):
    """Eight visitors' events, interleaved, over four threads: each visitor's arrive one by one and in order."""
    rng = random.Random(5)

    def judge(batch):
        time.sleep(rng.random() * 0.004)
        return [Delivered()] * len(batch)

    rig = rig(vendors={"wt": BusyVendor(judge)}, real_time=True, concurrency=4, batch=7)
    made = {str(visitor): [make_event(visitor=str(visitor)) for _ in range(25)] for visitor in range(8)}
    for turn in range(25):
        rig.put(*[events[turn] for events in made.values()])
    assert rig.worker.flush(20)
    vendor = rig.vendors["wt"]
    assert vendor.overlaps == []
    assert vendor.most > 1
    for events in made.values():
        own = {event.id for event in events}
        assert [id for id in vendor.seen if id in own] == [event.id for event in events]


def test_a_visitors_events_go_together(rig, make_event):
    """Up to `batch_max` events of one visitor are one attempt, and each has its own outcome."""
    outcomes = itertools.chain(
        [[Delivered(), Retry(ErrorCode.VENDOR_500), Dead(ErrorCode.VENDOR_400)]],
        itertools.repeat([Delivered()]),
    )
    rig = rig(vendors={"wt": BusyVendor(lambda batch: next(outcomes)[: len(batch)], batch_max=3)})
    ann, bob = [make_event(visitor="ann") for _ in range(4)], make_event(visitor="bob")
    rig.put(ann[0], bob, *ann[1:])
    eventually(lambda: len(rig.told) == 5)
    batches = rig.vendors["wt"].batches
    assert sorted(map(len, batches)) == [1, 1, 3]
    assert [event.id for event in ann[:3]] in batches
    assert (rig.stats.delivered, rig.stats.queued, rig.stats.dead) == (3, 1, 1)
    assert [id for id, attempt in rig.attempts if attempt > 1] == []
    rig.pass_time(5)
    assert rig.worker.flush(5)
    assert batches[-1] == [ann[1].id]
    assert rig.attempts[-1] == (ann[1].id, 2)
    assert rig.worker.health()["repeats"] == 1


def test_at_most_once_goes_alone(rig, make_event):
    """What must not arrive twice shares no attempt."""
    rig = rig(vendors={"wt": BusyVendor(batch_max=10)})
    once = make_event(visitor="ann", at_most_once=True)
    rig.put(make_event(visitor="ann"), once, make_event(visitor="ann"))
    assert rig.worker.flush(5)
    assert [once.id] in rig.vendors["wt"].batches


def test_P28_one_bad_event_spoils_a_batch_once(rig, clock, make_event):
    """A refusal of a whole batch is found out one by one: only the event that is refused alone is buried."""
    bad = make_event(visitor="ann")

    def judge(batch):
        refused = any(event.id == bad.id for event in batch)
        return [Dead(ErrorCode.REFUSED, verdict=False) if refused else Delivered()] * len(batch)

    rig = rig(vendors={"wt": BusyVendor(judge, batch_max=10)})
    good = [make_event(visitor="ann") for _ in range(3)]
    rig.put(good[0], bad, *good[1:])
    eventually(lambda: len(rig.told) == 4)
    for _ in range(3):
        rig.pass_time(361)
        time.sleep(0.03)
    eventually(lambda: rig.stats.delivered == 3)
    assert [letter.event.id for letter in rig.store.dead()] == [bad.id]


def test_trouble_narrows_the_lane_and_health_widens_it(rig, clock, make_event):
    """One failure halves the attempts at once; five good ones bring one back, up to the usual width."""
    script = itertools.chain([Retry(ErrorCode.HTTP_STATUS)], itertools.repeat(Delivered()))
    rig = rig(vendors={"wt": BusyVendor(lambda batch: [next(script)])}, concurrency=4)
    rig.put(make_event())
    eventually(lambda: rig.told)
    assert rig.worker.health()["width"] == {"wt": 2}
    rig.put(*[make_event() for _ in range(5)])
    eventually(lambda: len(rig.told) == 6)
    assert rig.worker.health()["width"] == {"wt": 3}
    rig.pass_time(5)
    assert rig.worker.flush(5)


def test_U12_a_refusal_is_probed_by_one(rig, clock, make_event, caplog):
    """However many attempts were under way, one event probes a vendor that refuses us, and no attempt is consumed."""
    outcome = [Suspend(ErrorCode.UNAUTHORIZED)]
    rig = rig(vendors={"wt": BusyVendor(lambda batch: outcome)}, concurrency=4)
    rig.put(*[make_event() for _ in range(30)])
    eventually(lambda: rig.worker.health()["suspended"])
    eventually(lambda: rig.stats.leased == 0)
    vendor = rig.vendors["wt"]
    sent = len(vendor.batches)
    assert sent <= 4
    for probe in range(1, 30):
        rig.pass_time(301.0)
        eventually(lambda probe=probe: len(vendor.batches) == sent + probe)
        if probe in (1, 29):
            time.sleep(0.05)
            assert len(vendor.batches) == sent + probe
    rig.pass_time(299)
    time.sleep(0.05)
    assert len(vendor.batches) == sent + 29, "after a while it is asked every five minutes"
    outcome[0] = Delivered()
    rig.pass_time(302)
    assert rig.worker.flush(5)
    assert {attempt for _, attempt in rig.attempts} == {1}
    assert rig.stats.delivered == 30
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


def test_repeats_make_way_for_what_is_new(rig, clock, make_event):
    """While the vendor fails now and then repeats get at most their share, and those that wait lose no attempt."""
    rng = random.Random(2)
    policy = Policy(backoff_base_s=0.5, backoff_max_s=2.0)
    rig = rig(
        vendors={"wt": BusyVendor(lambda batch: [Retry(ErrorCode.HTTP_STATUS) if rng.random() < 0.4 else Delivered()])},
        policy=policy,
    )
    for _ in range(120):
        before = len(rig.attempts)
        rig.put(*[make_event() for _ in range(6)])
        rig.pass_time(1.0)
        end = time.monotonic() + 0.03  # a lane that is narrowed or rests sends nothing at all in some turns
        while len(rig.attempts) == before and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.004)
    sent = len(rig.attempts)
    repeats = sum(attempt > 1 for _, attempt in rig.attempts)
    assert sent > 100
    assert repeats <= max(20, 0.25 * sent)
    assert rig.stats.balanced()


def test_no_thundering_herd_after_an_outage(rig, clock, make_event):
    """What an outage has piled up leaves at `max_rate` and not faster, over all lanes together."""
    down = True

    def judge(batch):
        return [Retry(ErrorCode.CONNECT) if down else Delivered()] * len(batch)

    vendors = {"wt": BusyVendor(judge), "adobe": BusyVendor(judge, batch_max=5)}
    rig = rig(vendors=vendors, max_rate=50.0, concurrency=4)
    rig.put(*[make_event(visitor=f"v{n % 40}") for n in range(200)])
    rig.put(*[make_event(vendor="adobe", visitor=f"v{n % 40}") for n in range(200)])
    for _ in range(30):
        rig.pass_time(1.0)
        time.sleep(0.002)
    down = False
    rig.pass_time(31.0)  # past the longest pause of the breaker, and all back-offs so far
    begun, counts = sum(len(vendor.seen) for vendor in vendors.values()), [0]
    for _ in range(400):
        clock.now += 0.1
        rig.worker.wake()
        end = time.monotonic() + 0.02
        while time.monotonic() < end and rig.stats.queued:
            time.sleep(0.002)
        counts.append(sum(len(vendor.seen) for vendor in vendors.values()) - begun)
        if not rig.stats.queued:
            break
    assert rig.worker.flush(1)
    for span in (10, 50, len(counts) - 1):
        rates = [(b - a) / span * 10 for a, b in zip(counts, counts[span:], strict=False)]
        print(f"over {span / 10:.1f} s: at most {max(rates):.0f} events/s")
        # A turn that was booked goes out with the next step of this test's clock: five events, and a batch of five.
        assert max(rates) <= 50.0 + (5 + 5 + 5) / span * 10
    assert rig.stats.delivered == 400


def test_P18_close_waits_four_seconds_for_the_wire(rig, make_event, gate, caplog):
    """An attempt that hangs is left behind after 4 s; nothing new is begun, and all that was not begun is free."""
    rig = rig(vendors={"wt": held(gate)}, concurrency=4, real_time=True)
    rig.put(*[make_event() for _ in range(30)])
    eventually(lambda: len(rig.vendors["wt"].batches) == 4)
    begin = time.perf_counter()
    assert not rig.worker.close(5 * HELD_UP_S)
    assert WIRE_S - 0.1 < time.perf_counter() - begin < WIRE_S + HELD_UP_S
    assert (rig.stats.queued, rig.stats.leased) == (30, 4)
    assert codes(caplog) == ["DEADLINE"]
    gate.set()
    eventually(lambda: rig.stats.delivered == 4)
    assert rig.stats.queued == 26


def test_wakes_do_not_make_the_worker_busy(rig, make_event):
    """While a vendor rests, wakes by hundreds of requests ask nothing of the store."""
    store = CountingOutbox()
    rig = rig(vendors={"wt": BusyVendor(lambda batch: [Suspend(ErrorCode.UNAUTHORIZED)])}, store=store)
    rig.put(make_event())
    eventually(lambda: rig.worker.health()["suspended"] and not rig.stats.leased)
    before = store.claims
    for _ in range(300):
        rig.put(make_event())
    time.sleep(0.05)
    # The claim after the refusal may still have been on its way.
    assert store.claims <= before + 1


@pytest.fixture
def lanes():
    """Lanes of one vendor on a clock that the test moves, whose attempts end as the test says."""
    clock, outcomes = [100.0], list[object]()

    def run(vendor, flow, deadline):
        flow.close()
        took_s, outcome = outcomes.pop(0)
        clock[0] += took_s
        return [outcome]

    made = Lanes(
        {"wt": BusyVendor()}, run, Policy(), Throttle(logging.getLogger("flagmw.outbox")),
        attempt_timeout_s=5.0, monotonic=lambda: clock[0],
    )  # fmt: skip

    def attempt(event, took_s, outcome):
        outcomes.append((took_s, outcome))
        made.attempt("wt", [Leased(event=event)])
        return made.health(clock[0])["paused_s"]

    return attempt


def test_a_process_that_stood_still_opens_no_breaker(lanes, make_event):
    """A deadline that was noticed late says nothing of the vendor, one that was noticed in time does."""
    late = Ambiguous(ErrorCode.DEADLINE)
    assert [lanes(make_event(), took_s, late) for took_s in (5.2, 60.0, 3600.0) * 4] == [{}] * 12
    assert [bool(lanes(make_event(), 5.01, late)) for _ in range(5)] == [False] * 4 + [True]


def test_one_visitor_s_events_are_one_reason(lanes, make_event):
    """However often they fail; those of others add up."""
    poison = make_event()
    assert [lanes(poison, 0.01, Retry(ErrorCode.HTTP_STATUS)) for _ in range(30)] == [{}] * 30
    assert [bool(lanes(make_event(), 0.01, Retry(ErrorCode.RESET))) for _ in range(4)] == [False] * 3 + [True]
