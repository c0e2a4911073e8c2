"""The delivery thread, on vendors whose flows are real generators and a driver that does what a script says."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError, ProtocolError, TransportError
from flagmw.outbox.base import Leased
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.policy import Policy
from flagmw.outbox.worker import Worker
from flagmw.types import Ambiguous, Dead, Delivered, Dropped, Reply, Retry, Suspend
from tests.contracts.outbox.rig import CountingOutbox, ScriptedVendor, codes, eventually, threads
from tests.support.busy import HELD_UP_S

# Delivery


def test_events_are_delivered_in_order_and_told(rig, make_event):
    """What is put is sent once, one visitor's events in their order, and every outcome is told."""
    rig = rig(real_time=True)
    events = [make_event(visitor="ann") for _ in range(5)]
    rig.put(*events)
    assert rig.worker.flush(5)
    assert rig.vendors["wt"].seen == [event.id for event in events]
    eventually(lambda: rig.told == [(event.id, Delivered()) for event in events])
    assert rig.stats.delivered == 5


def test_nothing_starts_before_it_is_needed(rig):
    """Building a worker starts no thread; starting it twice starts one, a daemon."""
    before = threads()
    rig = rig()
    assert threads() == before
    assert rig.worker.health()["alive"] is False
    assert rig.worker.start() and rig.worker.start()
    (thread,) = [thread for thread in threads() if thread not in before]
    assert thread.daemon
    assert rig.worker.health()["alive"] is True


def test_a_wake_is_answered_at_once(rig, make_event):
    """An idle worker begins within milliseconds of the wake, not at its next look."""
    rig = rig(real_time=True)
    rig.worker.start()
    taken = []
    for _ in range(15):
        time.sleep(0.005)
        begin = time.perf_counter()
        rig.put(make_event())
        eventually(lambda: rig.stats.queued == 0)
        taken.append(time.perf_counter() - begin)
    assert min(taken) < 0.05 and sorted(taken)[7] < 0.5


def test_a_retry_waits_for_its_time(rig, clock, make_event):
    """A failed event is sent again after its back-off and not before."""
    rig = rig(Retry(ErrorCode.HTTP_STATUS, after_s=100))
    event = make_event()
    rig.put(event)
    eventually(lambda: rig.told)
    rig.pass_time(99)
    assert not rig.worker.flush(0.05)
    assert rig.vendors["wt"].seen == [event.id]
    rig.pass_time(2)
    assert rig.worker.flush(5)
    assert rig.vendors["wt"].seen == [event.id, event.id]


def test_a_retry_comes_by_itself(rig, make_event):
    """Without any wake the thread is up again when the back-off is over."""
    policy = Policy(backoff_base_s=0.01, backoff_max_s=0.03)
    rig = rig(*[Retry(ErrorCode.VENDOR_500)] * 3, real_time=True, policy=policy)
    rig.put(make_event())
    eventually(lambda: rig.stats.delivered == 1)
    assert len(rig.vendors["wt"].seen) == 4


def test_a_failing_event_does_not_hold_up_the_others(rig, make_event):
    """One visitor's trouble is not another's."""
    rig = rig(Retry(ErrorCode.VENDOR_500))
    rig.put(*[make_event() for _ in range(4)])
    eventually(lambda: rig.stats.delivered == 3)
    assert rig.stats.queued == 1


@pytest.mark.parametrize(
    ("error", "at_most_once", "outcome"),
    [
        (TransportError(ErrorCode.CONNECT, sent=False), False, Retry(ErrorCode.CONNECT)),
        (TransportError(ErrorCode.CONNECT, sent=False), True, Retry(ErrorCode.CONNECT)),
        (TransportError(ErrorCode.RESET), False, Ambiguous(ErrorCode.RESET)),
        (TransportError(ErrorCode.RESET), True, Ambiguous(ErrorCode.RESET)),
        (ProtocolError(), False, Ambiguous(ErrorCode.PROTOCOL)),
        (KeyError("secret"), False, Dead(ErrorCode.INTERNAL, verdict=False)),
        (KeyError("secret"), True, Ambiguous(ErrorCode.INTERNAL)),
        ([], False, Dead(ErrorCode.INTERNAL, verdict=False)),
        ([Delivered(), Delivered()], False, Dead(ErrorCode.INTERNAL, verdict=False)),
        (["delivered"], False, Dead(ErrorCode.INTERNAL, verdict=False)),
        ([None], True, Ambiguous(ErrorCode.INTERNAL)),
    ],
)
def test_a_flow_that_breaks_has_an_outcome(rig, make_event, error, at_most_once, outcome):
    """Whatever escapes a flow becomes an outcome: kept, unless it may have arrived and must not arrive twice."""
    rig = rig(error)
    rig.put(make_event(at_most_once=at_most_once))
    eventually(lambda: rig.told)
    assert rig.told[0][1] == outcome
    lost = at_most_once and isinstance(outcome, Ambiguous)
    assert (rig.stats.queued, dict(rig.stats.dropped)) == ((0, {ErrorCode.AMBIGUOUS: 1}) if lost else (1, {}))


