"""Events that fail for what is in them: they hold up nobody else's, and each ends in a state with a name."""

from __future__ import annotations

import random
import threading
import time

import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.outbox.policy import Policy
from flagmw.types import Ambiguous, Dead, Delivered, Retry, Suspend
from tests.contracts.outbox.rig import BusyVendor, eventually

BAD, GOOD = 100, 40


def judging(failure, *, gate: threading.Event | None = None, batch_max: int = 1) -> BusyVendor:
    """Return a vendor whose answer to any batch with an event of a bad visitor is *failure*."""

    def judge(batch):
        if not any(event.visitor_key.startswith("bad") for event in batch):
            return [Delivered()] * len(batch)
        if gate is not None:
            gate.wait(5.0)
        if isinstance(failure, Exception):
            raise failure
        return [failure] * len(batch)

    return BusyVendor(judge, batch_max)


def bad_and_good(make_event, order: str, **more):
    """Return events of as many visitors: bad ones first, last, or in between."""
    bad = [make_event(visitor=f"bad{n}", **more) for n in range(BAD)]
    good = [make_event(visitor=f"good{n}", **more) for n in range(GOOD)]
    mixed = {"first": bad + good, "last": good + bad, "between": random.Random(4).sample(bad + good, BAD + GOOD)}
    return mixed[order], {event.id for event in good}


