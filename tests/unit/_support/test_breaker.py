"""The circuit breaker, on a clock that the test moves."""

from __future__ import annotations

import heapq
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._support.breaker import Breaker


def fail(breaker: Breaker, times: int, now: float = 0.0) -> list[bool]:
    return [breaker.failure(now) for _ in range(times)]


def test_streak() -> None:
    """Five failures in a row open it; the fifth says so."""
    breaker = Breaker()
    assert fail(breaker, 5) == [False, False, False, False, True]
    assert not breaker.allow(0.0)
    assert breaker.state(0.0) == "open"
    assert breaker.open_for(0.5) == pytest.approx(1.5)


def test_a_success_ends_a_streak() -> None:
    """Four failures, a success and four failures open nothing."""
    breaker = Breaker()
    fail(breaker, 4)
    assert breaker.success(0.0) is False
    fail(breaker, 4)
    assert breaker.allow(0.0) and breaker.state(0.0) == "closed" and breaker.open_for(0.0) == 0.0


def play(breaker: Breaker, calls: str, now: float) -> bool:
    """Note one call per letter, "S" for a success and "F" for a failure; return whether one of them opened it."""
    return sum(breaker.failure(now) if call == "F" else breaker.success(now) for call in calls) > 0


@pytest.mark.parametrize(
    ("calls", "opens"),
    [("FS" * 9 + "F", False), ("SF" * 10, True), ("SS" + "SF" * 9, False), ("SS" + "SF" * 19, False)],
)
def test_U9_ratio(calls: str, opens: bool) -> None:
    """Half of at least 20 calls open it, without any streak."""
    breaker = Breaker()
    assert play(breaker, calls, 1.0) is opens
    assert breaker.allow(1.0) is not opens


def test_window() -> None:
    """Calls of more than ten seconds ago do not count."""
    for pause, opens in ((9.9, True), (10.1, False)):
        breaker = Breaker()
        play(breaker, "SF" * 9, 0.0)
        assert play(breaker, "SF", pause) is opens


def test_one_probe_at_a_time() -> None:
    """After the open time exactly one caller may try; the others wait for the result."""
    breaker = Breaker()
    fail(breaker, 5)
    assert not breaker.allow(1.999)
    assert breaker.state(2.0) == "half-open"
    assert [breaker.allow(2.0) for _ in range(3)] == [True, False, False]


def test_a_good_probe_closes() -> None:
    """A probe that succeeds closes it and forgets the past."""
    breaker = Breaker()
    fail(breaker, 5)
    assert breaker.allow(2.0)
    assert breaker.success(2.1) is True
    assert breaker.state(2.1) == "closed"
    assert all(breaker.allow(2.1) for _ in range(10))
    assert fail(breaker, 4, 2.2) == [False] * 4


def test_U32_failed_probes_double_the_rest() -> None:
    """Each failed probe doubles the rest, up to half a minute; a good one starts over."""
    breaker = Breaker()
    now, rests = 0.0, []
    fail(breaker, 5, now)
    for _ in range(6):
        rests.append(breaker.open_for(now))
        now += rests[-1]
        assert not breaker.allow(now - 0.001)
        assert breaker.allow(now)
        assert breaker.failure(now) is False
    assert rests == pytest.approx([2.0, 4.0, 8.0, 16.0, 30.0, 30.0])
    now += breaker.open_for(now)
    assert breaker.allow(now)
    breaker.success(now)
    fail(breaker, 5, now + 1.0)
    assert breaker.open_for(now + 1.0) == pytest.approx(2.0)


def test_late_failures_change_nothing() -> None:
    """Calls that began before it opened and fail afterwards do not prolong the rest."""
    breaker = Breaker()
    fail(breaker, 5)
    assert fail(breaker, 20, 1.0) == [False] * 20
    assert breaker.open_for(1.0) == pytest.approx(1.0)
    assert breaker.allow(2.0)


def test_an_abandoned_probe_gives_its_turn_back() -> None:
    """A probe that was cancelled, or whose result never comes, does not block the next."""
    breaker = Breaker()
    fail(breaker, 5)
    assert breaker.allow(2.0) and not breaker.allow(2.0)
    breaker.abandon()
    assert breaker.allow(2.0) and not breaker.allow(6.9)
    assert breaker.allow(7.0)


def test_U10_the_vendor_asks_for_rest() -> None:
    """A rest that the vendor asks for is kept, also at the first failure and at a probe."""
    breaker = Breaker()
    assert breaker.failure(0.0, 60.0) is True
    assert not breaker.allow(59.9)
    assert breaker.allow(60.0)
    breaker.failure(60.0, 100.0)
    assert not breaker.allow(159.9) and breaker.allow(160.0)


def test_U10_a_short_rest_is_at_least_our_own() -> None:
    """A rest shorter than our own does not shorten it."""
    breaker = Breaker()
    assert breaker.failure(0.0, 0.5) is True
    assert breaker.open_for(0.0) == pytest.approx(2.0)


def test_U10_no_rest_opens_nothing() -> None:
    """`Retry-After: 0` asks for no rest: one such answer is a failure like any other."""
    breaker = Breaker()
    assert [breaker.failure(0.0, 0.0) for _ in range(5)] == [False] * 4 + [True]