def test_a_bug_is_logged_once_and_says_nothing_of_the_visitor(rig, make_event, caplog):
    """Many broken deliveries make one line with the kind and the place of the error, and the lane goes on."""
    rig = rig(*[KeyError("secret")] * 8)
    rig.put(*[make_event() for _ in range(12)])
    eventually(lambda: rig.stats.delivered == 4)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and record.name == "flagmw.outbox"
    assert "KeyError" in record.getMessage() and "rig.py:" in record.getMessage()
    assert "secret" not in caplog.text and "vendor.example" not in caplog.text and "abc" not in caplog.text


def test_P28_poison_is_laid_aside_and_the_lane_goes_on(rig, clock, make_event):
    """A verdict buries at once, a bare refusal after three tries over ten minutes."""
    rig = rig(Dead(ErrorCode.VENDOR_400), *[Dead(ErrorCode.REFUSED, verdict=False)] * 3)
    judged, refused = make_event(), make_event()
    rig.put(judged, refused)
    for tries in (2, 3, 4):
        eventually(lambda tries=tries: len(rig.told) == tries)
        rig.pass_time(361)
    rig.put(make_event())
    assert rig.worker.flush(5)
    assert {letter.event.id: letter.code for letter in rig.store.dead()} == {
        judged.id: ErrorCode.VENDOR_400,
        refused.id: ErrorCode.REFUSED,
    }


def test_a_hook_that_raises_is_no_trouble(rig, make_event, caplog):
    """The application's `on_outcome` cannot stop delivery."""

    def hook(row: Leased, outcome: object) -> None:
        raise RuntimeError("mine")

    rig = rig(on_outcome=hook)
    rig.put(make_event(), make_event())
    assert rig.worker.flush(5)
    eventually(lambda: codes(caplog) == ["INTERNAL"])
    assert "mine" not in caplog.text


# Lanes


def test_U12_a_vendor_that_refuses_us_rests_and_is_probed(rig, clock, make_event, caplog):
    """Its events are kept with their attempts, others go, one event probes now and then, each change is told once."""
    vendors = {"wt": ScriptedVendor(*[Suspend(ErrorCode.UNAUTHORIZED)] * 2), "adobe": ScriptedVendor()}
    rig = rig(vendors=vendors)
    rig.put(*[make_event() for _ in range(4)], make_event(vendor="adobe"))
    eventually(lambda: rig.stats.delivered == 1 and len(vendors["wt"].seen) == 1)
    assert rig.worker.health()["suspended"] == {"wt": "UNAUTHORIZED"}
    rig.pass_time(0.9)
    assert not rig.worker.flush(0.03)
    assert len(vendors["wt"].seen) == 1
    rig.pass_time(0.2)
    eventually(lambda: len(vendors["wt"].seen) == 2)
    assert not rig.worker.flush(0.03)
    assert len(vendors["wt"].seen) == 2
    rig.pass_time(301)
    assert rig.worker.flush(5)
    assert rig.worker.health()["suspended"] == {}
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert rig.stats.delivered == 5


def test_the_breaker_stops_a_failing_vendor_and_probes_it(rig, clock, make_event, caplog):
    """After five failures in a row no more events are tried until one probe gets through."""
    rig = rig(*[TransportError(ErrorCode.CONNECT, sent=False)] * 6)
    rig.put(*[make_event() for _ in range(10)])
    eventually(lambda: rig.worker.health()["paused_s"])
    assert not rig.worker.flush(0.03)
    assert len(rig.vendors["wt"].seen) == 5
    rig.pass_time(2.1)
    eventually(lambda: len(rig.vendors["wt"].seen) == 6)
    assert not rig.worker.flush(0.03)
    assert len(rig.vendors["wt"].seen) == 6
    rig.pass_time(60)
    assert rig.worker.flush(5)
    assert codes(caplog) == ["CONNECT", "BREAKER_OPEN"]