@pytest.mark.parametrize(
    ("failure", "at_most_once", "order"),
    [
        (Retry(ErrorCode.HTTP_STATUS), False, "first"),
        (Retry(ErrorCode.HTTP_STATUS), False, "last"),
        (TransportError(ErrorCode.RESET), False, "between"),
        (TransportError(ErrorCode.CONNECT, sent=False), False, "first"),
        (Retry(ErrorCode.VENDOR_500), False, "first"),
        (Dead(ErrorCode.REFUSED, verdict=False), False, "first"),
        (KeyError("bug"), False, "first"),
        (Ambiguous(ErrorCode.HTTP_STATUS), True, "first"),
    ],
)
def test_bad_events_hold_up_no_good_ones(rig, make_event, failure, at_most_once, order):
    """A hundred visitors' events that fail, in whatever way: forty others' are delivered within seconds."""
    vendor = judging(failure)
    rig = rig(vendors={"wt": vendor}, real_time=True, concurrency=4)
    events, good = bad_and_good(make_event, order, at_most_once=at_most_once)
    rig.put(*events[: BAD // 2])
    rig.put(*events[BAD // 2 :])
    eventually(lambda: good <= {id for id, outcome in list(rig.told) if outcome == Delivered()}, within_s=6.0)


@pytest.mark.parametrize("order", ["first", "last"])
def test_refusals_of_some_do_not_switch_the_vendor_off(rig, make_event, order):
    """A firewall before the vendor answers 403 to some visitors: the others' events are there within seconds."""
    rig = rig(vendors={"wt": judging(Suspend(ErrorCode.UNAUTHORIZED))}, concurrency=4, real_time=True)
    events, _ = bad_and_good(make_event, order)
    rig.put(*events)
    eventually(lambda: rig.stats.delivered == GOOD, within_s=6.0)


def test_events_that_hang_the_vendor_hold_up_no_others(rig, make_event):
    """Every attempt for a bad visitor takes its whole time; others' events come in meanwhile and are sent at once."""
    gate = threading.Event()
    vendor = judging(TransportError(ErrorCode.DEADLINE), gate=gate)
    rig = rig(vendors={"wt": vendor}, real_time=True, concurrency=4)
    rig.put(*[make_event(visitor=f"bad{n}") for n in range(BAD)])
    good = [make_event(visitor=f"good{n}") for n in range(8)]
    for event in good:
        rig.put(event)
        time.sleep(0.15)
    wanted = {event.id for event in good}
    try:
        eventually(lambda: wanted <= {id for id, _ in list(rig.told)}, within_s=2.5)
        assert vendor.most <= 4 + 16
    finally:
        gate.set()


def test_a_vendor_that_answers_nobody_gets_few_attempts(rig, make_event):
    """While nothing at all is answered there are not many attempts under way, whoever's they are."""
    gate = threading.Event()
    vendor = judging(TransportError(ErrorCode.DEADLINE), gate=gate)
    rig = rig(vendors={"wt": vendor}, real_time=True, concurrency=4)
    rig.put(*[make_event(visitor=f"bad{n}") for n in range(BAD)])
    time.sleep(1.2)
    begun = len(vendor.batches)
    gate.set()
    assert 4 <= begun <= 4 + 4


def test_probes_are_of_different_visitors(rig, clock, make_event):
    """A vendor that is down is probed with another visitor's event each time."""
    vendor = judging(TransportError(ErrorCode.RESET))
    rig = rig(vendors={"wt": vendor})
    events = [make_event(visitor=f"bad{n}") for n in range(20)]
    rig.put(*events)
    eventually(lambda: rig.worker.health()["paused_s"])
    for probes in range(1, 11):
        before = len(vendor.batches)
        rig.pass_time(3.1)
        eventually(lambda before=before: len(vendor.batches) > before)
        eventually(lambda: rig.worker.health()["paused_s"])
        assert len(vendor.batches) == 5 + probes
    assert len(set(vendor.seen)) == len(vendor.seen) == 15


def test_one_visitor_does_not_stop_a_vendor(rig, clock, make_event):
    """However many events of one visitor fail, the others' are sent at once."""
    vendor = judging(Retry(ErrorCode.HTTP_STATUS))
    rig = rig(vendors={"wt": vendor})
    rig.put(*[make_event(visitor="bad") for _ in range(30)])
    for _ in range(20):
        rig.pass_time(1.0)
        time.sleep(0.004)
    assert rig.worker.health()["paused_s"] == {}
    assert len(vendor.batches) <= 20 + 1, "one of them a moment is enough"
    rig.put(make_event(visitor="good"))
    eventually(lambda: rig.stats.delivered == 1)


def test_an_event_that_fails_alone_is_set_back(rig, clock, make_event):
    """While others are taken, one that fails comes again after longer and longer times."""
    vendor = judging(Retry(ErrorCode.HTTP_STATUS))
    rig = rig(vendors={"wt": vendor}, policy=Policy(backoff_base_s=1.0, backoff_max_s=900.0))
    bad = make_event(visitor="bad")
    rig.put(*[make_event() for _ in range(50)], bad)
    for step in range(300):
        rig.put(make_event())
        eventually(lambda step=step: rig.stats.delivered == 51 + step)
        rig.pass_time(2.0)
    tries = vendor.seen.count(bad.id)
    assert 4 <= tries <= 25, "ten minutes"


def test_in_an_outage_events_are_not_set_back(rig, clock, make_event):
    """When the vendor is back after an hour, all that waited leaves within seconds: the lane rested, not its events."""
    down = [True]
    vendor = BusyVendor(lambda batch: [Retry(ErrorCode.HTTP_STATUS) if down[0] else Delivered()] * len(batch))
    rig = rig(vendors={"wt": vendor}, concurrency=4)
    rig.put(*[make_event() for _ in range(200)])
    for _ in range(60):
        before = len(vendor.batches)
        rig.pass_time(15.0)
        eventually(lambda before=before: len(vendor.batches) > before)
    down[0] = False
    for _ in range(8):
        rig.pass_time(1.0)
        time.sleep(0.05)
    eventually(lambda: rig.stats.delivered == 200, within_s=2.0)


def test_what_half_fails_is_there_soon_after_it_is_well(rig, clock, make_event):
    """A vendor that fails every second attempt for minutes and is well again has everything within ten seconds."""
    rng, failing = random.Random(3), [True]
    vendor = BusyVendor(
        lambda batch: [
            Retry(ErrorCode.HTTP_STATUS) if failing[0] and rng.random() < 0.5 else Delivered() for _ in batch
        ]
    )
    rig = rig(vendors={"wt": vendor}, concurrency=4)
    for _ in range(100):
        rig.put(*[make_event() for _ in range(6)])
        rig.pass_time(1.0)
        time.sleep(0.005)
    assert rig.stats.queued > 50
    failing[0] = False
    for _ in range(10):
        rig.pass_time(1.0)
        time.sleep(0.04)
    eventually(lambda: rig.stats.delivered == 600, within_s=2.0)


@pytest.mark.parametrize(
    "failure",
    [
        Retry(ErrorCode.HTTP_STATUS),
        TransportError(ErrorCode.RESET),
        Dead(ErrorCode.REFUSED, verdict=False),
        Ambiguous(ErrorCode.NOT_JSON),
        KeyError("bug"),
    ],
)
def test_a_batch_is_taken_apart_until_the_bad_event_is_found(rig, clock, make_event, failure):
    """One event spoils what is sent with it: the others of that visitor are there within ten seconds."""
    events = [make_event(visitor="ann") for _ in range(20)]
    bad = events[7].id

    def judge(batch):
        if all(event.id != bad for event in batch):
            return [Delivered()] * len(batch)
        if isinstance(failure, Exception):
            raise failure
        return [failure] * len(batch)

    rig = rig(vendors={"wt": BusyVendor(judge, batch_max=20)})
    rig.put(*events, *[make_event() for _ in range(3)])
    for _ in range(20):
        time.sleep(0.01)
        rig.pass_time(0.5)
    eventually(lambda: rig.stats.delivered == 22)
    assert [id for batch in rig.vendors["wt"].batches if len(batch) == 1 for id in batch].count(bad) >= 1


def test_an_event_that_a_firewall_refuses_ends_with_that_reason(rig, clock, make_event):
    """The vendor answers 403 to one event and takes all others: the lane goes on, and the event is buried."""
    vendor = judging(Suspend(ErrorCode.UNAUTHORIZED))
    rig = rig(vendors={"wt": vendor})
    rig.put(make_event())
    eventually(lambda: rig.stats.delivered == 1)
    rig.put(make_event(visitor="bad"))
    for n in range(2, 200):
        rig.put(make_event())
        eventually(lambda n=n: rig.stats.delivered == n)
        assert rig.worker.health()["suspended"] == {}
        rig.pass_time(4.0)
        if rig.stats.dead:
            break
    assert [letter.code for letter in rig.store.dead()] == [ErrorCode.UNAUTHORIZED]


def test_U11_a_rest_is_kept_although_an_earlier_attempt_succeeds(rig, clock, make_event):
    """A vendor that asks for a minute gets nothing for a minute, also when what was under way comes back well."""
    gate = threading.Event()

    def judge(batch):
        if batch[0].visitor_key == "slow":
            gate.wait(10)
            return [Delivered()]
        return [Retry(ErrorCode.RATE_LIMITED, after_s=60.0)]

    rig = rig(vendors={"wt": BusyVendor(judge)}, concurrency=2)
    rig.put(make_event(visitor="slow"))
    eventually(lambda: rig.vendors["wt"].batches)
    rig.put(make_event(), make_event())
    eventually(lambda: rig.told)
    gate.set()
    eventually(lambda: rig.stats.delivered == 1)
    rig.pass_time(59.0)
    time.sleep(0.05)
    assert len(rig.vendors["wt"].batches) == 2