@given(st.lists(st.tuples(st.sampled_from("asfh"), st.floats(0, 5)), max_size=60))
def test_breaker_is_never_stuck(steps: list[tuple[str, float]]) -> None:
    """Whatever happens in whatever order, after at most its longest rest somebody may probe, and only one."""
    breaker = Breaker()
    now = 0.0
    for what, after in steps:
        now += after
        if what == "a":
            breaker.allow(now)
        elif what == "s":
            breaker.success(now)
        else:
            breaker.failure(now, 20.0 if what == "h" else None)
        assert breaker.open_for(now) <= 30.0
        assert breaker.state(now) in ("closed", "open", "half-open")
    now += 31.0
    closed = breaker.state(now) == "closed"
    assert [breaker.allow(now), breaker.allow(now)] == [True, closed]


def test_threads_share_one_probe() -> None:
    """Of many threads that ask at once one gets the probe."""
    breaker = Breaker()
    fail(breaker, 5)
    ready = threading.Barrier(8)
    allowed: list[bool] = []

    def ask() -> None:
        ready.wait()
        allowed.append(breaker.allow(2.0))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 1


def test_what_ends_many_calls_at_once_is_one_reason() -> None:
    """Of calls that were under way at the same time only the first failure counts; those begun after it count again."""
    breaker = Breaker()
    assert not any(breaker.failure(0.3, began=0.0) for _ in range(100))
    assert not any(breaker.failure(0.35 + n / 100, began=0.29) for n in range(100))
    assert [breaker.failure(at, began=at - 0.3) for at in (0.7, 1.0, 1.3, 1.6)] == [False, False, False, True]


def test_one_visitor_is_one_reason() -> None:
    """Whoever fails again and again counts once in the window, and once more after it."""
    breaker = Breaker()
    assert not any(breaker.failure(float(n) / 5, who="evil", doubtful=True) for n in range(45))
    for n in range(3):
        assert not breaker.failure(9.0 + n / 5, who=n, doubtful=True)
    assert breaker.failure(10.5, who="evil", doubtful=True), "five in a row, of four visitors, one of them twice"


def test_visitors_who_may_be_the_cause_take_longer() -> None:
    """A row of visitors with cookies of their own has to last; one without any in it tells more."""
    breaker = Breaker()
    assert not any(breaker.failure(n / 100, who=n, doubtful=True) for n in range(50))
    assert breaker.failure(1.5, who=99, doubtful=True)
    breaker = Breaker()
    assert not any(breaker.failure(n / 100, who=n, doubtful=True) for n in range(50))
    assert breaker.failure(0.6)


def test_a_row_needs_a_second_without_success() -> None:
    breaker = Breaker()
    breaker.success(0.0)
    assert not any(breaker.failure(n / 100) for n in range(15))
    breaker = Breaker()
    breaker.success(0.0)
    assert [breaker.failure(at) for at in (0.7, 0.8, 0.9, 0.95, 1.0)] == [False] * 4 + [True]


def test_a_rest_that_one_visitor_is_asked_for_is_not_everybody_s() -> None:
    """Retry-After counts at once only where nobody else has just been answered."""
    breaker = Breaker()
    breaker.success(0.0)
    assert not breaker.failure(0.5, 60.0)
    assert breaker.failure(1.1, 60.0) and breaker.open_for(1.1) == pytest.approx(60.0)


def test_old_failures_are_no_probe_s() -> None:
    """A call from before the breaker opened that fails while the probe is out leaves the probe alone."""
    breaker = Breaker()
    fail(breaker, 5, 1.0)
    assert breaker.allow(3.0)
    breaker.failure(3.1, began=0.5)
    assert not breaker.allow(3.2) and breaker.success(3.3)


@pytest.mark.parametrize("rate", [2, 5, 20, 100])
@pytest.mark.parametrize("lasts_s", [0.005, 0.3])
@pytest.mark.parametrize("named", [True, False])
def test_a_third_that_provokes_failures_costs_the_others_little(rate: int, lasts_s: float, named: bool) -> None:
    """Fresh identities all of them, at random times, for a quarter of an hour: under 1 % of the others' decisions."""
    chance, breaker = random.Random(rate), Breaker()
    now, honest, lost = 0.0, 0, 0
    under_way: list[tuple[float, int, bool, float]] = []
    for n in range(rate * 900):
        now += chance.expovariate(rate)
        while under_way and under_way[0][0] <= now:
            at, who, bad, began = heapq.heappop(under_way)
            if bad:
                breaker.failure(at, began=began, who=who if named else None, doubtful=named)
            else:
                breaker.success(at)
        evil = chance.random() < 1 / 3
        honest += not evil
        if breaker.allow(now):
            heapq.heappush(under_way, (now + (lasts_s if evil else 0.05), n, evil, now))
        else:
            lost += not evil
    assert lost < 0.01 * honest


@pytest.mark.parametrize("offset", [0.0, 0.03, 0.07])
@pytest.mark.parametrize("good_before", [0, 100])
@pytest.mark.parametrize("named", [True, False])
def test_a_vendor_that_hangs_for_everybody_is_left_alone(offset: float, good_before: int, named: bool) -> None:
    """At ten requests a second and a deadline of 300 ms it opens within two seconds."""
    breaker = Breaker()
    for n in range(good_before):
        breaker.success(-0.1 - n / 10)
    for n in range(20):
        began = offset + n / 10
        if breaker.failure(began + 0.301, began=began, who=n if named else None, doubtful=named):
            assert began + 0.301 <= 2.0
            return
    pytest.fail("it never opened")