@pytest.mark.parametrize(
    ("outcome", "opens"),
    [
        (Ambiguous(ErrorCode.RESET), True),
        (Retry(ErrorCode.HTTP_STATUS), True),
        (Retry(ErrorCode.RATE_LIMITED), True),
        (Retry(ErrorCode.INTERNAL), False),
        (Retry(ErrorCode.VENDOR_500), False),
        (Dead(ErrorCode.VENDOR_400), False),
        (Dead(ErrorCode.REFUSED, verdict=False), False),
        (Dropped(ErrorCode.NOT_IN_TEST), False),
        (Delivered(duplicate=True), False),
    ],
)
def test_only_trouble_opens_the_breaker(rig, make_event, outcome, opens):
    """Answers that make sense are signs of life, whatever they say about the event."""
    rig = rig(*[outcome] * 8)
    rig.put(*[make_event() for _ in range(8)])
    eventually(lambda: len(rig.told) >= (5 if opens else 8))
    eventually(lambda: bool(rig.worker.health()["paused_s"]) is opens)


def test_U11_a_rate_limit_is_a_rest_for_the_whole_lane(rig, clock, make_event):
    """A vendor that asks for a minute's rest gets nothing for a minute."""
    rig = rig(Retry(ErrorCode.RATE_LIMITED, after_s=60))
    rig.put(*[make_event() for _ in range(3)])
    eventually(lambda: rig.told)
    rig.pass_time(59)
    assert not rig.worker.flush(0.03)
    assert len(rig.vendors["wt"].seen) == 1
    rig.pass_time(2)
    assert rig.worker.flush(5)
    assert {attempt for _, attempt in rig.attempts} == {1}, "what the vendor asked to have later consumed an attempt"


def test_events_of_an_unknown_vendor_stay(rig, make_event, caplog):
    """A vendor that left the configuration loses nothing and holds nothing up; it is told once."""
    rig = rig()
    rig.put(make_event(vendor="gone"), make_event(), make_event(vendor="gone"))
    eventually(lambda: rig.stats.delivered == 1)
    rig.put(make_event(vendor="gone"), make_event())
    eventually(lambda: rig.stats.delivered == 2)
    assert (rig.stats.queued, rig.stats.leased) == (3, 0)
    assert rig.worker.health()["unknown"] == ["gone"]
    assert codes(caplog) == ["NO_VENDOR"]


# Pace


def test_the_rate_is_kept(rig, make_event):
    """A backlog leaves at the allowed rate, after a small first burst."""
    rig = rig(real_time=True, max_rate=100)
    begin = time.perf_counter()
    rig.put(*[make_event() for _ in range(45)])
    assert rig.worker.flush(30)
    assert 0.2 < time.perf_counter() - begin < HELD_UP_S


def test_an_idle_worker_sleeps(rig, clock, make_event):
    """Neither an empty queue nor one that backs off, is suspended or is unknown keeps the thread busy."""
    store = CountingOutbox()
    vendors = {
        "wt": ScriptedVendor(Suspend(ErrorCode.UNAUTHORIZED)),
        "adobe": ScriptedVendor(Retry(ErrorCode.VENDOR_500)),
    }
    rig = rig(vendors=vendors, store=store)
    rig.put(make_event(), make_event(), make_event(vendor="adobe"), make_event(vendor="gone"))
    eventually(lambda: len(rig.told) == 2 and rig.worker.health()["unknown"])
    time.sleep(0.05)
    before = store.claims
    time.sleep(0.3)
    assert store.claims - before <= 1


def test_a_wake_is_not_missed_while_the_thread_goes_to_sleep(rig, make_event):
    """An event that comes between the last look at the store and the sleep is delivered at once."""

    class LateOutbox(MemoryOutbox):
        late: Callable[[], None] | None = None

        def next_due(self, *args, **options):
            due_s = super().next_due(*args, **options)
            late, self.late = self.late, None
            if late:
                late()
            return due_s

    store = LateOutbox()
    rig = rig(store=store)
    store.late = lambda: rig.put(make_event())
    rig.worker.start()
    eventually(lambda: rig.stats.delivered == 1)


def test_the_workers_clock_does_not_follow_jumps():
    """A wall clock that is set anew while the process runs changes no due time and no age."""
    wall, monotonic = iter([1_800_000_000.0, 5.0]), iter([100.0, 130.0])
    worker = Worker(MemoryOutbox(), {}, lambda *_: [], wall=lambda: next(wall), monotonic=lambda: next(monotonic))
    assert worker.now() == 1_800_000_030.0


def test_the_thread_outlives_trouble_with_the_store(rig, make_event, caplog):
    """A store that fails is told quietly and tried again; delivery goes on when it works."""
    store = CountingOutbox()
    store.broken = True
    rig = rig(store=store)
    rig.put(make_event())
    eventually(lambda: caplog.records)
    assert codes(caplog) == ["OUTBOX_FAILED"] and "disk" not in caplog.text
    store.broken = False
    assert rig.worker.flush(5)


def test_an_attempt_never_outlasts_its_lease(rig, clock, make_event):
    """When the attempts of a batch are slow, the rest is given back and claimed anew instead of being sent late."""

    class SlowVendor(ScriptedVendor):
        def answer(self) -> Reply:
            clock.now += 25
            return super().answer()

    rig = rig(vendors={"wt": SlowVendor()}, attempt_timeout_s=26, lease_s=60)
    events = [make_event() for _ in range(7)]
    rig.put(*events)
    assert rig.worker.flush(5)
    assert rig.vendors["wt"].seen == [event.id for event in events]
    assert rig.stats.delivered == 7


# Ends


def test_flush_says_whether_the_outbox_is_empty(rig, make_event):
    """It waits for deliveries, gives up at its timeout, and starts the thread by itself."""
    gate = threading.Event()
    rig = rig(gate)
    assert rig.worker.flush(0)
    rig.store.put_many([make_event()], rig.worker.now())
    begin = time.perf_counter()
    assert not rig.worker.flush(0.1)
    assert 0.1 <= time.perf_counter() - begin < HELD_UP_S
    gate.set()
    assert rig.worker.flush(5)


def test_P18_close_lets_the_attempt_on_the_wire_finish(rig, make_event):
    """The event that is being sent is settled, the others are given back untried, and a new start sends them."""
    gate = threading.Event()
    rig = rig(gate)
    rig.put(*[make_event() for _ in range(4)])
    eventually(lambda: rig.vendors["wt"].seen)
    threading.Timer(0.05, gate.set).start()
    assert rig.worker.close(5)
    assert (rig.stats.delivered, rig.stats.queued, rig.stats.leased) == (1, 3, 0)
    assert rig.worker.start()
    assert rig.worker.flush(5)
    assert len(rig.vendors["wt"].seen) == 4


def test_close_does_not_wait_for_a_hung_call(rig, make_event, caplog):
    """At the end of the budget the rest is given back; a new thread sends it, and the late answer still counts."""
    gate = threading.Event()
    rig = rig(gate)
    rig.put(*[make_event() for _ in range(3)])
    eventually(lambda: rig.vendors["wt"].seen)
    begin = time.perf_counter()
    assert not rig.worker.close(0.1)
    assert time.perf_counter() - begin < HELD_UP_S
    assert (rig.stats.queued, rig.stats.leased) == (3, 1)
    assert codes(caplog) == ["DEADLINE"]
    rig.worker.start()
    eventually(lambda: rig.stats.delivered == 2)
    gate.set()
    assert rig.worker.flush(5)
    assert len(rig.vendors["wt"].seen) == 3


def test_close_is_harmless_at_any_time(rig, make_event):
    """Before the start and twice it is clean; afterwards a wake starts nothing, a start does."""
    rig = rig()
    assert rig.worker.close()
    assert rig.worker.start()
    assert rig.worker.close() and rig.worker.close()
    rig.put(make_event())
    assert rig.worker.health()["alive"] is False
    assert not rig.worker.flush(5)
    assert rig.worker.start()
    assert rig.worker.flush(5)


def test_close_from_the_workers_own_thread_does_not_hang(rig, make_event):
    """A hook that closes the worker stops it after this event."""
    rig = rig(on_outcome=lambda row, outcome: rig.worker.close())
    rig.put(make_event(), make_event())
    eventually(lambda: rig.worker.health()["alive"] is False and rig.stats.delivered == 1)
    eventually(lambda: rig.stats.leased == 0)
    assert rig.stats.queued == 1


@pytest.mark.parametrize(
    "options",
    [
        {"max_rate": 0},
        {"max_rate": float("inf")},
        {"batch": 0},
        {"lease_s": 5},
        {"attempt_timeout_s": 0},
        {"concurrency": 0},
    ],
)
def test_numbers_that_cannot_work_are_refused(options):
    """The constructor names the option that is wrong."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        Worker(MemoryOutbox(), {}, lambda *_: [], **options)


SCRIPT = """
import os, sys, threading, time
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.worker import Worker
from flagmw.types import Call, Delivered, Event, Track, Visit

class Vendor:
    def deliver(self, batch):
        yield Call(method="POST", url="https://vendor.example/", headers={})
        return [Delivered()]

gate = threading.Event()
gate.set()

def run(vendor, flow, deadline):
    next(flow)
    gate.wait(5)
    try:
        flow.send(None)
    except StopIteration as done:
        return done.value

def event(id):
    visit = Visit(url="https://shop.example/")
    track = Track(id=id, metric="m")
    return Event(id=id, vendor="wt", kind="track", track=track, aliases=(), visit=visit, visitor_key=id)

store = MemoryOutbox()
worker = Worker(store, {"wt": Vendor()}, run)
"""


def run_script(body: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT + body], capture_output=True, text=True, timeout=20, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_P15_a_forked_child_has_a_thread_of_its_own(tmp_path):
    """While the parent's delivery is under way a child starts anew: it sends its own event, the parent its own."""
    output = run_script("""
store.put_many([event("a")], worker.now())
worker.wake()
assert worker.flush(5)
gate.clear()
store.put_many([event("b"), event("c")], worker.now())
worker.wake()
while not store.stats(worker.now()).leased:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    gate = threading.Event()
    gate.set()
    assert worker.health()["alive"] is False
    store.put_many([event("d")], worker.now())
    worker.wake()
    assert worker.flush(5)
    print("child", store.stats(worker.now()).delivered, worker.health()["attempts"], flush=True)
    assert worker.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
gate.set()
assert worker.flush(5)
print("parent", store.stats(worker.now()).delivered)
""")
    assert output.split("\n")[:2] == ["child 1 1", "parent 3"]


@pytest.mark.parametrize("started", [False, True])
def test_P22_nothing_breaks_at_interpreter_shutdown(started):
    """When no thread can start or run any more, a late track is kept and counted instead of raising or hanging."""
    output = run_script(
        f"if {started}: worker.start()"
        + """
class Late:
    def __del__(self, store=store, worker=worker, event=event, write=os.write):
        kept = store.put_many([event("late")], worker.now())
        worker.wake()
        flushed = worker.flush(1)
        write(1, repr((len(kept), flushed, worker.health()["failed_starts"] > 0)).encode())

import logging
logging.getLogger("flagmw.outbox").addHandler(logging.NullHandler())
# A module of its own: the thread that the shutdown freezes keeps this one's globals alive.
sys.modules["late"] = type(sys)("late")
sys.modules["late"].late = Late()
"""
    )
    assert output == "(1, False, True)"


def test_a_running_thread_does_not_keep_the_interpreter():
    """A program that forgets to close ends all the same."""
    run_script("""
gate.clear()
store.put_many([event("a")], worker.now())
worker.wake()
""")


# The log


def test_the_log_is_quiet_about_what_goes_on(clock, caplog):
    """One line per code in ten seconds; the next one says how many were held back."""
    throttle = Throttle(logging.getLogger("flagmw.outbox"), clock=clock)
    assert throttle.log(logging.WARNING, ErrorCode.RESET, "trouble", vendor="wt")
    assert not throttle.log(logging.WARNING, ErrorCode.RESET, "trouble", vendor="wt")
    assert throttle.log(logging.WARNING, ErrorCode.CONNECT, "trouble", vendor="wt")
    clock.now += 9.9
    assert not throttle.log(logging.WARNING, ErrorCode.RESET, "trouble", vendor="wt")
    clock.now += 0.1
    assert throttle.log(logging.WARNING, ErrorCode.RESET, "trouble", vendor="wt")
    clock.now -= 1_000
    assert throttle.log(logging.WARNING, ErrorCode.RESET, "trouble", vendor="wt")
    assert [record.getMessage() for record in caplog.records] == [
        "trouble code=RESET vendor=wt",
        "trouble code=CONNECT vendor=wt",
        "trouble code=RESET vendor=wt suppressed=2",
        "trouble code=RESET vendor=wt",
    ]
